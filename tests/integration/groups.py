"""Groups over a fresh database, whose members end as a test says: it is their worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from adapters.documents import Documents
from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from domain.failure import failure
from domain.group import Group
from domain.task import Task
from service.group_kinds import GroupKinds, MemberSubmission
from service.groups import Groups, GroupSubmission, group_id_of
from service.identifiers import new_id
from tallystick.handler import Context, handler
from tests.fault.books import Books
from tests.integration.bus import ORIGIN, Bench

PRICE = 10
WORKER = "w"


class Shot(msgspec.Struct, frozen=True):
    n: int = 0


@handler("shot", price_credits=PRICE)
async def shot(ask: Shot, context: Context) -> Shot:
    return ask


@dataclass
class GroupBench:
    """One process's groups, and the worker of their members."""

    bench: Bench
    groups: Groups

    @classmethod
    def over(cls, bench: Bench) -> GroupBench:
        groups = Groups(bench.bus, bench.types, GroupKinds([]), members_max=200, parallel_tasks=3)
        return cls(bench, groups)

    def submission(
        self, members: int = 4, *, key: str | None = None, **more: Any
    ) -> GroupSubmission:
        account_id = more.pop("account_id", self.bench.account_id)
        return GroupSubmission(
            group_id=group_id_of(account_id, "board", key),
            hold_id=new_id(),
            account_id=account_id,
            kind="board",
            key=key,
            members=tuple(
                MemberSubmission(type="shot", input=Raw(b'{"n":%d}' % number))
                for number in range(members)
            ),
            **more,
        )

    async def start(self, members: int = 4, **more: Any) -> Group:
        submission = self.submission(members, **more)
        committed = await self.groups.start(submission, origin=ORIGIN)
        started: Group = committed.states[submission.group_id]
        return started

    async def group(self, group_id: UUID) -> Group:
        """As its document has it."""
        view = await Documents(self.bench.pool).document("group", group_id)
        assert view is not None
        return msgspec.json.decode(view.data, type=Group)

    async def claim(self, limit: int = 100) -> list[Task]:
        return await self.bench.attempts.claim(WORKER, self.bench.types.names, limit)

    async def deliver(self, task: Task) -> None:
        await self.bench.attempts.complete(
            task.id,
            task.account_id,
            token=task.token,
            result=Raw(b"{}"),
            worker=WORKER,
            group_id=task.group_id,
        )

    async def fail(self, task: Task) -> None:
        await self.bench.attempts.fail(
            task.id,
            task.account_id,
            token=task.token,
            failure=failure("model_error"),
            worker=WORKER,
        )

    async def cancel(self, group: Group) -> Group:
        committed = await self.groups.cancel(
            group.id, group.account_id, reason="enough", origin=ORIGIN
        )
        cancelled: Group = committed.states[group.id]
        return cancelled

    async def retry(self, group: Group) -> Group:
        committed = await self.groups.retry(group.id, group.account_id, origin=ORIGIN)
        retried: Group = committed.states[group.id]
        return retried

    def verify(self) -> Books:
        """The books of the whole database, from its log."""
        return Books(self.bench.dsn).verify()

    async def verify_rows(self) -> None:
        """Every inline row is the fold of its stream."""
        comparison = await compare_inline(self.bench.dsn, EventMapper())
        assert comparison.differences == ()
        assert comparison.complete


def statuses(group: Group) -> list[str]:
    return [member.status for member in group.members]


def in_order(tasks: Sequence[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: task.id)
