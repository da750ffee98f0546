"""The facts of a queue's gates: what was paused and resumed, by whom, and why."""

from __future__ import annotations

from typing import ClassVar, Literal

from domain.event import Event, Name, Text

GateKind = Literal["type", "account", "provider"]
"""What a gate holds back: tasks of a type, of an account, or of all types of a provider."""


class QueuePaused(Event, frozen=True, kw_only=True):
    """No task behind the gate is started from now on. An account's `name` is its id in hex."""

    TOPIC: ClassVar[str] = "queue.paused"

    kind: GateKind
    name: Name
    reason: Text


class QueueResumed(Event, frozen=True, kw_only=True):
    """Tasks behind the gate are started again."""

    TOPIC: ClassVar[str] = "queue.resumed"

    reason: Text


PauseEvent = QueuePaused | QueueResumed
