"""What a group and its members say of their credits: held together, and settled once."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.http.api import FINAL, PRICE, Api
from tests.integration.http.test_groups import deliver, shown, start

LATER = "5 credits are on hold with its group; when the group ends,"
NOT_DELIVERED = f"{LATER} all of it comes back."


def told(resource: dict[str, Any]) -> tuple[str, int, str]:
    money = resource["money"]
    return money["verdict"], money["credits"], money["sentence"]


async def task_of(api: Api, task_id: str) -> dict[str, Any]:
    """From its own page; a list says the same of its money."""
    whole = (await api.get(f"/v1/tasks/{task_id}")).json()
    items = (await api.get("/v1/tasks")).json()["items"]
    [listed] = [item for item in items if item["id"] == task_id]
    assert listed["money"] == whole["money"]
    return whole  # type: ignore[no-any-return]


async def test_a_member_is_charged_when_its_group_is(api: Api) -> None:
    group = await start(api, 3)
    first, second, third = await api.claim(limit=3)
    assert told(await task_of(api, first["id"])) == (
        "held",
        PRICE,
        (
            "5 credits are on hold with its group, which is charged for what it delivered when it"
            " ends."
        ),
    )
    assert told(group) == (
        "held",
        3 * PRICE,
        "15 credits are on hold until all members have ended; so far 0 will be charged.",
    )

    done = await api.work(first["id"], "complete", first["token"], result={"n": 2})
    will_be = ("held", PRICE, f"{LATER} 5 will be charged.")
    assert told(done.json()) == told(await task_of(api, first["id"])) == will_be
    failed = await api.work(second["id"], "fail", second["token"], failure=FINAL)
    assert told(failed.json()) == told(await task_of(api, second["id"]))
    assert told(failed.json()) == ("held", PRICE, NOT_DELIVERED)
    half = await shown(api, group)
    assert told(half)[2].endswith("; so far 5 will be charged.")
    # The account says the same: nothing was charged yet.
    assert (await api.balance())[1:] == (3 * PRICE, 0)

    last = await api.work(third["id"], "complete", third["token"], result={"n": 2})
    charged = ("charged", PRICE, "5 credits are charged.")
    assert told(last.json()) == told(await task_of(api, first["id"])) == charged
    assert told(await task_of(api, second["id"])) == (
        "released",
        PRICE,
        "5 credits are given back, nothing was charged.",
    )
    assert told(await shown(api, group)) == (
        "charged",
        2 * PRICE,
        "10 credits are charged; 5 came back.",
    )
    assert (await api.balance())[1:] == (0, 2 * PRICE)


async def test_what_a_member_says_does_not_go_stale_in_a_cache(api: Api) -> None:
    """The group's end is no new version of a member that ended before it."""
    await start(api, 2)
    first, second = await api.claim(limit=2)
    await deliver(api, first)
    path = f"/v1/tasks/{first['id']}"
    before = await api.get(path)
    await deliver(api, second)

    after = await api.get(path, if_none_match=before.headers["etag"])

    assert (after.status_code, after.json()["money"]["verdict"]) == (200, "charged")
    assert before.json()["money"]["verdict"] == "held"


async def test_a_refused_cancel_says_what_will_be_charged_and_what_was(api: Api) -> None:
    group = await start(api, 2)
    first, second = await api.claim(limit=2)
    await deliver(api, first)

    early = await api.post(f"/v1/tasks/{first['id']}/cancel")
    await deliver(api, second)
    late = await api.post(f"/v1/tasks/{first['id']}/cancel")
    whole = await api.post(f"/v1/groups/{group['id']}/cancel")

    assert [answer.status_code for answer in (early, late, whole)] == [409] * 3
    assert [told(answer.json()) for answer in (early, late, whole)] == [
        ("held", PRICE, f"{LATER} 5 will be charged."),
        ("charged", PRICE, "5 credits are charged."),
        ("charged", 2 * PRICE, "10 credits are charged."),
    ]


async def test_members_that_are_cancelled_wait_for_their_group_too(api: Api) -> None:
    group = await start(api, 2)
    running, queued = (member["task_id"] for member in group["members"])
    [claimed] = await api.claim(limit=1)
    assert claimed["id"] == running

    stopped = await api.post(f"/v1/tasks/{queued}/cancel")
    asked = await api.post(f"/v1/groups/{group['id']}/cancel")
    assert told(stopped.json()) == ("held", PRICE, NOT_DELIVERED)
    assert told(asked.json())[:2] == ("held", 2 * PRICE)
    await api.work(running, "release", claimed["token"])

    ends = await asyncio.gather(*(task_of(api, task_id) for task_id in (running, queued)))
    assert [told(task)[:2] for task in ends] == [("released", PRICE)] * 2
    assert told(await shown(api, group)) == (
        "released",
        2 * PRICE,
        "10 credits are given back, nothing was charged.",
    )


async def test_a_member_of_a_run_before_stays_charged_while_the_group_runs_again(api: Api) -> None:
    group = await start(api, 2)
    first, second = await api.claim(limit=2)
    await deliver(api, first)
    await api.work(second["id"], "fail", second["token"], failure=FINAL)

    again = await api.post(f"/v1/groups/{group['id']}/retry")

    assert again.status_code == 202
    assert told(again.json()) == (
        "held",
        PRICE,
        (
            "5 credits are on hold until all members have ended; so far 0 will be charged."
            " Runs before it cost 5."
        ),
    )
    assert told(await task_of(api, first["id"]))[:2] == ("charged", PRICE)
    assert told(await task_of(api, second["id"]))[:2] == ("released", PRICE)


async def _refund(api: Api, hold_id: str, amount: int) -> None:
    body = {"hold_id": hold_id, "amount": amount, "reason": "blurred"}
    done = await api.post(f"/v1/accounts/{api.account_id}/refunds", body, "admin")
    assert done.status_code == 200, done.text


async def _hold_of(api: Api, group: dict[str, Any]) -> str:
    """That of its run at work."""
    items = (await api.get(f"/v1/accounts/{api.account_id}/holds", "admin")).json()["items"]
    [hold_id] = [hold["id"] for hold in items if hold["group_id"] == group["id"]]
    return str(hold_id)


async def _fail(api: Api, task: dict[str, Any]) -> None:
    done = await api.work(task["id"], "fail", task["token"], failure=FINAL)
    assert done.status_code == 200, done.text


async def test_a_group_tells_what_was_refunded_in_all_its_runs(api: Api) -> None:
    group = await start(api, 2)
    first_hold = await _hold_of(api, group)
    first, second = await api.claim(limit=2)
    await deliver(api, first)
    await _fail(api, second)
    before = await api.get(f"/v1/groups/{group['id']}")
    await _refund(api, first_hold, 2)
    part = await shown(api, group)
    assert told(part) == ("charged", 3, "3 credits are charged; 2 more came back.")
    etag = before.headers["etag"]
    assert (await api.get(f"/v1/groups/{group['id']}", if_none_match=etag)).json() == part

    retried = await api.post(f"/v1/groups/{group['id']}/retry", {})
    assert retried.status_code == 202, retried.text
    assert told(await shown(api, group))[2].endswith(" Runs before it cost 3.")
    last_hold = await _hold_of(api, group)
    [third] = await api.claim(limit=2)
    await deliver(api, third)
    assert told(await shown(api, group)) == (
        *("charged", 2 * PRICE - 2, "8 credits are charged; 2 more came back."),
    )
    await _refund(api, last_hold, PRICE)
    await _refund(api, first_hold, PRICE - 2)
    whole = ("refunded", 2 * PRICE, "10 credits are refunded: the whole charge.")
    assert told(await shown(api, group)) == whole
    for as_ in ("user", "admin"):
        [listed] = (await api.get("/v1/groups", as_)).json()["items"]
        assert told(listed) == whole


async def test_what_was_refunded_of_another_group_is_not_told(api: Api) -> None:
    for refunded in (True, False):
        group = await start(api, 1)
        hold_id = await _hold_of(api, group)
        [task] = await api.claim()
        await deliver(api, task)
        if refunded:
            await _refund(api, hold_id, 1)
    listed = (await api.get("/v1/groups")).json()["items"]
    assert [item["money"]["credits"] for item in listed] == [PRICE, PRICE - 1]
