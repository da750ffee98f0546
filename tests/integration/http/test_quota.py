"""What an account stores is counted where it lies, shown, and kept within its plan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.object_storage import ObjectStorage
from adapters.stored_bytes import StoredBytes
from domain.errors import Unavailable
from service.identifiers import new_id, public_id
from tallystick.handler import Context, TaskFailure, handler
from tests.integration.bus import working
from tests.integration.http.api import CREDITS, Api, running_api

LIMIT = 1_000
TICKS_MAX = 20
PRICE = 3
PLANS = """
version = "tests"
[plans.standard]
stored_bytes_max = 1_000
active_tasks_max = 100
[plans.roomy]
[plans.operator]
operator = true
"""


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """`sizes` are stored one after the other; then the attempt fails as often as is said."""

    sizes: list[int]
    failures: int = 0
    streamed: bool = False


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    keys: list[str]


@handler(
    "keep", price_credits=PRICE, stores=True, retry_seconds=0.001, cache_seconds=60, attempts_max=2
)
async def keep(given: Keep, context: Context) -> Kept:
    """Store so many bytes."""
    keys = []
    for number, size in enumerate(given.sizes):
        source = _halves(size) if given.streamed else b"x" * size
        stored = await context.objects.put(str(number), source, content_type="text/plain")
        keys.append(stored.key)
    if context.attempt <= given.failures:
        raise TaskFailure("network", "Once more.")
    return Kept(keys=keys)


async def _halves(size: int) -> AsyncIterator[bytes]:
    yield b"x" * (size // 2)
    yield b"x" * (size - size // 2)


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    async with running_api(database, tmp_path, [keep], plans_file=plans) as running:
        yield running


async def done(api: Api, type_: str, as_: str = "user", **given: Any) -> dict[str, Any]:
    """The task, carried out in as many ticks as it takes."""
    accepted = await api.post("/v1/tasks", {"type": type_, "input": given, "cache": False}, as_)
    assert accepted.status_code == 202, accepted.text
    for _ in range(TICKS_MAX):
        await api.post("/v1/worker/tick", {"seconds": 20}, "worker")
        task: dict[str, Any] = (await api.get(f"/v1/tasks/{accepted.json()['id']}", as_)).json()
        if task["ended_at"]:
            return task
    raise AssertionError(f"the task is {task['status']} after {TICKS_MAX} ticks")


async def shown(api: Api, as_: str = "user") -> dict[str, Any]:
    return (await api.get("/v1/account", as_)).json()["storage"]  # type: ignore[no-any-return]


def lying(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def test_what_is_stored_is_shown_at_once_and_a_count_agrees(api: Api, tmp_path: Path) -> None:
    assert await shown(api) == {
        "stored_bytes": 0,
        "stored_bytes_max": LIMIT,
        "counted_at": None,
    }
    await done(api, "keep", sizes=[100, 20])
    await done(api, "keep", "other", sizes=[7])
    assert (await shown(api))["stored_bytes"] == 120

    counted = await done(api, "update_quota")

    assert counted["credits"] == {"held": 0, "charged": 0, "released": 0}
    result = counted["result"]
    assert (result["stored_bytes"], result["limit"], result["over"]) == (120, LIMIT, False)
    account = await shown(api)
    assert (account["stored_bytes"], account["counted_at"]) == (120, result["counted_at"])
    assert (await shown(api, "other"))["stored_bytes"] == 7
    assert lying(tmp_path / "objects") == 127


async def test_uploads_in_the_folder_of_the_account_count(api: Api, tmp_path: Path) -> None:
    for name, size in ((api.account_id, 30), (public_id("acct", api.other_account), 500)):
        folder = tmp_path / "uploads" / name / "deep"
        folder.mkdir(parents=True)
        (folder / "clip").write_bytes(b"x" * size)
    (folder / "link").symlink_to(tmp_path / "uploads" / api.account_id)
    (folder / "file").symlink_to(tmp_path / "uploads" / api.account_id / "deep" / "clip")
    assert (await done(api, "update_quota"))["result"]["stored_bytes"] == 30
    assert (await done(api, "update_quota", "other"))["result"]["stored_bytes"] == 500


async def test_a_count_makes_good_what_a_crash_took(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object was stored and nobody was told: as if the process had ended between the two."""

    async def crash(*_: object) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(StoredBytes, "add", crash)
        assert (await done(api, "keep", sizes=[50]))["status"] == "completed"
    assert (await shown(api))["stored_bytes"] == 0
    for _ in range(3):
        assert (await done(api, "update_quota"))["result"]["stored_bytes"] == 50
    assert (await shown(api))["stored_bytes"] == 50


async def test_what_ended_attempts_left_over_counts_no_more(api: Api) -> None:
    await done(api, "keep", sizes=[10], failures=1)
    assert (await done(api, "keep", sizes=[200], failures=2))["status"] == "failed"
    assert (await shown(api))["stored_bytes"] == 10 + 10 + 200 + 200
    assert (await done(api, "update_quota"))["result"]["stored_bytes"] == 10


async def test_what_is_stored_during_a_count_is_not_lost(api: Api) -> None:
    """Objects that appear behind the listing are not in it, and are added all the same."""
    quota, objects = api.service.quota, api.service.storage.of_task(api.account, new_id(), 1)
    await done(api, "keep", sizes=[10])

    async def meanwhile(seen: int) -> None:
        assert seen == 1
        stored = await objects.put("late", b"x" * 5, content_type="text/plain")
        await quota.add(api.account, stored.size_bytes)

    assert (await quota.count(api.account, meanwhile)).stored_bytes == 15
    assert (await done(api, "update_quota"))["result"]["stored_bytes"] == 15


async def test_of_two_counts_at_once_the_first_to_end_stands(api: Api) -> None:
    quota = api.service.quota
    await done(api, "keep", sizes=[10])

    async def silent(_: int) -> None:
        pass

    async def another(_: int) -> None:
        assert (await quota.count(api.account, silent)).stored_bytes == 10

    assert (await quota.count(api.account, another)).stored_bytes == 10
    await quota.add(api.account, 1)
    assert (await quota.state(api.account)).stored_bytes == 11


async def test_who_stores_as_much_as_it_may_is_refused_more(api: Api) -> None:
    body = {"type": "keep", "input": {"sizes": [LIMIT]}}
    first = await api.post("/v1/tasks", body, idempotency_key="first")
    async with working(api.service.worker()):
        await api.get(f"/v1/tasks/{first.json()['id']}", prefer="wait=30")
    before = await api.balance()

    for more in ({"cache": False}, {"input": {"sizes": [1]}}):
        refused = await api.post("/v1/tasks", body | more)
        assert (refused.status_code, refused.json()["code"]) == (409, "storage_full")
        assert (refused.json()["stored_bytes"], refused.json()["stored_bytes_max"]) == (
            LIMIT,
            LIMIT,
        )
    quote = await api.post("/v1/quotes", body | {"input": {"sizes": [2]}})
    assert (quote.json()["accepted"], quote.json()["refusal"]["code"]) == (False, "storage_full")
    assert await api.balance() == before == (CREDITS - PRICE, 0, PRICE)

    again = await api.post("/v1/tasks", body, idempotency_key="first")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    taken_over = await api.post("/v1/tasks", body)
    assert (taken_over.status_code, taken_over.json()["reused_from"]) == (200, first.json()["id"])
    assert (await done(api, "double", n=4))["result"] == {"n": 8}
    assert (await done(api, "update_quota"))["result"]["over"] is False


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_does_not_fit_any_more_is_not_stored(
    api: Api, tmp_path: Path, *, streamed: bool
) -> None:
    task = await done(api, "keep", sizes=[LIMIT - 1, 2], streamed=streamed)
    assert (task["status"], task["failure"]["type"], task["attempt"]) == ("failed", "storage", 1)
    assert task["failure"]["message"] == "The account stores as much as its plan allows."
    assert await api.balance() == (CREDITS, 0, 0)
    assert lying(tmp_path / "objects") == LIMIT - 1


async def test_a_plan_without_a_limit_and_one_that_is_made_smaller(api: Api) -> None:
    account_id = new_id()
    await api.open_account(account_id, plan="roomy")
    as_ = await api.key_of(account_id)
    await done(api, "keep", as_, sizes=[LIMIT * 3])
    counted = (await done(api, "update_quota", as_))["result"]
    assert (counted["limit"], counted["over"]) == (None, False)

    body = {"plan": "standard", "reason": "smaller"}
    path = f"/v1/accounts/{public_id('acct', account_id)}/plan"
    assert (await api.post(path, body, "admin")).status_code == 200
    counted = (await done(api, "update_quota", as_))["result"]
    assert (counted["limit"], counted["over"]) == (LIMIT, True)


async def test_a_store_that_cannot_be_read_leaves_the_number_as_it_was(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await done(api, "keep", sizes=[10])
    before = await shown(api)

    def lost(*_: object) -> AsyncIterator[list[object]]:
        raise Unavailable("Object storage cannot be reached.")

    monkeypatch.setattr(ObjectStorage, "pages", lost)
    with pytest.raises(Unavailable):
        await api.service.quota.count(api.account, lambda _: pytest.fail("nothing was seen"))
    assert await shown(api) == before
