"""Histories as the domain makes them: metered tasks, and all else that accounts' ledgers know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import psycopg
from msgspec import Raw

from adapters.mapper import EventMapper
from domain import ledger, metering, task
from domain.errors import DomainError
from domain.event import Event, Metadata
from domain.failure import FailureType, failure
from domain.ledger import CreditLedger, GrantCredits, OpenAccount
from domain.task import (
    CancelTask,
    CompleteTask,
    ConfirmCancel,
    ExpireTask,
    FailTask,
    ReachStage,
    ReleaseTask,
    RetryTask,
    RunCommand,
    StallTask,
    StartTask,
    SubmitTask,
    Task,
)
from tests.ledger_history import PLAN, LedgerHistory

BEGIN = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
TYPES = ("media_extraction", "generate_thumbnail", "image_generation")
FAILURES: tuple[FailureType, ...] = ("model_error", "timeout", "network")


class History:
    """Grows by random steps; `events` in the log's order. The same seed, the same history."""

    def __init__(self, seed: int, accounts: int = 3) -> None:
        self.random = Random(seed)  # noqa: S311 - repeatable, not secret
        self.events: list[Event] = []
        self.tasks: dict[UUID, Task] = {}
        self.books: dict[UUID, LedgerHistory] = {}
        self.open: list[UUID] = []
        self.at = BEGIN
        for _ in range(accounts):
            self._open_account()
        self.accounts = list(self.books)

    @property
    def ledgers(self) -> dict[UUID, CreditLedger]:
        states = {account_id: one.state for account_id, one in self.books.items()}
        return {account_id: state for account_id, state in states.items() if state is not None}

    def grow(self, events: int) -> History:
        """Until there are at least so many events."""
        while len(self.events) < events:
            self.step()
        return self

    def step(self) -> None:
        """One command, if the domain accepts it."""
        self.at += timedelta(microseconds=self.random.randrange(1, 90_000_000))
        with suppress(DomainError):
            acts = self._submit, self._proceed, self._grant, self._do_on_a_ledger
            self.random.choices(acts, (4, 12, 1, 3))[0]()

    def _open_account(self) -> None:
        account_id = self._id()
        command = OpenAccount(account_id=account_id, plan=PLAN.name)
        self.books[account_id] = LedgerHistory(self.random, account_id, among_tasks=True)
        self._take(ledger.decide(None, command, self._meta()))
        self._grant_to(account_id, 1_000)

    def _grant(self) -> None:
        self._grant_to(self.random.choice(self.accounts), self.random.randrange(1, 500))

    def _grant_to(self, account_id: UUID, amount: int) -> None:
        grant = GrantCredits(
            grant_id=self._id(), kind="paid", amount=amount, source_ref=str(self._id()), reason="ok"
        )
        self._take(ledger.decide(self.ledgers[account_id], grant, self._meta()))

    def _do_on_a_ledger(self) -> None:
        """Anything that operators or time do; maybe hours later."""
        books = self.books[self.random.choice(self.accounts)]
        books.at = self.at
        command = books.command(len(self.events))
        self.at = books.at
        self._take(ledger.decide(books.state, command, self._meta()))

    def _submit(self) -> None:
        account_id = self.random.choice(self.accounts)
        delay = self.random.choice((None, None, timedelta(seconds=self.random.randrange(900))))
        command = SubmitTask(
            task_id=self._id(),
            account_id=account_id,
            type=self.random.choice(TYPES),
            input=Raw(b'{"url":"https://example.com/v.mp4"}'),
            hold_id=self._id(),
            credits=self.random.randrange(0, 20),
            run_seconds_max=self.random.choice((300, 3_600, 86_400)),
            project=self.random.choice((None, "alpha", "beta")),
            not_before=None if delay is None else self.at + delay,
        )
        self._take(metering.submit(None, self.ledgers[account_id], command, PLAN, self._meta()))
        self.open.append(command.task_id)

    def _proceed(self) -> None:
        if not self.open:
            return
        state = self.tasks[self.random.choice(self.open[-40:])]
        account = self.ledgers[state.account_id]
        if state.status == "failed":
            command = RetryTask(hold_id=self._id(), credits=self.random.randrange(0, 20))
            self._take(metering.retry(state, account, command, PLAN, self._meta()))
        else:
            self._take(metering.proceed(state, account, self._command(state), self._meta()))
        if self.tasks[state.id].status in {"completed", "cancelled"}:
            self.open.remove(state.id)

    def _command(self, state: Task) -> RunCommand:
        token, random = state.token, self.random
        if state.claimable:
            waiting = (StartTask(worker="w1"), CancelTask(reason="no"), ExpireTask())
            return random.choices(waiting, (9, 1, 1))[0]
        if state.status == "cancelling":
            stopping = (ConfirmCancel(token=token), StallTask(token=token), ExpireTask())
            return random.choice(stopping)
        charge = random.choice((None, random.randrange(state.credits_held + 1)))
        commands: Sequence[RunCommand] = (
            CompleteTask(token=token, result=Raw(b'{"n":1}'), charge=charge),
            ReachStage(token=token, stage=random.choice("abc"), percent=random.randrange(100)),
            FailTask(token=token, failure=failure(random.choice(FAILURES)), chance=random.random()),
            ReleaseTask(token=token, reason="stopping"),
            StallTask(token=token),
            CancelTask(reason="enough"),
            ExpireTask(),
        )
        return random.choices(commands, (8, 4, 3, 1, 1, 1, 1))[0]

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events.append(event)
            stream = event.originator_id
            if event.TOPIC.startswith("task."):
                self.tasks[stream] = task.evolve(self.tasks.get(stream), event)
            else:
                self.books[stream].take(event)

    def _id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def _meta(self) -> Metadata:
        return Metadata(
            at=self.at, actor="tester", correlation_id=self._id(), causation_id=self._id()
        )


def write_log(dsn: str, events: Iterable[Event], encode: Callable[[Any], tuple[str, bytes]]) -> int:
    """Put events into the log as they are, without read models; the position of the last one."""
    with psycopg.connect(dsn) as connection:
        with connection.cursor().copy(
            "COPY tallystick_events (originator_id, originator_version, topic, state) FROM STDIN"
        ) as copy:
            for event in events:
                topic, state = encode(event)
                copy.write_row((event.originator_id, event.originator_version, topic, state))
        row = connection.execute("SELECT max(notification_id) FROM tallystick_events").fetchone()
    assert row is not None
    return int(row[0])


def store(dsn: str, events: Iterable[Event]) -> int:
    """`write_log` with the mapper that the service uses."""
    return write_log(dsn, events, EventMapper().encode)
