"""What the tests keep in memory is gone after their run, also when that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_embedded import is_gone, postmaster_of
from tests.run_folder import MEMORY_BYTES_MIN, RunFolder, fitting_place

RUNNING = """
import sys
from pathlib import Path
from adapters.embedded import EmbeddedPostgres
from tests.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
EmbeddedPostgres(folder.path / "embedded").start()
print(folder.path, flush=True)
sys.stdin.read()
"""


def test_a_run_removes_what_a_killed_one_left_and_nothing_of_one_that_goes_on(
    server_folder: Path,
) -> None:
    command = [sys.executable, "-c", RUNNING, str(server_folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        left = Path(killed.stdout.readline().strip())
        postmaster = postmaster_of(left / "embedded")
        beside = RunFolder(server_folder)
        assert set(server_folder.iterdir()) == {left, beside.path}
        killed.kill()
    after = RunFolder(server_folder)
    assert is_gone(postmaster)
    assert set(server_folder.iterdir()) == {beside.path, after.path}
    for folder in (beside, after):
        folder.remove()
    assert list(server_folder.iterdir()) == []


def test_little_memory_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.run_folder.MEMORY", tmp_path)
    monkeypatch.setattr("tests.run_folder.MEMORY_BYTES_MIN", 0)
    assert fitting_place() == tmp_path
    monkeypatch.setattr("tests.run_folder.MEMORY_BYTES_MIN", MEMORY_BYTES_MIN * 2**30)
    assert fitting_place() != tmp_path
    monkeypatch.setattr("tests.run_folder.MEMORY", tmp_path / "missing")
    assert fitting_place() != tmp_path / "missing"
