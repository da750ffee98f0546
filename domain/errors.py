"""Every refusal and fault has one typed error, so that each edge can map it once.

TallystickError
├── DomainError              a rule said no; nothing changed
│   ├── InvalidInput         a value is out of its bounds
│   ├── UnknownTaskType      no such task type is registered
│   ├── NotFound             no such thing, or not yours
│   ├── AlreadyExists        the id is taken
│   ├── IllegalTransition    the state machine has no such edge
│   ├── MemberOfGroup        only the task's whole group can do that
│   ├── LeaseLost            the fencing token is stale
│   ├── InsufficientCredits  the balance does not cover the hold
│   ├── CaptureExceedsHold   more was to be captured than is held
│   ├── HoldNotFound         no open hold of that id
│   │   └── HoldSettled      there was one, and it has ended
│   ├── HoldNotYours         the hold belongs to a task or a group, which ends it
│   ├── RefundExceedsCapture more was to be given back than was charged
│   ├── ReferenceReused      a reference came back with other content
│   ├── AccountUnsettled     credits are still held or owed
│   ├── LimitReached         a plan's limit is used up
│   ├── StorageFull          the account stores as much as its plan allows
│   ├── OperatorsOnly        the task type is for whoever runs the service
│   ├── VersionMismatch      the caller's version is not the current one
│   ├── KeyReused            an idempotency key came back with another request
│   └── KeyInFlight          the first request with that key has not ended
└── AdapterError             something outside failed
    ├── Unavailable          the database cannot be reached (transient)
    ├── Overloaded           a bounded queue is full (transient)
    ├── ShuttingDown         this process accepts no more (transient)
    └── CommandRejected      the database refused this one command's data
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.money import Money


class TallystickError(Exception):
    """Root of the tree. `code` is stable and public; `transient`: a later retry may succeed."""

    code: ClassVar[str] = "internal"
    transient: ClassVar[bool] = False


class DomainError(TallystickError):
    """A rule refused; nothing was written."""


class InvalidInput(DomainError):
    """`errors` holds (JSON pointer, sentence) pairs."""

    code = "invalid_input"

    def __init__(self, detail: str, *errors: tuple[str, str]) -> None:
        super().__init__(detail)
        self.errors = errors


class UnknownTaskType(DomainError):
    code = "unknown_task_type"

    def __init__(self, type_name: str) -> None:
        super().__init__(f"There is no task type {type_name!r}.")
        self.type_name = type_name


class NotFound(DomainError):
    code = "not_found"


class AlreadyExists(DomainError):
    code = "already_exists"


class IllegalTransition(DomainError):
    """`allowed` lists the triggers that the machine has from `state`.

    `money` is what has become of a task's credits, where a user is told.
    """

    code = "illegal_transition"

    def __init__(
        self,
        noun: str,
        trigger: str,
        state: str,
        allowed: tuple[str, ...],
        money: Money | None = None,
    ) -> None:
        said = "" if money is None else f" {money.sentence}"
        article = "an" if noun[0] in "aeiou" else "a"
        super().__init__(f"Cannot {trigger} {article} {noun} that is {state}.{said}")
        self.noun = noun
        self.trigger = trigger
        self.state = state
        self.allowed = allowed
        self.money = money

    def with_money(self, money: Money) -> Self:
        """The same refusal, which says also what has become of the credits."""
        return type(self)(self.noun, self.trigger, self.state, self.allowed, money)


class MemberOfGroup(DomainError):
    """The task is a member of the group of that id, which does this for it."""

    code = "member_of_group"

    def __init__(self, trigger: str, group_id: UUID) -> None:
        super().__init__(f"This task belongs to a group: {trigger} the group instead.")
        self.trigger = trigger
        self.group_id = group_id


class LeaseLost(DomainError):
    """The worker no longer holds the task and must stop working on it."""

    code = "lease_lost"

    def __init__(self, task_id: UUID) -> None:
        super().__init__("The lease on this task has passed on: stop working on it.")
        self.task_id = task_id


class InsufficientCredits(DomainError):
    code = "insufficient_credits"

    def __init__(self, required: int, available: int) -> None:
        amount = "1 credit is" if required == 1 else f"{required} credits are"
        super().__init__(f"{amount} required, {available} are available.")
        self.required = required
        self.available = available


class CaptureExceedsHold(DomainError):
    code = "capture_exceeds_hold"

    def __init__(self, amount: int, held: int) -> None:
        super().__init__(f"Cannot capture {amount} credits of a hold of {held}.")
        self.amount = amount
        self.held = held


class HoldNotFound(DomainError):
    code = "hold_not_found"

    def __init__(
        self, hold_id: UUID, detail: str = "The account has no open hold of that id."
    ) -> None:
        super().__init__(detail)
        self.hold_id = hold_id


class HoldSettled(HoldNotFound):
    """`state` is how it ended: captured, released, expired or (after its capture) refunded."""

    code = "hold_settled"

    def __init__(self, hold_id: UUID, state: str) -> None:
        super().__init__(hold_id, f"The hold has ended: it is {state}.")
        self.state = state


class HoldNotYours(DomainError):
    """Its task or group settles it at its end; nobody else may."""

    code = "hold_not_yours"

    def __init__(self, trigger: str, hold_id: UUID) -> None:
        super().__init__(f"Cannot {trigger} the hold of a task or a group: cancel that instead.")
        self.hold_id = hold_id


class RefundExceedsCapture(DomainError):
    """`refundable` is what is left of the capture."""

    code = "refund_exceeds_capture"

    def __init__(self, amount: int, refundable: int) -> None:
        super().__init__(f"Cannot refund {amount} credits of {refundable} that can be.")
        self.amount = amount
        self.refundable = refundable


class ReferenceReused(DomainError):
    """`first` is what the reference was used with before, of what differs, by name."""

    code = "reference_reused"

    def __init__(self, source_ref: str, first: Mapping[str, object]) -> None:
        names = ", ".join(first)
        super().__init__(
            f"The reference {source_ref!r} was used before, with other content: {names}."
        )
        self.source_ref = source_ref
        self.first = first


class AccountUnsettled(DomainError):
    code = "account_unsettled"

    def __init__(self, holds: int, available: int) -> None:
        super().__init__(f"{holds} holds are open and {available} credits are available.")
        self.holds = holds
        self.available = available


class LimitReached(DomainError):
    """`retry_after_seconds` is an honest earliest time at which trying again can help.

    None where time alone does not: something has to be ended, or taken away, first. `remaining` is
    what is left of the limit, and less than was asked for.
    """

    code = "limit_reached"

    def __init__(
        self,
        limit: str,
        maximum: int,
        retry_after_seconds: int | None = None,
        *,
        remaining: int = 0,
    ) -> None:
        super().__init__(f"The limit {limit} of {maximum} is reached.")
        self.remaining = remaining
        self.limit = limit
        self.maximum = maximum
        self.retry_after_seconds = retry_after_seconds


class StorageFull(DomainError):
    """Waiting does not help: something stored has to go, or the plan has to be a larger one."""

    code = "storage_full"

    def __init__(self, stored_bytes: int, stored_bytes_max: int) -> None:
        super().__init__(
            f"The account stores {stored_bytes} of the {stored_bytes_max} bytes of its plan."
        )
        self.stored_bytes = stored_bytes
        self.stored_bytes_max = stored_bytes_max


class OperatorsOnly(DomainError):
    """The account is none of whoever runs the service."""

    code = "operators_only"

    def __init__(self, type_name: str) -> None:
        super().__init__(f"Tasks of type {type_name!r} are for accounts of the operator.")
        self.type_name = type_name


class VersionMismatch(DomainError):
    code = "version_mismatch"

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"Version {expected} was expected, {actual} is current.")
        self.expected = expected
        self.actual = actual


class KeyReused(DomainError):
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before with a different request.")


class KeyInFlight(DomainError):
    code = "idempotency_key_in_flight"

    def __init__(self) -> None:
        super().__init__("The first request with this Idempotency-Key has not ended yet.")


class AdapterError(TallystickError):
    """Something outside the rules failed."""


class Unavailable(AdapterError):
    code = "unavailable"
    transient = True


class Overloaded(AdapterError):
    code = "overloaded"
    transient = True

    def __init__(self, what: str, maximum: int) -> None:
        super().__init__(f"{what} is full ({maximum}); try again shortly.")
        self.maximum = maximum


class ShuttingDown(AdapterError):
    code = "shutting_down"
    transient = True


class CommandRejected(AdapterError):
    code = "command_rejected"
