"""Group commit: commands that arrive while one transaction is under way share the next one.

One connection and one task a process. A batch is decided on cached states and appended by one
statement; if another process was faster, the same batch takes the log's lock, reads what is new, is
decided again and appended, so it wins at the second try. Nothing is answered before it is durable,
refusals included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import msgspec
import structlog

from adapters.arrays import Byteas, Texts, binary
from adapters.batch import Decided
from adapters.clock import DatabaseClock
from adapters.commit_queue import CommitQueue, Pending, fail_each
from adapters.decider import Decider, Known
from adapters.decision import Committed, Cursor, Decision, KeyRecord
from adapters.mapper import EventMapper
from adapters.snapshots import SnapshotWriter, due
from adapters.stream_cache import StreamCache
from adapters.writer_session import (
    IDLE_IN_TRANSACTION_SECONDS_MAX,
    LOST,
    WriterSession,
    refusal_of,
)
from domain.aggregate import AGGREGATE_WITH, Stream
from domain.errors import AdapterError, CommandRejected, ShuttingDown, Unavailable
from domain.plan import Plans

LOG_LOCK = 151363045
"""Advisory lock under which every writer of the log commits; also written in `append_batch`."""
RECONNECT_PAUSE_SECONDS = 0.1
_FALSE = b"\0"
_log = structlog.get_logger(__name__)


class OutcomeUnknown(Unavailable):
    """The connection was lost during the commit, and the database did not say in time."""

    code = "outcome_unknown"


class CommitterLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a committer; `_seconds` is wall time, `_bytes` the size of a batch's events.

    A command is tried at least once, and again until `reconnect_seconds_max` after it came; from
    the moment its outcome is in doubt, that is looked up for as long again. One try may take
    `commit_seconds_max`.
    """

    batch_commands_max: int = 256
    batch_bytes_max: int = 64 * 1024 * 1024
    queue_commands_max: int = 10_000
    cached_streams_max: int = 50_000
    commit_seconds_max: float = 30.0
    reconnect_seconds_max: float = 20.0
    drain_seconds_max: float = 30.0
    idle_in_transaction_seconds_max: float = IDLE_IN_TRANSACTION_SECONDS_MAX
    lease_seconds: float = 30.0


class _Attempt:
    """What may have reached the log should the answer be lost, and since when that is in doubt."""

    __slots__ = ("decided", "doubted")

    def __init__(self) -> None:
        self.decided: Decided | None = None
        self.doubted: float | None = None

    def clear(self) -> None:
        """It is certain that nothing was written."""
        self.decided = self.doubted = None


class _Unwritable(Exception):
    """The batch cannot be written and nothing of it was; `error` is for the command at fault."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Committer:
    """Executes decisions. `await execute(decision)` returns when its events are durable, or raises.

    Without `plans`, all accounts have turns of the same weight.

    Raises the decision's own `DomainError`; `Overloaded`, `ShuttingDown` and `Unavailable`, all
    without effect; `OutcomeUnknown`; `AlreadyTracked`; `CommandRejected` when the data cannot be
    stored; and whatever else the decision's functions raise.
    """

    def __init__(
        self,
        dsn: str,
        mapper: EventMapper,
        clock: DatabaseClock,
        limits: CommitterLimits | None = None,
        plans: Plans | None = None,
    ) -> None:
        self.limits = limits or CommitterLimits()
        self.session = WriterSession(dsn, clock, self.limits.idle_in_transaction_seconds_max)
        self.batches = 0
        self.commands = 0
        self.conflicts = 0
        self._snapshots = SnapshotWriter(dsn, mapper, clock)
        self._cache = StreamCache(mapper, self.limits.cached_streams_max, self._snapshots.take)
        self._decider = Decider(mapper, clock, self._cache, plans)
        self._queue = CommitQueue(self.limits.queue_commands_max)
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Commands that wait for their batch."""
        return len(self._queue)

    async def start(self) -> None:
        """Connect and begin to work. Raises `Unavailable`."""
        async with self.session.within(self.limits.commit_seconds_max):
            await self.session.ready()
        self._task = asyncio.create_task(self._run(), name="committer")
        # However it ends, nobody may wait for it any more.
        self._task.add_done_callback(lambda _: self._refuse_rest())

    async def close(self) -> None:
        """Refuse new commands, commit what waits for up to `drain_seconds_max`, then disconnect."""
        self._queue.close()
        try:
            if self._task is not None:
                await asyncio.wait([self._task], timeout=self.limits.drain_seconds_max)
        finally:
            if self._task is not None:
                self.session.hang_up()
                self._task.cancel()
                await asyncio.wait([self._task])
            self._refuse_rest()
            await self._snapshots.close()
            await self.session.close()

    async def execute(self, decision: Decision) -> Committed:
        """Carry out a command. A caller cancelled before its batch is taken withdraws it."""
        pending = self._queue.add(decision)
        try:
            return await pending.future
        except asyncio.CancelledError:
            self._queue.withdraw(pending)
            raise

    # The loop: one batch after the other.

    async def _run(self) -> None:
        while batch := await self._queue.take(self.limits.batch_commands_max):
            try:
                await self._commit(batch)
            finally:
                # If this task was cancelled: what was in doubt was told so, the rest not sent.
                fail_each(batch, ShuttingDown("This process is shutting down."))

    def _refuse_rest(self) -> None:
        self._queue.fail_rest(ShuttingDown("This process is shutting down."))

    async def _commit(self, batch: Sequence[Pending]) -> None:
        """Commit a batch; halve one that cannot be written until the one at fault fails alone."""
        try:
            await self._commit_surely(batch)
        except _Unwritable as fault:
            if len(batch) == 1:
                batch[0].fail(fault.error)
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        except Unavailable as error:
            fail_each(batch, error)
            overdue = time.monotonic() - self.limits.reconnect_seconds_max
            self._queue.fail_overdue(overdue, Unavailable("The database cannot be reached."))

    async def _commit_surely(self, batch: Sequence[Pending]) -> None:
        """Commit through lost connections.

        What may have been committed is looked up, never sent blindly again.
        """
        attempt = _Attempt()
        try:
            while not await self._try(batch, attempt):  # noqa: ASYNC110 - a pause, no event
                await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
        except (_Unwritable, Unavailable):
            raise
        except Exception as error:
            _log.exception("commit.failed")
            if attempt.decided is None:
                raise _Unwritable(error) from error
            fail_each(batch, OutcomeUnknown("An error left the outcome open."))
        except asyncio.CancelledError:
            if attempt.decided is not None:
                fail_each(batch, OutcomeUnknown("Stopped before the outcome was known."))
            raise

    async def _try(self, batch: Sequence[Pending], attempt: _Attempt) -> bool:
        """Look up or commit the batch; False when the connection was lost and time is left."""
        retry_until = batch[0].since + self.limits.reconnect_seconds_max
        try:
            async with self.session.within(self.limits.commit_seconds_max):
                if await self.session.ready():
                    self._cache.clear()
                if not await self._settled(batch, attempt, retry_until):
                    await self._attempt(batch, attempt)
                return True
        except LOST as error:
            if self.session.connected and (refusal := refusal_of(error)):
                attempt.clear()
                raise _Unwritable(refusal) from error
            self.session.abandon()
            _log.warning("commit.interrupted", error=str(error))
            self._guard_time(attempt, retry_until, error)
            return False

    def _guard_time(self, attempt: _Attempt, retry_until: float, error: Exception) -> None:
        """Raise when there is no more time to try, or to look up what became of a try."""
        now = time.monotonic()
        if attempt.decided is None:
            if now > retry_until:
                raise Unavailable("The database cannot be reached.") from error
            return
        if attempt.doubted is None:
            attempt.doubted = now
        if now > attempt.doubted + self.limits.reconnect_seconds_max:
            raise OutcomeUnknown("The database cannot be reached.") from error

    async def _settled(
        self, batch: Sequence[Pending], attempt: _Attempt, retry_until: float
    ) -> bool:
        """True when the batch is answered because of what became of an attempt that was cut off."""
        if attempt.decided is None:
            return False
        if await self._found(batch, attempt.decided):
            return True
        if time.monotonic() < retry_until:
            attempt.clear()
            return False
        sort = Unavailable if attempt.decided.events else OutcomeUnknown
        fail_each(batch, sort("The database did not answer in time."))
        return True

    async def _found(self, batch: Sequence[Pending], decided: Decided) -> bool:
        """True when an attempt that was cut off proves to be in the log; then it is delivered.

        One without events is not looked for: its keys and positions answer when decided again.
        """
        if not decided.events:
            return False
        event, (_, data) = decided.events[0], decided.stored[0]
        cursor = self.session.cursor()
        await cursor.execute(
            "SELECT notification_id FROM tallystick_events"
            " WHERE originator_id = %b AND originator_version = %b AND state = %b",
            (event.originator_id, event.originator_version, data),
        )
        row = await cursor.fetchone()
        if row is None:
            return False
        self._deliver(batch, decided, row[0])
        return True

    # One attempt: free of the lock, or under it.

    async def _attempt(self, batch: Sequence[Pending], attempt: _Attempt) -> None:
        self._cache.trim()
        if any(p.decision.find for p in batch) or not await self._attempt_free(batch, attempt):
            await self._attempt_locked(batch, attempt)

    async def _attempt_free(self, batch: Sequence[Pending], attempt: _Attempt) -> bool:
        """Decide on cached states and append in one statement. False when the log had moved on."""
        cursor = self.session.cursor()
        known_to_exist = [s for p in batch for s in p.decision.streams]
        loaded = await self._cache.load(cursor, known_to_exist, refresh=False)
        decided = self._decide(batch, Known())
        if doubtful := _doubtful(batch, decided):
            streams = _streams(doubtful)
            if not loaded.issuperset(stream.id for stream in streams):
                # All, so that they stand as of one moment: a task and its hold end together.
                await self._cache.load(cursor, streams, refresh=True)
            decided = self._decide(batch, await self._known(cursor, doubtful))
            if not set(_doubtful(batch, decided)).issubset(doubtful):
                return False
        first = await self._append(decided, attempt)
        if first is None:
            self.conflicts += 1
            return False
        self._deliver(batch, decided, first)
        return True

    async def _attempt_locked(self, batch: Sequence[Pending], attempt: _Attempt) -> None:
        """Take the log's lock, read everything anew, decide and append: nobody can be faster."""
        async with self.session.transaction():
            cursor = self.session.cursor()
            await cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOG_LOCK,), prepare=True)
            found: list[Stream] = []
            for pending in batch:
                if pending.decision.find is not None:
                    found += await pending.decision.find(cursor, found)
            await self._cache.load(cursor, [*_streams(batch), *found], refresh=True)
            decided = self._decide(batch, await self._known(cursor, batch))
            first = await self._append(decided, attempt)
            assert first is not None, "under the lock nothing can have moved"
        self._deliver(batch, decided, first)

    def _decide(self, batch: Sequence[Pending], known: Known) -> Decided:
        return self._decider.decide([pending.decision for pending in batch], known)

    async def _known(self, cursor: Cursor, batch: Sequence[Pending]) -> Known:
        known = Known()
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

    # Writing, and what follows when it is durable.

    async def _append(self, decided: Decided, attempt: _Attempt) -> int | None:
        """Position of the first event (0 without events); None when something stood in the way."""
        if decided.empty:
            return 0
        if decided.stored_bytes > self.limits.batch_bytes_max:
            detail = f"Events of more than {self.limits.batch_bytes_max} bytes cannot be stored."
            raise _Unwritable(CommandRejected(detail))
        try:
            parameters = decided.parameters(lease_seconds=self.limits.lease_seconds)
            values = [binary(parameter) for parameter in parameters]
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            raise _Unwritable(CommandRejected(f"The data cannot be stored: {error}")) from error
        attempt.decided = decided
        first, conflict, used_keys, passed = await self.session.append_batch(values)
        if conflict != _FALSE or used_keys is not None or passed is not None:
            attempt.clear()
            return None
        return 0 if first is None else int.from_bytes(first)

    def _deliver(self, batch: Sequence[Pending], decided: Decided, first: int) -> None:
        """The batch is durable: answer its callers and keep its states."""
        position = first - 1
        for pending, outcome in zip(batch, decided.outcomes, strict=True):
            if isinstance(outcome, BaseException):
                pending.fail(outcome)
                continue
            if outcome.events:
                position += len(outcome.events)
                outcome = msgspec.structs.replace(outcome, position=position)  # noqa: PLW2901
            pending.succeed(outcome)
        for stream_id, state in decided.written():
            aggregate = AGGREGATE_WITH[type(state)]
            if aggregate.snapshot is not None and (
                decided.closes_books(stream_id) or due(self._cache.get(stream_id), state)
            ):
                self._snapshots.take(aggregate, state)
            self._cache.keep(aggregate, stream_id, state)
        self.batches += 1
        self.commands += len(batch)


def _streams(batch: Iterable[Pending]) -> list[Stream]:
    return [s for p in batch for s in (*p.decision.streams, *p.decision.new)]


def _doubtful(batch: Sequence[Pending], decided: Decided) -> list[Pending]:
    """A refusal or a command without effect may rest on a state that another process has moved.

    So may events that do not follow: a group of before asks for a member that is known to run.
    """
    return [
        pending
        for pending, outcome in zip(batch, decided.outcomes, strict=True)
        if (
            not outcome.events and outcome.replayed is None
            if isinstance(outcome, Committed)
            else not isinstance(outcome, AdapterError) or isinstance(outcome, CommandRejected)
        )
    ]
