"""Any history of tasks and credits, played on the domain and on the plain model side by side.

After each step every invariant that concerns tasks and the ledger is checked (I1 to I5, I9, and
the limits) against the log, which is what came back from the mapper's bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from msgspec import Raw

from adapters.mapper import EventMapper
from domain import balance, ledger, metering, task
from domain.balance import Balance
from domain.errors import DomainError, LimitReached
from domain.event import Event, Metadata
from domain.failure import failure
from domain.ledger import CreditLedger, GrantCredits, OpenAccount
from domain.ledger_events import CreditsCaptured, CreditsHeld, CreditsReleased, GrantKind
from domain.plan import Plan
from domain.task import RetryTask, RunCommand, SubmitTask, Task
from domain.task_events import TaskCancelled, TaskCompleted, TaskFailed, TaskRetried
from tests.stateful.plain_books import PlainAccount, PlainTask

BEGIN = datetime(2025, 2, 27, 22, tzinfo=UTC)
PLANS = [
    Plan(name="narrow", active_tasks_max=2, daily_tasks_max=3),
    Plan(name="wide", active_tasks_max=4, daily_tasks_max=6),
]
ACCOUNTS = [UUID(int=1), UUID(int=2)]
LIVE = ("queued", "running", "cancelling")
ENDINGS = (TaskCompleted, TaskFailed, TaskCancelled)
SETTLEMENTS = (CreditsCaptured, CreditsReleased)

account_numbers = st.integers(0, len(ACCOUNTS) - 1)
prices = st.integers(0, 3) | st.integers(0, 12)
stale = st.sampled_from([0, 0, 0, 1])
"""How far behind the newest the token is that a worker shows."""
picks = st.tuples(st.sampled_from([True, True, True, False]), st.integers(0, 5))
"""Which task, the newest first: mostly one in a state that the command fits."""
charges = st.none() | st.integers(-1, 13)
endings = st.lists(st.integers(0, 5), min_size=1, max_size=4)


Pick = tuple[bool, int]


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN
        self.numbers = 100
        self.mapper = EventMapper()
        self.log: dict[UUID, list[Event]] = {}
        self.history: dict[UUID, list[Task | CreditLedger]] = {}
        self.balances: dict[UUID, Balance] = {}
        self.plain_tasks: dict[UUID, PlainTask] = {}
        self.plain_accounts: dict[UUID, PlainAccount] = {}
        self.touched: set[UUID] = set()

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

    def ledger(self, account_id: UUID) -> CreditLedger:
        state = self.history[account_id][-1]
        assert isinstance(state, CreditLedger)
        return state

    def check(self, expected: str, decide: Callable[[], Sequence[Event]]) -> None:
        """Carry out a command that should come to `expected`; and again, which writes nothing."""
        events, outcome = _tried(decide)
        assert outcome == expected
        for event in events:
            self.append(event)
        if events:
            again, outcome = _tried(decide)
            assert not again, f"the same command twice wrote twice, then {outcome}"

    def append(self, decided: Event) -> None:
        event = self.mapper.decode(*self.mapper.encode(decided))
        stream = event.originator_id
        assert event == decided
        assert event.originator_version == len(self.log.setdefault(stream, [])) + 1
        self.log[stream].append(event)
        states = self.history.setdefault(stream, [])
        states.append(_evolve(states[-1] if states else None, event, stream))
        if stream in ACCOUNTS:
            self.balances[stream] = balance.evolve(self.balances.get(stream), event)
        self.touched.add(stream)

    @initialize(amounts=st.lists(st.integers(1, 40), min_size=2, max_size=2))
    def open_accounts(self, amounts: list[int]) -> None:
        for number, (account_id, plan) in enumerate(zip(ACCOUNTS, PLANS, strict=True)):
            opening = OpenAccount(account_id=account_id, plan=plan.name)
            self.append(*ledger.decide(None, opening, self.metadata()))
            self.plain_accounts[account_id] = PlainAccount(
                plan.active_tasks_max, plan.daily_tasks_max
            )
            self.grant(number, "paid", amounts[number], 100, "first payment")
            self.submit(number, 0, 1)

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
            lambda: ledger.decide(self.ledger(account_id), command, self.metadata()),
        )

    @rule(number=account_numbers, price=prices, stalls_max=st.integers(0, 2))
    def submit(self, number: int, price: int, stalls_max: int) -> None:
        account_id = ACCOUNTS[number]
        command = SubmitTask(
            task_id=self.new_id(),
            account_id=account_id,
            type="media_extraction",
            input=Raw(b'{"n":1}'),
            hold_id=self.new_id(),
            credits=price,
            stalls_max=stalls_max,
        )
        plain = self.plain_accounts[account_id]
        expected = plain.hold(command.hold_id, price, self.now)
        self.check(expected, lambda: self.decide_submission(command, PLANS[number]))
        if expected == "ok":
            self.plain_tasks[command.task_id] = PlainTask(plain, command.hold_id, price, stalls_max)

    def decide_submission(self, command: SubmitTask, plan: Plan) -> Sequence[Event]:
        known = self.task(command.task_id) if command.task_id in self.history else None
        paying = self.ledger(command.account_id)
        return metering.submit(known, paying, command, plan, self.metadata())

    def proceed(self, task_id: UUID, expected: str, command: RunCommand) -> None:
        def decide() -> Sequence[Event]:
            state = self.task(task_id)
            paying = self.ledger(state.account_id)
            return metering.proceed(state, paying, command, self.metadata())

        self.check(expected, decide)

    def token(self, task_id: UUID, behind: int) -> int:
        return self.task(task_id).token - behind

    @rule(pick=picks)
    def start(self, pick: Pick) -> None:
        task_id = self.chosen(pick)
        self.proceed(task_id, self.plain_tasks[task_id].start(), task.StartTask(worker="w"))

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

    @rule(pick=picks, behind=stale)
    def fail(self, pick: Pick, behind: int) -> None:
        task_id = self.chosen(pick)
        token = self.token(task_id, behind)
        expected = self.plain_tasks[task_id].fail(token)
        self.proceed(task_id, expected, task.FailTask(token=token, failure=failure("network")))

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

    def take_usual_step(self, pick: Pick, ending: int) -> None:
        plain = self.plain_tasks[self.chosen(pick, (*LIVE, "failed"))]
        if plain.status == "queued":
            self.start(pick)
        elif plain.status == "running":
            (
                lambda: self.complete(pick, 0, None),
                lambda: self.complete(pick, 0, plain.credits // 2),
                lambda: self.fail(pick, 0),
                lambda: self.stall(pick, 0),
                lambda: self.hand_back(pick, 0),
                lambda: self.cancel(pick),
            )[ending]()
        elif plain.status == "cancelling":
            self.confirm_cancel(pick, 0)
        else:
            self.retry(pick, plain.run)

    def decide_retry(self, task_id: UUID, command: RetryTask) -> Sequence[Event]:
        state = self.task(task_id)
        plan = PLANS[ACCOUNTS.index(state.account_id)]
        return metering.retry(state, self.ledger(state.account_id), command, plan, self.metadata())

    @rule(hours=st.integers(0, 14))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(minutes=st.sampled_from([-1, 1]))
    def two_processes_disagree_about_midnight(self, minutes: int) -> None:
        """The clock goes to just before or just after the nearest midnight, forward or back."""
        midnight = (self.now + timedelta(hours=12)).replace(hour=0, minute=0)
        self.now = midnight + timedelta(minutes=minutes)

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

    # What must hold

    @invariant()
    def tasks_are_as_the_model_has_them(self) -> None:
        for task_id, plain in self.plain_tasks.items():
            state = self.task(task_id)
            assert (state.status, state.token, state.stalls, state.run, state.attempt) == (
                plain.status, plain.token, plain.stalls, plain.run, plain.attempt,
            )  # fmt: skip
            assert (state.hold_id, state.credits_held) == (plain.hold_id, plain.credits)
            assert state.credits_charged == plain.charged
            assert state.credits_released == plain.released
            assert (state.worker is not None) == (state.status in {"running", "cancelling"})
            assert (state.ended_at is not None) == state.ended
            assert (state.result is not None) == (state.status == "completed")
            assert (state.failure is not None) == (state.status == "failed")

    @invariant()
    def accounts_are_as_the_model_has_them(self) -> None:
        for account_id, plain in self.plain_accounts.items():
            state = self.ledger(account_id)
            live = [g for g in plain.in_burn_order() if g.free or g.held]
            assert [(g.id, g.remaining, g.held) for g in state.grants] == [
                (g.id, g.free, g.held) for g in live
            ]
            assert {h.id: h.amount for h in state.holds.values()} == {
                hold_id: len(taken) for hold_id, taken in plain.holds.items()
            }
            assert (state.day, state.day_count) == (plain.day, plain.day_holds)
            b = state.balance
            assert (b.granted, b.available, b.held, b.captured, b.active) == (
                plain.granted, plain.available, plain.held, plain.captured, len(plain.holds),
            )  # fmt: skip

    @invariant()
    def books_balance(self) -> None:
        """I1, I2: nothing appears or vanishes, and nothing is spent twice."""
        states = [self.ledger(account_id) for account_id in self.plain_accounts]
        for state in states:
            b = state.balance
            assert b.granted == b.available + b.held + b.captured
            assert b.available >= 0
            assert all(grant.remaining >= 0 and grant.held >= 0 for grant in state.grants)
            assert b.available == sum(grant.remaining for grant in state.grants)
            assert b.held == sum(hold.amount for hold in state.holds.values())
        charged = sum(self.task(task_id).credits_charged for task_id in self.plain_tasks)
        assert charged == sum(state.balance.captured for state in states)

    @invariant()
    def a_hold_ends_once(self) -> None:
        """I3, from the log alone."""
        for account_id in self.touched & set(self.plain_accounts):
            held = {e.hold_id: e for e in self.log[account_id] if isinstance(e, CreditsHeld)}
            holds = [e.hold_id for e in self.log[account_id] if isinstance(e, CreditsHeld)]
            assert len(holds) == len(held)
            ends = [e for e in self.log[account_id] if isinstance(e, SETTLEMENTS)]
            assert all(count == 1 for count in Counter(e.hold_id for e in ends).values())
            for end in ends:
                back = end.released if isinstance(end, CreditsCaptured) else 0
                assert end.amount + back == held[end.hold_id].amount
                assert _spread(end) == _spread(held[end.hold_id])
            open_holds = set(holds) - {end.hold_id for end in ends}
            assert open_holds == set(self.ledger(account_id).holds)

    @invariant()
    def a_run_ends_once_and_its_hold_with_it(self) -> None:
        """I4, from the log alone."""
        for task_id in self.touched & set(self.plain_tasks):
            state = self.task(task_id)
            runs: list[int] = [0]
            for event in self.log[task_id]:
                if isinstance(event, TaskRetried):
                    runs.append(0)
                runs[-1] += isinstance(event, ENDINGS)
            assert runs == [1] * (state.run - 1) + [int(state.ended)]
            assert (state.hold_id in self.ledger(state.account_id).holds) != state.ended

    @invariant()
    def a_live_hold_has_a_live_task(self) -> None:
        """I5, both ways, over all accounts."""
        live = {
            (state.account_id, state.hold_id, state.id, state.credits_held)
            for state in map(self.task, self.plain_tasks)
            if not state.ended
        }
        holds = {
            (account_id, hold.id, hold.task_id, hold.amount)
            for account_id in self.plain_accounts
            for hold in self.ledger(account_id).holds.values()
        }
        assert live == holds

    @invariant()
    def limits_hold(self) -> None:
        """Open holds never pass the plan's number; nor do holds made in one day of a true clock."""
        for account_id, plan in zip(ACCOUNTS, PLANS, strict=True):
            if account_id not in self.plain_accounts:
                continue
            state = self.ledger(account_id)
            assert len(state.holds) <= plan.active_tasks_max
            latest = datetime.min.replace(tzinfo=UTC)
            days: Counter[object] = Counter()
            for event in self.log[account_id]:
                if isinstance(event, CreditsHeld):
                    latest = max(latest, event.meta.at)
                    days[latest.date()] += 1
            assert all(count <= plan.daily_tasks_max for count in days.values())

    @invariant()
    def folding_anew_gives_every_version_again(self) -> None:
        """I9: fold(k) is the state as of k, for every k, and the read model is the fold."""
        for stream in self.touched:
            state = None
            for version, event in enumerate(self.log[stream]):
                state = _evolve(state, event, stream)
                assert state == self.history[stream][version]
                assert state.version == version + 1
            if isinstance(state, CreditLedger):
                assert state.balance == self.balances[stream]
        self.touched.clear()


def _tried(decide: Callable[[], Sequence[Event]]) -> tuple[Sequence[Event], str]:
    """Events, and `ok`, `quiet` or the refusal's code (with the limit's name)."""
    try:
        events = decide()
    except LimitReached as refusal:
        return (), f"{refusal.code} {refusal.limit}"
    except DomainError as refusal:
        return (), refusal.code
    return events, "ok" if events else "quiet"


def _evolve(state: Task | CreditLedger | None, event: Event, stream: UUID) -> Task | CreditLedger:
    if stream in ACCOUNTS:
        assert state is None or isinstance(state, CreditLedger)
        return ledger.evolve(state, event)
    assert state is None or isinstance(state, Task)
    return task.evolve(state, event)


def _spread(event: CreditsHeld | CreditsCaptured | CreditsReleased) -> Counter[UUID]:
    """Credits by grant, of all the slices of an event."""
    spread: Counter[UUID] = Counter()
    back = event.released_slices if isinstance(event, CreditsCaptured) else ()
    for piece in (*event.slices, *back):
        spread[piece.grant_id] += piece.amount
    return spread
