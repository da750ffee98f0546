"""Retrying many failed tasks of one account at once: as many as its credits and limits allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import msgspec

from domain import ledger as ledgers
from domain import metering
from domain.errors import DomainError, InsufficientCredits, LimitReached, NotFound
from domain.event import Event, Metadata
from domain.ledger import CreditLedger
from domain.ledger_events import CreditsHeld
from domain.plan import Plan
from domain.pricing import Terms
from domain.task import RetryTask, Task

RETRIES_MAX = 1_000
"""Most tasks of one retry in bulk."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    task_id: UUID
    code: str
    detail: str


class BulkRetry(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry of so many tasks comes to; nothing has been done yet but decide it.

    `credits_needed` is today's price of all that could be retried with enough of them,
    `credits_held` that of those that are; `available` is the balance before.
    """

    events: tuple[Event, ...]
    retried: tuple[UUID, ...]
    refused: tuple[Refused, ...]
    credits_needed: int
    credits_held: int
    available: int


def retry_all(
    tasks: Mapping[UUID, Task | None],
    ledger: CreditLedger,
    hold_ids: Mapping[UUID, UUID],
    price: Callable[[Task], Terms],
    plan: Plan,
    meta: Metadata,
) -> BulkRetry:
    """Retry each in turn on the balance that those before it leave; one that is refused is told.

    `price(task)` may refuse, such as for a type that is gone. A task that is not of this account
    is not found.
    """
    available = ledger.balance.available
    events: list[Event] = []
    retried: list[UUID] = []
    refused: list[Refused] = []
    needed = held = 0
    for task_id, task in tasks.items():
        terms = Terms(credits=0)
        try:
            current = _of(ledger, task)
            terms = price(current)
            command = RetryTask(
                hold_id=hold_ids[task_id],
                credits=terms.credits,
                price_version=terms.price_version,
            )
            decided = metering.retry(current, ledger, command, plan, meta)
        except DomainError as error:
            # What the state refuses, no credits would help.
            needed += terms.credits if isinstance(error, InsufficientCredits | LimitReached) else 0
            refused.append(Refused(task_id=task_id, code=error.code, detail=str(error)))
            continue
        ledger = _after(ledger, decided)
        taken = _held(decided)
        needed += taken
        held += taken
        events += decided
        retried.append(task_id)
    return BulkRetry(
        events=tuple(events),
        retried=tuple(retried),
        refused=tuple(refused),
        credits_needed=needed,
        credits_held=held,
        available=available,
    )


def _held(events: Sequence[Event]) -> int:
    """What was really held: nothing for a free trial."""
    return sum(event.amount for event in events if isinstance(event, CreditsHeld))


def _of(ledger: CreditLedger, task: Task | None) -> Task:
    if task is None or task.account_id != ledger.id:
        raise NotFound("There is no such task.")
    return task


def _after(ledger: CreditLedger, events: Sequence[Event]) -> CreditLedger:
    for event in events:
        if event.originator_id == ledger.id:
            ledger = ledgers.evolve(ledger, event)
    return ledger
