"""Operators' holds over HTTP, how they end, and what is refunded of a capture."""

from __future__ import annotations

import asyncio

from service.identifiers import new_id, public_id
from tallystick.client import AsyncClient, Client
from tests.integration.http.api import CREDITS, PRICE
from tests.integration.http.operator_books import Books


async def test_a_hold_is_extended_and_captured_in_part(books: Books) -> None:
    held = await books.done("holds", {"amount": 50})
    extended = await books.done(f"holds/{held['id']}/extend", {"added": 30})

    assert (held["amount"], extended["amount"], extended["task_id"]) == (50, 80, None)
    assert await books.items("holds") == [extended]
    account = await books.done(f"holds/{held['id']}/capture", {"amount": 60})
    assert (account["available"], account["held"], account["captured"]) == (CREDITS - 60, 0, 60)
    assert await books.items("holds") == []


async def test_a_hold_is_released_whole(books: Books) -> None:
    account = await books.done(f"holds/{await books.hold(50)}/release")
    assert (account["available"], account["held"], account["active"]) == (CREDITS, 0, 0)


async def test_a_hold_that_has_ended_says_how(books: Books) -> None:
    captured, released = await books.captured(9), await books.hold(9)
    await books.done(f"holds/{released}/release")
    refunded = await books.captured(9)
    await books.done("refunds", {"hold_id": refunded})

    for hold_id, state in ((captured, "captured"), (released, "released"), (refunded, "refunded")):
        for verb in ("extend", "capture", "release"):
            answer = await books.post(f"holds/{hold_id}/{verb}")
            assert (answer.status_code, answer.json()["code"]) == (409, "hold_settled")
            assert (verb, answer.json()["state"]) == (verb, state)
    unknown = public_id("hold", new_id())
    for verb in ("extend", "capture", "release"):
        assert await books.refused(f"holds/{unknown}/{verb}") == (404, "not_found")


async def test_the_hold_of_a_task_is_left_to_the_task(books: Books) -> None:
    task = await books.api.submit()
    [hold] = await books.items("holds")
    assert hold["task_id"] == task["id"]

    for verb in ("extend", "capture", "release"):
        assert await books.refused(f"holds/{hold['id']}/{verb}") == (409, "hold_not_yours")
    [claimed] = await books.api.claim()
    done = await books.api.work(task["id"], "complete", claimed["token"], result={"n": 2})
    assert done.status_code == 200


async def test_a_refund_gives_back_what_is_left_and_no_more(books: Books) -> None:
    hold_id = await books.captured(30)

    part = await books.done("refunds", {"hold_id": hold_id, "amount": 10})
    assert (part["captured"], part["refunded"]) == (20, 10)
    answer = await books.post("refunds", {"hold_id": hold_id, "amount": 21})
    assert (answer.status_code, answer.json()["code"]) == (409, "refund_exceeds_capture")
    assert answer.json()["refundable"] == 20
    whole = await books.done("refunds", {"hold_id": hold_id})
    assert (whole["available"], whole["captured"], whole["refunded"]) == (CREDITS, 0, 30)
    assert await books.refused("refunds", {"hold_id": hold_id}) == (409, "illegal_transition")


async def test_only_a_capture_is_refunded(books: Books) -> None:
    held, released = await books.hold(5), await books.hold(5)
    await books.done(f"holds/{released}/release")

    assert await books.refused("refunds", {"hold_id": held}) == (409, "illegal_transition")
    assert await books.refused("refunds", {"hold_id": released}) == (409, "hold_settled")
    for refund in (
        {"hold_id": public_id("hold", new_id())},
        {"task_id": public_id("task", new_id())},
    ):
        assert await books.refused("refunds", refund) == (404, "not_found")
    for refund in ({}, {"hold_id": held, "task_id": public_id("task", new_id())}):
        assert await books.refused("refunds", refund) == (400, "invalid_input")


async def test_another_accounts_capture_is_not_found(books: Books) -> None:
    task, hold_id = await books.completed_task(), await books.captured(5)
    books.path = f"/v1/accounts/{public_id('acct', books.api.other_account)}"

    assert await books.refused("refunds", {"hold_id": hold_id}) == (404, "not_found")
    assert await books.refused("refunds", {"task_id": task["id"]}) == (404, "not_found")
    assert await books.refused(f"holds/{hold_id}/capture") == (404, "not_found")


async def test_a_task_tells_what_was_refunded_of_it(books: Books) -> None:
    api = books.api
    task = await books.completed_task()
    verdicts = []
    for amount in (2, PRICE - 2):
        await books.done("refunds", {"task_id": task["id"], "amount": amount})
        money = (await api.get(f"/v1/tasks/{task['id']}")).json()["money"]
        verdicts.append((money["verdict"], money["credits"]))
        [listed] = (await api.get("/v1/tasks")).json()["items"]
        assert listed["money"] == money
        [of_all] = (await api.get("/v1/tasks", "admin")).json()["items"]
        assert of_all["money"] == money

    assert verdicts == [("charged", PRICE - 2), ("refunded", PRICE)]
    assert money["sentence"] == "5 credits are refunded: the whole charge."


async def test_the_client_reads_grants_holds_and_a_refunded_task(books: Books) -> None:
    api = books.api
    task, hold_id = await books.completed_task(), await books.hold(7)
    await books.done("refunds", {"task_id": task["id"]})

    def read() -> None:
        with Client(api.url, api.secrets["user"]) as client:
            [hold] = client.holds()
            [grant] = client.grants()
            assert (hold.id, hold.amount, grant.remaining, grant.held) == (
                *(hold_id, 7, CREDITS - 7, 7),
            )
            assert client.get(task["id"]).money.verdict == "refunded"  # type: ignore[union-attr]

    await asyncio.to_thread(read)
    async with AsyncClient(api.url, api.secrets["user"]) as client:
        assert [hold.id async for hold in client.holds()] == [hold_id]
        assert [grant.held async for grant in client.grants()] == [7]


async def test_the_charge_of_a_groups_member_is_the_groups(books: Books) -> None:
    members = [{"type": "double", "input": {"n": 1}}]
    group = (await books.api.post("/v1/groups", {"kind": "k", "members": members})).json()
    [claimed] = await books.api.claim()
    await books.api.work(claimed["id"], "complete", claimed["token"], result={"n": 2})
    [member] = group["members"]

    refused = await books.refused("refunds", {"task_id": member["task_id"]})
    assert refused == (409, "member_of_group")


async def test_many_refunds_at_once_never_exceed_the_capture(books: Books) -> None:
    hold_id = await books.captured(100)

    refund = {"hold_id": hold_id, "amount": 3}
    answers = await asyncio.gather(*(books.post("refunds", refund) for _ in range(64)))

    done = [answer for answer in answers if answer.status_code == 200]
    refused = {answer.json()["code"] for answer in answers if answer.status_code != 200}
    assert (len(done), refused) == (33, {"refund_exceeds_capture"})
    assert await books.api.balance() == (CREDITS - 1, 0, 1)


async def test_credits_refunded_to_a_spent_grant_can_be_spent_again(books: Books) -> None:
    """Held in pieces, so that the grant stands in several slices of the capture."""
    hold_id = await books.hold(CREDITS - 100)
    await books.done(f"holds/{hold_id}/extend", {"added": 100})
    await books.done(f"holds/{hold_id}/capture")
    assert await books.items("grants") == []

    await books.done("refunds", {"hold_id": hold_id})

    [grant] = await books.items("grants")
    assert (grant["remaining"], grant["held"]) == (CREDITS, 0)
    await books.hold(CREDITS)
    assert await books.refused("holds", {"amount": 1}) == (402, "insufficient_credits")


async def test_a_grant_that_was_voided_gets_nothing_back_by_a_refund(books: Books) -> None:
    hold_id = await books.captured(10)
    [grant] = await books.items("grants")
    await books.done(f"grants/{grant['id']}/void")
    assert await books.items("grants") == []

    account = await books.done("refunds", {"hold_id": hold_id})

    assert (account["available"], account["voided"], account["refunded"]) == (0, CREDITS, 10)
    assert await books.items("grants") == []


async def test_what_is_held_of_a_voided_grant_goes_when_it_comes_back(books: Books) -> None:
    hold_id = await books.hold(10)
    [grant] = await books.items("grants")
    await books.done(f"grants/{grant['id']}/void")
    [left] = await books.items("grants")
    assert (left["remaining"], left["held"], left["voided"]) == (0, 10, True)

    account = await books.done(f"holds/{hold_id}/release")
    assert (account["available"], account["voided"]) == (0, CREDITS)
    again = await books.done(f"grants/{grant['id']}/void")
    assert (again["available"], again["voided"], again["version"]) == (
        *(0, CREDITS, account["version"]),
    )
