"""API keys: shown once, kept hashed, checked, revoked and rotated, here and in other processes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from adapters.api_keys import ApiKeys
from adapters.pool import fetch
from service.http.keys import OVERLAP_SECONDS_MAX
from service.identifiers import new_id, parse_id, public_id
from service.logs import configure_logs
from tests.integration.http.api import Api, running_api

BRIEFLY = timedelta(seconds=1)


async def _made(api: Api, **more: object) -> dict[str, str]:
    body = {"scope": "user", "account_id": api.account_id, "name": "mine", **more}
    answer = await api.post("/v1/keys", body, "admin")
    assert answer.status_code == 201, answer.text
    made: dict[str, str] = answer.json()
    api.secrets[made["id"]] = made["secret"]
    return made


async def test_a_key_works_and_only_its_prefix_and_digest_are_kept(api: Api) -> None:
    made = await _made(api)

    assert (await api.get("/v1/account", made["id"])).json()["id"] == api.account_id
    assert made["secret"].startswith(made["prefix"] + "_")
    assert len(made["secret"].rpartition("_")[2]) * 4 == 256
    [row] = await fetch(
        api.service.pool,
        "SELECT sha256, k::text FROM api_keys k WHERE id = %(id)s",
        {"id": parse_id("key", made["id"])},
    )
    assert row[0] == hashlib.sha256(made["secret"].encode()).digest()
    assert made["secret"] not in row[1]
    listed = (await api.get("/v1/keys", "admin")).text
    assert made["prefix"] in listed
    assert made["secret"] not in listed


async def test_a_near_miss_is_refused(api: Api) -> None:
    made = await _made(api)
    secret = made["secret"]
    assert (await api.get("/v1/account", made["id"])).status_code == 200, "it is in memory now"
    flipped = secret[:-1] + ("0" if secret[-1] != "0" else "1")

    for value in (
        f"Bearer {flipped}",
        f"Bearer {secret}0",
        f"Bearer {secret.upper()}",
        f"Bearer {secret[:16]}",
        f"Bearer {secret} {secret}",
        f"Basic {secret}",
        secret,
        "Bearer",
        "Bearer " + "x" * 10_000,
    ):
        answer = await api.client.get("/v1/account", headers={"authorization": value})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), value
    missing = await api.get("/v1/account", None)
    assert missing.headers["www-authenticate"] == 'Bearer realm="tallystick"'


async def test_a_revoked_key_is_refused_at_once_and_for_good(api: Api) -> None:
    made = await _made(api)
    assert (await api.get("/v1/account", made["id"])).status_code == 200

    revoked = await api.post(f"/v1/keys/{made['id']}/revoke", as_="admin")
    again = await api.post(f"/v1/keys/{made['id']}/revoke", as_="admin")

    assert revoked.json()["revoked_at"] == again.json()["revoked_at"] is not None
    assert (await api.get("/v1/account", made["id"])).status_code == 401
    rotated = await api.post(f"/v1/keys/{made['id']}/rotate", as_="admin")
    assert rotated.status_code == 404


async def test_a_key_that_ends_here_is_forgotten_here_at_once(api: Api) -> None:
    """By a keeper that would remember for a minute, and hears of nothing."""
    keys = ApiKeys(api.service.pool, cache_seconds=60)
    revoked, rotated = [await keys.create("admin", name=name) for name in ("a", "b")]
    for new in (revoked, rotated):
        assert await keys.check(new.secret) == new.key == keys.recall(new.secret)

    await keys.revoke(revoked.key.id)
    assert keys.recall(revoked.secret) is await keys.check(revoked.secret) is None
    assert await keys.check(rotated.secret)
    await keys.rotate(rotated.key.id)
    assert keys.recall(rotated.secret) is await keys.check(rotated.secret) is None


async def test_memory_does_not_outlive_the_key(api: Api) -> None:
    keys = ApiKeys(api.service.pool, cache_seconds=60)
    new = await keys.create("admin", name="brief", expires_at=api.service.clock.now() + BRIEFLY)
    assert await keys.check(new.secret)

    async with asyncio.timeout(10):
        while keys.recall(new.secret):
            await fetch(api.service.pool, "SELECT pg_sleep(0.05)", {})

    assert await keys.check(new.secret) is None


async def test_another_process_hears_of_a_revocation(
    api: Api, database: str, tmp_path: Path
) -> None:
    """With a cache that would keep the key for a minute, only the notification can end it."""
    async with running_api(database, tmp_path / "beside", key_cache_seconds=60) as other:
        made = await _made(api)
        headers = {"authorization": f"Bearer {made['secret']}"}
        assert (await other.client.get("/v1/account", headers=headers)).status_code == 200
        watch = other.service.wakeup.watch(only="keys")

        await api.service.keys.revoke(parse_id("key", made["id"]))

        assert await watch.wait(10)
        await asyncio.sleep(0)
        assert (await other.client.get("/v1/account", headers=headers)).status_code == 401


async def test_an_expired_key_is_refused_though_it_was_checked_before(api: Api) -> None:
    clock = api.service.clock
    past = clock.now().isoformat()
    made = await _made(api, expires_at=past)
    assert (await api.get("/v1/account", made["id"])).status_code == 401

    lasting = await _made(api, expires_at="2999-01-01T00:00:00Z")
    assert (await api.get("/v1/account", lasting["id"])).status_code == 200


async def test_a_rotated_key_gives_way_to_its_successor(api: Api) -> None:
    made = await _made(api)
    assert (await api.get("/v1/account", made["id"])).status_code == 200

    answer = await api.post(f"/v1/keys/{made['id']}/rotate", as_="admin")

    successor = answer.json()
    api.secrets["successor"] = successor["secret"]
    assert answer.status_code == 201
    assert successor["id"] != made["id"]
    assert (successor["scope"], successor["account_id"]) == ("user", api.account_id)
    assert (await api.get("/v1/account", made["id"])).status_code == 401
    assert (await api.get("/v1/account", "successor")).status_code == 200


async def test_a_rotation_may_overlap(api: Api) -> None:
    made = await _made(api)

    answer = await api.post(f"/v1/keys/{made['id']}/rotate", {"overlap_seconds": 600}, "admin")

    assert answer.json()["expires_at"] is None
    assert (await api.get("/v1/account", made["id"])).status_code == 200
    keys = {k["id"]: k for k in (await api.get("/v1/keys", "admin")).json()["items"]}
    assert keys[made["id"]]["expires_at"] is not None


async def test_bad_key_requests_are_refused(api: Api) -> None:
    made = await _made(api)
    account = api.account_id
    for path, body, pointer in (
        ("/v1/keys", {"scope": "user", "name": "x"}, "/account_id"),
        ("/v1/keys", {"scope": "admin", "name": "x", "account_id": account}, "/account_id"),
        ("/v1/keys", {"scope": "root", "name": "x"}, "/scope"),
        ("/v1/keys", {"scope": "admin", "name": ""}, "/name"),
        ("/v1/keys", {"scope": "admin", "name": "x", "expires_at": "soon"}, "/expires_at"),
        (f"/v1/keys/{made['id']}/rotate", {"overlap_seconds": -1}, "/overlap_seconds"),
        (
            f"/v1/keys/{made['id']}/rotate",
            {"overlap_seconds": OVERLAP_SECONDS_MAX + 1},
            "/overlap_seconds",
        ),
    ):
        answer = await api.post(path, body, "admin")
        assert answer.status_code == 400, body
        assert answer.json()["errors"][0]["pointer"] == pointer, body
    missing = {"scope": "user", "name": "x", "account_id": public_id("acct", new_id())}
    assert (await api.post("/v1/keys", missing, "admin")).status_code == 404
    assert (await api.post("/v1/keys/key_1/revoke", as_="admin")).status_code == 404


async def test_making_a_key_happens_once_and_its_secret_is_not_kept(api: Api) -> None:
    body = {"scope": "worker", "name": "farm"}

    first = await api.post("/v1/keys", body, "admin", idempotency_key="k")
    again = await api.post("/v1/keys", body, "admin", idempotency_key="k")
    changed = await api.post("/v1/keys", body | {"name": "x"}, "admin", idempotency_key="k")

    assert first.status_code == again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json() | {"secret": None}
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    secret = first.json()["secret"]
    kept = await fetch(api.service.pool, "SELECT body FROM idempotency_keys", {})
    assert all(secret.encode() not in bytes(row[0]) for row in kept)


async def test_rotating_with_a_key_happens_once(api: Api) -> None:
    made = await _made(api)
    path = f"/v1/keys/{made['id']}/rotate"

    first = await api.post(path, as_="admin", idempotency_key="k")
    again = await api.post(path, as_="admin", idempotency_key="k")

    assert again.json() == first.json() | {"secret": None}
    assert len((await api.get("/v1/keys", "admin")).json()["items"]) == 6


async def test_keys_are_listed_newest_first_in_pages(api: Api) -> None:
    made = await _made(api)
    seen: list[str] = []
    path = "/v1/keys?limit=2"
    while path:
        page = await api.get(path, "admin")
        seen += [key["id"] for key in page.json()["items"]]
        path = page.links.get("next", {}).get("url", "")
    assert seen[0] == made["id"]
    assert len(seen) == len(set(seen)) == 5


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """What is logged meanwhile, at its most talkative."""
    sink = io.BytesIO()
    configure_logs("debug", readable=False, file=sink)
    yield sink
    structlog.reset_defaults()


async def test_secrets_are_never_logged(api: Api, log: io.BytesIO) -> None:
    made = await _made(api)
    await api.get("/v1/account", made["id"])
    await api.get("/v1/nothing", made["id"])
    await api.post(f"/v1/keys/{made['id']}/revoke", as_="admin")
    await api.get("/v1/account", made["id"])
    await api.service.pool.close()
    assert (await api.get("/v1/keys", "admin")).status_code == 503

    text = log.getvalue().decode()
    assert "http.unavailable" in text, "the log was looked at"
    assert all(secret not in text for secret in api.secrets.values())
    assert all(json.loads(line) for line in text.splitlines())
