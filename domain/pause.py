"""A gate in front of tasks of a type, an account or a provider: paused, nothing passes it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from domain.errors import InvalidInput
from domain.event import NAME_LENGTH_MAX, TEXT_LENGTH_MAX, Event, Metadata
from domain.lifecycle import Lifecycle
from domain.pause_events import GateKind, PauseEvent, QueuePaused, QueueResumed

PAUSED_GATES_MAX = 1_000
"""Most gates that are paused at one time: each claim looks at all of them."""
PauseStatus = Literal["open", "paused"]
PAUSE = Lifecycle(
    "pause",
    ["open", "paused"],
    "open",
    [
        {"trigger": "pause", "source": "open", "dest": "paused"},
        {"trigger": "resume", "source": "paused", "dest": "open"},
    ],
)
_GATES = UUID("5f3b0f8e-6f0f-5d0c-9a53-6f5f1d2f7a10")


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """State of one gate; `reason`, `actor` and `since` are those of its last change."""

    id: UUID
    version: int
    kind: GateKind
    name: str
    status: PauseStatus
    reason: str
    actor: str
    since: datetime
    created_at: datetime

    @property
    def account_id(self) -> UUID | None:
        """Whose tasks it holds back, if it is an account's."""
        return UUID(hex=self.name) if self.kind == "account" else None


class PauseQueue(msgspec.Struct, frozen=True, kw_only=True):
    """An account's `name` is its id in hex; `reason` must say something."""

    kind: GateKind
    name: str
    reason: str


class ResumeQueue(msgspec.Struct, frozen=True, kw_only=True):
    kind: GateKind
    name: str
    reason: str


PauseCommand = PauseQueue | ResumeQueue


def gate_id(kind: GateKind, name: str) -> UUID:
    """The one stream of a gate, the same in every installation."""
    return uuid5(_GATES, f"{kind}:{name}")


def decide(pause: Pause | None, command: PauseCommand, meta: Metadata) -> tuple[PauseEvent, ...]:
    """Events that `command` leads to; none when the gate stands so already.

    A gate that was never paused is open. Raises `InvalidInput` for a name or a reason that is empty
    or too long.
    """
    _guard("name", command.name, NAME_LENGTH_MAX)
    _guard("reason", command.reason, TEXT_LENGTH_MAX)
    status: PauseStatus = "open" if pause is None else pause.status
    version = 0 if pause is None else pause.version
    if status == ("paused" if isinstance(command, PauseQueue) else "open"):
        return ()
    match command:
        case PauseQueue():
            PAUSE.target("pause", status)
            return (
                QueuePaused(
                    originator_id=gate_id(command.kind, command.name),
                    originator_version=version + 1,
                    meta=meta,
                    kind=command.kind,
                    name=command.name,
                    reason=command.reason,
                ),
            )
        case ResumeQueue():
            PAUSE.target("resume", status)
            return (
                QueueResumed(
                    originator_id=gate_id(command.kind, command.name),
                    originator_version=version + 1,
                    meta=meta,
                    reason=command.reason,
                ),
            )
        case _:
            assert_never(command)


def _guard(field: str, text: str, length_max: int) -> None:
    if not text.strip() or len(text) > length_max:
        sentence = f"must have 1 to {length_max} characters, not only blanks"
        raise InvalidInput(f"The {field} is empty or too long.", (f"/{field}", sentence))


def evolve(pause: Pause | None, event: Event) -> Pause:
    """Assign what `event` says. Never refuses, so a replay cannot fail."""
    if isinstance(event, QueuePaused):
        return Pause(
            id=event.originator_id,
            version=event.originator_version,
            kind=event.kind,
            name=event.name,
            status="paused",
            reason=event.reason,
            actor=event.meta.actor,
            since=event.meta.at,
            created_at=event.meta.at if pause is None else pause.created_at,
        )
    assert pause is not None, "a gate's first event is that it was paused"
    if not isinstance(event, QueueResumed):
        raise TypeError(f"{type(event).__name__} is not an event of a gate")
    return replace(
        pause,
        version=event.originator_version,
        status="open",
        reason=event.reason,
        actor=event.meta.actor,
        since=event.meta.at,
    )
