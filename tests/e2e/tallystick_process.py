"""The command `tallystick` as tests run it: in a process and a folder of its own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tallystick import Client

TOP = Path(__file__).parents[2]
SECONDS_MAX = 60.0
KEPT = ("PATH", "HOME", "LANG", "PYTHONPYCACHEPREFIX")
HANDLERS = "tests.e2e.patient_tasks:HANDLERS"


class Finished(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one value on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Home:
    """An empty folder to run in, a database, and settings: what one installation has."""

    def __init__(self, folder: Path, dsn: str | None, settings: Mapping[str, str]) -> None:
        self.folder = folder
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environment = {
            **kept,
            "PYTHONPATH": str(TOP),
            "TALLYSTICK_HTTP_PORT": "0",
            "TALLYSTICK_HANDLERS": HANDLERS,
            "TALLYSTICK_LEASE_SECONDS": "2",
            "TALLYSTICK_HEARTBEAT_SECONDS": "0.5",
            "TALLYSTICK_POLL_SECONDS": "0.5",
            **({"DATABASE_URL": dsn} if dsn else {}),
            **settings,
        }

    def run(self, *arguments: str, given: str = "", seconds_max: float = SECONDS_MAX) -> Finished:
        """Run a command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds_max,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    @property
    def profile(self) -> Any:
        """What `tallystick dev` wrote down."""
        return json.loads((self.folder / ".tallystick" / "profile.json").read_text())

    def client(self) -> Client:
        """Of the service that `tallystick dev` started here, unless the environment names one."""
        variables, profile = self.environment, self.profile
        return Client(
            variables.get("TALLYSTICK_URL", profile["url"]),
            variables.get("TALLYSTICK_API_KEY", profile["api_key"]),
        )

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Running]:
        """Run a command beside the test; killed if the test leaves it running."""
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running = Running(process)
        try:
            yield running
        finally:
            process.kill()
            process.wait()
            running.close()


class Running:
    """A process and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, words: str) -> str:
        """The next line with these words in it."""
        while (line := self._lines.get(timeout=SECONDS_MAX)) is not None:
            self.said.append(line)
            if words in line:
                return line
        message = f"{words!r} was never said, but:\n{''.join(self.said)}"
        raise AssertionError(message)

    def rest(self) -> list[str]:
        """What it has said and nobody waited for."""
        lines = [self._lines.get() for _ in range(self._lines.qsize())]
        return [line for line in lines if line is not None]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=SECONDS_MAX)

    def close(self) -> None:
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
