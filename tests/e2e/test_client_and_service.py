"""The clients against the running service: every verb, and what it leaves in the account."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tallystick import AsyncClient, Client
from tallystick.errors import (
    Conflict,
    InsufficientCredits,
    InvalidRequest,
    LimitReached,
    NotFound,
    Unauthorized,
    WaitTimeout,
)
from tallystick.exchange import RetryPolicy
from tests.e2e.patient_tasks import Outcome, Signals
from tests.e2e.tallystick_process import Home

WHY = ("--reason", "because")

SECONDS_MAX = 30.0


def signals(folder: Path, name: str) -> Signals:
    return Signals(began=str(folder / f"{name}.began"), go=str(folder / f"{name}.go"))


def let_go(folder: Path, name: str) -> None:
    (folder / f"{name}.go").touch()


@pytest.mark.usefixtures("dev")
def test_every_verb_of_the_client(home: Home) -> None:
    with home.client() as client:
        before = client.account()
        let_go(home.folder, "one")
        task = client.submit("wait_for_go", signals(home.folder, "one"), project="films")
        done = client.wait(task.id, timeout_seconds=SECONDS_MAX)
        assert (done.status, done.result_as(Outcome)) == ("completed", Outcome(attempt=1))
        assert (done.credits.charged, done.credits.held) == (3, 0)

        failing = client.submit("always_fails", {}, priority="high")
        failed = list(client.watch(failing.id, timeout_seconds=SECONDS_MAX))[-1]
        assert failed.failure is not None
        assert (failed.failure.type, failed.failure.message) == ("param_error", "This never works.")
        again = client.retry(failing.id)
        assert again.run == 2
        client.wait(failing.id, timeout_seconds=SECONDS_MAX)

        late = datetime.now(UTC) + timedelta(days=1)  # noqa: TID251 - a client's clock
        queued = client.submit("always_fails", {}, not_before=late)
        assert client.cancel(queued.id, reason="no longer needed").status == "cancelled"
        with pytest.raises(Conflict) as refused:
            client.retry(queued.id)
        assert refused.value.state == "cancelled"

        assert [one.id for one in client.list(project="films")] == [task.id]
        ids = {one.id for one in client.list(status=["failed", "cancelled"])}
        assert ids == {failing.id, queued.id}
        facts = [entry.type for entry in client.history(failing.id)]
        assert facts.count("task.failed") == 2
        after = client.account()
        assert after.available == before.available - 3
        assert (after.held, after.captured) == (0, before.captured + 3)
        assert "wait_for_go" in {one.name for one in client.task_types()}


async def test_the_asynchronous_client_does_the_same(home: Home, dev: object) -> None:
    profile = home.profile
    async with AsyncClient(profile["url"], profile["api_key"]) as client:
        names = [f"task-{number}" for number in range(5)]
        tasks = [await client.submit("wait_for_go", signals(home.folder, name)) for name in names]
        with pytest.raises(WaitTimeout) as waited:
            await client.wait(tasks[0].id, timeout_seconds=0.1)
        assert waited.value.task.id == tasks[0].id
        for name in names:
            let_go(home.folder, name)
        ended = await asyncio.gather(
            *(client.wait(task.id, timeout_seconds=SECONDS_MAX) for task in tasks)
        )
        assert {task.status for task in ended} == {"completed"}
        found = [task.id async for task in client.list(type="wait_for_go")]
        assert found == [task.id for task in reversed(tasks)]
        kinds = await _settled_kinds(client, len(tasks))
        assert kinds.count("captured") == len(tasks)


async def _settled_kinds(client: AsyncClient, captures: int) -> list[str]:
    """The statement follows the log; it is read until it has caught up."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            kinds = [line.kind async for line in client.statement()]
            if kinds.count("captured") >= captures:
                return kinds


@pytest.mark.usefixtures("dev")
def test_the_same_key_submits_once_and_another_body_is_refused(home: Home) -> None:
    with home.client() as client:
        first = client.submit("always_fails", {}, idempotency_key="order-1")
        second = client.submit("always_fails", {}, idempotency_key="order-1")
        assert first.id == second.id
        assert len(list(client.list())) == 1
        with pytest.raises(InvalidRequest) as reused:
            client.submit("always_fails", {}, project="other", idempotency_key="order-1")
        assert reused.value.code == "idempotency_key_reused"


@pytest.mark.usefixtures("dev")
def test_what_the_service_refuses_is_raised_as_its_type(home: Home) -> None:
    with home.client() as client:
        with pytest.raises(InvalidRequest) as unfit:
            client.submit("wait_for_go", {"began": 3, "go": ""})
        assert unfit.value.errors[0].pointer == "/input/began"
        with pytest.raises(NotFound):
            client.get("task_" + 32 * "0")
        late = datetime.now(UTC) + timedelta(days=1)  # noqa: TID251 - a client's clock
        for _ in range(10):
            client.submit("always_fails", {}, not_before=late)
    impatient = Client(home.profile["url"], home.profile["api_key"], retries=NO_RETRIES)
    with impatient, pytest.raises(LimitReached) as limited:
        impatient.submit("always_fails", {}, not_before=late)
    assert limited.value.retry_after is not None
    stranger = Client(home.profile["url"], "tsk_" + 12 * "0" + "_" + 64 * "0")
    with stranger, pytest.raises(Unauthorized):
        stranger.account()


NO_RETRIES = RetryPolicy(retries_max=0)


@pytest.mark.usefixtures("dev")
def test_an_account_without_credits_is_told_what_is_missing(home: Home) -> None:
    account = home.run("accounts", "open", *WHY, "--json").json["id"]
    home.run("grant", account, "2", *WHY, "--json")
    key = home.run("keys", "create", "--account", account, "--json").json["secret"]
    with Client(home.profile["url"], key) as client:
        with pytest.raises(InsufficientCredits) as poor:
            client.submit("always_fails", {})
        assert (poor.value.required, poor.value.available) == (5, 2)
        assert list(client.list()) == []


@pytest.mark.usefixtures("dev")
def test_a_list_is_read_over_all_its_pages(home: Home) -> None:
    account = home.run("accounts", "open", "--plan", "unlimited", *WHY, "--json").json["id"]
    home.run("grant", account, "10000", *WHY)
    key = home.run("keys", "create", "--account", account, "--json").json["secret"]
    with Client(home.profile["url"], key) as client:
        ids = [client.submit("always_fails", {}).id for _ in range(120)]
        assert [task.id for task in client.list()] == ids[::-1]
        msgspec.json.encode(client.account())
