"""Decisions as the service makes them, for tests of the committer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw
from uuid_utils import uuid7

from adapters.decision import Decision, Find, KeyRecord, States, Tracking
from domain import ledger, metering, task
from domain.aggregate import LEDGERS, TASKS, Stream
from domain.event import Event, Metadata
from tests.plans import plan_named

INPUT = Raw(b'{"url":"https://example.com/clip.mp4"}')
RESULT = Raw(b'{"streams":2}')
Decide = Callable[[States, Metadata], tuple[Event, ...]]


def new_id() -> UUID:
    return UUID(bytes=uuid7().bytes)


def decision(decide: Callable[[States, Metadata], Any], **options: Any) -> Decision:
    """A command of somebody, with a fresh id."""
    command_id = new_id()
    return Decision(
        decide=decide,
        command_id=command_id,
        actor="tests",
        correlation_id=command_id,
        **options,
    )


def open_account(account_id: UUID, *, amount: int, plan: str = "unlimited") -> Decision:
    """An account with one grant; 2 events."""

    def decide(states: States, meta: Metadata) -> tuple[Event, ...]:
        command = ledger.OpenAccount(account_id=account_id, plan=plan)
        opened = ledger.decide(states[account_id], command, meta)
        return (*opened, *ledger.decide(ledger.evolve(None, opened[0]), grant_of(amount), meta))

    return decision(decide, new=(Stream(LEDGERS, account_id),))


def grant(account_id: UUID, amount: int) -> Decision:
    command = grant_of(amount)
    return on_ledger(account_id, command)


def grant_of(amount: int) -> ledger.GrantCredits:
    grant_id = new_id()
    return ledger.GrantCredits(
        grant_id=grant_id, kind="paid", amount=amount, source_ref=str(grant_id)
    )


def on_ledger(account_id: UUID, command: ledger.LedgerCommand) -> Decision:
    def decide(states: States, meta: Metadata) -> tuple[Event, ...]:
        return ledger.decide(states[account_id], command, meta)

    return decision(decide, streams=(Stream(LEDGERS, account_id),))


def hold(account_id: UUID, amount: int = 1) -> Decision:
    """A hold without a task; 1 event."""
    command = ledger.HoldCredits(
        hold_id=new_id(), task_id=new_id(), amount=amount, plan=plan_named("unlimited")
    )
    return on_ledger(account_id, command)


def submit(  # noqa: PLR0913 - each test names the two that it is about
    account_id: UUID,
    task_id: UUID | None = None,
    *,
    amount: int = 1,
    plan: str = "unlimited",
    project: str | None = None,
    input: Raw = INPUT,  # noqa: A002 - as the field is called
    key: bytes | None = None,
    record: Callable[[States], KeyRecord] | None = None,
    tracking: Tracking | None = None,
    find: Find | None = None,
) -> Decision:
    """A task with its hold; 2 events."""
    command = task.SubmitTask(
        task_id=task_id or new_id(),
        account_id=account_id,
        type="noop",
        input=input,
        hold_id=new_id(),
        credits=amount,
        project=project,
    )

    def decide(states: States, meta: Metadata) -> tuple[Event, ...]:
        return metering.submit(
            states[command.task_id], states[account_id], command, plan_named(plan), meta
        )

    return decision(
        decide,
        streams=(Stream(LEDGERS, account_id),),
        new=(Stream(TASKS, command.task_id),),
        key=key,
        record=record,
        tracking=tracking,
        find=find,
    )


def start(task_id: UUID) -> Decision:
    def decide(states: States, meta: Metadata) -> tuple[Event, ...]:
        return task.decide(states[task_id], task.StartTask(worker="w"), meta)

    return decision(decide, streams=(Stream(TASKS, task_id),))


def proceed(task_id: UUID, account_id: UUID, command: task.RunCommand) -> Decision:
    """A verb of a task; settles its hold if it ends it."""

    def decide(states: States, meta: Metadata) -> tuple[Event, ...]:
        return metering.proceed(states[task_id], states[account_id], command, meta)

    return decision(decide, streams=(Stream(TASKS, task_id), Stream(LEDGERS, account_id)))


def complete(task_id: UUID, account_id: UUID, *, token: int = 1) -> Decision:
    return proceed(task_id, account_id, task.CompleteTask(token=token, result=RESULT))


def cancel(task_id: UUID, account_id: UUID) -> Decision:
    return proceed(task_id, account_id, task.CancelTask())


async def find_nothing(_: object, __: object) -> tuple[Stream, ...]:
    """Sends its command on the locked way."""
    return ()


def replaced(event: Event, **changes: object) -> Event:
    """A copy of an event that no rule has decided."""
    return msgspec.structs.replace(event, **changes)
