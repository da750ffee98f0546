"""Whatever the service is asked for, few credits are told of with it, by the account's own plan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID, uuid5

import psycopg
import pytest
from msgspec import Raw

from domain import ledger
from domain.failure import failure
from service.group_kinds import MemberSubmission
from service.groups import GroupSubmission
from service.identifiers import new_id
from service.submission import Submission
from tests.fault.ledger_desk import ORIGIN, TOKEN, AnHourAgo, Desk, asked, desk

PASSING, LASTING = 60, 45
LESS = ledger.AdjustCredits(adjustment_id=new_id(), amount=-1, source_ref="less", reason="r")


class Prepared(NamedTuple):
    """An account whose credits that pass are due: a task at work, one that waits, and holds."""

    id: UUID
    working: UUID
    waiting: UUID
    group_id: UUID
    hold_id: UUID
    charged_id: UUID


async def _prepared(past: Desk) -> Prepared:
    account_id = new_id()
    await past.bus.open_account(account_id, plan="telling", name=None, origin=ORIGIN)
    await past.grant(account_id, "passing", PASSING, priority=0, expires_at=past.soon)
    await past.grant(account_id, "lasting", LASTING)
    hold_id = await past.hold(account_id, "held", 5)
    charged_id = await past.hold(account_id, "charged", 5)
    await past.holds.capture(asked(account_id), charged_id, amount=None, reason="r")
    working = await _submitted(past, account_id)
    assert [task.id for task in await past.attempts.claim("w", ["shot"], 9)] == [working]
    waiting, group_id = await _submitted(past, account_id), new_id()
    member = MemberSubmission(type="shot", input=Raw(b"{}"))
    group = GroupSubmission(
        group_id=group_id,
        hold_id=uuid5(account_id, "group"),
        account_id=account_id,
        kind="board",
        members=(member,),
    )
    await past.groups.start(group, origin=ORIGIN)
    return Prepared(account_id, working, waiting, group_id, hold_id, charged_id)


async def _submitted(past: Desk, account_id: UUID) -> UUID:
    task_id = new_id()
    submission = Submission(task_id=task_id, account_id=account_id, type="shot", input=Raw(b"{}"))
    await past.bus.submit(submission, origin=ORIGIN)
    return task_id


async def _complete(at: Desk, on: Prepared) -> object:
    result = Raw(b"{}")
    return await at.attempts.complete(on.working, on.id, token=TOKEN, result=result, worker="w")


async def _fail(at: Desk, on: Prepared) -> object:
    broken = failure("param_error")
    return await at.attempts.fail(on.working, on.id, token=TOKEN, failure=broken, worker="w")


async def _cancel(at: Desk, on: Prepared) -> object:
    return await at.bus.cancel(on.waiting, on.id, reason="", origin=ORIGIN)


async def _cancel_group(at: Desk, on: Prepared) -> object:
    return await at.groups.cancel(on.group_id, on.id, reason="", origin=ORIGIN)


async def _expire(at: Desk, _: Prepared) -> object:
    """All of them are past their deadline, and end by one command."""
    return await at.bus.expire(9)


async def _submit(at: Desk, on: Prepared) -> object:
    return await _submitted(at, on.id)


async def _capture(at: Desk, on: Prepared) -> object:
    return await at.holds.capture(asked(on.id), on.hold_id, amount=None, reason="r")


async def _release(at: Desk, on: Prepared) -> object:
    return await at.holds.release(asked(on.id), on.hold_id, reason="r")


async def _extend(at: Desk, on: Prepared) -> object:
    return await at.holds.extend(asked(on.id), on.hold_id, added=1, expires_at=None, reason="r")


async def _refund(at: Desk, on: Prepared) -> object:
    return await at.holds.refund(asked(on.id), on.charged_id, amount=None, reason="r")


async def _grant(at: Desk, on: Prepared) -> object:
    return await at.bus.grant(
        on.id, amount=1, kind="paid", source_ref="one", reason="", origin=ORIGIN
    )


async def _top_up(at: Desk, on: Prepared) -> object:
    given = ledger.GrantCredits(grant_id=new_id(), kind="paid", amount=1, source_ref="two")
    return await at.do(on.id, given)


async def _freeze(at: Desk, on: Prepared) -> object:
    return await at.do(on.id, ledger.FreezeAccount(reason="r"))


async def _settle(at: Desk, on: Prepared) -> object:
    return await at.do(on.id, ledger.SettleDue())


async def _close_books(at: Desk, on: Prepared) -> object:
    return await at.ledgers.close_books(asked(on.id), "2020-01", "r")


@pytest.mark.parametrize(
    "verb",
    [
        *(_complete, _fail, _cancel, _cancel_group, _expire, _submit, _capture, _release),
        *(_extend, _refund, _grant, _top_up, _freeze, _settle, _close_books),
    ],
)
async def test_few_credits_are_told_of_once_with_whatever_meets_their_expiry(
    database: str, verb: Callable[[Desk, Prepared], Awaitable[object]]
) -> None:
    async with desk(database, clock=AnHourAgo) as past:
        account = await _prepared(past)
    assert _notices(database, account.id) == []
    async with desk(database) as at:
        await verb(at, account)
        assert _notices(database, account.id) == ["credits.low.v1"]
        await at.do(account.id, LESS)
    assert _notices(database, account.id) == ["credits.low.v1"]


def _notices(database: str, account_id: UUID) -> list[str]:
    query = (
        "SELECT topic FROM tallystick_events WHERE originator_id = %s"
        " AND topic ~ '^credits.(low|exhausted)' ORDER BY originator_version"
    )
    with psycopg.connect(database) as connection:
        return [topic for (topic,) in connection.execute(query, (account_id,)).fetchall()]
