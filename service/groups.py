"""The use cases of groups: started, cancelled and run again as a whole, with their money."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid5

import msgspec

from adapters.decision import Committed, States
from adapters.queue import find_members
from domain import metering, task
from domain.aggregate import GROUPS, LEDGERS, Stream
from domain.errors import InvalidInput, OperatorsOnly
from domain.event import Event, Metadata
from domain.group import MEMBERS_MAX, CancelGroup, Group, MemberTask, RetryGroup, StartGroup
from domain.money import money_of_group, money_told
from domain.pricing import Terms
from service.command import Once, Origin
from service.command_bus import CommandBus
from service.group_kinds import GroupKinds, MemberSubmission
from service.identifiers import new_id
from service.ownership import account_in, own_group
from service.task_types import TaskTypes


class GroupSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """A group as its user asks for it; `priority` a key of `PRIORITIES`.

    `hold_id` tells a run that this submission began from one that was there before.
    """

    group_id: UUID
    hold_id: UUID
    account_id: UUID
    kind: str
    members: tuple[MemberSubmission, ...]
    key: str | None = None
    project: str | None = None
    priority: str = "normal"
    parallel_max: int | None = None


def group_id_of(account_id: UUID, kind: str, key: str | None) -> UUID:
    """Id of the group of a natural key, the same each time; a new one without a key."""
    return new_id() if key is None else uuid5(account_id, f"group/{kind}/{key}")


class Groups:
    """Carries out commands on groups.

    Every method raises the domain's typed refusals and the committer's errors.
    """

    def __init__(
        self,
        bus: CommandBus,
        types: TaskTypes,
        kinds: GroupKinds,
        *,
        members_max: int,
        parallel_tasks: int,
    ) -> None:
        self.kinds = kinds
        self._bus = bus
        self._types = types
        self._members_max = members_max
        self._parallel_tasks = parallel_tasks

    async def start(
        self, submission: GroupSubmission, *, origin: Origin, once: Once | None = None
    ) -> Committed:
        """Hold the price of all members and queue the first of them, in one commit.

        A group of the same key that is at work or done is left as it is.
        """
        command = self._start_command(submission)
        account_id, group_id = submission.account_id, submission.group_id

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            account = account_in(states, account_id)
            plan = self._bus.plans.named(account.balance.plan)
            return metering.start_group(states[group_id], account, command, plan, meta)

        return await self._bus.execute(
            decide, origin, streams=_both(group_id, account_id), once=once
        )

    async def cancel(
        self,
        group_id: UUID,
        account_id: UUID,
        *,
        reason: str,
        origin: Origin,
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Start no more members; cancel those that wait, and ask those that run to stop."""
        command = CancelGroup(reason=reason)

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            group = own_group(states, group_id, account_id, expected_version)
            at_work = tuple(states[member.task_id] for member in group.active)
            with money_told(money_of_group(group)):
                account = states[account_id]
                plan = self._bus.plan_of(account)
                return metering.cancel_group(group, account, at_work, command, meta, plan)

        return await self._bus.execute(
            decide,
            origin,
            streams=_both(group_id, account_id),
            find=find_members(group_id),
            once=once,
        )

    async def retry(
        self,
        group_id: UUID,
        account_id: UUID,
        *,
        origin: Origin,
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> Committed:
        """Run again what was not delivered, with a new hold at today's prices."""
        hold_id = new_id()
        task_ids = tuple(new_id() for _ in range(MEMBERS_MAX))

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            group = own_group(states, group_id, account_id, expected_version)
            account = account_in(states, account_id)
            command = RetryGroup(hold_id=hold_id, task_ids=task_ids, terms=self._terms(group))
            plan = self._bus.plans.named(account.balance.plan)
            with money_told(money_of_group(group)):
                return metering.retry_group(group, account, command, plan, meta)

        return await self._bus.execute(
            decide, origin, streams=_both(group_id, account_id), once=once
        )

    def _start_command(self, submission: GroupSubmission) -> StartGroup:
        if not 1 <= len(submission.members) <= self._members_max:
            sentence = f"must be 1 to {self._members_max}"
            raise InvalidInput("A group has too few or too many members.", ("/members", sentence))
        return StartGroup(
            group_id=submission.group_id,
            account_id=submission.account_id,
            kind=submission.kind,
            key=submission.key,
            project=submission.project,
            hold_id=submission.hold_id,
            priority=task.PRIORITIES.get(submission.priority, -1),
            parallel_max=submission.parallel_max or self._parallel_tasks,
            members=tuple(
                self._member(number, member) for number, member in enumerate(submission.members)
            ),
        )

    def _member(self, number: int, member: MemberSubmission) -> MemberTask:
        handler = self._types.named(member.type)
        if handler.operator:
            raise OperatorsOnly(handler.name)
        try:
            task_input = self._types.read_input(member.type, member.input)
            terms = self._bus.pricing.estimate(handler, task_input).terms
        except InvalidInput as error:
            errors = [(f"/members/{number}{at}", sentence) for at, sentence in error.errors]
            raise InvalidInput(str(error), *errors) from error
        return MemberTask(
            task_id=new_id(),
            type=member.type,
            input=member.input,
            credits=terms.credits,
            price_version=terms.price_version,
            attempts_max=handler.attempts_max,
            queue_seconds_max=handler.queue_seconds_max,
            run_seconds_max=handler.run_seconds_max,
        )

    def _terms(self, group: Group) -> dict[UUID, Terms]:
        """Today's, of what is to run again."""
        pricing = self._bus.pricing
        return {one.task_id: pricing.terms_of(one.type, one.input) for one in group.undelivered}


def _both(group_id: UUID, account_id: UUID) -> tuple[Stream, Stream]:
    return Stream(GROUPS, group_id), Stream(LEDGERS, account_id)
