"""Decisions that append several events to a ledger at once, on accounts as of an hour ago."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5

import msgspec
from msgspec import Raw
from structlog.testing import capture_logs

from adapters.clock import DatabaseClock
from adapters.committer import Committer, CommitterLimits
from adapters.decision import Committed, KeyRecord, States
from adapters.ledger_log import LedgerLog
from adapters.mapper import EventMapper
from domain import ledger
from domain.failure import failure
from domain.ledger import LedgerCommand
from domain.plan import Plan, Plans
from service.attempts import Attempts
from service.command import Once, Origin
from service.command_bus import CommandBus
from service.group_kinds import GroupKinds, MemberSubmission
from service.groups import Groups, GroupSubmission, group_id_of
from service.holds import Holds
from service.identifiers import new_id
from service.ledgers import Asked, Ledgers
from service.task_types import TaskTypes
from tallystick.handler import Context, handler

ORIGIN = Origin(actor="desk")
AGO = timedelta(hours=1)
PLANS = Plans(
    "tests", [Plan(name="telling", low_credits=50, overdraft_max=5), Plan(name="another")]
)
CLOSE_SECONDS_MAX = 30.0
TOKEN = 1
"""Of each task's only attempt."""


class AnHourAgo(DatabaseClock):
    """What is dated within the hour is due as soon as somebody looks at the true time."""

    def now(self) -> datetime:
        return super().now() - AGO


class Shot(msgspec.Struct, frozen=True):
    n: int = 0


@handler("shot", price_credits=10)
async def shot(ask: Shot, context: Context) -> Shot:
    return ask


class Desk:
    """One process's verbs for ledgers and groups."""

    def __init__(self, committer: Committer, clock: DatabaseClock) -> None:
        types = TaskTypes([shot])
        self.clock = clock
        self.bus = CommandBus(committer, types, plans=PLANS)
        self.attempts = Attempts(self.bus, types)
        self.ledgers = Ledgers(self.bus, queries=None)  # type: ignore[arg-type] # nothing is read
        self.holds = Holds(self.bus, self.ledgers, LedgerLog(EventMapper()))
        self.groups = Groups(self.bus, types, GroupKinds([]), members_max=9, parallel_tasks=3)

    @property
    def soon(self) -> datetime:
        return self.clock.now() + AGO / 2

    async def do(self, account_id: UUID, command: LedgerCommand) -> Committed:
        return await self.ledgers.carry_out(asked(account_id), command)

    async def grant(self, account_id: UUID, name: str, amount: int, **fields: object) -> None:
        given = {"kind": "paid", "source_ref": name, "amount": amount, **fields}
        grant_id = uuid5(account_id, name)
        await self.do(account_id, ledger.GrantCredits(grant_id=grant_id, **given))  # type: ignore[arg-type]

    async def hold(
        self, account_id: UUID, name: str, amount: int, *, expires_at: datetime | None = None
    ) -> UUID:
        hold_id = uuid5(account_id, name)
        await self.ledgers.hold(
            asked(account_id), hold_id, amount=amount, reason="r", expires_at=expires_at
        )
        return hold_id


def asked(account_id: UUID, once: Once | None = None) -> Asked:
    return Asked(account_id=account_id, origin=ORIGIN, once=once)


@asynccontextmanager
async def desk(
    dsn: str,
    limits: CommitterLimits | None = None,
    clock: Callable[[], DatabaseClock] = DatabaseClock,
) -> AsyncIterator[Desk]:
    """Closed at the end, also when the database cannot be reached any more; logs nothing."""
    now = clock()
    committer = Committer(dsn, EventMapper(), now, limits or CommitterLimits())
    with capture_logs():
        await committer.start()
        try:
            yield Desk(committer, now)
        finally:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await committer.close()


# What has happened before: an hour ago. Each gives the id of what the decision is about.


async def _dated(past: Desk, account_id: UUID) -> UUID:
    """Half an hour ago 10 free credits expired, 20 came back and expired, and 5 matured."""
    await past.grant(account_id, "lasting", 40)
    await past.grant(account_id, "passing", 30, priority=0, expires_at=past.soon)
    await past.grant(account_id, "coming", 5, effective_at=past.soon)
    return await past.hold(account_id, "dated", 20, expires_at=past.soon)


async def _owing(past: Desk, account_id: UUID) -> UUID:
    """5 credits are owed, which the second grant pays for as long as it is there."""
    await past.grant(account_id, "first", 10)
    await past.hold(account_id, "all", 15)
    await past.grant(account_id, "second", 20)
    return uuid5(account_id, "second")


async def _held(past: Desk, account_id: UUID) -> UUID:
    """20 credits of a grant that has expired since, and 10 more of it that are free."""
    await past.grant(account_id, "passing", 30, expires_at=past.soon)
    return await past.hold(account_id, "held", 20)


async def _captured(past: Desk, account_id: UUID) -> UUID:
    hold_id = await _held(past, account_id)
    await past.holds.capture(asked(account_id), hold_id, amount=None, reason="r")
    return hold_id


async def _member(past: Desk, account_id: UUID) -> UUID:
    """At work, after one was delivered and one failed, on 30 credits that have expired since."""
    await past.grant(account_id, "passing", 30, expires_at=past.soon)
    group_id = group_id_of(account_id, "board", "k")
    submission = GroupSubmission(
        group_id=group_id,
        hold_id=uuid5(account_id, "group"),
        account_id=account_id,
        kind="board",
        key="k",
        members=(MemberSubmission(type="shot", input=Raw(b'{"n":1}')),) * 3,
    )
    started = await past.groups.start(submission, origin=ORIGIN)
    done, failed, last = (member.task_id for member in started.states[group_id].members)
    assert len(await past.attempts.claim("w", ["shot"], 3)) == 3
    await _deliver(past, account_id, done, None)
    broken = failure("model_error")
    await past.attempts.fail(failed, account_id, token=TOKEN, failure=broken, worker="w")
    assert isinstance(last, UUID)
    return last


# What is decided now. Each is done once for its key.


async def _settle(at: Desk, account_id: UUID, _: UUID, once: Once) -> Committed:
    return await at.ledgers.carry_out(asked(account_id, once), ledger.SettleDue())


async def _roll_over(at: Desk, account_id: UUID, _: UUID, once: Once) -> Committed:
    command = ledger.GrantCredits(
        grant_id=new_id(),
        kind="paid",
        amount=10,
        source_ref="june",
        rolls_over=uuid5(account_id, "lasting"),
        rollover_max=15,
    )
    return await at.ledgers.carry_out(asked(account_id, once), command)


async def _void(at: Desk, account_id: UUID, grant_id: UUID, once: Once) -> Committed:
    command = ledger.VoidGrant(grant_id=grant_id, reason="bounced")
    return await at.ledgers.carry_out(asked(account_id, once), command)


async def _change_plan(at: Desk, account_id: UUID, _: UUID, once: Once) -> Committed:
    return await at.ledgers.change_plan(asked(account_id, once), "another", "r")


async def _refund(at: Desk, account_id: UUID, hold_id: UUID, once: Once) -> Committed:
    """What comes back to a grant that has expired goes at once."""
    return await at.holds.refund(asked(account_id, once), hold_id, amount=12, reason="r")


async def _close_books(at: Desk, account_id: UUID, _: UUID, once: Once) -> Committed:
    return await at.ledgers.close_books(asked(account_id, once), "2020-01", "r")


async def _hold_all(at: Desk, account_id: UUID, _: UUID, once: Once) -> Committed:
    """And 5 credits more, which are owed."""
    return await at.ledgers.hold(asked(account_id, once), new_id(), amount=50, reason="r")


async def _adjust(at: Desk, account_id: UUID, _: UUID, once: Once) -> Committed:
    command = ledger.AdjustCredits(
        adjustment_id=new_id(), amount=-30, source_ref="ticket", reason="r"
    )
    return await at.ledgers.carry_out(asked(account_id, once), command)


async def _capture(at: Desk, account_id: UUID, hold_id: UUID, once: Once) -> Committed:
    return await at.holds.capture(asked(account_id, once), hold_id, amount=5, reason="r")


async def _deliver(at: Desk, account_id: UUID, task_id: UUID, once: Once | None) -> Committed:
    """By the end of its last member the group ends, and its one hold is settled."""
    return await at.attempts.complete(
        task_id,
        account_id,
        token=TOKEN,
        result=Raw(b"{}"),
        worker="w",
        group_id=group_id_of(account_id, "board", "k"),
        once=once,
    )


async def _close(at: Desk, account_id: UUID, _: UUID, once: Once) -> Committed:
    return await at.ledgers.carry_out(asked(account_id, once), ledger.CloseAccount(reason="left"))


class Case(NamedTuple):
    """What a decision appends, and the balance after it.

    `available`, `held`, `captured`, `expired`, `voided` and `refunded` credits.
    """

    prepare: Callable[[Desk, UUID], Awaitable[UUID]]
    decide: Callable[[Desk, UUID, UUID, Once], Awaitable[Committed]]
    topics: tuple[str, ...]
    balance: tuple[int, int, int, int, int, int]
    under_lock: bool = False


_DUE = ("credits.matured", "credits.expired", "credits.hold_expired", "credits.expired")
_TOLD = ("credits.low", "credits.exhausted")
_ENDED = ("task.completed", "group.member_ended", "group.partial")
CASES = {
    "settle": Case(_dated, _settle, (*_DUE, "credits.low"), (45, 0, 0, 30, 0, 0)),
    "roll over": Case(
        _dated,
        _roll_over,
        (*_DUE, "credits.expired", "credits.granted", "credits.low", "reference.used"),
        (30, 0, 0, 70, 0, 0),
        under_lock=True,
    ),
    "void": Case(_owing, _void, ("credits.voided", "credits.exhausted"), (0, 15, 0, 0, 15, 0)),
    "change plan": Case(
        _dated, _change_plan, (*_DUE, "account.plan_changed"), (45, 0, 0, 30, 0, 0)
    ),
    "refund": Case(
        _captured,
        _refund,
        ("credits.expired", "credits.refunded", "credits.expired", "credits.exhausted"),
        (0, 0, 8, 22, 0, 12),
        under_lock=True,
    ),
    "close books": Case(
        _dated, _close_books, (*_DUE, "books.closed", "credits.low"), (45, 0, 0, 30, 0, 0)
    ),
    "hold all": Case(_dated, _hold_all, (*_DUE, "credits.held", *_TOLD), (-5, 50, 0, 30, 0, 0)),
    "adjust": Case(
        _dated,
        _adjust,
        (*_DUE, "credits.voided", "credits.low", "reference.used"),
        (15, 0, 0, 30, 30, 0),
    ),
    "capture": Case(
        _held,
        _capture,
        ("credits.expired", "credits.captured", "credits.expired", "credits.exhausted"),
        (0, 0, 5, 25, 0, 0),
    ),
    "deliver the last": Case(
        _member,
        _deliver,
        (*_ENDED, "credits.captured", "credits.expired"),
        (0, 0, 20, 10, 0, 0),
    ),
    "close": Case(
        _dated,
        _close,
        (*_DUE, "credits.voided", "credits.voided", "account.closed"),
        (0, 0, 0, 30, 45, 0),
    ),
}


class Prepared(msgspec.Struct, frozen=True):
    """An account on which a case can be decided, by any process, with the same key."""

    case: str
    account_id: UUID
    subject: UUID

    async def decide(self, at: Desk) -> KeyRecord | Committed:
        """The first answer where there was one before."""
        case = CASES[self.case]
        committed = await case.decide(at, self.account_id, self.subject, self._once)
        return committed.replayed or committed

    @property
    def _once(self) -> Once:
        return Once(key=self.account_id.bytes, fingerprint=b"f", answer=self._answer)

    def _answer(self, states: States) -> KeyRecord:
        body = msgspec.json.encode(states[self.account_id].balance)
        return KeyRecord(key=self.account_id.bytes, fingerprint=b"f", status=200, body=body)


async def prepared(dsn: str, *, under_lock: bool) -> list[Prepared]:
    """A new account for each case; those decided under the log's lock only if asked for."""
    async with desk(dsn, clock=AnHourAgo) as past:

        async def prepare(name: str) -> Prepared:
            account_id = new_id()
            await past.bus.open_account(account_id, plan="telling", name=None, origin=ORIGIN)
            subject = await CASES[name].prepare(past, account_id)
            return Prepared(name, account_id, subject)

        wanted = [name for name, case in CASES.items() if under_lock or not case.under_lock]
        return await asyncio.gather(*map(prepare, wanted))
