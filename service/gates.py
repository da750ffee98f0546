"""Pausing and resuming the queue: for a task type, an account, or a provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never
from uuid import UUID

import msgspec

from adapters.decision import Committed, States
from adapters.gates import PausedGates, paused_gates, waking
from adapters.pool import Pool
from domain import pause
from domain.aggregate import LEDGERS, PAUSES, Stream
from domain.errors import LimitReached, NotFound
from domain.event import Event, Metadata
from domain.pause import PAUSED_GATES_MAX, Pause, PauseQueue, ResumeQueue, gate_id
from domain.pause_events import GateKind
from service.command import Once, Origin
from service.command_bus import CommandBus
from service.task_types import TaskTypes

_decode = msgspec.json.Decoder(Pause).decode


class Gates:
    """Each change is a command, with its reason in the log; one without effect is quiet.

    Raises `InvalidInput`, and the committer's errors.
    """

    def __init__(self, bus: CommandBus, types: TaskTypes, pool: Pool) -> None:
        self._bus = bus
        self._types = types
        self._pool = pool

    async def pause(
        self, kind: GateKind, name: str, *, reason: str, origin: Origin, once: Once | None = None
    ) -> Committed:
        """Start no more of these tasks; those that run go on, and all deadlines too.

        An account's `name` is its id in hex. Raises `UnknownTaskType`, `NotFound` for an account or
        a provider, `LimitReached` for more than `PAUSED_GATES_MAX` paused at one time.
        """
        command = PauseQueue(kind=kind, name=name, reason=reason)
        account_id = self._guard_there(kind, name)
        paused = PausedGates()

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            if account_id is not None and states[account_id] is None:
                raise NotFound("There is no such account.")
            events = pause.decide(states[gate_id(kind, name)], command, meta)
            if events and paused.count >= PAUSED_GATES_MAX:
                raise LimitReached("paused_gates_max", PAUSED_GATES_MAX)
            return events

        streams = [Stream(PAUSES, gate_id(kind, name))]
        if account_id is not None:
            streams.append(Stream(LEDGERS, account_id))
        return await self._bus.execute(
            decide, origin, streams=tuple(streams), find=paused.find, once=once
        )

    async def resume(
        self, kind: GateKind, name: str, *, reason: str, origin: Origin, once: Once | None = None
    ) -> Committed:
        """Start these tasks again; the workers are woken."""
        command = ResumeQueue(kind=kind, name=name, reason=reason)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            return pause.decide(states[gate_id(kind, name)], command, meta)

        streams = (Stream(PAUSES, gate_id(kind, name)),)
        return await self._bus.execute(decide, origin, streams=streams, find=waking(), once=once)

    async def paused(self) -> list[Pause]:
        """All gates that are paused, by kind and name. Raises `Unavailable`."""
        views = await paused_gates(self._pool, PAUSED_GATES_MAX)
        return [_decode(view.data) for view in views]

    def _guard_there(self, kind: GateKind, name: str) -> UUID | None:
        """The account's id, if it is one. Whether there is such an account shows in its ledger."""
        match kind:
            case "type":
                self._types.named(name)
            case "provider":
                if name not in {provider.name for provider in self._types.providers}:
                    raise NotFound(f"There is no provider {name[:64]!r}.")
            case "account":
                return _account_id(name)
            case _:
                assert_never(kind)
        return None


def _account_id(name: str) -> UUID:
    try:
        account_id = UUID(hex=name)
    except ValueError:
        raise NotFound("There is no such account.") from None
    if account_id.hex != name:
        raise NotFound("There is no such account.")
    return account_id
