"""Prices from a file, end to end: quoted, held by the estimate, charged by what was measured."""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from adapters.documents import DocumentFilter
from domain.ledger_events import CreditsCaptured, CreditsHeld
from domain.publication_events import PricesPublished
from domain.task_events import TaskCompleted
from service.bootstrap import open_service
from service.cli.program import tallystick
from service.identifiers import new_id
from service.settings import BadSetting, Settings
from tallystick import AsyncClient
from tallystick.handler import Context, handler
from tests.fault.books import Books
from tests.integration.http.api import CREDITS, FINAL, SETUP, Api, running_api

PRICES = """
version = "{version}"
[types.film]
base = 1.5
minimum = 2
maximum = 300
[types.film.units.seconds]
price = {price}
included = 2
[types.film.options.resolution]
"4k" = 2
hd = 1.25
"""
PLANS = """
version = "7"
[plans.standard]
active_tasks_max = 1_000
daily_tasks_max = 10_000
[plans.trying]
active_tasks_max = 1_000
daily_tasks_max = 10_000
trial_tasks = 3
"""
TRIALS = 3
CLIENTS = 64


class Script(msgspec.Struct):
    seconds: float
    resolution: str = "hd"


class Film(msgspec.Struct):
    seconds: float


@handler(
    "film",
    price_credits=9,
    estimate=lambda asked: {"seconds": asked.seconds},
    measure=lambda asked, made: {"seconds": made.seconds, "shots": 1},  # noqa: ARG005
)
async def film(asked: Script, _: Context) -> Film:
    """Half of what was asked for."""
    return Film(seconds=asked.seconds / 2)


@handler("flop", price_credits=4, measure=lambda _, made: {"seconds": 1 / made.seconds})
async def flop(_: Script, __: Context) -> Film:
    return Film(seconds=0)


def cost(seconds: float, resolution: str) -> int:
    """The rule again, by fractions."""
    beyond = max(Fraction(0), Fraction(repr(seconds)) - 2)
    factor = {"4k": Fraction(2), "hd": Fraction(5, 4)}.get(resolution, Fraction(1))
    return min(max(math.ceil((Fraction(3, 2) + beyond * Fraction(1, 4)) * factor), 2), 300)


def tariff(folder: Path, *, version: str = "2030-05", price: str = "0.25") -> dict[str, Any]:
    """Settings of a price list and plans."""
    folder.mkdir(parents=True, exist_ok=True)
    prices, plans = folder / f"prices-{version}-{price}.toml", folder / "plans.toml"
    prices.write_text(PRICES.format(version=version, price=price))
    plans.write_text(PLANS)
    return {"prices_file": prices, "plans_file": plans}


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database, tmp_path, [film, flop], **tariff(tmp_path)) as running:
        yield running


async def film_of(api: Api, seconds: float, resolution: str = "hd") -> dict[str, Any]:
    script = {"seconds": seconds, "resolution": resolution}
    answer = await api.post("/v1/tasks", {"type": "film", "input": script})
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def trying(api: Api, funds: int = CREDITS) -> str:
    """Name of a key for an account with trials."""
    account_id = new_id()
    await api.open_account(account_id, plan="trying", funds=funds)
    return await api.key_of(account_id)


def of(api: Api, kind: type[Any]) -> list[Any]:
    return [event for event in Books(api.service.dsn).events if isinstance(event, kind)]


async def test_a_worker_charges_what_it_measured_and_gives_the_rest_back(api: Api) -> None:
    task = await film_of(api, 40, "4k")
    assert task["credits"]["held"] == cost(40, "4k") == 22
    await api.service.worker().run(until_idle=True)
    ended = (await api.get(f"/v1/tasks/{task['id']}")).json()
    assert ended["credits"] == {"held": 0, "charged": cost(20, "4k"), "released": 10}
    assert await api.balance() == (CREDITS - 12, 0, 12)
    [held], [done] = of(api, CreditsHeld), of(api, TaskCompleted)
    assert held.price_version == "2030-05"
    assert [(one.unit, one.amount) for one in done.quantities] == [("seconds", "20.0")]
    history = (await api.get(f"/v1/tasks/{task['id']}/history")).json()["items"]
    [told] = [fact["data"] for fact in history if fact["type"] == "task.completed"]
    assert told["quantities"] == [{"unit": "seconds", "amount": "20.0"}]


@pytest.mark.parametrize(
    ("said", "charged"),
    [
        ({}, cost(20, "hd")),
        ({"quantities": {"seconds": 10.4}}, cost(10.4, "hd")),
        ({"quantities": {"seconds": 0}}, 2),
        ({"quantities": {"seconds": 400}}, cost(40, "hd")),
        ({"quantities": {"shots": 1}}, cost(40, "hd")),
    ],
    ids=["measured here", "said", "nothing", "above the hold", "another unit"],
)
async def test_a_remote_worker_may_say_how_much_it_was(
    api: Api, said: dict[str, Any], charged: int
) -> None:
    """What cannot be priced, and what is above the hold, is charged as it was estimated."""
    task = await film_of(api, 40)
    [claimed] = await api.claim(types=["film"])
    answer = await api.work(
        task["id"], "complete", claimed["token"], result={"seconds": 20.0}, **said
    )
    assert answer.status_code == 200, answer.text
    held = cost(40, "hd")
    assert answer.json()["credits"] == {"held": 0, "charged": charged, "released": held - charged}


@pytest.mark.parametrize(
    "quantities",
    [
        {"seconds": -1},
        {"seconds": "1"},
        {"seconds": 1e13},
        {"": 1},
        {f"u{n}": 1 for n in range(17)},
    ],
    ids=["negative", "text", "huge", "nameless", "many"],
)
async def test_quantities_out_of_bounds_are_refused_and_end_nothing(
    api: Api, quantities: dict[str, Any]
) -> None:
    task = await film_of(api, 4)
    [claimed] = await api.claim(types=["film"])
    answer = await api.work(
        task["id"], "complete", claimed["token"], result={"seconds": 1.0}, quantities=quantities
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert (await api.get(f"/v1/tasks/{task['id']}")).json()["status"] == "running"


async def test_a_failed_measure_costs_its_user_no_result_and_no_more(api: Api) -> None:
    task = (await api.post("/v1/tasks", {"type": "flop", "input": {"seconds": 1}})).json()
    await api.service.worker().run(until_idle=True)
    ended = (await api.get(f"/v1/tasks/{task['id']}")).json()
    assert (ended["status"], ended["credits"]["charged"]) == ("completed", 4)
    assert [event.price_version for event in of(api, CreditsHeld)] == ["declared"]


async def test_members_of_a_group_are_each_charged_what_was_measured(api: Api) -> None:
    members = [{"type": "film", "input": {"seconds": seconds}} for seconds in (40, 80)]
    group = (await api.post("/v1/groups", {"kind": "board", "members": members})).json()
    assert group["credits"]["held"] == cost(40, "hd") + cost(80, "hd")
    await api.service.worker().run(until_idle=True)
    ended = (await api.get(f"/v1/groups/{group['id']}")).json()
    assert ended["credits"]["charged"] == cost(20, "hd") + cost(40, "hd")
    [held], [captured] = of(api, CreditsHeld), of(api, CreditsCaptured)
    assert (held.price_version, captured.amount) == ("2030-05", ended["credits"]["charged"])


async def test_a_task_ends_at_the_prices_that_it_was_held_for(
    api: Api, database: str, tmp_path: Path
) -> None:
    """Dearer prices that another process has in force meanwhile change nothing for it."""
    old = await film_of(api, 40)
    dearer = tariff(tmp_path, version="2030-06", price="0.75")
    async with running_api(database, tmp_path / "b", [film, flop], **dearer) as other:
        other.secrets["user"] = api.secrets["user"]
        new = await film_of(other, 40)
        assert new["credits"]["held"] > old["credits"]["held"]
        await other.service.worker().run(until_idle=True)
        new = (await api.get(f"/v1/tasks/{new['id']}")).json()
        assert new["credits"]["charged"] == math.ceil((1.5 + 18 * 0.75) * 1.25)
    ended = (await api.get(f"/v1/tasks/{old['id']}")).json()
    assert ended["credits"]["charged"] == cost(20, "hd")
    newer = {event.price_version for event in of(api, CreditsHeld)}
    assert newer == {"2030-05", "2030-06"}


async def test_prices_are_published_once_however_many_processes_start(
    database: str, tmp_path: Path
) -> None:
    chosen = Settings(database_url=database, data_folder=tmp_path, **tariff(tmp_path))

    async def start() -> int:
        async with open_service(chosen, handlers=[film]) as service:
            wanted = DocumentFilter(kind="publication")
            return len(await service.documents.documents(wanted))

    assert list(await asyncio.gather(start(), start(), start())) == [2, 2, 2]
    events = Books(database).events
    assert sum(isinstance(event, PricesPublished) for event in events) == 1


async def test_a_version_with_other_content_is_refused_at_the_start(
    api: Api, database: str, tmp_path: Path
) -> None:
    changed = tariff(tmp_path, price="0.26")
    chosen = Settings(database_url=database, data_folder=tmp_path, **changed)
    with pytest.raises(BadSetting, match=r"TALLYSTICK_PRICES_FILE.*2030-05"):
        async with open_service(chosen, handlers=[film]):
            pass
    assert len(of(api, PricesPublished)) == 1


async def test_prices_that_can_never_be_told_are_refused_at_the_start(
    database: str, tmp_path: Path
) -> None:
    @handler("film", price_credits=1)
    async def silent(_: Script, __: Context) -> Film:
        return Film(seconds=0)

    chosen = Settings(database_url=database, data_folder=tmp_path, **tariff(tmp_path))
    with pytest.raises(BadSetting, match=r"types\.film\.units"):
        async with open_service(chosen, handlers=[silent]):
            pass


async def test_prices_of_a_type_that_is_not_there_are_noted(database: str, tmp_path: Path) -> None:
    """A slip in the name would leave the type at the price that it declares, unnoticed."""
    chosen = Settings(database_url=database, data_folder=tmp_path, **tariff(tmp_path))
    noted = []
    for handlers in ([], [film]):
        with capture_logs() as logs:
            async with open_service(chosen, handlers=handlers):
                pass
        noted.append([log["types"] for log in logs if log["event"] == "prices.unknown_types"])
    assert noted == [[["film"]], []]


async def test_a_quote_says_what_the_submission_then_does(api: Api) -> None:
    """Over random inputs and balances: the same credits, trial, acceptance and refusal."""
    chance = random.Random(4)  # noqa: S311 - a fixed sequence of inputs
    keys = ["user", await trying(api), await trying(api, funds=30)]
    seen = set()
    for _ in range(60):
        key = chance.choice(keys)
        seconds = round(chance.uniform(0, 100), chance.randint(0, 6))
        resolution = chance.choice(["4k", "hd", "sd"])
        script = {"seconds": seconds, "resolution": resolution}
        body = {"type": "film", "input": script}
        before = len(Books(api.service.dsn).events)
        quote = (await api.post("/v1/quotes", body, key)).json()
        assert len(Books(api.service.dsn).events) == before, "a quote writes nothing"
        assert quote["price"] == quote["breakdown"]["credits"] == cost(seconds, resolution)
        answer = await api.post("/v1/tasks", body, key)
        told = answer.json()
        assert quote["accepted"] is (answer.status_code == 202)
        seen.add((quote["accepted"], quote["trial"]))
        if answer.status_code == 202:
            assert (quote["credits"], quote["trial"]) == (told["credits"]["held"], told["trial"])
            continue
        refusal = quote["refusal"]
        assert (refusal["code"], refusal["status"]) == (told["code"], answer.status_code)
        assert (refusal["required"], refusal["available"]) == (told["required"], told["available"])
    assert seen == {(True, False), (True, True), (False, False)}


async def test_a_quote_says_of_a_pause_and_refuses_what_a_submission_refuses(api: Api) -> None:
    body = {"type": "film", "input": {"seconds": 4}}
    await api.service.gates.pause("type", "film", reason="no light", origin=SETUP)
    assert (await api.post("/v1/quotes", body)).json()["paused"] == ["type"]
    for wrong in ({"type": "nothing", "input": {}}, {"type": "film", "input": {"seconds": "x"}}):
        quoted, submitted = await api.post("/v1/quotes", wrong), await api.post("/v1/tasks", wrong)
        assert quoted.status_code == submitted.status_code == 400
        assert quoted.json()["code"] == submitted.json()["code"]


async def test_an_estimate_that_fails_refuses_the_submission(api: Api) -> None:
    body = {"type": "film", "input": {"seconds": -4}}
    answer = await api.post("/v1/tasks", body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/input")
    assert await api.balance() == (CREDITS, 0, 0)


async def test_trials_are_exact_under_concurrent_submissions_over_two_processes(
    api: Api, database: str, tmp_path: Path
) -> None:
    """A3, I11: 64 at one time through two committers; the first three alone cost nothing."""
    key = await trying(api, funds=CREDITS)
    body = {"type": "film", "input": {"seconds": 4}}
    async with running_api(database, tmp_path / "b", [film, flop], **tariff(tmp_path)) as other:
        other.secrets[key] = api.secrets[key]
        answers = await asyncio.gather(
            *((api, other)[n % 2].post("/v1/tasks", body, key) for n in range(CLIENTS))
        )
        tasks = [answer.json() for answer in answers]
        trials = [task for task in tasks if task["trial"]]
        assert len(trials) == TRIALS
        assert {task["credits"]["held"] for task in trials} == {0}
        paid = {task["credits"]["held"] for task in tasks if not task["trial"]}
        assert paid == {cost(4, "hd")}
    sentence = "A free trial: nothing is on hold."
    assert {task["money"]["sentence"] for task in trials} == {sentence}


async def test_a_trial_that_delivers_is_used_and_one_that_does_not_comes_back(api: Api) -> None:
    key = await trying(api, funds=0)
    body = {"type": "film", "input": {"seconds": 4}}
    tasks = [(await api.post("/v1/tasks", body, key)).json() for _ in range(TRIALS)]
    assert (await api.post("/v1/tasks", body, key)).status_code == 402
    claimed = {one["id"]: one["token"] for one in await api.claim(types=["film"], limit=TRIALS)}
    done, failed, cancelled = (task["id"] for task in tasks)
    result = {"seconds": 2.0}
    ended = (await api.work(done, "complete", claimed[done], result=result)).json()
    assert (ended["money"]["sentence"], ended["credits"]["charged"]) == (
        "A free trial: nothing was charged.",
        0,
    )
    await api.work(failed, "fail", claimed[failed], failure=FINAL)
    await api.work(cancelled, "release", claimed[cancelled])
    await api.post(f"/v1/tasks/{cancelled}/cancel", {}, key)
    again = [(await api.post("/v1/tasks", body, key)).status_code for _ in range(3)]
    assert again == [202, 202, 402]


async def test_types_and_plans_show_what_is_in_force(api: Api) -> None:
    types = {one["name"]: one for one in (await api.get("/v1/task-types")).json()["items"]}
    assert types["film"]["price_credits"] == 2
    assert types["film"]["price"] == {
        "version": "2030-05",
        "base": "1.5",
        "units": {"seconds": {"price": "0.25", "included": "2"}},
        "options": {"resolution": {"4k": "2", "hd": "1.25"}},
        "minimum": 2,
        "maximum": 300,
    }
    assert (types["double"]["price"]["version"], types["double"]["price"]["base"]) == (
        "declared",
        "5",
    )
    plans = (await api.get("/v1/plans")).json()["items"]
    told = [(plan["name"], plan["version"], plan["trial_tasks"]) for plan in plans]
    assert told == [("standard", "7", 0), ("trying", "7", TRIALS)]


async def test_who_is_on_a_plan_that_is_gone_still_reads_the_account(
    api: Api, database: str, tmp_path: Path
) -> None:
    key = await trying(api)
    async with running_api(database, tmp_path / "without") as without:
        without.secrets[key] = api.secrets[key]
        for path in ("/v1/account", "/v1/account?at=2"):
            answer = await without.get(path, key)
            assert answer.status_code == 200, answer.text
            assert (answer.json()["plan"], answer.json()["available"]) == ("trying", CREDITS)
            assert answer.json()["limits"] == {
                "active_tasks": {"maximum": 0, "used": 0},
                "daily_tasks": {"maximum": 0, "used": 0},
            }
        refused = await without.post("/v1/tasks", {"type": "double", "input": {"n": 1}}, key)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "/plan")


async def test_the_client_quotes(api: Api) -> None:
    async with AsyncClient(api.url, api.secrets["user"]) as client:
        quote = await client.quote("film", {"seconds": 40, "resolution": "4k"})
    assert (quote.credits, quote.accepted, quote.price_version) == (22, True, "2030-05")
    assert quote.breakdown["exact"] == "22"


async def test_the_client_and_the_command_line_say_what_was_a_trial(api: Api) -> None:
    key = await trying(api, funds=0)
    body = {"type": "film", "input": {"seconds": 4}}
    task_id = (await api.post("/v1/tasks", body, key)).json()["id"]
    paid = await film_of(api, 4)
    async with AsyncClient(api.url, api.secrets[key]) as client:
        assert (await client.get(task_id)).trial
    async with AsyncClient(api.url, api.secrets["user"]) as client:
        assert not (await client.get(paid["id"])).trial
    show = ("task", "show", task_id, "--url", api.url, "--api-key", api.secrets[key])
    shown = await asyncio.to_thread(CliRunner().invoke, tallystick, show)
    assert re.search(r"^trial +yes$", shown.output, re.MULTILINE)
