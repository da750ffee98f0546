"""QUALITY 24 for ledgers: whatever the host's clock says, the database's tells early from late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from service.identifiers import new_id, public_id
from tests.fault.ledger_desk import CASES, ORIGIN, PLANS, AnHourAgo, desk
from tests.integration.http.api import Api, running_api
from tests.integration.wrong_host import JUMPS, be_wrong

Document = dict[str, Any]
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Account:
    """With 40 credits that last; half an hour ago 28 expired, of which 20 were held, and 5 began.

    In an hour 7 more would expire, 2 that have expired are held until then, and 3 more would begin.
    """

    def __init__(self, api: Api, now: datetime) -> None:
        self.api = api
        self.now = now
        self.id = new_id()
        self.path = f"/v1/accounts/{public_id('acct', self.id)}"

    async def prepare(self) -> None:
        async with desk(self.api.service.dsn, clock=AnHourAgo) as past:
            await past.bus.open_account(self.id, plan="another", name=None, origin=ORIGIN)
            await CASES["settle"].prepare(past, self.id)
            await past.grant(self.id, "leaving", 7, expires_at=self.now + HOUR)
            await past.grant(self.id, "far", 3, effective_at=self.now + HOUR)
            await past.hold(self.id, "until later", 2, expires_at=self.now + HOUR)

    async def post(self, verb: str, body: Document) -> int:
        answer = await self.api.post(f"{self.path}/{verb}", {"reason": "r"} | body, "admin")
        return answer.status_code

    async def balance(self, at: datetime | None = None) -> tuple[int, ...]:
        """`available`, `held`, `pending` and `expired`; nothing but the status of a refusal."""
        query = "" if at is None else f"?at={quote(at.isoformat())}"
        answer = await self.api.get(f"{self.path}{query}", "admin")
        if answer.status_code != 200:
            return (answer.status_code,)
        found = answer.json()
        return tuple(found[name] for name in ("available", "held", "pending", "expired"))


NOW = (40 + 5 + 7, 2, 3, 28)
BEFORE = (40 + 30 - 20 + 7 - 2, 22, 5 + 3, 0)


@pytest.fixture(params=JUMPS, ids=str)
async def account(
    request: pytest.FixtureRequest,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Account]:
    be_wrong(monkeypatch, database, request.param)
    async with running_api(database, tmp_path) as api:
        api.service.bus.plans = PLANS
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        made = Account(api, row[0])
        await made.prepare()
        yield made


async def test_a_ledger_goes_by_the_databases_clock(account: Account) -> None:
    now, ledgers = account.now, account.api.service.ledgers
    # What is due is swept, and what is not due stays; then as of times before, and to come.
    assert (await ledgers.settle_due(10)).count == 1
    assert (await ledgers.settle_due(10)).count == 0
    assert await account.balance() == NOW
    assert await account.balance(now - HOUR / 2 - 5 * MINUTE) == BEFORE
    assert await account.balance(now - HOUR / 2 + 5 * MINUTE) == NOW
    assert await account.balance(now - 2 * HOUR) == (404,)
    assert await account.balance(now + HOUR / 2) == (400,)
    # What begins or ends is in time, or too late, by the database as well.
    for ends, done in ((now + 5 * MINUTE, True), (now - MINUTE, False)):
        grant = {"amount": 1, "kind": "paid", "source_ref": f"{ends}"}
        for verb, body, status in (("grants", grant, 200), ("holds", {"amount": 1}, 201)):
            dated = body | {"expires_at": ends.isoformat()}
            assert (ends, await account.post(verb, dated)) == (ends, status if done else 400)
    assert await account.balance() == (NOW[0] + 1 - 1, NOW[1] + 1, *NOW[2:])
    # And so are a charge of today, and the month.
    hold = await account.api.post(f"{account.path}/holds", {"amount": 1, "reason": "r"}, "admin")
    hold_id = hold.json()["id"]
    assert await account.post(f"holds/{hold_id}/capture", {}) == 200
    assert await account.post("refunds", {"hold_id": hold_id}) == 200
    this_month, next_month = now, now.replace(day=1) + timedelta(days=32)
    for month, status in ((next_month, 400), (this_month, 200)):
        assert await account.post("books", {"period": f"{month.astimezone(UTC):%Y-%m}"}) == status
