"""The processes of one installation, each killed or stopped and started again as a test asks."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from adapters.embedded import EmbeddedPostgres
from tests.e2e.tallystick_process import SECONDS_MAX, Home, Running

LEASE_SECONDS = 1.0
SETTINGS = {
    "TALLYSTICK_HANDLERS": "tests.fault.busy_tasks:HANDLERS",
    "TALLYSTICK_LEASE_SECONDS": str(LEASE_SECONDS),
    "TALLYSTICK_HEARTBEAT_SECONDS": "0.25",
    "TALLYSTICK_POLL_SECONDS": "0.25",
    "TALLYSTICK_DRAIN_SECONDS_MAX": "0.3",
    "TALLYSTICK_LOG_JSON": "true",
}
PARTS: Mapping[str, str] = {
    "api": "serve",
    "worker 1": "work",
    "worker 2": "work",
    "processors": "process",
}


class Fleet:
    """Runs `PARTS` on one database; each keeps its name over its lives."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.port = _free_port()
        self.dsn = dsn
        port = {"TALLYSTICK_HTTP_PORT": str(self.port)}
        self._home = Home(folder, dsn, SETTINGS | port)
        self._lives: dict[str, tuple[AbstractContextManager[Running], Running]] = {}
        self.said: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        for name in PARTS:
            self.start(name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self._lives):
            self.end(name, signal.SIGKILL)

    def start(self, name: str) -> None:
        life = self._home.started(PARTS[name], "--log", "warning")
        self._lives[name] = (life, life.__enter__())

    def pid(self, name: str) -> int:
        return self._lives[name][1].process.pid

    def end(self, name: str, number: signal.Signals) -> int:
        """End a part; its exit status."""
        life, running = self._lives.pop(name)
        running.process.send_signal(number)
        status = running.process.wait(timeout=SECONDS_MAX)
        life.__exit__(None, None, None)
        self.said += running.rest()
        return status

    def again(self, name: str, number: signal.Signals) -> int:
        """End a part and start it anew, as its supervisor would; the old one's exit status."""
        status = self.end(name, number)
        self.start(name)
        return status

    def assert_all_live(self) -> None:
        """No part has given up by itself."""
        ended = [n for n, (_, running) in self._lives.items() if running.process.poll() is not None]
        assert ended == [], self._lives[ended[0]][1].rest()


def _free_port() -> int:
    """One that every life of the API can have: it stays free while that is dead."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def crash(server: EmbeddedPostgres, folder: Path, number: signal.Signals) -> None:
    """Send the server's first process a signal, and start it again when that is gone.

    SIGKILL leaves its sessions to end by themselves; SIGQUIT is the immediate stop: all end at
    once, without a checkpoint.
    """
    pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    first = psutil.Process(pid)
    os.kill(pid, number)
    first.wait(SECONDS_MAX)
    server.start()
