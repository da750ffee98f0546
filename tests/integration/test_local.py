"""What `tallystick dev` finds or makes in its folder: an account, credits, keys."""

from __future__ import annotations

from pathlib import Path

from service.bootstrap import Service, open_service
from service.command import Origin
from service.identifiers import new_id, parse_id
from service.local import CREDITS, CREDITS_LOW, introduce
from service.profile import Profile, read_profile
from service.settings import Settings

URL = "http://127.0.0.1:1"


def settings(database: str, folder: Path) -> Settings:
    return Settings(database_url=database, data_folder=folder)


async def available(service: Service, profile: Profile) -> int:
    account = await service.queries.account(parse_id("acct", profile.account_id))
    assert account is not None
    return account.available


async def test_the_first_start_makes_an_account_with_credits_and_keys(
    database: str, tmp_path: Path
) -> None:
    async with open_service(settings(database, tmp_path)) as service:
        profile = await introduce(service, URL)
        assert read_profile(tmp_path) == profile
        assert await available(service, profile) == CREDITS
        user = await service.keys.check(profile.api_key)
        admin = await service.keys.check(profile.admin_key)
        assert user is not None
        assert user.account_id == parse_id("acct", profile.account_id)
        assert admin is not None
        assert admin.scope == "admin"


async def test_a_later_start_keeps_them_and_notes_the_new_address(
    database: str, tmp_path: Path
) -> None:
    async with open_service(settings(database, tmp_path)) as service:
        first = await introduce(service, URL)
        second = await introduce(service, "http://127.0.0.1:2")
        assert second.url == "http://127.0.0.1:2"
        assert (second.account_id, second.api_key) == (first.account_id, first.api_key)
        assert read_profile(tmp_path) == second
        assert await available(service, second) == CREDITS
        assert len(await service.queries.accounts()) == 1


async def test_one_that_does_not_last_leaves_the_noted_address_alone(
    database: str, tmp_path: Path
) -> None:
    async with open_service(settings(database, tmp_path)) as service:
        first = await introduce(service, URL, lasting=False)
        passing = await introduce(service, "http://127.0.0.1:2", lasting=False)
        assert passing.url == "http://127.0.0.1:2"
        assert read_profile(tmp_path) == first


async def test_credits_that_run_low_are_topped_up(database: str, tmp_path: Path) -> None:
    async with open_service(settings(database, tmp_path)) as service:
        first = await introduce(service, URL)
        poor = new_id()
        await service.bus.open_account(
            poor, plan="standard", name=None, origin=Origin(actor="test")
        )
        await service.bus.grant(
            poor,
            amount=CREDITS_LOW - 1,
            kind="paid",
            source_ref="test",
            reason="",
            origin=Origin(actor="test"),
        )
        made = await service.keys.create(scope="user", name="poor", account_id=poor)
        (tmp_path / "profile.json").write_text(
            (tmp_path / "profile.json").read_text().replace(first.api_key, made[1])
        )
        second = await introduce(service, URL)
        assert parse_id("acct", second.account_id) == poor
        assert await available(service, second) == CREDITS_LOW - 1 + CREDITS


async def test_keys_of_another_database_are_replaced(database: str, tmp_path: Path) -> None:
    async with open_service(settings(database, tmp_path)) as service:
        first = await introduce(service, URL)
        key = await service.keys.check(first.admin_key)
        assert key is not None
        await service.keys.revoke(key.id)
        second = await introduce(service, URL)
        assert second.admin_key != first.admin_key
        assert await service.keys.check(second.admin_key) is not None
