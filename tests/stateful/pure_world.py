"""The domain alone as the world of two workers: no database, so many more courses can be tried."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from msgspec import Raw

from domain import ledger, metering, task
from domain.errors import DomainError
from domain.event import Event, Metadata
from domain.failure import failure
from domain.ledger import CreditLedger, GrantCredits, OpenAccount
from domain.ledger_events import LedgerEvent
from domain.task import RetryTask, RunCommand, SubmitTask, Task
from domain.task_events import TaskAttemptFailed
from service.identifiers import new_id
from tests.plans import plan_named
from tests.stateful.two_workers import CREDITS, LATER, NOW, PRICE, Standing, Step

PLAN = plan_named("unlimited")
DAY_SECONDS = 86_400


class PureWorld:
    """A task, its account and a lease that a test lets lapse."""

    def __init__(self) -> None:
        self.account_id, self.task_id = new_id(), new_id()
        self.log: list[Event] = []
        self.task: Task | None = None
        self.ledger: CreditLedger | None = None
        self.lapsed = False
        self.due = True
        for command in (
            OpenAccount(account_id=self.account_id, plan=PLAN.name),
            GrantCredits(grant_id=new_id(), kind="paid", amount=CREDITS, source_ref="once"),
        ):
            self._take(ledger.decide(self.ledger, command, self._meta()))
        self._take(metering.submit(None, self.ledger, self._submission(), PLAN, self._meta()))

    def _submission(self) -> SubmitTask:
        return SubmitTask(
            task_id=self.task_id,
            account_id=self.account_id,
            type="any",
            input=Raw(b"{}"),
            hold_id=new_id(),
            credits=PRICE,
            queue_seconds_max=DAY_SECONDS,
            run_seconds_max=DAY_SECONDS,
        )

    def _meta(self, ahead: timedelta = timedelta(0)) -> Metadata:
        command_id: UUID = new_id()
        return Metadata(
            at=NOW + ahead, actor="anyone", correlation_id=command_id, causation_id=command_id
        )

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.log.append(event)
            if isinstance(event, LedgerEvent):
                self.ledger = ledger.evolve(self.ledger, event)
            else:
                self.task = task.evolve(self.task, event)

    @property
    def _state(self) -> Task:
        assert self.task is not None
        return self.task

    async def do(self, step: Step, token: int) -> str:
        match step.verb:
            case "lapse":
                self.lapsed = True
                return "ok"
            case "come_due":
                self.due = True
                return "ok"
            case "heartbeat" | "progress":
                return self._renew(token)
            case _:
                return self._decided(step.verb, token)

    def _decided(self, verb: str, token: int) -> str:
        match verb:
            case "claim":
                return self._claim()
            case "retry":
                return self._retry()
            case "rescue":
                leased = self._state.status in {"running", "cancelling"}
                stall = task.StallTask(token=self._state.token)
                return self._proceed(stall) if leased and self.lapsed else "quiet"
            case "expire":
                return self._proceed(task.ExpireTask(), LATER)
            case _:
                return self._proceed(_command(verb, token))

    def _renew(self, token: int) -> str:
        if token != self._state.token or self._state.status not in {"running", "cancelling"}:
            return "lost"
        self.lapsed = False
        return "cancelling" if self._state.status == "cancelling" else "held"

    def _claim(self) -> str:
        ready = self._state.status == "queued" or (self._state.status == "backoff" and self.due)
        if not ready or self._proceed(task.StartTask(worker="w")) != "ok":
            return "quiet"
        self.lapsed = False
        return f"token {self._state.token}"

    def _proceed(self, command: RunCommand, ahead: timedelta = timedelta(0)) -> str:
        try:
            events = metering.proceed(self.task, self.ledger, command, self._meta(ahead))
        except DomainError as refusal:
            return refusal.code
        self._take(events)
        self.due = self.due and not any(isinstance(e, TaskAttemptFailed) for e in events)
        return "ok" if events else "quiet"

    def _retry(self) -> str:
        command = RetryTask(hold_id=new_id(), credits=PRICE)
        try:
            self._take(metering.retry(self.task, self.ledger, command, PLAN, self._meta()))
        except DomainError as refusal:
            return refusal.code
        return "ok"

    async def standing(self) -> Standing:
        state = self._state
        assert self.ledger is not None
        balance = self.ledger.balance
        return Standing(
            *(state.status, state.token, state.stalls, state.failures, state.run, state.attempt),
            (state.credits_held, state.credits_charged, state.credits_released),
            (balance.available, balance.held, balance.captured),
        )

    async def facts(self) -> Sequence[str]:
        return [event.TOPIC for event in self.log]


def _command(verb: str, token: int) -> RunCommand:
    commands: dict[str, RunCommand] = {
        "stage": task.ReachStage(token=token, stage="half", percent=50),
        "complete": task.CompleteTask(token=token, result=Raw(b'{"ok":1}')),
        "fail": task.FailTask(token=token, failure=failure("param_error")),
        "fail_for_now": task.FailTask(token=token, failure=failure("network")),
        "release": task.ReleaseTask(token=token),
        "confirm": task.ConfirmCancel(token=token),
        "cancel": task.CancelTask(),
    }
    return commands[verb]
