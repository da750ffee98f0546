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
