"""Commands of accounts and metered tasks, as decisions for a committer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from msgspec import Raw

from adapters.clock import DatabaseClock
from adapters.committer import Committer
from adapters.decision import Decision, States
from adapters.mapper import EventMapper
from domain import ledger, metering
from domain.aggregate import LEDGERS, TASKS, Stream
from domain.event import Event, Metadata
from domain.ledger import GrantCredits, OpenAccount
from domain.task import CompleteTask, RunCommand, StartTask, SubmitTask
from tests.plans import plan_named

Decide = Callable[[States, Metadata], Sequence[Event]]


@asynccontextmanager
async def running_committer(
    dsn: str, mapper: EventMapper | None = None
) -> AsyncIterator[Committer]:
    committer = Committer(dsn, mapper or EventMapper(), DatabaseClock())
    await committer.start()
    try:
        yield committer
    finally:
        await committer.close()


def open_account(account_id: UUID) -> Decision:
    command = OpenAccount(account_id=account_id, plan="unlimited")
    return _decision(
        lambda states, meta: ledger.decide(states[account_id], command, meta),
        streams=(Stream(LEDGERS, account_id),),
    )


def grant(account_id: UUID, amount: int) -> Decision:
    command = GrantCredits(grant_id=uuid4(), kind="paid", amount=amount, source_ref=str(uuid4()))
    return _decision(
        lambda states, meta: ledger.decide(states[account_id], command, meta),
        streams=(Stream(LEDGERS, account_id),),
    )


def submit(task_id: UUID, account_id: UUID, amount: int = 1) -> Decision:
    command = SubmitTask(
        task_id=task_id,
        account_id=account_id,
        type="probe",
        input=Raw(b'{"n":1}'),
        hold_id=uuid4(),
        credits=amount,
    )
    plan = plan_named("unlimited")
    return _decision(
        lambda states, meta: metering.submit(
            states[task_id], states[account_id], command, plan, meta
        ),
        streams=(Stream(LEDGERS, account_id),),
        new=(Stream(TASKS, task_id),),
    )


def start(task_id: UUID) -> Decision:
    return _proceed(task_id, None, StartTask(worker="w"))


def complete(task_id: UUID, account_id: UUID) -> Decision:
    return _proceed(task_id, account_id, CompleteTask(token=1, result=Raw(b"{}")))


def _proceed(task_id: UUID, account_id: UUID | None, command: RunCommand) -> Decision:
    streams = [Stream(TASKS, task_id)]
    if account_id is not None:
        streams.append(Stream(LEDGERS, account_id))
    return _decision(
        lambda states, meta: metering.proceed(
            states[task_id], states[account_id] if account_id else None, command, meta
        ),
        streams=tuple(streams),
    )


def _decision(decide: Decide, **streams: Any) -> Decision:
    return Decision(
        decide=decide, command_id=uuid4(), actor="test", correlation_id=uuid4(), **streams
    )
