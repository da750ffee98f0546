"""A relay between a client and PostgreSQL that knows the protocol, and fails at a named step."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from pathlib import Path
from typing import Literal, NamedTuple, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

Moment = Literal["before", "after"]
Action = Literal["cut", "silence", "terminate", "half", "late", "orphan", "release", "pass"]
_CANCEL_REQUEST = 80877102
_MARKS = (
    ("append_batch", "append_batch"),
    ("tallystick_snapshots", "select_snapshots"),
    ("known.version", "select_tails"),
    ("pg_advisory_xact_lock", "lock"),
    ("FROM idempotency_keys", "select_keys"),
    ("FROM tracking", "select_positions"),
    ("pg_terminate_backend", "end"),
    ("pg_backend_pid()", "identify"),
    ("AND state =", "look_up"),
    ("BEGIN", "begin"),
    ("COMMIT", "commit"),
    ("ROLLBACK", "rollback"),
)
"""What a statement contains, and the name of the step that it is."""


class Fault(NamedTuple):
    """At `step`, before the server has it or after it has answered, do `action`.

    cut: close both ends. silence: pass nothing on until the client hangs up. terminate: have the
    server end its process, and pass on. half: pass on half of the request, then close. late: like
    silence, but keep the server's end open and pass the request on when `release` is called.
    orphan: pass the request on, close the client's end, and keep the server's. release: before
    going on, release what is held late, and see the server's answer to it. pass: do nothing.
    """

    step: str
    moment: Moment
    action: Action

    def __str__(self) -> str:
        return f"{self.action}-{self.moment}-{self.step}"


class PostgresProxy:
    """Listens in `folder`; `dsn` leads through it to `server_dsn`. Faults strike once, in turn.

    While it is `refusing` no new connection is let through; if `dying`, after the next fault.
    """

    def __init__(self, folder: Path, server_dsn: str) -> None:
        self._server_dsn = server_dsn
        parameters = conninfo_to_dict(server_dsn)
        self._name = f".s.PGSQL.{parameters.get('port') or 5432}"
        self._target = str(Path(str(parameters["host"])) / self._name)
        self._folder = folder
        self._faults: list[Fault] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._release = asyncio.Event()
        self.steps: list[str] = []
        self.struck: list[Fault] = []
        self.refusing = False
        self.dying = False
        self.late_answer: bytes | None = None
        self.late_success = False
        self.dsn = make_conninfo(server_dsn, host=str(folder))

    async def __aenter__(self) -> Self:
        path = self._folder / self._name
        self._listener = await asyncio.start_unix_server(self._accept, path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self, *faults: Fault) -> None:
        self._faults = list(faults)

    async def release(self) -> None:
        """Pass on what was held back, and wait for what the server says to it."""
        self._release.set()
        while self.late_answer is None:  # noqa: ASYNC110 - a relay may have several
            await asyncio.sleep(0.005)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._tasks.add(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if not self.refusing:
                    server_reader, server_writer = await asyncio.open_unix_connection(self._target)
                    try:
                        line = _Line(self, reader, writer, server_reader, server_writer)
                        await line.run()
                    finally:
                        server_writer.close()
        finally:
            writer.close()

    def due(self, step: str, moment: Moment) -> Action | None:
        """The action to take now, if the next fault is due."""
        if self._faults and self._faults[0][:2] == (step, moment):
            self.struck.append(self._faults.pop(0))
            self.refusing |= self.dying
            return self.struck[-1].action
        return None

    async def terminate(self, pid: int) -> None:
        """End a server process as an administrator would; return when it is gone."""
        async with await psycopg.AsyncConnection.connect(
            self._server_dsn, autocommit=True
        ) as connection:
            await connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    async def released(self) -> None:
        await self._release.wait()


class _Line:
    """One relayed connection, a request and its answer at a time."""

    def __init__(
        self,
        proxy: PostgresProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._server_reader = server_reader
        self._server_writer = server_writer
        self._statements: dict[bytes, str] = {}
        self._pid = 0

    async def run(self) -> None:
        if not await self._open():
            return
        while request := await self._request():
            step, data = request
            self._proxy.steps.append(step)
            if await self._fail(self._proxy.due(step, "before"), data):
                return
            self._server_writer.write(data)
            answer, whole = await self._answer()
            if await self._fail(self._proxy.due(step, "after"), b""):
                return
            self._writer.write(answer)
            await self._writer.drain()
            if not whole:
                return

    async def _open(self) -> bool:
        head = await self._reader.readexactly(8)
        length, code = struct.unpack("!ii", head)
        self._server_writer.write(head + await self._reader.readexactly(length - 8))
        if code == _CANCEL_REQUEST:
            await self._server_reader.read()
            return False
        answer, whole = await self._answer()
        self._writer.write(answer)
        return whole

    async def _request(self) -> tuple[str, bytes] | None:
        """The client's next messages up to one that the server answers; None when it has gone."""
        data, step = b"", "other"
        while True:
            try:
                kind, body = await _message(self._reader)
            except asyncio.IncompleteReadError:
                return None
            if kind == b"X":
                return None
            data += kind + struct.pack("!i", len(body) + 4) + body
            match kind:
                case b"P":
                    name, text, _ = body.split(b"\0", 2)
                    self._statements[name] = _step(text.decode())
                case b"B":
                    _, name, _ = body.split(b"\0", 2)
                    step = self._statements.get(name, "other")
                case b"Q":
                    return _step(body.decode()), data
                case b"S":
                    return step, data

    async def _answer(self) -> tuple[bytes, bool]:
        """The server's messages until it is ready again; False when it closed instead."""
        data = b""
        while True:
            try:
                kind, body = await _message(self._server_reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                return data, False
            data += kind + struct.pack("!i", len(body) + 4) + body
            if kind == b"K":
                (self._pid,) = struct.unpack("!i", body[:4])
            if kind == b"Z":
                return data, True

    async def _fail(self, action: Action | None, held: bytes) -> bool:
        """Carry out a fault; True when that ends the connection."""
        match action:
            case None | "pass":
                return False
            case "terminate":
                await self._proxy.terminate(self._pid)
                return False
            case "half":
                self._server_writer.write(held[: len(held) // 2])
            case "silence":
                await self._reader.read()
            case "late":
                await self._proxy.released()
                self._server_writer.write(held)
                await self._keep_answer()
            case "release":
                await self._proxy.release()
                return False
            case "orphan":
                self._server_writer.write(held)
                self._writer.close()
                await self._keep_answer()
            case "cut":
                pass
        return True

    async def _keep_answer(self) -> None:
        """Nobody hears the answer, but the test may ask for it; the server's end stays open."""
        self._proxy.late_answer, self._proxy.late_success = await self._answer()
        await self._server_reader.read()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], await reader.readexactly(length - 4)


def _step(text: str) -> str:
    return next((step for mark, step in _MARKS if mark in text), "other")
