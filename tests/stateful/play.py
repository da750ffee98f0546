"""Any history of tasks and credits, played on the domain and on the plain model side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
)
from msgspec import Raw

from adapters.mapper import EventMapper
from domain import balance, ledger, metering, task
from domain.aggregate import AGGREGATE_OF
from domain.balance import Balance
from domain.event import Event, Metadata
from domain.failure import FailureType, failure
from domain.group import Group
from domain.ledger import CreditLedger, GrantCredits, LedgerCommand, OpenAccount
from domain.ledger_events import GrantKind
from domain.plan import Plan
from domain.retry import RetryPolicy
from domain.task import RetryTask, ReuseResult, RunCommand, SubmitTask, Task
from tests.stateful.outcomes import tried
from tests.stateful.plain_books import PlainTask, submission_refused
from tests.stateful.plain_credits import PlainClock, PlainPlan
from tests.stateful.plain_ledger import PlainLedger

BEGIN = datetime(2025, 2, 27, 22, tzinfo=UTC)
PLANS = {
    "narrow": Plan(name="narrow", active_tasks_max=2, daily_tasks_max=3),
    "wide": Plan(name="wide", active_tasks_max=4, daily_tasks_max=6, priority_raise=1),
}
PLAIN_PLANS = {"narrow": PlainPlan(2, 3), "wide": PlainPlan(4, 6, priority_raise=1)}
ACCOUNTS = [UUID(int=1), UUID(int=2)]
LIVE = ("queued", "running", "backoff", "cancelling")
A_RESULT = ReuseResult(origin_id=UUID(int=3), result=Raw(b'{"ok":1}'))
POLICY = RetryPolicy(first_seconds=10, factor=2, seconds_max=30, jitter=0.5)

account_numbers = st.integers(0, len(ACCOUNTS) - 1)
prices = st.integers(0, 3) | st.integers(0, 12)
stale = st.sampled_from([0, 0, 0, 1])
"""How far behind the newest the token is that a worker shows."""
picks = st.tuples(st.sampled_from([True, True, True, False]), st.integers(0, 5))
"""Which task, the newest first: mostly one in a state that the command fits."""
priorities = st.sampled_from([2, 0, 1, 3, 2, 1, -1, 4])
starts = st.none() | st.sampled_from(
    [timedelta(hours=-1), timedelta(hours=1), timedelta(days=366), timedelta(days=367)]
)
"""When a task may first start, from its submission on."""
limits = st.tuples(
    st.integers(0, 2),
    st.integers(1, 4),
    st.sampled_from([60, 86_400]),
    st.sampled_from([25, 300, 86_400]),
)
"""Stalls, attempts, seconds in the queue and in the run."""
reasons = st.sampled_from(["network", "network", "param_error"])
chances = st.sampled_from([0.0, 0.5])
asked = st.sampled_from([None, None, None, 20.0, 90.0, 7_200.0])
moments = st.sampled_from([None, -1, 0, 1])
"""When it is looked whether a run is late: now, or so many microseconds after its deadline."""
charges = st.none() | st.integers(-1, 13)
endings = st.lists(st.integers(0, 7), min_size=1, max_size=4)


Pick = tuple[bool, int]
State = Task | Group | CreditLedger


class Play(RuleBasedStateMachine):
    """What can happen. The log is what came back from the mapper's bytes."""

    PLANS: ClassVar[Mapping[str, Plan]] = PLANS
    PLAIN_PLANS: ClassVar[Mapping[str, PlainPlan]] = PLAIN_PLANS
    FIRST_PLANS: ClassVar[tuple[str, str]] = ("narrow", "wide")

    def __init__(self) -> None:
        super().__init__()
        self.clock = PlainClock(BEGIN)
        self.numbers = 100
        self.mapper = EventMapper()
        self.log: dict[UUID, list[Event]] = {}
        self.history: dict[UUID, list[State]] = {}
        self.balances: dict[UUID, Balance] = {}
        self.plain_tasks: dict[UUID, PlainTask] = {}
        self.plain_accounts: dict[UUID, PlainLedger] = {}
        self.touched: set[UUID] = set()
        self.decided_at: dict[UUID, datetime] = {}
        """When each stream was last written to."""

    @property
    def now(self) -> datetime:
        return self.clock.now

    @now.setter
    def now(self, at: datetime) -> None:
        self.clock.now = at

    def new_id(self) -> UUID:
        self.numbers += 1
        return UUID(int=self.numbers)

    def metadata(self) -> Metadata:
        return Metadata(
            at=self.now, actor="anyone", correlation_id=self.new_id(), causation_id=self.new_id()
        )

    def task(self, task_id: UUID) -> Task:
        state = self.history[task_id][-1]
        assert isinstance(state, Task)
        return state

    def group(self, group_id: UUID) -> Group:
        state = self.history[group_id][-1]
        assert isinstance(state, Group)
        return state

    def ledger(self, account_id: UUID) -> CreditLedger:
        state = self.history[account_id][-1]
        assert isinstance(state, CreditLedger)
        return state

    def decide_on(self, account_id: UUID, command: LedgerCommand) -> Sequence[Event]:
        plan = self.plan_of(account_id)
        if isinstance(command, ledger.ChangePlan):
            plan = self.PLANS[command.plan]
        return ledger.decide(self.ledger(account_id), command, self.metadata(), plan)

    def plan_of(self, account_id: UUID) -> Plan:
        return self.PLANS[self.ledger(account_id).balance.plan]

    def check(
        self, expected: str, decide: Callable[[], Sequence[Event]], *, again: bool = True
    ) -> None:
        """Carry out a command that should come to `expected`; and `again`, which writes nothing."""
        events, outcome = tried(decide)
        assert outcome == expected
        for event in events:
            self.append(event)
        if events and again:
            repeated, outcome = tried(decide)
            assert not repeated, f"the same command twice wrote twice, then {outcome}"

    def append(self, decided: Event) -> None:
        event = self.mapper.decode(*self.mapper.encode(decided))
        stream = event.originator_id
        assert event == decided
        assert event.originator_version == len(self.log.setdefault(stream, [])) + 1
        self.log[stream].append(event)
        states = self.history.setdefault(stream, [])
        states.append(evolved(states[-1] if states else None, event))
        if stream in ACCOUNTS:
            self.balances[stream] = balance.evolve(self.balances.get(stream), event)
        self.touched.add(stream)
        self.decided_at[stream] = self.now

    @initialize(amounts=st.lists(st.integers(1, 40), min_size=2, max_size=2))
    def open_accounts(self, amounts: list[int]) -> None:
        for number, (account_id, plan) in enumerate(zip(ACCOUNTS, self.FIRST_PLANS, strict=True)):
            opening = OpenAccount(account_id=account_id, plan=plan)
            self.append(*ledger.decide(None, opening, self.metadata()))
            self.plain_accounts[account_id] = PlainLedger(self.clock, self.PLAIN_PLANS[plan])
            self.grant(number, "paid", amounts[number], 100, "first payment")
            self.submit(number, 0, 2, None, (1, 3, 86_400, 86_400))

    def chosen(self, pick: Pick, statuses: Sequence[str] = LIVE) -> UUID:
        newest_first = list(self.plain_tasks)[::-1]
        fitting, index = pick
        ids = [i for i in newest_first if fitting and self.plain_tasks[i].status in statuses]
        return (ids or newest_first)[index % len(ids or newest_first)]

    # What can happen

    @rule(
        number=account_numbers,
        kind=st.sampled_from(["trial", "promotional", "adjustment", "paid"]),
        amount=st.integers(0, 30),
        priority=st.sampled_from([50, 100]),
        ref=st.sampled_from(["a", "b", "c", "d", "e", "f"]),
    )
    def grant(self, number: int, kind: GrantKind, amount: int, priority: int, ref: str) -> None:
        account_id = ACCOUNTS[number]
        command = GrantCredits(
            grant_id=self.new_id(), kind=kind, amount=amount, source_ref=ref, priority=priority
        )
        plain = self.plain_accounts[account_id]
        expected = plain.grant(command.grant_id, kind, amount, priority, ref)
        self.check(
            expected,
            lambda: self.decide_on(account_id, command),
        )

    @rule(number=account_numbers, price=prices, priority=priorities, start=starts, bounds=limits)
    def submit(
        self,
        number: int,
        price: int,
        priority: int,
        start: timedelta | None,
        bounds: tuple[int, int, int, int],
    ) -> None:
        account_id = ACCOUNTS[number]
        stalls_max, attempts_max, queue_seconds, run_seconds = bounds
        not_before = None if start is None else self.now + start
        command = SubmitTask(
            task_id=self.new_id(),
            account_id=account_id,
            type="media_extraction",
            input=Raw(b'{"n":1}'),
            hold_id=self.new_id(),
            credits=price,
            priority=priority,
            stalls_max=stalls_max,
            attempts_max=attempts_max,
            queue_seconds_max=queue_seconds,
            run_seconds_max=run_seconds,
            not_before=not_before,
        )
        self.submit_command(number, command)

    @rule(number=account_numbers, price=prices)
    def submit_what_is_there(self, number: int, price: int) -> None:
        """A submission that takes over a result: the task, its hold and both ends in one append."""
        command = SubmitTask(
            task_id=self.new_id(),
            account_id=ACCOUNTS[number],
            type="media_extraction",
            input=Raw(b'{"n":1}'),
            hold_id=self.new_id(),
            credits=price,
        )
        self.submit_command(number, command, reuse=A_RESULT)

    def submit_command(
        self, number: int, command: SubmitTask, reuse: ReuseResult | None = None
    ) -> None:
        account_id, plan = ACCOUNTS[number], self.plan_of(ACCOUNTS[number])
        not_before, price = command.not_before, command.credits
        plain = self.plain_accounts[account_id]
        expected = "invalid_input"
        if not submission_refused(command.priority, not_before, self.now):
            expected = plain.hold(command.hold_id, price, may_be_trial=True, owned=True)
        self.check(expected, lambda: self.decide_submission(command, plan, reuse))
        if expected == "ok":
            begin = max(self.now, not_before or self.now)
            self.plain_tasks[command.task_id] = PlainTask(
                account=plain,
                hold_id=command.hold_id,
                credits=len(plain.holds[command.hold_id].credits),
                stalls_max=command.stalls_max,
                attempts_max=command.attempts_max,
                queue_seconds=command.queue_seconds_max,
                run_seconds=command.run_seconds_max,
                priority=max(0, command.priority - plain.plan.priority_raise),
                not_before=not_before,
                deadline=begin + timedelta(seconds=command.queue_seconds_max),
            )
            if reuse is not None:
                assert self.plain_tasks[command.task_id].reuse(reuse.origin_id) == "ok"

    def decide_submission(
        self, command: SubmitTask, plan: Plan, reuse: ReuseResult | None
    ) -> Sequence[Event]:
        known = self.task(command.task_id) if command.task_id in self.history else None
        paying = self.ledger(command.account_id)
        return metering.submit(known, paying, command, plan, self.metadata(), reuse=reuse)

    def proceed(self, task_id: UUID, expected: str, command: RunCommand) -> None:
        def decide() -> Sequence[Event]:
            state = self.task(task_id)
            paying = self.ledger(state.account_id)
            of = None if state.group_id is None else self.group(state.group_id)
            plan = self.plan_of(state.account_id)
            return metering.proceed(state, paying, command, self.metadata(), of, plan)

        self.check(expected, decide)

    def token(self, task_id: UUID, behind: int) -> int:
        return self.task(task_id).token - behind

    @rule(pick=picks)
    def start(self, pick: Pick) -> None:
        task_id = self.chosen(pick)
        expected = self.plain_tasks[task_id].start(self.now)
        self.proceed(task_id, expected, task.StartTask(worker="w"))

    @rule(pick=picks, behind=stale, stage=st.sampled_from(["probe", "upload"]))
    def reach_stage(self, pick: Pick, behind: int, stage: str) -> None:
        task_id = self.chosen(pick)
        token = self.token(task_id, behind)
        expected = self.plain_tasks[task_id].reach_stage(token, stage)
        self.proceed(task_id, expected, task.ReachStage(token=token, stage=stage, percent=40))

    @rule(pick=picks, behind=stale)
    def hand_back(self, pick: Pick, behind: int) -> None:
        task_id = self.chosen(pick)
        token = self.token(task_id, behind)
        expected = self.plain_tasks[task_id].release(token)
        self.proceed(task_id, expected, task.ReleaseTask(token=token))

    @rule(pick=picks, behind=stale)
    def stall(self, pick: Pick, behind: int) -> None:
        task_id = self.chosen(pick)
        token = self.token(task_id, behind)
        expected = self.plain_tasks[task_id].stall(token)
        self.proceed(task_id, expected, task.StallTask(token=token))

    @rule(pick=picks, behind=stale, charge=charges)
    def complete(self, pick: Pick, behind: int, charge: int | None) -> None:
        task_id = self.chosen(pick)
        token = self.token(task_id, behind)
        expected = self.plain_tasks[task_id].complete(token, charge)
        command = task.CompleteTask(token=token, result=Raw(b'{"ok":1}'), charge=charge)
        self.proceed(task_id, expected, command)

    @rule(pick=picks)
    def reuse(self, pick: Pick) -> None:
        task_id = self.chosen(pick, ["queued"])
        expected = self.plain_tasks[task_id].reuse(A_RESULT.origin_id)
        self.proceed(task_id, expected, A_RESULT)

    @rule(pick=picks, behind=stale, reason=reasons, chance=chances, asked=asked)
    def fail(
        self, pick: Pick, behind: int, reason: FailureType, chance: float, asked: float | None
    ) -> None:
        task_id = self.chosen(pick)
        token = self.token(task_id, behind)
        plain = self.plain_tasks[task_id]
        expected = plain.fail(token, reason, self.now, chance=chance, asked=asked)
        command = task.FailTask(
            token=token,
            failure=failure(reason),
            policy=POLICY,
            chance=chance,
            retry_after_seconds=asked,
        )
        self.proceed(task_id, expected, command)

    @rule(pick=picks, moment=moments)
    def expire(self, pick: Pick, moment: int | None) -> None:
        task_id = self.chosen(pick)
        plain = self.plain_tasks[task_id]
        if moment is not None:
            self.now = max(self.now, plain.deadline + timedelta(microseconds=moment))
        self.proceed(task_id, plain.expire(self.now), task.ExpireTask())

    @rule(pick=picks)
    def cancel(self, pick: Pick) -> None:
        task_id = self.chosen(pick)
        self.proceed(task_id, self.plain_tasks[task_id].cancel(), task.CancelTask())

    @rule(pick=picks, behind=stale)
    def confirm_cancel(self, pick: Pick, behind: int) -> None:
        task_id = self.chosen(pick)
        token = self.token(task_id, behind)
        expected = self.plain_tasks[task_id].confirm_cancel(token)
        self.proceed(task_id, expected, task.ConfirmCancel(token=token))

    @rule(pick=picks, price=prices)
    def retry(self, pick: Pick, price: int) -> None:
        task_id = self.chosen(pick, ["failed"])
        command = RetryTask(hold_id=self.new_id(), credits=price)
        expected = self.plain_tasks[task_id].retry(command.hold_id, price, self.now)
        self.check(expected, lambda: self.decide_retry(task_id, command))

    @rule(index=st.integers(0, 5), endings=endings)
    def take_its_course(self, index: int, endings: list[int]) -> None:
        """What usually follows next for a live task, some times over: histories get somewhere."""
        for ending in endings:
            self.take_usual_step((True, index), ending)

    @rule(index=st.integers(0, 5), times=st.integers(2, 4))
    def fail_again_and_again(self, index: int, times: int) -> None:
        """One task, whose every attempt is started and fails."""
        task_id = self.chosen((True, index), ("queued", "backoff"))
        place = list(self.plain_tasks)[::-1].index(task_id)
        for _ in range(times):
            self.start((False, place))
            self.fail((False, place), 0, "network", 0.0, None)

    def take_usual_step(self, pick: Pick, ending: int) -> None:
        plain = self.plain_tasks[self.chosen(pick, (*LIVE, "failed"))]
        if plain.status in {"queued", "backoff"}:
            self.start(pick)
        elif plain.status == "running":
            (
                lambda: self.complete(pick, 0, None),
                lambda: self.complete(pick, 0, plain.credits // 2),
                lambda: self.fail(pick, 0, "network", 0.0, None),
                lambda: self.stall(pick, 0),
                lambda: self.hand_back(pick, 0),
                lambda: self.cancel(pick),
                lambda: self.fail(pick, 0, "param_error", 0.0, None),
                lambda: self.expire(pick, 0),
            )[ending]()
        elif plain.status == "cancelling":
            self.confirm_cancel(pick, 0)
        else:
            self.retry(pick, plain.run)

    def decide_retry(self, task_id: UUID, command: RetryTask) -> Sequence[Event]:
        state = self.task(task_id)
        plan = self.plan_of(state.account_id)
        return metering.retry(state, self.ledger(state.account_id), command, plan, self.metadata())

    @rule(hours=st.integers(0, 14))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(seconds=st.sampled_from([5, 20, 60]))
    def a_moment_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(number=account_numbers, sides=st.sampled_from([(-1,), (1,), (-1, 1), (1, -1)]))
    def two_processes_disagree_about_midnight(self, number: int, sides: tuple[int, ...]) -> None:
        """The clock goes to a minute before or after the nearest midnight, forward or back."""
        midnight = (self.now + timedelta(hours=12)).replace(hour=0, minute=0)
        for side in sides:
            self.now = midnight + timedelta(minutes=side)
            self.submit(number, 0, 2, None, (1, 3, 86_400, 86_400))

    @rule(number=account_numbers, share=st.floats(0, 1))
    def restart_from_a_snapshot(self, number: int, share: float) -> None:
        """I9: any snapshot and the tail after it is the state, to go on from."""
        account_id = ACCOUNTS[number]
        states = self.history[account_id]
        version = 1 + int(share * (len(states) - 1))
        old = states[version - 1]
        assert isinstance(old, CreditLedger)
        snapshot = ledger.snapshot(old, self.metadata())
        restored = ledger.evolve(None, self.mapper.decode(*self.mapper.encode(snapshot)))
        assert restored == old
        for event in self.log[account_id][version:]:
            restored = ledger.evolve(restored, event)
        assert restored == states[-1]
        states[-1] = restored


def evolved(state: State | None, event: Event) -> State:
    after: State = AGGREGATE_OF[type(event)].evolve(state, event)
    return after
