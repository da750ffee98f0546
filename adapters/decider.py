"""Decides a batch: in order, each command on the states that its predecessors leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog

from adapters.batch import Decided
from adapters.clock import DatabaseClock
from adapters.decision import AlreadyTracked, Committed, Decision, KeyRecord
from adapters.mapper import EventMapper
from adapters.stream_cache import Overlay, StreamCache
from domain.aggregate import AGGREGATE_OF
from domain.errors import CommandRejected, TallystickError
from domain.event import Event, Metadata
from domain.plan import Plans

_log = structlog.get_logger(__name__)


class Known:
    """What a decision is checked against besides states: keys used and positions passed."""

    __slots__ = ("keys", "positions")

    def __init__(self) -> None:
        self.keys: dict[bytes, KeyRecord] = {}
        self.positions: dict[str, int] = {}


class Decider:
    """Reads the cache, never writes it: what is decided may yet come to nothing."""

    def __init__(
        self,
        mapper: EventMapper,
        clock: DatabaseClock,
        cache: StreamCache,
        plans: Plans | None = None,
    ) -> None:
        self._plans = plans
        self._mapper = mapper
        self._clock = clock
        self._cache = cache

    def decide(self, decisions: Sequence[Decision], known: Known) -> Decided:
        """One outcome each; a command that raises whatever fails alone. Takes over `known`."""
        decided = Decided(self._cache.get, self._plans)
        for decision in decisions:
            try:
                outcome: Committed | Exception = self._decide_one(decision, decided, known)
            except TallystickError as error:
                outcome = error
            except Exception as error:  # noqa: BLE001 - logged, and given to its caller
                _log.exception("decide.failed", command_id=str(decision.command_id))
                outcome = error
            decided.outcomes.append(outcome)
        return decided

    def _decide_one(self, decision: Decision, decided: Decided, known: Known) -> Committed:
        if decision.key is not None and decision.key in known.keys:
            return Committed(states={}, replayed=known.keys[decision.key])
        _guard_tracking(decision, known)
        before = Overlay(self._cache, decided.overlay)
        events = tuple(decision.decide(before, self._metadata(decision)))
        stored = [self._storable(event) for event in events]
        created: set[UUID] = set()
        after: dict[UUID, Any] = {}
        for event in events:
            stream_id = event.originator_id
            state = after.get(stream_id)
            if state is None:
                state = before[stream_id]
            if state is None:
                created.add(stream_id)
            _guard_version(event, 0 if state is None else state.version)
            after[stream_id] = AGGREGATE_OF[type(event)].evolve(state, event)
        written = after.copy()
        for stream in (*decision.streams, *decision.new):
            if stream.id not in after:
                after[stream.id] = before[stream.id]
        record = _record(decision, after)
        decided.take(events, stored, written, created, record, decision.tracking)
        if events:
            self._note_reads(decision, decided)
        if record is not None:
            known.keys[record.key] = record
        if decision.tracking is not None:
            known.positions[decision.tracking.consumer] = decision.tracking.position
        return Committed(states=after, events=events)

    def _storable(self, event: Event) -> tuple[str, bytes]:
        """Stored form of an event. Raises `CommandRejected` for one that could not be loaded."""
        try:
            return self._mapper.encode(event)
        except (
            msgspec.MsgspecError,
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise CommandRejected(f"{type(event).__name__} cannot be stored: {error}") from error

    def _note_reads(self, decision: Decision, decided: Decided) -> None:
        """Streams that a command was decided on without writing them must not have moved either."""
        for stream in decision.streams:
            if stream.id not in decided.overlay:
                state = self._cache.get(stream.id)
                decided.reads[stream.id] = 0 if state is None else state.version

    def _metadata(self, decision: Decision) -> Metadata:
        return Metadata(
            at=self._clock.now(),
            actor=decision.actor,
            correlation_id=decision.correlation_id,
            causation_id=decision.command_id,
            trace_id=decision.trace_id,
        )


def _guard_tracking(decision: Decision, known: Known) -> None:
    tracking = decision.tracking
    if tracking is not None and tracking.position <= known.positions.get(tracking.consumer, -1):
        raise AlreadyTracked(f"{tracking.consumer} has passed position {tracking.position}.")


def _guard_version(event: Event, before: int) -> None:
    """A gap in a stream could never be mended: the log is never rewritten."""
    if event.originator_version != before + 1:
        raise CommandRejected(
            f"{type(event).__name__} of version {event.originator_version} cannot follow {before}."
        )


def _record(decision: Decision, after: dict[UUID, Any]) -> KeyRecord | None:
    if decision.record is None:
        return None
    record = decision.record(after)
    if record.key != decision.key:
        raise CommandRejected("The record of an idempotency key must carry that key.")
    return record
