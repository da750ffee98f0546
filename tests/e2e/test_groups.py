"""Groups of real work on the running service: by command, by both clients, paid by what came."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tallystick import AsyncClient
from tallystick.errors import Conflict, GroupWaitTimeout, InvalidArgument
from tallystick.models import Group
from tests.e2e.patient_tasks import Signals
from tests.e2e.tallystick_process import TOP, Home

OK, FAILED, USAGE, REFUSED, UNAVAILABLE = range(5)
SECONDS_MAX = 50.0
CLIP = TOP / "examples" / "media" / "bigbuckbunny.mp4"
THUMBNAIL_PRICE = 2


def waiting(folder: Path, name: str) -> tuple[str, Signals]:
    """A member that ends when it is told to."""
    return "wait_for_go", Signals(began=str(folder / "began"), go=str(folder / f"{name}.go"))


def uploaded(home: Home, *names: str) -> None:
    folder = home.folder / ".tallystick" / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(CLIP, folder / name)


@pytest.mark.usefixtures("dev")
def test_pictures_of_a_clip_are_made_charged_and_the_lost_ones_run_again(home: Home) -> None:
    """Three moments of a clip, and one of a clip that comes only after the first run."""
    uploaded(home, "clip.mp4")
    members: list[tuple[str, dict[str, Any]]] = [
        ("generate_thumbnail", {"upload": "clip.mp4", "at_seconds": second})
        for second in (0.5, 2, 3.5)
    ]
    members.append(("generate_thumbnail", {"upload": "late.mp4", "at_seconds": 1.25}))
    with home.client() as client:
        before = client.account()
        group = client.groups.start("clips", members, key="all", project="films", parallel_max=2)
        assert group.credits.held == 4 * THUMBNAIL_PRICE
        partial = client.groups.wait(group.id, timeout_seconds=SECONDS_MAX)
        assert (partial.status, partial.progress.completed) == ("partial", 3)
        assert partial.credits.charged == 3 * THUMBNAIL_PRICE
        lost = partial.members[3]
        assert (lost.status, lost.charged) == ("failed", 0)
        assert lost.failure is not None
        uploaded(home, "late.mp4")
        assert client.groups.start("clips", members, key="all").id == group.id
        client.groups.retry(group.id)
        done = client.groups.wait(group.id, timeout_seconds=SECONDS_MAX)
        assert (done.status, done.run, done.progress.percent) == ("completed", 2, 100)
        assert client.account().captured == before.captured + 4 * THUMBNAIL_PRICE
        assert client.account().held == 0
        pictures = {_picture(client, done, number) for number in range(4)}
        assert len(pictures) == 4, "each moment is another picture"
        facts = [entry.type for entry in client.groups.history(group.id)]
        assert facts.count("credits.captured") == 2
        assert [one.id for one in client.groups.list(project="films")] == [group.id]


def _picture(client: Any, group: Group, number: int) -> str:
    task_id = group.members[number].task_id
    assert task_id is not None
    result = client.get(task_id).result
    assert result is not None
    stored = result["thumbnail"]["stored"]
    assert stored["size_bytes"] > 1_000
    return str(stored["sha256"])


@pytest.mark.usefixtures("dev")
def test_a_group_goes_its_way_by_commands_alone(home: Home) -> None:
    uploaded(home, "clip.mp4")
    given = json.dumps({"upload": "clip.mp4", "at_seconds": [1, 2.5]})
    options = ("--key", "clip", "--wait", "40", "--json")
    done = home.run("group", "start", "thumbnails", given, *options)
    assert done.status == OK, done.err
    assert (done.json["status"], done.json["credits"]["charged"]) == ("completed", 4)
    assert "100 % completed · 2 of 2 done" in done.err
    same = home.run("group", "start", "thumbnails", given, *options)
    assert same.json["id"] == done.json["id"]
    listed = home.run("group", "list", "--kind", "thumbnails", "--status", "completed", "--json")
    assert [one["id"] for one in listed.json_lines] == [done.json["id"]]
    shown = home.run("group", "show", done.json["id"])
    assert shown.out.count("generate_thumbnail") == 2
    again = home.run("group", "retry", done.json["id"])
    assert again.status == REFUSED
    thumbnail = {"type": "generate_thumbnail", "input": {"upload": "clip.mp4"}}
    mixed = json.dumps([thumbnail, {"type": "always_fails", "input": {}}])
    partly = home.run("group", "start", "own", mixed, "--key", "mixed", "--wait", "40", "--json")
    assert partly.json["status"] == "partial"
    there = home.run("group", "start", "own", mixed, "--key", "mixed", "--json")
    assert there.json == partly.json
    members = json.dumps([{"type": "always_fails", "input": {}}] * 2)
    failed = home.run("group", "start", "own", "-", "--wait", "40", "--json", given=members)
    assert (failed.status, failed.json["status"]) == (FAILED, "failed")
    shown = home.run("group", "show", failed.json["id"])
    assert re.search("^next +retry$", shown.out, re.MULTILINE)
    go = {"began": str(home.folder / "began"), "go": str(home.folder / "go")}
    slow = home.run("group", "start", "own", json.dumps([{"type": "wait_for_go", "input": go}]))
    assert slow.status == OK
    group_id = home.run("group", "list", "--limit", "1", "--json").json["id"]
    late = home.run("group", "wait", group_id, "--timeout", "0.3")
    assert (late.status, late.out) == (UNAVAILABLE, "")
    assert f"It goes on: `tallystick group show {group_id}`" in late.err
    cancelled = home.run("group", "cancel", group_id, "--json")
    assert cancelled.json["status"] in {"cancelling", "cancelled"}
    for unfit in ("[]", "{", "3", "@nowhere.json"):
        assert home.run("group", "start", "own", unfit).status == USAGE


async def test_the_asynchronous_client_does_the_same(home: Home, dev: object) -> None:
    profile = home.profile
    async with AsyncClient(profile["url"], profile["api_key"]) as client:
        members = [waiting(home.folder, name) for name in ("a", "b", "c")]
        group = await client.groups.start("own", members, parallel_max=1, idempotency_key="once")
        same = await client.groups.start("own", members, parallel_max=1, idempotency_key="once")
        assert same.id == group.id
        with pytest.raises(GroupWaitTimeout) as waited:
            await client.groups.wait(group.id, timeout_seconds=0.1)
        assert waited.value.group.id == group.id
        with pytest.raises(Conflict):
            await client.groups.retry(group.id)
        for name in ("a", "b", "c"):
            (home.folder / f"{name}.go").touch()
        seen = [state async for state in client.groups.watch(group.id, timeout_seconds=SECONDS_MAX)]
        assert seen[-1].status == "completed"
        assert (await client.groups.get(group.id)).credits.charged == 9
        assert [one.id async for one in client.groups.list(kind="own")] == [group.id]
        facts = [entry.type async for entry in client.groups.history(group.id)]
        assert facts[-1] == "credits.captured"
        other = await client.groups.start("own", [waiting(home.folder, "never")])
        await client.groups.cancel(other.id, reason="enough")
        ended = await client.groups.wait(other.id, timeout_seconds=SECONDS_MAX)
        assert (ended.status, ended.credits.released) == ("cancelled", 3)
        with pytest.raises(InvalidArgument):
            await client.groups.start("own")
