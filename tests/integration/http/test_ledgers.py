"""Operators' verbs for ledgers over HTTP: done once, refused as documented, with a reason."""

from __future__ import annotations

import asyncio
import re

import pytest

from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from domain.event import CREDITS_MAX
from service.http.ledgers import ROUTES
from service.identifiers import new_id, parse_id, public_id
from tallystick.client import AsyncClient, Client
from tests.integration.http.api import CREDITS
from tests.integration.http.operator_books import Books, Document


async def test_grants_are_listed_in_the_order_in_which_they_burn(books: Books) -> None:
    for number, (kind, priority) in enumerate((("promotional", 100), ("paid", 5), ("trial", 100))):
        given = {"amount": 1, "kind": kind, "source_ref": f"g{number}", "priority": priority}
        await books.done("grants", given)
    kinds, path = [], f"{books.path}/grants?limit=1"
    while path:
        page = await books.api.get(path, "admin")
        kinds += [grant["kind"] for grant in page.json()["items"]]
        path = page.links.get("next", {}).get("url", "")

    assert kinds == ["paid", "trial", "promotional", "paid"]
    own = (await books.api.get("/v1/account/grants")).json()["items"]
    assert own == await books.items("grants")


async def test_pages_of_holds_add_up(books: Books) -> None:
    made = [await books.hold(1) for _ in range(3)]
    seen, path = [], "/v1/account/holds?limit=2"
    while path:
        page = await books.api.get(path)
        seen += [hold["id"] for hold in page.json()["items"]]
        path = page.links.get("next", {}).get("url", "")
    assert seen == sorted(made)
    assert (await books.api.get("/v1/account/holds", "other")).json()["items"] == []


async def test_a_plan_rolls_over_what_is_left(books: Books) -> None:
    [old] = await books.items("grants")
    new = {"amount": 100, "kind": "paid", "source_ref": "june", "rolls_over": old["id"]}
    account = await books.done("grants", new | {"rollover_max": 40})

    assert (account["available"], account["expired"]) == (140, CREDITS)
    [grant] = await books.items("grants")
    assert grant["remaining"] == 140


async def test_no_hold_carries_more_over_than_a_rollover_allows(books: Books) -> None:
    [old] = await books.items("grants")
    hold_id, charged = await books.hold(CREDITS - 30), await books.captured(20)
    new = {"amount": 100, "kind": "paid", "source_ref": "june", "rolls_over": old["id"]}
    account = await books.done("grants", new | {"rollover_max": 40})
    assert (account["available"], account["expired"]) == (110, 10)

    assert (await books.done(f"holds/{hold_id}/release"))["available"] == 110
    account = await books.done("refunds", {"hold_id": charged})
    assert (account["available"], account["voided"]) == (110, CREDITS - 10)
    comparison = await compare_inline(books.api.service.dsn, EventMapper())
    assert (comparison.complete, comparison.differences) == (True, ())


async def test_what_another_grant_follows_is_one_that_the_account_had(books: Books) -> None:
    """Also when all of it is spent; that of another account is none, and nothing is changed."""
    new = {"amount": 100, "kind": "paid", "source_ref": "june", "rollover_max": 40}
    theirs = (await books.api.get("/v1/account/grants", "other")).json()["items"][0]["id"]
    before = (await books.api.get(books.path, "admin")).json()
    refused = await books.post("grants", new | {"rolls_over": theirs})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "/rolls_over")
    assert (await books.api.get(books.path, "admin")).json() == before
    [spent] = await books.items("grants")
    await books.captured(CREDITS)
    assert await books.items("grants") == []
    for _ in range(2):
        account = await books.done("grants", new | {"rolls_over": spent["id"]})
        assert (account["available"], account["expired"]) == (100, 0)


async def test_adjustments_go_both_ways_once_each(books: Books) -> None:
    down = {"amount": -20, "source_ref": "ticket-9"}
    for _ in range(2):
        assert (await books.done("adjustments", down))["voided"] == 20
    for _ in range(2):
        up = await books.done("adjustments", {"amount": 5, "source_ref": "ticket-10"})
        assert up["available"] == CREDITS - 15
    too_much = {"amount": -CREDITS, "source_ref": "ticket-11"}
    assert await books.refused("adjustments", too_much) == (402, "insufficient_credits")


async def test_a_frozen_account_refuses_holds_but_settles_them(books: Books) -> None:
    hold_id = await books.hold(10)
    assert (await books.done("freeze"))["status"] == "frozen"

    assert await books.refused("holds", {"amount": 1}) == (409, "illegal_transition")
    submission = {"type": "double", "input": {"n": 1}}
    assert (await books.api.post("/v1/tasks", submission)).json()["code"] == "illegal_transition"
    assert (await books.done(f"holds/{hold_id}/capture"))["captured"] == 10
    assert (await books.done("unfreeze"))["status"] == "open"
    await books.hold(1)


async def test_an_account_closes_when_it_is_settled(books: Books) -> None:
    hold_id = await books.hold(10)
    answer = await books.post("close")
    assert (answer.status_code, answer.json()["code"]) == (409, "account_unsettled")
    assert (answer.json()["holds"], answer.json()["available"]) == (1, CREDITS - 10)

    await books.done(f"holds/{hold_id}/release")
    account = await books.done("close")
    assert (account["status"], account["available"], account["voided"]) == ("closed", 0, CREDITS)
    for verb, body in (("freeze", {}), ("holds", {"amount": 1}), ("books", {"period": "2026-01"})):
        assert await books.refused(verb, body) == (409, "illegal_transition")


async def test_a_plan_is_changed_to_one_that_exists(books: Books) -> None:
    assert (await books.done("plan", {"plan": "enterprise"}))["plan"] == "enterprise"
    answer = await books.post("plan", {"plan": "golden"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/plan")


async def test_books_are_closed_for_months_that_have_begun(books: Books) -> None:
    hold_id = await books.captured(10)
    month = books.api.service.clock.now().strftime("%Y-%m")
    assert (await books.done("books", {"period": month}))["available"] == CREDITS - 10
    version = (await books.api.get(books.path, "admin")).json()["version"]
    assert (await books.done("books", {"period": month}))["version"] == version
    assert await books.refused("books", {"period": "9999-12"}) == (400, "invalid_input")
    assert await books.refused("books", {"period": "2026-13"}) == (400, "invalid_input")

    assert (await books.done("refunds", {"hold_id": hold_id}))["available"] == CREDITS


@pytest.mark.parametrize("verb", ["freeze", "plan", "close"])
async def test_a_stale_version_is_refused(books: Books, verb: str) -> None:
    body = {"plan": "enterprise"} if verb == "plan" else {}
    stale = await books.post(verb, body, if_match='"v1"')
    assert (stale.status_code, stale.headers["etag"]) == (412, '"v2"')
    assert (await books.post(verb, body, if_match='"v1", "v2"')).status_code == 200


LATER = "2099-01-01T00:00:00Z"
ONCE: list[tuple[str, Document]] = [
    ("plan", {"plan": "enterprise"}),
    ("freeze", {}),
    ("unfreeze", {}),
    ("close", {}),
    ("grants", {"amount": 5, "kind": "paid", "source_ref": "t"}),
    ("adjustments", {"amount": -5, "source_ref": "t"}),
    ("holds", {"amount": 7}),
    ("holds/{hold}/extend", {"added": 3}),
    ("holds/{hold}/capture", {"amount": 4}),
    ("holds/{hold}/release", {}),
    ("refunds", {"hold_id": "{captured}", "amount": 2}),
    ("refunds", {"task_id": "{task}", "amount": 2}),
    ("grants/{grant}/void", {}),
    ("books", {"period": "2026-01"}),
]
FIRST = {"unfreeze": "freeze", "close": "holds/{hold}/release"}
"""What has to be done before there is anything to do."""


@pytest.mark.parametrize(("verb", "body"), ONCE, ids=[verb for verb, _ in ONCE])
async def test_the_same_key_moves_money_once(books: Books, verb: str, body: Document) -> None:
    names = {
        "task": (await books.completed_task())["id"],
        "captured": await books.captured(10),
        "hold": await books.hold(20),
        "grant": (await books.items("grants"))[0]["id"],
    }
    if verb in FIRST:
        await books.done(FIRST[verb].format(**names))
    verb = verb.format(**names)
    body = {k: v.format(**names) if isinstance(v, str) else v for k, v in body.items()}
    before = await books.api.service.log.head()

    first, *more = [await books.post(verb, body, idempotency_key="k") for _ in range(3)]
    head = await books.api.service.log.head()
    changed = await books.post(verb, body | {"reason": "another"}, idempotency_key="k")

    assert first.status_code in {200, 201}
    assert head > before
    for again in more:
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotent-replayed"] == "true"
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    assert await books.api.service.log.head() == head


async def test_every_verb_leaves_its_reason_and_its_actor_in_the_log(books: Books) -> None:
    api = books.api
    names = {"grant": (await books.items("grants"))[0]["id"], "hold": await books.hold(5)}
    names["other"], names["captured"] = await books.hold(5), await books.captured(5)
    verbs: list[tuple[str, Document]] = [
        ("plan", {"plan": "enterprise"}),
        ("holds", {"amount": 1}),
        ("holds/{hold}/extend", {"added": 1}),
        ("holds/{hold}/capture", {}),
        ("holds/{other}/release", {}),
        ("refunds", {"hold_id": names["captured"]}),
        ("adjustments", {"amount": 5, "source_ref": "up"}),
        ("adjustments", {"amount": -5, "source_ref": "down"}),
        ("books", {"period": "2026-01"}),
        ("freeze", {}),
        ("unfreeze", {}),
        ("grants/{grant}/void", {}),
    ]
    for number, (verb, body) in enumerate(verbs):
        before = await api.service.log.head()
        reason = f"reason {number}"
        await books.done(verb.format(**names), body | {"reason": reason})
        [recorded, *_] = await api.service.log.read(before, 10)
        assert (verb, recorded.event.reason) == (verb, reason)  # type: ignore[attr-defined]
        assert recorded.event.meta.actor.startswith("key_")
    [held] = await books.items("holds")
    await books.done(f"holds/{held['id']}/release")
    await books.done("close", {"reason": "the end"})
    [*_, last] = await api.service.log.read(await api.service.log.head() - 1, 1)
    assert (last.event.TOPIC, last.event.reason) == ("account.closed", "the end")  # type: ignore[attr-defined]
    tried = {_plain(verb) for verb, _ in verbs} | {"close"}
    assert {_plain(route.path.partition("{id}/")[2]) for route in ROUTES} == tried


def _plain(verb: str) -> str:
    return re.sub(r"\{\w+\}", "", verb)


async def test_a_reference_with_other_content_is_refused_and_says_what_differs(
    books: Books,
) -> None:
    first = {"amount": 5, "kind": "paid", "source_ref": "invoice-7", "expires_at": LATER}
    await books.done("grants", first)
    await books.done("adjustments", {"amount": -5, "source_ref": "ticket-7"})
    before = await books.api.service.log.head()
    for verb, body, told in (
        ("grants", first | {"amount": 6, "kind": "trial"},
         {"/amount": "was 5", "/kind": "was paid"}),
        ("grants", first | {"expires_at": None}, {"/expires_at": f"was {LATER}"}),
        ("grants", first | {"effective_at": "2098-01-01T00:00:00Z"},
         {"/effective_at": "was not given"}),
        ("adjustments", {"amount": 5, "source_ref": "invoice-7"},
         {"/kind": "was paid", "/expires_at": f"was {LATER}"}),
        ("adjustments", {"amount": -6, "source_ref": "ticket-7"}, {"/amount": "was -5"}),
    ):  # fmt: skip
        answer = await books.post(verb, body)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (409, "reference_reused")
        assert {one["pointer"]: one["detail"] for one in problem["errors"]} == told
    for verb, body in (
        ("grants", first),
        ("adjustments", {"amount": -5, "source_ref": "ticket-7"}),
    ):
        for reason in ("again", "another-one"):
            again = await books.post(verb, body | {"reason": reason}, idempotency_key=reason)
            assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert await books.api.service.log.head() == before


async def test_bad_requests_change_nothing(books: Books) -> None:
    before = await books.api.service.log.head()
    for verb, body, pointer in (
        ("freeze", {"reason": ""}, "/reason"),
        ("freeze", {"reason": " \t\n"}, "/reason"),
        ("freeze", {"reason": "x" * 2_001}, "/reason"),
        ("holds", {"amount": 0}, "/amount"),
        ("holds", {"amount": CREDITS_MAX + 1}, "/amount"),
        ("holds", {"amount": 1, "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ("adjustments", {"amount": 0, "source_ref": "x"}, "/amount"),
        ("adjustments", {"amount": 1, "source_ref": ""}, "/source_ref"),
        ("refunds", {"hold_id": "hold_1"}, "/hold_id"),
        ("refunds", {"hold_id": public_id("hold", new_id()), "amount": 0}, "/amount"),
        ("books", {"period": "26-1"}, "/period"),
        ("books", {"period": "0000-01"}, "/period"),
        ("books", {"period": "2026-01\n"}, "/period"),
        ("grants", {"amount": 1, "kind": "paid", "source_ref": "g", "rolls_over": "x"},
         "/rolls_over"),
        ("grants", {"amount": 1, "kind": "paid", "source_ref": "g",
                    "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
    ):  # fmt: skip
        answer = await books.post(verb, body)
        assert (body, answer.status_code) == (body, 400)
        assert answer.json()["errors"][0]["pointer"] == pointer, body
    assert (await books.api.post(f"{books.path}/freeze", {}, "admin")).status_code == 400
    assert await books.api.service.log.head() == before


async def test_an_account_that_is_not_there_has_no_verbs(books: Books) -> None:
    hold_id, grant_id = public_id("hold", new_id()), public_id("grant", new_id())
    for account in (public_id("acct", new_id()), "acct_1"):
        books.path = f"/v1/accounts/{account}"
        for route in ROUTES:
            verb = route.path.partition("{id}/")[2].format(hold_id=hold_id, grant_id=grant_id)
            body = dict(route.example) if isinstance(route.example, dict) else {}
            assert await books.refused(verb, body) == (404, "not_found")
        for what in ("grants", "holds"):
            assert (await books.api.get(f"{books.path}/{what}", "admin")).status_code == 404


async def test_rows_are_those_of_the_log_after_all_of_it(books: Books) -> None:
    hold_id = await books.captured(10)
    await books.done("refunds", {"hold_id": hold_id, "amount": 4})
    await books.done("adjustments", {"amount": -1, "source_ref": "x"})
    comparison = await compare_inline(books.api.service.dsn, EventMapper())
    assert comparison.differences == ()
    assert parse_id("acct", books.api.account_id) == books.api.account


async def test_the_clients_read_an_account_of_before_and_its_statement(books: Books) -> None:
    api = books.api
    await books.captured(30)
    await api.project()

    async with AsyncClient(api.url, api.secrets["user"]) as client:
        past, summary = await client.account(at=2), await client.statement_summary()
        text = b"".join([piece async for piece in client.statement_csv()])
        names = [plan.name async for plan in client.plans()]

    def read() -> None:
        with Client(api.url, api.secrets["user"]) as client:
            assert client.account(at=2) == past
            at_time = client.account(at=past.updated_at)
            assert (at_time.version, at_time.available) == (past.version, past.available)
            assert client.statement_summary(until=summary.until).closing == summary.closing
            assert b"".join(client.statement_csv()) == text
            assert [plan.name for plan in client.plans()] == names

    assert past.as_of is not None
    assert (past.version, past.available, past.as_of.version) == (2, CREDITS, 2)
    assert (summary.opening.available, summary.closing.available) == (0, CREDITS - 30)
    assert text.decode().count("\r\n") == 1 + sum(total.lines for total in summary.totals)
    assert {"standard", "enterprise"} <= set(names)
    await asyncio.to_thread(read)
