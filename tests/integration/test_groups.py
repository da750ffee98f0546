"""Groups through the command bus and PostgreSQL: one hold and one settlement, whoever ends them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import UUID

import psycopg
import pytest
from msgspec import Raw
from msgspec.structs import replace

from domain.errors import (
    IllegalTransition,
    InsufficientCredits,
    InvalidInput,
    LimitReached,
    MemberOfGroup,
    NotFound,
    UnknownTaskType,
    VersionMismatch,
)
from domain.ledger_events import LedgerEvent
from service.group_kinds import MemberSubmission
from service.identifiers import new_id
from tests.integration.bus import CREDITS, ORIGIN, opened, working
from tests.integration.groups import PRICE, GroupBench, shot, statuses

CLIENTS = 64


@pytest.fixture
async def groups(database: str) -> AsyncIterator[GroupBench]:
    async with opened(database, [shot]) as bench:
        yield GroupBench.over(bench)


@pytest.fixture
async def others(database: str) -> AsyncIterator[GroupBench]:
    """Another process on the same database."""
    async with opened(database, [shot]) as bench:
        yield GroupBench.over(bench)


async def test_members_are_queued_as_slots_become_free(groups: GroupBench) -> None:
    group = await groups.start(5, parallel_max=2)
    assert groups.bench.money() == (CREDITS - 50, 50, 0)
    seen: list[UUID] = []
    while tasks := await groups.claim():
        assert len(tasks) <= 2
        seen += [task.id for task in tasks]
        for task in tasks:
            await groups.deliver(task)
        groups.verify()
    assert seen == [member.task_id for member in group.members]
    ended = await groups.group(group.id)
    assert (ended.status, ended.credits_charged) == ("completed", 50)
    assert groups.bench.money() == (CREDITS - 50, 0, 50)
    await groups.verify_rows()


async def test_the_worker_ends_a_group_by_itself(groups: GroupBench) -> None:
    group = await groups.start(7)
    async with asyncio.timeout(20), working(groups.bench.worker()):
        while not (await groups.group(group.id)).ended:  # noqa: ASYNC110 - the worker polls too
            await asyncio.sleep(0.02)
    assert (await groups.group(group.id)).status == "completed"
    assert groups.bench.money() == (CREDITS - 70, 0, 70)
    groups.verify()


async def test_only_the_delivered_are_charged_and_a_retry_runs_the_rest(
    groups: GroupBench,
) -> None:
    group = await groups.start(4, parallel_max=4)
    first, second, *rest = await groups.claim()
    await groups.deliver(first)
    await groups.fail(second)
    for task in rest:
        await groups.fail(task)
    partial = await groups.group(group.id)
    assert statuses(partial) == ["completed", "failed", "failed", "failed"]
    assert groups.bench.money() == (CREDITS - PRICE, 0, PRICE)
    retried = await groups.retry(group)
    assert (retried.run, retried.credits_held) == (2, 30)
    for _ in range(3):
        for task in await groups.claim():
            await groups.deliver(task)
    ended = await groups.group(group.id)
    assert (ended.status, ended.credits_charged) == ("completed", 40)
    assert groups.bench.money() == (CREDITS - 40, 0, 40)
    groups.verify()
    await groups.verify_rows()


async def test_a_cancel_ends_what_waits_and_what_runs_when_it_has_stopped(
    groups: GroupBench,
) -> None:
    group = await groups.start(5, parallel_max=3)
    (running,) = await groups.claim(limit=1)
    cancelling = await groups.cancel(group)
    assert statuses(cancelling) == ["active", "cancelled", "cancelled", "skipped", "skipped"]
    assert await groups.claim() == []
    assert groups.bench.money() == (CREDITS - 50, 50, 0)
    await groups.bench.attempts.release(
        running.id, running.account_id, token=running.token, reason="stopped", worker="w"
    )
    cancelled = await groups.group(group.id)
    assert (cancelled.status, cancelled.credits_released) == ("cancelled", 50)
    assert groups.bench.money() == (CREDITS, 0, 0)
    groups.verify()


async def test_a_cancel_meets_a_member_that_its_own_batch_has_just_started(
    groups: GroupBench,
) -> None:
    """The end of the first and the cancel come in one commit: the second was never a row."""
    group = await groups.start(3, parallel_max=1)
    (running,) = await groups.claim()
    await asyncio.gather(groups.deliver(running), groups.cancel(group))
    ended = await groups.group(group.id)
    assert ended.status == "cancelled"
    assert groups.bench.money() == (CREDITS - PRICE, 0, PRICE)
    groups.verify()


async def test_another_process_has_moved_the_group_and_its_next_member_runs_here(
    groups: GroupBench, others: GroupBench
) -> None:
    """The group as it was known here would start that member once more."""
    group = await groups.start(3, parallel_max=2)
    first, second = await groups.claim()
    await others.deliver(first)
    (third,) = await groups.claim()
    for task in (second, third):
        await groups.deliver(task)
    assert (await groups.group(group.id)).status == "completed"
    assert groups.bench.money() == (CREDITS - 3 * PRICE, 0, 3 * PRICE)
    groups.verify()


async def test_a_lapsed_lease_and_a_passed_deadline_end_members_like_any_task(
    groups: GroupBench,
) -> None:
    group = await groups.start(4, parallel_max=4)
    tasks = await groups.claim(limit=2)
    with psycopg.connect(groups.bench.dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE tasks SET lease_until = clock_timestamp() - interval '1 second'"
            " WHERE id = ANY (%s)",
            ([task.id for task in tasks],),
        )
        assert await groups.bench.bus.rescue(10) == 2
        connection.execute("UPDATE tasks SET deadline_at = clock_timestamp() - interval '1 s'")
    # The row's deadline brings the task to the sweep, but the task's own decides.
    assert await groups.bench.bus.expire(10) == 4
    assert not (await groups.group(group.id)).ended
    groups.verify()


async def test_many_members_that_are_swept_at_once_settle_once(groups: GroupBench) -> None:
    group = await groups.start(6, parallel_max=6)
    await groups.claim()
    await groups.cancel(group)
    with psycopg.connect(groups.bench.dsn, autocommit=True) as connection:
        connection.execute("UPDATE tasks SET lease_until = '-infinity'")
    assert await groups.bench.bus.rescue(10) == 6
    ended = await groups.group(group.id)
    assert (ended.status, statuses(ended)) == ("cancelled", ["cancelled"] * 6)
    assert groups.bench.money() == (CREDITS, 0, 0)
    groups.verify()
    await groups.verify_rows()


async def test_workers_of_two_processes_end_all_members_at_once_and_settle_once(
    groups: GroupBench, others: GroupBench
) -> None:
    group = await groups.start(CLIENTS, parallel_max=CLIENTS)
    tasks = await groups.claim()
    assert len(tasks) == CLIENTS
    ends = [(groups if number % 2 else others, task) for number, task in enumerate(tasks)]
    await asyncio.gather(
        *(
            bench.fail(task) if number % 8 == 0 else bench.deliver(task)
            for number, (bench, task) in enumerate(ends)
        )
    )
    books = groups.verify()
    ended = books.groups[group.id]
    delivered = CLIENTS - CLIENTS // 8
    assert (ended.status, ended.credits_charged) == ("partial", delivered * PRICE)
    moved = [e.TOPIC for e in books.events if isinstance(e, LedgerEvent)]
    assert Counter(moved)["credits.captured"] == 1
    assert groups.bench.money() == (CREDITS - delivered * PRICE, 0, delivered * PRICE)
    await groups.verify_rows()


async def test_many_clients_that_start_the_same_key_start_one_group(
    groups: GroupBench, others: GroupBench
) -> None:
    account_id = groups.bench.account_id
    started = await asyncio.gather(
        *(
            (groups if number % 2 else others).start(3, key="board 7", account_id=account_id)
            for number in range(CLIENTS)
        )
    )
    assert {group.id for group in started} == {started[0].id}
    assert len({group.hold_id for group in started}) == 1
    assert groups.bench.money() == (CREDITS - 30, 30, 0)
    assert len(groups.verify().tasks) == 3


async def test_a_key_stands_for_its_kind_and_account_alone(
    groups: GroupBench, others: GroupBench
) -> None:
    ours = await groups.start(1, key="board 7")
    theirs = await others.start(1, key="board 7")
    assert ours.id != theirs.id
    await groups.start(1)
    assert len(groups.verify().groups) == 3


async def test_a_group_that_failed_is_started_anew_under_its_key(groups: GroupBench) -> None:
    group = await groups.start(2, key="again")
    for task in await groups.claim():
        await groups.fail(task)
    again = await groups.start(3, key="again")
    assert (again.id, again.run, again.status) == (group.id, 2, "processing")
    assert again.hold_id != group.hold_id
    for task in await groups.claim():
        await groups.deliver(task)
    assert groups.bench.money() == (CREDITS - 30, 0, 30)
    same = await groups.start(3, key="again")
    assert (same.status, same.run) == ("completed", 2)
    groups.verify()
    await groups.verify_rows()


async def test_a_members_own_verbs(groups: GroupBench) -> None:
    group = await groups.start(2, parallel_max=1)
    first = group.members[0].task_id
    await groups.bench.bus.cancel(first, group.account_id, reason="", origin=ORIGIN)
    assert statuses(await groups.group(group.id)) == ["cancelled", "active"]
    (task,) = await groups.claim()
    await groups.fail(task)
    assert (await groups.group(group.id)).status == "failed"
    with pytest.raises(MemberOfGroup):
        await groups.bench.bus.retry(task.id, group.account_id, origin=ORIGIN)
    groups.verify()


async def test_what_cannot_be_started_changes_nothing(groups: GroupBench) -> None:
    unfit = replace(
        groups.submission(2),
        members=(
            MemberSubmission(type="shot", input=Raw(b"{}")),
            MemberSubmission(type="shot", input=Raw(b'{"n":"x"}')),
        ),
    )
    with pytest.raises(InvalidInput) as refusal:
        await groups.groups.start(unfit, origin=ORIGIN)
    assert refusal.value.errors[0][0] == "/members/1/input/n"
    unknown = replace(unfit, members=(MemberSubmission(type="none", input=Raw(b"{}")),))
    with pytest.raises(UnknownTaskType):
        await groups.groups.start(unknown, origin=ORIGIN)
    with pytest.raises(InsufficientCredits):
        await groups.start(CREDITS // PRICE + 1)
    with pytest.raises(InvalidInput):
        await groups.start(201)
    with pytest.raises(NotFound):
        await groups.start(1, account_id=new_id())
    assert groups.verify().groups == {}
    assert groups.bench.money() == (CREDITS, 0, 0)


async def test_limits_count_a_groups_slots_and_members(database: str) -> None:
    async with opened(database, [shot], plan="standard") as bench:
        groups = GroupBench.over(bench)
        await groups.start(20, parallel_max=8)
        with pytest.raises(LimitReached):
            await groups.start(3, parallel_max=3)
        await groups.start(20, parallel_max=2)
        with pytest.raises(LimitReached):
            await bench.submit("shot")
        groups.verify()


async def test_who_else_or_too_late_is_refused(groups: GroupBench) -> None:
    group = await groups.start(1)
    stranger = new_id()
    for account_id, group_id in ((stranger, group.id), (group.account_id, new_id())):
        with pytest.raises(NotFound):
            await groups.groups.cancel(group_id, account_id, reason="", origin=ORIGIN)
        with pytest.raises(NotFound):
            await groups.groups.retry(group_id, account_id, origin=ORIGIN)
    with pytest.raises(VersionMismatch):
        await groups.groups.cancel(
            group.id, group.account_id, reason="", origin=ORIGIN, expected_version=9
        )
    with pytest.raises(IllegalTransition):
        await groups.retry(group)
    assert (await groups.group(group.id)).version == 1


async def test_a_members_turn_in_the_queue_is_by_its_accounts_weight(database: str) -> None:
    """Also of those that are submitted by an append that does not touch the ledger."""
    async with opened(database, [shot], plan="enterprise") as bench:
        groups = GroupBench.over(bench)
        await groups.start(3, parallel_max=1)
        for _ in range(2):
            (task,) = await groups.claim()
            await groups.deliver(task)
        with psycopg.connect(bench.dsn) as connection:
            rows = connection.execute("SELECT turn FROM tasks ORDER BY id").fetchall()
        turns = [turn for (turn,) in rows]
        assert [after - before for before, after in pairwise(turns)] == [
            250_000,
            250_000,
        ]
