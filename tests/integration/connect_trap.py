"""Sees every connection this process tries, below all libraries, and lets none through.

`armed` is for fixtures: between its ends each `connect` is recorded and refused. `resolved_by` puts
a table in the place of the name server.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias, cast

import pytest

from tests.integration.hostile_addresses import ResolverAnswer

PUBLIC = "93.184.215.14"
PUBLIC_V6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
Connects: TypeAlias = list[tuple[str, int]]


class _ConnectTrap:
    """Records where this process tries to connect while it is `armed`, and lets nothing through."""

    def __init__(self) -> None:
        self.armed = False
        self.tried: Connects = []

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect" and self.armed:
            host, port, *_ = cast("tuple[str, int]", arguments[1])
            self.tried.append((host, port))
            raise ConnectionRefusedError


_TRAP = _ConnectTrap()
sys.addaudithook(_TRAP.hear)  # for the life of the process: hooks cannot be removed


@contextmanager
def armed() -> Iterator[Connects]:
    """The connections tried from now on."""
    _TRAP.tried = []
    _TRAP.armed = True
    yield _TRAP.tried
    _TRAP.armed = False


def resolved_by(answers: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names resolve as `answers` says; others are read as addresses, as `getaddrinfo` does."""
    numeric = socket.getaddrinfo

    def resolve(host: str, port: int, *_: object, **__: object) -> list[ResolverAnswer]:
        found: list[ResolverAnswer] = []
        for address in answers.get(host.rstrip("."), [host]):
            found += numeric(address, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
