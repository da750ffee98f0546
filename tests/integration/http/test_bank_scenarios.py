"""Awkward histories of one account, played over HTTP and held against what a bank would say.

After each, every line of the statement leads to the next, and the trial balance proves the books.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.event import CREDITS_MAX
from service.identifiers import new_id, public_id
from tests.integration.http.api import Api, running_api
from tests.stateful.shifted_time import set_up_shift, shift

Document = dict[str, Any]
CLIENTS = 64
HOUR = timedelta(hours=1)
PLANS = """
version = "1"
[plans.standard]
[plans.lent]
overdraft_max = 100
"""


class Customer:
    """An account of its own, without credits, that may owe 100."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.id = new_id()
        self.path = f"/v1/accounts/{public_id('acct', self.id)}"

    async def post(self, verb: str, **body: object) -> httpx.Response:
        return await self.post_to(self.api, verb, **body)

    async def post_to(self, api: Api, verb: str, **body: object) -> httpx.Response:
        asked = {"reason": "as a bank would"} | body
        return await api.post(f"{self.path}/{verb}", asked, "admin")

    async def done(self, verb: str, **body: object) -> Document:
        answer = await self.post(verb, **body)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def refused(self, verb: str, **body: object) -> str:
        answer = await self.post(verb, **body)
        assert 400 <= answer.status_code < 500, answer.text
        return str(answer.json()["code"])

    async def grant(self, amount: int, expires_at: str | None = None) -> None:
        given: Document = {"kind": "paid", "source_ref": str(new_id()), "amount": amount}
        await self.done("grants", **given, expires_at=expires_at)

    async def grants(self) -> list[Document]:
        answer = await self.api.get(f"{self.path}/grants", "admin")
        return answer.json()["items"]  # type: ignore[no-any-return]

    async def hold(self, amount: int) -> str:
        return str((await self.done("holds", amount=amount))["id"])

    async def charge(self, amount: int) -> str:
        hold_id = await self.hold(amount)
        await self.done(f"holds/{hold_id}/capture")
        return hold_id

    def in_an_hour(self) -> str:
        return (self.api.service.clock.now() + HOUR).isoformat()

    def an_hour_later(self) -> None:
        service = self.api.service
        shift(service.dsn, service.clock, HOUR + timedelta(minutes=1))

    async def stands_at(self, **expected: int) -> None:
        account = (await self.api.get(self.path, "admin")).json()
        assert {name: account[name] for name in expected} == expected

    async def audited(self) -> None:
        """The statement leads line by line to the balance; all books are in balance."""
        await self.api.project()
        account = (await self.api.get(self.path, "admin")).json()
        pages = await self.api.get(f"{self.path}/statement?order=oldest&limit=200", "admin")
        available = held = 0
        for line in pages.json()["items"]:
            available += line["available_change"]
            held += line["held_change"]
            assert (line["available"], line["held"]) == (available, held)
        assert (account["available"], account["held"]) == (available, held)
        proof = (await self.api.get("/v1/books/trial-balance", "admin")).json()
        assert (proof["balanced"], proof["customers"]["equal"]) == (True, True)


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    set_up_shift(database)
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    async with running_api(database, tmp_path, plans_file=plans) as running:
        yield running


@pytest.fixture
async def customer(api: Api) -> AsyncIterator[Customer]:
    opened = Customer(api)
    await api.open_account(opened.id, plan="lent", funds=0)
    yield opened
    await opened.audited()


async def test_a_debt_paid_by_expiring_credits_comes_back_by_its_refund(customer: Customer) -> None:
    charged = await customer.charge(50)
    await customer.stands_at(available=-50, captured=50)
    await customer.grant(80, customer.in_an_hour())
    await customer.stands_at(available=30)
    customer.an_hour_later()
    await customer.stands_at(available=0, expired=30)

    await customer.done("refunds", hold_id=charged)
    await customer.stands_at(available=50, captured=0, refunded=50)
    assert await customer.refused("refunds", hold_id=charged) == "illegal_transition"
    all_of_it = await customer.hold(150)
    assert await customer.refused("holds", amount=1) == "insufficient_credits"
    assert await customer.refused("close") == "account_unsettled"
    await customer.done(f"holds/{all_of_it}/release")
    await customer.done("close")
    await customer.stands_at(available=0, voided=50, granted=80)


async def test_a_part_of_a_debt_is_refunded_before_what_was_paid(customer: Customer) -> None:
    await customer.grant(30)
    charged = await customer.charge(80)
    await customer.done("refunds", hold_id=charged, amount=60)
    await customer.stands_at(available=10, captured=20)
    [grant] = await customer.grants()
    assert grant["remaining"] == 10
    await customer.done("refunds", hold_id=charged)
    await customer.stands_at(available=30, captured=0, refunded=80)


async def test_what_expired_while_held_is_charged_first_and_lost_when_it_returns(
    customer: Customer,
) -> None:
    await customer.grant(30, customer.in_an_hour())
    await customer.grant(30)
    hold_id = await customer.hold(50)
    customer.an_hour_later()
    await customer.stands_at(available=10, held=50, expired=0)
    await customer.done(f"holds/{hold_id}/capture", amount=20)
    await customer.stands_at(available=30, held=0, captured=20, expired=10)
    await customer.done("refunds", hold_id=hold_id)
    await customer.stands_at(available=30, captured=0, refunded=20, expired=30)


async def test_a_bounced_payment_takes_back_what_was_held_of_it_but_not_what_was_spent(
    customer: Customer,
) -> None:
    await customer.grant(10)
    [grant] = await customer.grants()
    hold_id = await customer.hold(6)
    await customer.done(f"grants/{grant['id']}/void")
    await customer.stands_at(available=0, held=6, voided=4)
    await customer.done(f"holds/{hold_id}/capture", amount=2)
    await customer.stands_at(available=0, held=0, captured=2, voided=8)
    await customer.done("refunds", hold_id=hold_id)
    await customer.stands_at(available=0, captured=0, voided=10)


async def test_the_largest_sum_is_granted_charged_and_refunded_whole(customer: Customer) -> None:
    await customer.grant(CREDITS_MAX)
    charged = await customer.charge(CREDITS_MAX)
    more = {"kind": "paid", "source_ref": "one more", "amount": 1}
    assert await customer.refused("grants", **more) == "invalid_input"
    await customer.done("refunds", hold_id=charged)
    await customer.stands_at(available=CREDITS_MAX, captured=0, refunded=CREDITS_MAX)


async def test_one_of_many_who_end_a_hold_at_once_in_two_processes_does(
    customer: Customer, second_api: Api
) -> None:
    second_api.secrets |= {"admin": customer.api.secrets["admin"]}
    await customer.grant(100)
    hold_id = await customer.hold(40)
    answers = await asyncio.gather(
        *(
            customer.post_to(
                (customer.api, second_api)[number % 2],
                f"holds/{hold_id}/{('capture', 'release')[number // 2 % 2]}",
            )
            for number in range(CLIENTS)
        )
    )
    lost = [answer.json() for answer in answers if answer.status_code != 200]
    assert len(lost) == CLIENTS - 1
    [won] = (answer.json() for answer in answers if answer.status_code == 200)
    state = "captured" if won["captured"] else "released"
    assert {(one["code"], one["state"]) for one in lost} == {("hold_settled", state)}
    charged = 40 if state == "captured" else 0
    await customer.stands_at(available=100 - charged, held=0, captured=charged)
