"""Many failed tasks of one account at once: what fits is retried in turn, the rest is told."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from domain.bulk_retry import BulkRetry, retry_all
from domain.errors import UnknownTaskType
from domain.plan import Plan
from domain.pricing import Terms
from domain.task import Task
from tests.unit.domain.given import (
    ACCOUNT_ID,
    PRICE,
    ROOMY,
    a_ledger,
    fold_ledger,
    fold_task,
    grant,
    metadata,
    task_in,
)

OTHER = UUID(int=77)


def failed(count: int, **fields: object) -> dict[UUID, Task | None]:
    """So many failed tasks of the account."""
    return {
        UUID(int=200 + n): replace(task_in("failed"), id=UUID(int=200 + n), **fields)
        for n in range(count)
    }


def retried(
    tasks: Mapping[UUID, Task | None],
    *,
    funds: int = 1_000,
    plan: Plan = ROOMY,
    prices: Mapping[UUID, int] | None = None,
) -> BulkRetry:
    def price(task: Task) -> Terms:
        if task.type == "gone":
            raise UnknownTaskType(task.type)
        return Terms(credits=PRICE if prices is None else prices[task.id])

    ledger = a_ledger(*([grant(funds)] if funds else []))
    holds = {one: UUID(int=one.int + 1_000) for one in tasks}
    return retry_all(tasks, ledger, holds, price, plan, metadata())


def test_what_fits_is_retried_in_order_each_with_its_own_hold() -> None:
    tasks = failed(3)
    bulk = retried(tasks)
    assert bulk.retried == tuple(tasks)
    assert (bulk.credits_needed, bulk.credits_held, bulk.available) == (3 * PRICE, 3 * PRICE, 1_000)
    assert [event.TOPIC for event in bulk.events] == ["task.retried", "credits.held"] * 3
    ledger = fold_ledger(bulk.events[1::2], a_ledger(grant(1_000)))
    assert (ledger.balance.held, len(ledger.holds)) == (3 * PRICE, 3)
    for event in bulk.events[::2]:
        again = fold_task([event], tasks[event.originator_id])
        assert (again.status, again.run) == ("queued", 2)
        assert ledger.holds[again.hold_id].task_id == again.id


def test_credits_go_to_the_first_and_the_rest_is_told() -> None:
    tasks = failed(4)
    bulk = retried(tasks, funds=2 * PRICE + 1)
    ids = list(tasks)
    assert bulk.retried == tuple(ids[:2])
    assert [(one.task_id, one.code) for one in bulk.refused] == [
        (ids[2], "insufficient_credits"),
        (ids[3], "insufficient_credits"),
    ]
    assert (bulk.credits_needed, bulk.credits_held) == (4 * PRICE, 2 * PRICE)


def test_a_cheaper_one_still_fits_behind_a_dear_one() -> None:
    tasks = failed(3)
    one, two, three = tasks
    bulk = retried(tasks, funds=20, prices={one: 15, two: 10, three: 5})
    assert bulk.retried == (one, three)
    assert (bulk.credits_needed, bulk.credits_held) == (30, 20)


@pytest.mark.parametrize("limit", ["active_tasks_max", "daily_tasks_max"])
def test_the_plans_limits_hold_for_all_of_them(limit: str) -> None:
    limits = {"active_tasks_max": 9, "daily_tasks_max": 9, limit: 2}
    plan = msgspec.convert({"name": "small", **limits}, Plan)
    bulk = retried(failed(3), plan=plan)
    assert len(bulk.retried) == 2
    assert [one.code for one in bulk.refused] == ["limit_reached"]
    assert limit in bulk.refused[0].detail


def test_what_no_credits_would_help_needs_none() -> None:
    ids = [UUID(int=n) for n in range(300, 306)]
    tasks: dict[UUID, Task | None] = {
        ids[0]: None,
        ids[1]: replace(task_in("failed"), id=ids[1], account_id=OTHER),
        ids[2]: replace(task_in("completed"), id=ids[2]),
        ids[3]: replace(task_in("failed"), id=ids[3], group_id=OTHER),
        ids[4]: replace(task_in("failed"), id=ids[4], type="gone"),
        ids[5]: replace(task_in("failed"), id=ids[5]),
    }
    bulk = retried(tasks)
    assert [one.code for one in bulk.refused] == [
        "not_found",
        "not_found",
        "illegal_transition",
        "member_of_group",
        "unknown_task_type",
    ]
    assert bulk.retried == (ids[5],)
    assert (bulk.credits_needed, bulk.credits_held) == (PRICE, PRICE)


def test_nothing_asked_for_is_nothing_done() -> None:
    bulk = retried({}, funds=0)
    assert (bulk.events, bulk.retried, bulk.refused) == ((), (), ())
    assert task_in("failed").account_id == ACCOUNT_ID
