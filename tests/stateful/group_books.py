"""Any history of groups among tasks, on the domain and on the plain model side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from msgspec import Raw

from domain import metering
from domain.event import Event
from domain.group import CancelGroup, MemberTask, RetryGroup, StartGroup
from domain.group_events import GroupEnd, GroupMemberEnded, GroupRetried, GroupStarted
from domain.ledger_events import CreditsCaptured, CreditsHeld, CreditsRefunded, CreditsReleased
from domain.pricing import Terms
from domain.task_events import TaskSubmitted
from tests.stateful.books import ENDINGS, SETTLEMENTS, Books
from tests.stateful.plain_books import PRIORITIES, PlainGroup, PlainMember, PlainTask
from tests.stateful.play import ACCOUNTS, account_numbers

QUEUE_SECONDS, RUN_SECONDS = 86_400, 300
TYPE = "image_generation"

key_numbers = st.sampled_from([0, 0, 1, None])
"""Two natural keys an account, and groups without one."""
member_prices = st.lists(st.integers(0, 4), min_size=1, max_size=4)
group_picks = st.integers(0, 3)


class GroupBooks(Books):
    def __init__(self) -> None:
        super().__init__()
        self.plain_groups: dict[UUID, PlainGroup] = {}

    def chosen_group(self, index: int) -> UUID | None:
        newest_first = list(self.plain_groups)[::-1]
        return newest_first[index % len(newest_first)] if newest_first else None

    @rule(
        number=account_numbers,
        key=key_numbers,
        prices=member_prices,
        parallel=st.integers(1, 3),
        priority=st.sampled_from([2, 2, 0, 4]),
    )
    def start_group(
        self, number: int, key: int | None, prices: list[int], parallel: int, priority: int
    ) -> None:
        group_id = self.new_id() if key is None else UUID(int=10 * (number + 1) + key)
        command = StartGroup(
            group_id=group_id,
            account_id=ACCOUNTS[number],
            kind="board",
            key=None if key is None else f"board {key}",
            hold_id=self.new_id(),
            parallel_max=parallel,
            priority=priority,
            members=tuple(self.member(price) for price in prices),
        )
        expected = self.plain_start(command)
        self.check(expected, lambda: self.decide_start(command))

    def member(self, price: int) -> MemberTask:
        return MemberTask(
            task_id=self.new_id(),
            type=TYPE,
            input=Raw(b'{"shot":1}'),
            credits=price,
            attempts_max=3,
            queue_seconds_max=QUEUE_SECONDS,
            run_seconds_max=RUN_SECONDS,
        )

    def plain_start(self, command: StartGroup) -> str:
        known = self.plain_groups.get(command.group_id)
        if command.priority not in PRIORITIES:
            return "invalid_input"
        if known is not None and known.status in {"processing", "completed", "partial"}:
            return "quiet"
        if known is not None and known.status == "cancelling":
            return "illegal_transition"
        account = self.plain_accounts[command.account_id]
        prices = [member.credits for member in command.members]
        slots = min(command.parallel_max, len(prices))
        answer = account.hold(
            command.hold_id, sum(prices), tasks=len(prices), slots=slots, owned=True
        )
        if answer == "ok":
            members = [PlainMember(id=m.task_id, frozen=m.credits) for m in command.members]
            self.plain_begin(command, known, members)
        return answer

    def plain_begin(
        self,
        command: StartGroup,
        known: PlainGroup | None,
        members: list[PlainMember],
    ) -> None:
        account = self.plain_accounts[command.account_id]
        priority = max(0, command.priority - account.plan.priority_raise)

        def submit(member: PlainMember) -> PlainTask:
            made = PlainTask(
                account=account,
                hold_id=group.hold_id,
                credits=member.frozen,
                stalls_max=3,
                attempts_max=3,
                queue_seconds=QUEUE_SECONDS,
                run_seconds=RUN_SECONDS,
                priority=priority,
                not_before=None,
                deadline=self.now + timedelta(seconds=QUEUE_SECONDS),
                group=group,
            )
            self.plain_tasks[member.id] = made
            return made

        if known is not None:
            group = known
            group.submit = submit
            group.start_again(command.hold_id, command.parallel_max, members)
            return
        group = PlainGroup(
            account=account,
            submit=submit,
            hold_id=command.hold_id,
            parallel=command.parallel_max,
            members=members,
        )
        self.plain_groups[command.group_id] = group
        group.fill()

    def decide_start(self, command: StartGroup) -> Sequence[Event]:
        known = self.group(command.group_id) if command.group_id in self.history else None
        paying = self.ledger(command.account_id)
        plan = self.plan_of(command.account_id)
        return metering.start_group(known, paying, command, plan, self.metadata())

    @rule(index=group_picks)
    def cancel_group(self, index: int) -> None:
        group_id = self.chosen_group(index)
        if group_id is not None:
            expected = self.plain_groups[group_id].cancel()
            self.check(expected, lambda: self.decide_cancel(group_id))

    def decide_cancel(self, group_id: UUID) -> Sequence[Event]:
        group = self.group(group_id)
        at_work = tuple(self.task(member.task_id) for member in group.active)
        paying = self.ledger(group.account_id)
        plan = self.plan_of(group.account_id)
        return metering.cancel_group(group, paying, at_work, CancelGroup(), self.metadata(), plan)

    @rule(index=group_picks, price=st.integers(0, 3))
    def retry_group(self, index: int, price: int) -> None:
        group_id = self.chosen_group(index)
        if group_id is None:
            return
        ids = [self.new_id() for _ in self.plain_groups[group_id].members]
        again = self.group(group_id).members
        terms = {member.task_id: Terms(credits=price) for member in again}
        command = RetryGroup(hold_id=self.new_id(), task_ids=tuple(ids), terms=terms)
        expected = self.plain_groups[group_id].retry(command.hold_id, ids, price)
        self.check(expected, lambda: self.decide_retry_group(group_id, command))

    def decide_retry_group(self, group_id: UUID, command: RetryGroup) -> Sequence[Event]:
        group = self.group(group_id)
        plan = self.plan_of(group.account_id)
        paying = self.ledger(group.account_id)
        return metering.retry_group(group, paying, command, plan, self.metadata())

    @rule(index=group_picks, endings=st.lists(st.integers(0, 7), min_size=2, max_size=10))
    def let_a_group_go_on(self, index: int, endings: list[int]) -> None:
        """What usually follows next for its members, so that groups get to their end, and on."""
        group_id = self.chosen_group(index)
        if group_id is None:
            return
        plain = self.plain_groups[group_id]
        for ending in endings:
            if at_work := plain.those("active"):
                place = list(self.plain_tasks)[::-1].index(at_work[0].id)
                self.take_usual_step((False, place), ending)
            elif plain.status in {"partial", "failed"}:
                self.retry_group(index, 1)

    @rule(index=group_picks, endings=st.lists(st.integers(0, 7), max_size=6))
    def cancel_a_group_half_way(self, index: int, endings: list[int]) -> None:
        """One member or two are delivered before."""
        self.let_a_group_go_on(index, [0, 0, 0])
        self.cancel_group(index)
        self.let_a_group_go_on(index, endings)

    @invariant()
    def groups_are_as_the_model_has_them(self) -> None:
        assert self.groups == set(self.plain_groups)
        for group_id, plain in self.plain_groups.items():
            state = self.group(group_id)
            assert (state.status, state.run, state.hold_id) == (
                plain.status, plain.run, plain.hold_id,
            )  # fmt: skip
            assert [(m.task_id, m.status, m.credits, m.run) for m in state.members] == [
                (m.id, m.status, m.frozen, m.run) for m in plain.members
            ]
            assert (state.credits_charged, state.credits_released) == (
                plain.captured, plain.returned,
            )  # fmt: skip
            assert (state.credits_held == 0) or not state.ended
            assert (state.ended_at is not None) == state.ended
            assert len(state.active) <= state.parallel_max

    @invariant()
    def a_group_pays_once_for_what_it_delivered(self) -> None:
        """I3 to I7 for groups, from the log alone."""
        for group_id in self.plain_groups:
            state = self.group(group_id)
            runs = [e for e in self.log[group_id] if isinstance(e, GroupStarted | GroupRetried)]
            ends = [e for e in self.log[group_id] if isinstance(e, GroupEnd)]
            assert [run.run for run in runs] == list(range(1, state.run + 1))
            assert len(ends) == len(runs) - (not state.ended)
            for number, run in enumerate(runs):
                self.check_run(run, ended=number < len(ends))

    def check_run(self, run: GroupStarted | GroupRetried, *, ended: bool) -> None:
        """I7: frozen = captured + returned, and captured = what its delivered tasks cost."""
        account_id = self.group(run.originator_id).account_id
        moves = [e for e in self.log[account_id] if getattr(e, "hold_id", None) == run.hold_id]
        held, *settled = [e for e in moves if not isinstance(e, CreditsRefunded)]
        assert isinstance(held, CreditsHeld)
        assert (held.group_id, held.amount) == (run.originator_id, run.credits)
        assert held.tasks == len(run.members)
        tasks = [
            events
            for events in self.log.values()
            if isinstance(events[0], TaskSubmitted) and events[0].hold_id == run.hold_id
        ]
        asked = {member.task_id for member in run.members}
        assert {events[0].originator_id for events in tasks} <= asked
        finished = [one for events in tasks for one in events if isinstance(one, ENDINGS)]
        told = [
            (e.task_id, e.charged)
            for e in self.log[run.originator_id]
            if isinstance(e, GroupMemberEnded) and e.task_id in asked
        ]
        assert sorted(told) == sorted(
            (one.originator_id, getattr(one, "charged", 0)) for one in finished
        )
        assert len(settled) == int(ended)
        for end in settled:
            assert isinstance(end, SETTLEMENTS)
            assert len(finished) == len(tasks), "nothing is at work when the money moves"
            assert _captured(end) == sum(charged for _, charged in told)
            assert _captured(end) + _returned(end) == held.amount


def _captured(end: CreditsCaptured | CreditsReleased) -> int:
    return end.amount if isinstance(end, CreditsCaptured) else 0


def _returned(end: CreditsCaptured | CreditsReleased) -> int:
    return end.released if isinstance(end, CreditsCaptured) else end.amount
