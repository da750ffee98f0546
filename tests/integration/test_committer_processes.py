"""Several processes on the same accounts: credits and limits are exact."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

from domain import ledger
from domain.ledger import CreditLedger
from domain.ledger_events import CreditsHeld
from tests.fault.books import Books
from tests.fault.commands import new_id, open_account
from tests.fault.writers import WriterProcess, running
from tests.plans import PLANS

PROCESSES = 2
HOLDS_EACH = 5_000
BALANCE = 1_000
CHURNS_EACH = 300
DAYS_EACH = 520
"""Tasks that each process would have accepted: together more than a day may have."""


async def _run(job: str, dsn: str, account_id: UUID, count: int) -> Counter[str]:
    """What processes of 32 callers each were answered, each doing `count` of the job."""
    writers = [await WriterProcess.begin(job, dsn, account_id, count) for _ in range(PROCESSES)]
    for writer in writers:
        assert await writer.line() == "ready"
    for writer in writers:
        writer.go()
    answers = await asyncio.gather(*(writer.end() for writer in writers))
    return Counter(line for lines in answers for line in lines)


async def test_a_balance_is_spent_exactly_once(database: str) -> None:
    """QUALITY 7: 64 clients in two processes, 10,000 one-credit holds, a balance of 1,000."""
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=BALANCE))
    answers = await _run("hold", database, account_id, HOLDS_EACH)
    assert answers == {
        "ok": BALANCE,
        "insufficient_credits": PROCESSES * HOLDS_EACH - BALANCE,
    }
    books = Books(database).verify()
    facts = Counter(event.TOPIC for event in books.events)
    assert facts.pop("credits.exhausted") == 1, "its owner is told, once"
    assert facts == {"account.opened": 1, "credits.granted": 1, "credits.held": BALANCE}
    assert books.ledgers[account_id].balance.available == 0


async def test_the_limit_of_active_tasks_is_exact(database: str) -> None:
    """D2: 64 clients in two processes submit and cancel; ten are active at most, at any time."""
    limit = PLANS["standard"].active_tasks_max
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=10_000, plan="standard"))
    answers = await _run("churn", database, account_id, CHURNS_EACH)
    assert set(answers) == {"ok", "limit_reached"}
    books = Books(database).verify()
    assert len(books.tasks) == answers["ok"]
    state: CreditLedger | None = None
    active_max = 0
    for event in books.events:
        if event.originator_id == account_id:
            state = ledger.evolve(state, event)
            active_max = max(active_max, state.balance.active)
    assert active_max == limit, "reached, and never passed"
    assert state is not None
    assert state.balance.active == 0


async def test_the_limit_of_a_day_is_exact(database: str) -> None:
    """D2: 64 clients in two processes want more than a day allows, and get exactly that."""
    limit = PLANS["standard"].daily_tasks_max
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=10_000, plan="standard"))
    answers = await _run("spend_day", database, account_id, DAYS_EACH)
    assert answers["ok"] + answers["daily_tasks_max"] == PROCESSES * DAYS_EACH
    held = [e.meta.at for e in Books(database).verify().events if isinstance(e, CreditsHeld)]
    days = Counter(at.date() for at in held)
    assert days.total() == answers["ok"]
    assert max(days.values()) <= limit
    # Only a run that begins just before midnight may have enough days for all.
    assert limit in days.values() if answers["daily_tasks_max"] else len(days) > 1
