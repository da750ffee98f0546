"""Group commit: commands that arrive while one transaction is under way share the next one.

One connection and one task a process. A batch is decided on cached states and appended by one statement; if
another process was faster, the same batch takes the log's lock, reads what is new, is decided again and
appended, so it wins at the second try. Nothing is answered before it is durable, refusals included.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog

from adapters.arrays import Byteas, Texts
from adapters.batch import Decided
from adapters.clock import DatabaseClock
from adapters.decision import Committed, Cursor, Decision, KeyRecord
from adapters.mapper import EventMapper
from adapters.snapshots import SnapshotWriter
from adapters.sql import statement
from adapters.stream_cache import Overlay, StreamCache
from adapters.writer_session import LOST, Backend, WriterSession
from domain.aggregate import Aggregate, Stream
from domain.errors import (
    AdapterError,
    CommandRejected,
    DomainError,
    Overloaded,
    ShuttingDown,
    TallystickError,
    Unavailable,
)
from domain.event import Metadata

LOG_LOCK = 151363045
"""Advisory lock under which every writer of the log commits; the same number stands in `append_batch`."""
RECONNECT_PAUSE_SECONDS = 0.1
_log = structlog.get_logger(__name__)


class OutcomeUnknown(Unavailable):
    """The connection was lost during the commit, and the database did not come back in time to say."""

    code = "outcome_unknown"


class AlreadyTracked(AdapterError):
    """The consumer has been at this position before: what it wants to write is written."""

    code = "already_tracked"


class CommitterLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one committer; `_seconds` are wall seconds, the rest are counts."""

    batch_commands_max: int = 256
    queue_commands_max: int = 10_000
    cached_streams_max: int = 50_000
    commit_seconds_max: float = 30.0
    reconnect_seconds_max: float = 20.0
    drain_seconds_max: float = 30.0
    lease_seconds: float = 30.0


class _Pending:
    """A command that waits for its batch; `since` is the monotonic second it came."""

    __slots__ = ("decision", "future", "since")

    def __init__(self, decision: Decision, future: asyncio.Future[Committed]) -> None:
        self.decision = decision
        self.future = future
        self.since = time.monotonic()

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Attempt:
    """What may have reached the database, and by which server process, should the answer be lost."""

    __slots__ = ("backend", "decided")

    def __init__(self) -> None:
        self.decided: Decided | None = None
        self.backend: Backend | None = None


class _Known:
    """What a decision is checked against besides states: keys used and positions passed."""

    __slots__ = ("aggregates", "keys", "positions")

    def __init__(self) -> None:
        self.keys: dict[bytes, KeyRecord] = {}
        self.positions: dict[str, int] = {}
        self.aggregates: dict[UUID, Aggregate] = {}


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """The database refused the batch's data; its message is the database's."""


class Committer:
    """Executes decisions. `await execute(decision)` returns when its events are durable, or raises.

    Raises the decision's own `DomainError`; `Overloaded`, `ShuttingDown` and `Unavailable`, all without effect;
    `OutcomeUnknown`; `AlreadyTracked`; `CommandRejected` when the data cannot be stored.
    """

    def __init__(
        self,
        dsn: str,
        mapper: EventMapper,
        clock: DatabaseClock,
        limits: CommitterLimits | None = None,
    ) -> None:
        self.limits = limits or CommitterLimits()
        self.session = WriterSession(dsn, clock)
        self.batches = 0
        self.commands = 0
        self.conflicts = 0
        self._mapper = mapper
        self._clock = clock
        self._cache = StreamCache(mapper, self.limits.cached_streams_max)
        self._snapshots = SnapshotWriter(dsn, mapper, clock)
        self._queue: deque[_Pending] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Commands that wait for their batch."""
        return len(self._queue)

    async def start(self) -> None:
        """Connect and begin to work. Raises `Unavailable`."""
        await self.session.ready()
        self._task = asyncio.create_task(self._run(), name="committer")

    async def close(self) -> None:
        """Refuse new commands, commit what waits (for at most `drain_seconds_max`), then disconnect."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self.limits.drain_seconds_max)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while self._queue:
            self._queue.popleft().fail(ShuttingDown("This process is shutting down."))
        await self._snapshots.close()
        await self.session.close()

    async def execute(self, decision: Decision) -> Committed:
        """Carry out one command. A caller that is cancelled before its batch is taken withdraws it."""
        if self._closing:
            raise ShuttingDown("This process is shutting down.")
        if len(self._queue) >= self.limits.queue_commands_max:
            raise Overloaded("The commit queue", self.limits.queue_commands_max)
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(decision, future))
        self._arrived.set()
        return await future

    # The loop: one batch after the other.

    async def _run(self) -> None:
        while self._queue or not self._closing:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = self._take()
            try:
                await self._commit(batch)
            except asyncio.CancelledError:
                _fail_all(batch, OutcomeUnknown("Shut down before the outcome was known."))
                raise
            except Unavailable as error:
                _fail_all(batch, error)
                self._expire()
            except Exception as error:
                _log.exception("commit.failed")
                _fail_all(batch, error)

    def _take(self) -> list[_Pending]:
        batch: list[_Pending] = []
        while self._queue and len(batch) < self.limits.batch_commands_max:
            pending = self._queue.popleft()
            if not pending.future.done():
                batch.append(pending)
        return batch

    def _expire(self) -> None:
        """The database is away: answer those who have waited their time."""
        overdue = time.monotonic() - self.limits.reconnect_seconds_max
        while self._queue and self._queue[0].since < overdue:
            self._queue.popleft().fail(Unavailable("The database cannot be reached."))

    async def _commit(self, batch: list[_Pending]) -> None:
        """Commit a batch; one that the database refuses is halved until the command at fault fails alone."""
        if not batch:
            return
        try:
            await self._commit_surely(batch)
        except _Refused as refusal:
            if len(batch) == 1:
                batch[0].fail(CommandRejected(f"The database refused the data: {refusal}"))
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])

    async def _commit_surely(self, batch: list[_Pending]) -> None:
        """Commit through lost connections: what may have been committed is looked up, never sent blindly again."""
        deadline = batch[0].since + self.limits.reconnect_seconds_max
        attempt = _Attempt()
        while True:
            try:
                async with asyncio.timeout(self.limits.commit_seconds_max):
                    if await self.session.ready():
                        self._cache.clear()
                    if not await self._found(batch, attempt):
                        await self._attempt(batch, attempt)
                    return
            except LOST as error:
                self.session.abandon()
                _log.warning("commit.interrupted", error=str(error))
                if time.monotonic() > deadline:
                    unknown = attempt.decided is not None
                    sort = OutcomeUnknown if unknown else Unavailable
                    raise sort("The database cannot be reached.") from error
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)

    async def _found(self, batch: list[_Pending], attempt: _Attempt) -> bool:
        """True when an earlier attempt, cut off, proves to be in the log; then it is delivered."""
        decided = attempt.decided
        if decided is None:
            return False
        if attempt.backend is not None:
            await self.session.end(attempt.backend)
        event, (_, data) = decided.events[0], decided.stored[0]
        cursor = self.session.cursor()
        await cursor.execute(
            "SELECT notification_id FROM tallystick_events"
            " WHERE originator_id = %b AND originator_version = %b AND state = %b",
            (event.originator_id, event.originator_version, data),
        )
        row = await cursor.fetchone()
        if row is None:
            attempt.decided = None
            return False
        self._deliver(batch, decided, row[0])
        return True

    # One attempt: free of the lock, or under it.

    async def _attempt(self, batch: list[_Pending], attempt: _Attempt) -> None:
        if any(p.decision.find for p in batch) or not await self._attempt_free(batch, attempt):
            await self._attempt_locked(batch, attempt)

    async def _attempt_free(self, batch: list[_Pending], attempt: _Attempt) -> bool:
        """Decide on cached states and append in one statement. False when the log had moved on."""
        cursor = self.session.cursor()
        loaded = await self._cache.load(cursor, _streams(batch), refresh=False)
        decided = self._decide(batch, _Known())
        doubtful = [p for p, o in zip(batch, decided.outcomes, strict=True) if _is_doubtful(o)]
        if doubtful:
            stale = [stream for stream in _streams(doubtful) if stream.id not in loaded]
            await self._cache.load(cursor, stale, refresh=True)
            decided = self._decide(batch, await self._known(cursor, doubtful))
        first = 0
        if decided.events:
            answer = await self._append(cursor, decided, attempt)
            if answer is None:
                self.conflicts += 1
                return False
            first = answer
        self._deliver(batch, decided, first)
        return True

    async def _attempt_locked(self, batch: list[_Pending], attempt: _Attempt) -> None:
        """Take the log's lock, read everything anew, decide and append: nobody can be faster."""
        first = 0
        async with self.session.connection.transaction():
            cursor = self.session.cursor()
            await cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOG_LOCK,), prepare=True)
            found = [
                stream
                for pending in batch
                if pending.decision.find is not None
                for stream in await pending.decision.find(cursor)
            ]
            await self._cache.load(cursor, [*_streams(batch), *found], refresh=True)
            known = await self._known(cursor, batch)
            known.aggregates = {stream.id: stream.aggregate for stream in found}
            decided = self._decide(batch, known)
            if decided.events:
                answer = await self._append(cursor, decided, attempt)
                assert answer is not None, "under the lock nothing can have moved"
                first = answer
        self._deliver(batch, decided, first)

    async def _known(self, cursor: Cursor, batch: Sequence[_Pending]) -> _Known:
        known = _Known()
        if keys := [p.decision.key for p in batch if p.decision.key is not None]:
            await cursor.execute(
                "SELECT key, fingerprint, status, body, location FROM idempotency_keys"
                " WHERE key = ANY (%b)",
                (Byteas(keys),),
            )
            for key, fingerprint, status, body, location in await cursor.fetchall():
                known.keys[key] = KeyRecord(
                    key=key, fingerprint=fingerprint, status=status, body=body, location=location
                )
        if consumers := [p.decision.tracking.consumer for p in batch if p.decision.tracking]:
            await cursor.execute(
                "SELECT consumer, position FROM tracking WHERE consumer = ANY (%b)",
                (Texts(consumers),),
            )
            known.positions = dict(await cursor.fetchall())
        return known

    # Deciding: in order, each command on the states its predecessors leave.

    def _decide(self, batch: Sequence[_Pending], known: _Known) -> Decided:
        decided = Decided()
        for stream in _streams(batch):
            known.aggregates[stream.id] = stream.aggregate
        decided.aggregates = known.aggregates
        for pending in batch:
            try:
                outcome: Committed | Exception = self._decide_one(pending.decision, decided, known)
            except TallystickError as error:
                outcome = error
            except Exception as error:
                _log.exception("decide.failed", command_id=str(pending.decision.command_id))
                outcome = error
            decided.outcomes.append(outcome)
        return decided

    def _decide_one(self, decision: Decision, decided: Decided, known: _Known) -> Committed:
        if decision.key is not None and decision.key in known.keys:
            return Committed(states={}, replayed=known.keys[decision.key])
        _guard_tracking(decision, known)
        before = Overlay(self._cache, decided.overlay)
        events = tuple(decision.decide(before, self._metadata(decision)))
        stored = [self._storable(event) for event in events]
        after: dict[UUID, Any] = {s.id: before[s.id] for s in (*decision.streams, *decision.new)}
        created: set[UUID] = set()
        for event in events:
            stream_id = event.originator_id
            state = after[stream_id] if stream_id in after else before[stream_id]
            if state is None:
                created.add(stream_id)
            after[stream_id] = known.aggregates[stream_id].evolve(state, event)
        record = decision.record(after) if decision.record is not None else None
        decided.take(events, stored, after, created, record, decision.tracking)
        if record is not None:
            known.keys[record.key] = record
        if decision.tracking is not None:
            known.positions[decision.tracking.consumer] = decision.tracking.position
        return Committed(states=after, events=events)

    def _storable(self, event: Any) -> tuple[str, bytes]:  # noqa: ANN401
        """Stored form of an event. Raises `CommandRejected` for one that could not be loaded again."""
        try:
            return self._mapper.encode(event)
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
            raise CommandRejected(f"{type(event).__name__} cannot be stored: {error}") from error

    def _metadata(self, decision: Decision) -> Metadata:
        return Metadata(
            at=self._clock.now(),
            actor=decision.actor,
            correlation_id=decision.correlation_id,
            causation_id=decision.command_id,
            trace_id=decision.trace_id,
        )

    # Writing, and what follows when it is durable.

    async def _append(self, cursor: Cursor, decided: Decided, attempt: _Attempt) -> int | None:
        """Position of the first event; None when something stood in the way and nothing was written."""
        parameters = decided.parameters(lease_seconds=self.limits.lease_seconds)
        attempt.decided, attempt.backend = decided, self.session.backend
        try:
            await cursor.execute(statement("append_batch"), parameters, prepare=True)
            row = await cursor.fetchone()
        except LOST:
            raise
        except (psycopg.Error, ValueError, TypeError) as error:
            attempt.decided = None
            raise _Refused(str(error).splitlines()[0]) from error
        assert row is not None
        first, conflict, used_keys, passed = row
        if conflict or used_keys or passed:
            attempt.decided = None
            return None
        return int(first)

    def _deliver(self, batch: Sequence[_Pending], decided: Decided, first: int) -> None:
        """The batch is durable: keep its states and answer its callers."""
        for stream_id, state in decided.written():
            aggregate = decided.aggregates[stream_id]
            before = self._cache.get(stream_id)
            self._snapshots.consider(aggregate, 0 if before is None else before.version, state)
            self._cache.keep(aggregate, stream_id, state)
        self.batches += 1
        self.commands += len(batch)
        position = first - 1
        for pending, outcome in zip(batch, decided.outcomes, strict=True):
            if isinstance(outcome, BaseException):
                pending.fail(outcome)
                continue
            if outcome.events:
                position += len(outcome.events)
                outcome = msgspec.structs.replace(outcome, position=position)  # noqa: PLW2901
            if not pending.future.done():
                pending.future.set_result(outcome)


def _streams(batch: Iterable[_Pending]) -> list[Stream]:
    return [s for p in batch for s in (*p.decision.streams, *p.decision.new)]


def _fail_all(batch: Iterable[_Pending], error: BaseException) -> None:
    for pending in batch:
        pending.fail(error)


def _is_doubtful(outcome: Committed | BaseException) -> bool:
    """A refusal or a command without effect may rest on a state that another process has moved."""
    if isinstance(outcome, Committed):
        return not outcome.events and outcome.replayed is None
    return isinstance(outcome, DomainError)


def _guard_tracking(decision: Decision, known: _Known) -> None:
    tracking = decision.tracking
    if tracking is not None and tracking.position <= known.positions.get(tracking.consumer, -1):
        raise AlreadyTracked(f"{tracking.consumer} has passed position {tracking.position}.")
