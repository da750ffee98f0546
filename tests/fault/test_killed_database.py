"""`tallystick dev` whose embedded PostgreSQL is killed: it comes back, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.tallystick_process import Home

pytestmark = pytest.mark.fault


def kill_postgres(folder: Path) -> None:
    (lock,) = folder.glob(".tallystick/pg/**/postmaster.pid")
    os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)


def test_tasks_of_before_and_after_complete_and_are_paid_once(server_folder: Path) -> None:
    home = Home(server_folder, None, {})
    with home.started("dev") as dev:
        dev.wait_for("Tallystick is ready at ")
        with home.client() as client:
            files = {"began": str(home.folder / "began"), "go": str(home.folder / "go")}
            before = client.submit("wait_for_go", files)
            kill_postgres(home.folder)
            dev.wait_for("postgres.back")
            after = client.submit("wait_for_go", files)
            (home.folder / "go").touch()
            for task in (before, after):
                assert client.wait(task.id, timeout_seconds=60).status == "completed"
            account = client.account()
            assert (account.held, account.captured) == (0, 6)
        done = home.run("statement", "--json")
        assert json.loads(done.out.splitlines()[-1])["kind"] == "granted"
        assert dev.end() == 0
