"""What a process leaves behind when told to stop, or killed: nothing is lost or paid twice."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.clock import DatabaseClock
from tests.e2e.tallystick_process import Home, Running

pytestmark = pytest.mark.fault
READY = "Tallystick is ready at "
LOOK_SECONDS = 0.02
BEGAN_SECONDS_MAX = 30.0


@pytest.fixture
def home(tmp_path: Path, database: str) -> Home:
    """Tasks get half a second to end after SIGTERM, unless a test says otherwise."""
    return Home(tmp_path, database, {"TALLYSTICK_DRAIN_SECONDS_MAX": "0.5"})


@contextmanager
def dev(home: Home) -> Iterator[Running]:
    with home.started("dev") as running:
        running.wait_for(READY)
        yield running


def submit(home: Home, name: str, type_: str = "wait_for_go") -> str:
    """The id of a task whose files are called `name`."""
    files = {"began": str(home.folder / f"{name}.began"), "go": str(home.folder / f"{name}.go")}
    done = home.run("task", "submit", type_, json.dumps(files), "--json")
    assert done.status == 0, done.err
    task_id: str = done.json["id"]
    return task_id


def wait_until_begun(home: Home, name: str, attempts: int = 1) -> None:
    deadline = time.monotonic() + BEGAN_SECONDS_MAX
    began = home.folder / f"{name}.began"
    while not began.exists() or len(began.read_text().splitlines()) < attempts:
        assert time.monotonic() < deadline, f"{name} did not begin"
        threading.Event().wait(LOOK_SECONDS)


def let_go(home: Home, name: str) -> None:
    (home.folder / f"{name}.go").touch()


def ended(home: Home, task_id: str) -> dict[str, Any]:
    """The task when it has ended; it has to complete."""
    with home.client() as client:
        task = client.wait(task_id, timeout_seconds=30)
    assert task.status == "completed"
    done: dict[str, Any] = home.run("task", "show", task_id, "--json").json
    return done


def assert_paid_once(home: Home, *task_ids: str) -> None:
    """Each task has one hold and one capture of it, and nothing is held any more."""
    balance = home.run("balance", "--json").json
    assert (balance["held"], balance["captured"]) == (0, 3 * len(task_ids))
    for task_id in task_ids:
        facts = [one["type"] for one in home.run("task", "history", task_id, "--json").json_lines]
        assert facts.count("credits.held") == 1
        assert facts.count("credits.captured") == 1
        assert facts.count("task.completed") == 1


def test_a_task_that_ends_within_the_grace_time_is_completed(home: Home) -> None:
    home.environment["TALLYSTICK_DRAIN_SECONDS_MAX"] = "30"
    with dev(home) as first:
        task_id = submit(home, "one")
        wait_until_begun(home, "one")
        first.process.send_signal(signal.SIGTERM)
        first.wait_for("process.stopping")
        let_go(home, "one")
        assert first.process.wait(timeout=20) == 0
    with dev(home):
        assert ended(home, task_id)["attempt"] == 1
        assert_paid_once(home, task_id)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tasks_that_do_not_end_in_time_are_handed_back(home: Home, number: signal.Signals) -> None:
    with dev(home) as first:
        types = {"one": "wait_for_go", "two": "wait_in_thread"}
        task_ids = [submit(home, name, type_) for name, type_ in types.items()]
        for name in ("one", "two"):
            wait_until_begun(home, name)
        # It does not wait for them: they would never end.
        assert first.end(number) == 0
    for name in ("one", "two"):
        let_go(home, name)
    with dev(home):
        assert {ended(home, task_id)["attempt"] for task_id in task_ids} == {2}
        for task_id in task_ids:
            done = home.run("task", "history", task_id, "--json")
            facts = [fact["type"] for fact in done.json_lines]
            assert facts.count("task.released") == 1
            assert "task.stalled" not in facts
        assert_paid_once(home, *task_ids)


def test_a_killed_process_loses_no_accepted_task(home: Home) -> None:
    with dev(home) as first:
        running = submit(home, "one")
        wait_until_begun(home, "one")
        queued = home.run(
            "task",
            "submit",
            "wait_for_go",
            waiting_input(home),
            *("--not-before", soon()),
            "--json",
        ).json["id"]
        first.end(signal.SIGKILL)
    for name in ("one", "later"):
        let_go(home, name)
    with dev(home):
        assert ended(home, running)["attempt"] == 2
        facts = [e["type"] for e in home.run("task", "history", running, "--json").json_lines]
        assert facts.count("task.stalled") == 1
        assert ended(home, queued)["attempt"] == 1
        assert_paid_once(home, running, queued)


def waiting_input(home: Home) -> str:
    return json.dumps(
        {"began": str(home.folder / "later.began"), "go": str(home.folder / "later.go")}
    )


def soon() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))


def test_the_parts_run_apart_and_another_worker_takes_over(home: Home) -> None:
    with dev(home):
        pass
    with (
        home.started("serve") as serving,
        home.started("process"),
        home.started("work") as first,
    ):
        url = serving.wait_for("Tallystick listens at ").split()[-1]
        home.environment |= {"TALLYSTICK_URL": url, "TALLYSTICK_API_KEY": home.profile["api_key"]}
        task_id = submit(home, "one")
        wait_until_begun(home, "one")
        with home.started("work"):
            assert first.end() == 0
            wait_until_begun(home, "one", attempts=2)
            let_go(home, "one")
            assert ended(home, task_id)["attempt"] == 2
        assert_paid_once(home, task_id)
        assert serving.end() == 0


def test_a_client_that_waits_is_answered_and_does_not_hold_up_the_end(home: Home) -> None:
    home.environment["TALLYSTICK_DRAIN_SECONDS_MAX"] = "60"
    with dev(home) as first, ThreadPoolExecutor() as pool:
        tomorrow = DatabaseClock().now() + timedelta(days=1)
        late = ("--not-before", tomorrow.isoformat(), "--json")
        task_id = home.run("task", "submit", "wait_for_go", waiting_input(home), *late).json["id"]
        asked = pool.submit(
            httpx.get,
            f"{home.profile['url']}/v1/tasks/{task_id}",
            headers={"Authorization": f"Bearer {home.profile['api_key']}", "Prefer": "wait=60"},
            timeout=90,
            trust_env=False,
        )
        wait_until_someone_waits(home)
        began = time.monotonic()
        assert first.end() == 0
        assert time.monotonic() - began < 30
        assert asked.result().json()["status"] == "queued"


def wait_until_someone_waits(home: Home) -> None:
    deadline = time.monotonic() + BEGAN_SECONDS_MAX
    while time.monotonic() < deadline:
        figures = httpx.get(f"{home.profile['url']}/metrics", trust_env=False).text
        if "tallystick_http_waiting 1" in figures:
            return
    raise AssertionError(figures)
