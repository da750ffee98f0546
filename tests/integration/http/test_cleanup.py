"""What is left over is removed by the operator's task, and nothing that anything alive needs."""

# ruff: noqa: ASYNC240 - a test may block its own loop

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters import ended_attempts, named_uploads
from adapters.ended_attempts import EndedAttempts
from adapters.object_storage import ObjectStorage
from adapters.scratch_folder import make_scratch_folder
from service.identifiers import new_id, parse_id
from tallystick.handler import Context, handler
from tests.integration.bus import working
from tests.integration.http.api import FINAL, Api, running_api

AT_ONCE = {"leftover_hours": 0, "unused_upload_days": 0}
ZERO = {"count": 0, "bytes": 0}


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """`media` is an upload that is read after the wait."""

    media: str


class Waited(msgspec.Struct, frozen=True, kw_only=True):
    size_bytes: int
    scratch: str


class Gate:
    """Holds the tasks of type `wait` in their middle."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()


GATES: list[Gate] = []


@handler("wait", price_credits=1, stores=True)
async def wait(given: Wait, context: Context) -> Waited:
    """Store and note something, wait, and only then read the upload."""
    note = context.folder / "note"
    note.write_text("noted")
    await context.objects.put("half", b"half", content_type="text/plain")
    GATES[-1].reached.set()
    await GATES[-1].opened.wait()
    fetched = await context.fetch.upload(
        given.media, context.folder / "media", size_bytes_max=1_000
    )
    return Waited(size_bytes=fetched.size_bytes, scratch=note.read_text())


@pytest.fixture
def gate() -> Iterator[Gate]:
    GATES.append(Gate())
    yield GATES[-1]
    GATES.pop()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@asynccontextmanager
async def serving(dsn: str, folder: Path, **settings: Any) -> AsyncIterator[Api]:
    """The API, with an operator's key of that name."""
    async with running_api(dsn, folder, [wait], **settings) as api:
        operator = new_id()
        await api.open_account(operator, plan="operator", funds=0)
        api.secrets["operator"] = api.secrets[await api.key_of(operator)]
        yield api


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(database, tmp_path, **AT_ONCE) as running:
        yield running


async def clean(api: Api) -> dict[str, Any]:
    """The result of one clean-up."""
    accepted = await api.post("/v1/tasks", {"type": "cleanup_temp", "input": {}}, "operator")
    assert accepted.status_code == 202, accepted.text
    async with working(api.service.worker()):
        path = f"/v1/tasks/{accepted.json()['id']}"
        task = (await api.get(path, "operator", prefer="wait=30")).json()
    assert (task["status"], task["credits"]["charged"]) == ("completed", 0), task
    return task["result"]  # type: ignore[no-any-return]


def tomorrow(api: Api) -> str:
    return (api.service.clock.now() + timedelta(days=1)).isoformat()


def upload(tmp_path: Path, name: str, size: int = 10) -> Path:
    path = tmp_path / "uploads" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"u" * size)
    return path


async def attempted(api: Api, ending: str, size: int = 7, **more: Any) -> tuple[UUID, int]:
    """A task whose attempt stores an object and ends by that verb: its id and token."""
    task = await api.submit()
    [claimed] = await api.claim(types=["double"])
    task_id, token = parse_id("task", task["id"]), claimed["token"]
    await objects_of(api, task_id, token).put("it", b"o" * size, content_type="text/plain")
    assert (await api.work(task["id"], ending, token, **more)).status_code == 200
    return task_id, token


def objects_of(api: Api, task_id: UUID, token: int) -> Any:
    return api.service.storage.of_task(api.account, task_id, token)


def stored(tmp_path: Path) -> set[str]:
    """Everything in the store's folder, by task and below."""
    root = tmp_path / "objects"
    return {"/".join(p.relative_to(root).parts[1:]) for p in root.rglob("*") if p.is_file()}


REFUSED = {"type": "cleanup_temp", "input": {}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tasks", REFUSED),
        ("/v1/schedules", REFUSED | {"cron": "0 3 * * *", "zone": "UTC"}),
        ("/v1/groups", {"kind": "stills", "key": "k", "members": [REFUSED]}),
    ],
)
async def test_another_account_is_refused_by_name(api: Api, path: str, body: object) -> None:
    refused = await api.post(path, body)
    assert (refused.status_code, refused.json()["code"]) == (403, "operators_only")
    quote = await api.post("/v1/quotes", REFUSED)
    assert (quote.json()["accepted"], quote.json()["refusal"]["code"]) == (False, "operators_only")
    tasks = await api.get("/v1/tasks")
    assert tasks.json()["items"] == []


class BegunAt(msgspec.Struct, frozen=True):
    """Times of a schedule that was begun in the past."""

    first: datetime

    def after(self, _: datetime) -> datetime:
        return self.first

    def next_times(self, _: datetime, count: int) -> list[datetime]:
        return [self.first][:count]


async def test_an_operator_has_it_run_by_a_schedule(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(tmp_path, "unused")
    due = api.service.clock.now() - timedelta(seconds=1)
    body = REFUSED | {"cron": "0 3 1 1 *", "zone": "UTC"}
    with monkeypatch.context() as patch:
        patch.setattr("service.schedules.cron_times", lambda *_: BegunAt(due))
        assert (await api.post("/v1/schedules", body, "operator")).status_code == 201

    report = (await api.post("/v1/worker/tick", {"seconds": 20}, "worker")).json()

    assert (report["fired"], report["completed"]) == (1, 1)
    [task] = (await api.get("/v1/tasks", "operator")).json()["items"]
    task = (await api.get(f"/v1/tasks/{task['id']}", "operator")).json()
    assert (task["type"], task["result"]["uploads"]["count"]) == ("cleanup_temp", 1)


async def test_what_a_running_task_needs_is_let_be_until_it_has_ended(
    api: Api, tmp_path: Path, scratch: Path, gate: Gate
) -> None:
    upload(tmp_path, "clip.mp4")
    body = {"type": "wait", "input": {"media": "clip.mp4"}}
    running = (await api.post("/v1/tasks", body)).json()
    async with working(api.service.worker()):
        await gate.reached.wait()
        before = stored(tmp_path)
        assert len(before) == len(list(scratch.iterdir())) == 1
        nothing = await clean(api)
        assert (nothing["removed"], nothing["complete"]) == (0, True)
        assert stored(tmp_path) == before
        gate.opened.set()
        done = (await api.get(f"/v1/tasks/{running['id']}", prefer="wait=30")).json()
    assert done["result"] == {"size_bytes": 10, "scratch": "noted"}

    after = await clean(api)
    assert after["uploads"] == {"count": 1, "bytes": 10}
    assert (after["scratch"], after["objects"]) == (ZERO, ZERO)
    assert stored(tmp_path) == before
    assert (await clean(api))["removed"] == 0


async def test_objects_of_attempts_that_came_to_nothing_go_and_results_stay(
    api: Api, tmp_path: Path
) -> None:
    await attempted(api, "fail", failure=FINAL)
    kept, _ = await attempted(api, "complete", result={"n": 2})
    again, first = await attempted(api, "release")
    [claimed] = await api.claim(types=["double"])
    objects = objects_of(api, again, claimed["token"])
    await objects.put("it", b"second", content_type="text/plain")
    assert (await clean(api))["removed"] == 1
    assert stored(tmp_path) == {f"{kept}/1/it", f"{again}/{first}/it", f"{again}/2/it"}

    path = claimed["id"]
    assert (await api.work(path, "complete", 2, result={"n": 2})).status_code == 200
    assert (await clean(api))["objects"] == {"count": 1, "bytes": 7}
    assert stored(tmp_path) == {f"{kept}/1/it", f"{again}/2/it"}
    assert (await clean(api))["removed"] == 0


async def test_a_run_that_is_opened_again_meanwhile_keeps_what_it_stores(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's retry comes between the look at the task and the look at its objects."""
    failed, _ = await attempted(api, "fail", failure=FINAL)
    pages = ObjectStorage.pages

    async def retried_first(self: ObjectStorage, prefix: str) -> AsyncIterator[Any]:
        assert (await api.post(f"/v1/tasks/task_{failed.hex}/retry", {})).status_code == 202
        [claimed] = await api.claim(types=["double"])
        await objects_of(api, failed, claimed["token"]).put("it", b"new", content_type="a/b")
        half = tmp_path / "objects" / str(api.account) / str(failed) / "2" / "video#1"
        half.write_bytes(b"being written")
        async for page in pages(self, prefix):
            yield page

    monkeypatch.setattr(ObjectStorage, "pages", retried_first)
    run = await api.service.upkeep.run(_unheard)
    assert (run.objects.count, run.objects.bytes) == (1, 7)
    assert stored(tmp_path) == {f"{failed}/2/it", f"{failed}/2/video#1"}


async def test_half_objects_of_killed_writers_go_and_take_empty_folders_along(
    api: Api, tmp_path: Path
) -> None:
    failed, _ = await attempted(api, "fail", failure=FINAL)
    kept, _ = await attempted(api, "complete", result={"n": 2})
    for task_id in (failed, kept):
        folder = tmp_path / "objects" / str(api.account) / str(task_id) / "1"
        (folder / "video.mp4#1").write_bytes(b"half")
    assert (await clean(api))["objects"] == {"count": 2, "bytes": 7 + 4}
    assert stored(tmp_path) == {f"{kept}/1/it", f"{kept}/1/video.mp4#1"}
    assert not (tmp_path / "objects" / str(api.account) / str(failed)).exists()


async def test_scratch_of_ended_attempts_goes_and_that_of_others_stays(
    api: Api, scratch: Path, tmp_path: Path
) -> None:
    task_id, token = await attempted(api, "release")
    [claimed] = await api.claim(types=["double"])
    ended = make_scratch_folder(task_id, token, scratch)
    (ended / "media").write_bytes(b"m" * 100)
    (ended / "deep").mkdir()
    (ended / "deep" / "link").symlink_to(tmp_path)
    others = [
        make_scratch_folder(task_id, claimed["token"], scratch),
        make_scratch_folder(new_id(), 1, scratch),
        scratch / "attempt-of-somebody",
        scratch / f"tallystick-{task_id.hex}-{token}-abcdefgh",
    ]
    others[2].mkdir()
    others[3].symlink_to(tmp_path)
    assert (await clean(api))["scratch"] == {"count": 1, "bytes": 100}
    assert set(scratch.iterdir()) == set(others)
    assert tmp_path.is_dir()

    assert (await api.work(claimed["id"], "complete", 2, result={"n": 2})).status_code == 200
    assert (await clean(api))["scratch"]["count"] == 1
    assert set(scratch.iterdir()) == set(others[1:])


async def test_uploads_that_anything_alive_names_stay_however_they_are_spelt(
    api: Api, tmp_path: Path
) -> None:
    for name in ("a b/plain", "oddly", "länge", "linked", "group", "schedule", "unused", "ended"):
        upload(tmp_path, name)
    (tmp_path / "uploads" / "link").symlink_to("linked")
    ended = (await api.submit(input={"n": 1, "note": "ended"}))["id"]
    assert (await api.post(f"/v1/tasks/{ended}/cancel", {})).status_code == 200
    for named in ("a b/./plain", "a b/../oddly/", "link"):
        body = {"type": "wait", "input": {"media": named}}
        assert (await api.post("/v1/tasks", body)).status_code == 202
    raw = rb'{"type": "wait", "input": {"media": "l\u00e4nge", "big": 1e300}}'
    headers = {"authorization": f"Bearer {api.secrets['user']}"}
    sent = await api.client.post(
        "/v1/tasks", content=raw, headers=headers | {"content-type": "application/json"}
    )
    assert sent.status_code == 202, sent.text
    members = [
        {"type": "generate_thumbnail", "input": {"upload": upload}} for upload in ("first", "group")
    ]
    group = {"kind": "stills", "key": "k", "members": members, "parallel_max": 1}
    assert (await api.post("/v1/groups", group)).status_code == 202
    schedule = {"cron": "0 3 1 1 *", "zone": "UTC", "type": "media_extraction"}
    body = schedule | {"input": {"upload": "schedule"}}
    assert (await api.post("/v1/schedules", body)).status_code == 201

    found = named_uploads.NamedUploads(api.service.pool, tmp_path / "uploads")
    names = await found.paths()
    assert names is not None
    left = {
        p.name for p in (tmp_path / "uploads").rglob("*") if str(p) not in names and p.is_file()
    }
    assert left == {"unused", "ended", "link"}


async def test_uploads_are_removed_but_for_those_named(api: Api, tmp_path: Path) -> None:
    upload(tmp_path, "named"), upload(tmp_path, "deep/unused", 30)
    (tmp_path / "uploads" / "link").symlink_to("named")
    body = {"type": "wait", "input": {"media": "named"}, "not_before": tomorrow(api)}
    assert (await api.post("/v1/tasks", body)).status_code == 202
    assert (await clean(api))["uploads"] == {"count": 1, "bytes": 30}
    assert {p.name for p in (tmp_path / "uploads").iterdir()} == {"named", "deep", "link"}


async def test_with_more_names_than_can_be_told_apart_no_upload_is_removed(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = upload(tmp_path, "unused")
    await attempted(api, "fail", failure=FINAL)
    monkeypatch.setattr(named_uploads, "NAMES_MAX", 0)
    body = {"type": "wait", "input": {"media": "else"}, "not_before": tomorrow(api)}
    assert (await api.post("/v1/tasks", body)).status_code == 202
    result = await clean(api)
    assert (result["uploads_known"], result["complete"], result["uploads"]) == (False, False, ZERO)
    assert result["objects"]["count"] == 1
    assert unused.exists()


async def test_what_is_young_is_let_be(database: str, tmp_path: Path, scratch: Path) -> None:
    """A file that brings an old date along came only now."""
    async with serving(database, tmp_path) as api:
        old = upload(tmp_path, "old")
        os.utime(old, (0, 0))
        task_id, token = await attempted(api, "fail", failure=FINAL)
        folder = make_scratch_folder(task_id, token, scratch)
        assert (await clean(api))["removed"] == 0
        assert stored(tmp_path) == {f"{task_id}/1/it"}
        os.utime(folder, (0, 0))
        assert (await clean(api))["scratch"]["count"] == 1


async def test_a_run_removes_no_more_than_it_may_and_the_next_goes_on(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_attempts, "PAGE_TASKS", 2)
    async with serving(database, tmp_path, cleanup_removals_max=2, **AT_ONCE) as api:
        upload(tmp_path, "unused")
        await api.submit()
        [long] = await api.claim(types=["double"])
        await objects_of(api, parse_id("task", long["id"]), 1).put("it", b"o", content_type="a/b")
        for _ in range(4):
            await attempted(api, "fail", failure=FINAL)
        seen: list[dict[str, Any]] = []
        while not seen or not seen[-1]["complete"]:
            seen.append(await clean(api))
            assert len(seen) < 20
        assert [one["removed"] for one in seen if one["removed"]] == [2, 2, 1]
        assert len(stored(tmp_path)) == 1
        await api.work(long["id"], "fail", 1, failure=FINAL)
        assert (await clean(api))["objects"] == {"count": 1, "bytes": 1}


async def test_a_run_that_was_killed_is_made_good_by_the_next(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_attempts, "PAGE_TASKS", 1)
    tasks = [await attempted(api, "fail", failure=FINAL) for _ in range(3)]
    with _killed_after(monkeypatch, deletes=1), pytest.raises(Killed):
        await api.service.upkeep.run(_unheard)
    assert len(stored(tmp_path)) == 2
    position = await EndedAttempts(api.service.pool).position()
    assert position == tasks[0][0]
    assert (await clean(api))["objects"]["count"] == 2
    assert stored(tmp_path) == set()


async def _unheard(_: int) -> None:
    pass


class Killed(BaseException):
    """Caught by nobody, as the end of a process is."""


@contextmanager
def _killed_after(monkeypatch: pytest.MonkeyPatch, *, deletes: int) -> Iterator[None]:
    delete, done = ObjectStorage.delete, list[object]()

    async def once(self: ObjectStorage, keys: Any) -> int:
        if len(done) == deletes:
            raise Killed
        done.append(keys)
        return await delete(self, keys)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStorage, "delete", once)
        yield
