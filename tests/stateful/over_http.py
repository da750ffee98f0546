"""Any history of tasks and credits over HTTP and PostgreSQL, beside the same plain model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, LiteralString, TypeVar
from uuid import UUID, uuid4

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapters.pool import fetch
from adapters.queue import wake_delayed
from domain.errors import DomainError
from domain.task import PRIORITIES
from service.identifiers import new_id, parse_id, public_id
from tallystick.handler import RUN_SECONDS_MAX
from tests.integration.http.api import PRICE, SETUP, Api
from tests.stateful.plain_books import WAITING, PlainTask
from tests.stateful.plain_credits import PlainClock, PlainPlan
from tests.stateful.plain_ledger import PlainLedger

NOW = datetime(2025, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
LIVE = ["queued", "running", "backoff", "cancelling"]
REFUSED = {
    "insufficient_credits": 402,
    "invalid_input": 400,
    "limit_reached": 429,
    "not_found": 404,
    "account_unsettled": 409,
    "capture_exceeds_hold": 409,
    "hold_not_yours": 409,
    "hold_settled": 409,
    "illegal_transition": 409,
    "lease_lost": 409,
    "member_of_group": 409,
    "reference_reused": 409,
    "refund_exceeds_capture": 409,
}
FAILURES = {
    "fail": ("param_error", {"type": "param_error"}),
    "fail_for_now": ("network", {"type": "network", "retry_after_seconds": 60}),
}
LAPSE: LiteralString = (
    "UPDATE tasks SET lease_until = '-infinity' WHERE id = %(id)s AND lease_until IS NOT NULL"
    " RETURNING id"
)
COME_DUE: LiteralString = (
    "UPDATE tasks SET delayed_until = '-infinity' WHERE id = %(id)s AND delayed_until IS NOT NULL"
    " RETURNING id"
)
T = TypeVar("T")
numbers = st.integers(0, 1)
picks = st.tuples(st.sampled_from([True, True, True, False]), st.integers(0, 5))
"""Which task, the newest first: mostly one in a state that the verb fits."""
twice = st.sampled_from([False, False, True])
"""Whether a request is sent again with its key."""


class OverHttp(RuleBasedStateMachine):
    """`api` and `runner` are given by the test; each history has accounts of its own."""

    api: ClassVar[Api]
    runner: ClassVar[asyncio.Runner]
    plain: ClassVar[httpx.AsyncClient]
    """For the invariants' many readings: its answers are not held to the document."""
    PLAIN_PLANS: ClassVar[Mapping[str, PlainPlan]] = {
        "standard": PlainPlan(10, 1_000),
        "enterprise": PlainPlan(10_000, 1_000_000, priority_raise=1),
    }
    FIRST_PLANS: ClassVar[tuple[str, str]] = ("standard", "enterprise")

    def __init__(self) -> None:
        super().__init__()
        self.clock = PlainClock(NOW)
        self.accounts: list[PlainLedger] = []
        self.users: list[str] = []
        self.ids: list[UUID] = []
        self.tasks: dict[str, PlainTask] = {}
        self.owner: dict[str, int] = {}
        self.due: set[str] = set()

    @property
    def now(self) -> datetime:
        return self.clock.now

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(amounts=st.lists(st.integers(1, 40), min_size=2, max_size=2))
    def open_accounts(self, amounts: list[int]) -> None:
        for name in self.FIRST_PLANS:
            account_id = new_id()
            self.run(self.api.open_account(account_id, plan=name, funds=0))
            self.users.append(self.run(self.api.key_of(account_id)))
            self.ids.append(account_id)
            self.accounts.append(
                PlainLedger(self.clock, self.PLAIN_PLANS[name], compares_refs=True)
            )
        for number, amount in enumerate(amounts):
            self.grant(number, amount, "first")

    def ask(
        self, path: str, body: object, as_: str, expected: str, *, again: bool, ok: int = 202
    ) -> dict[str, Any]:
        """Send a request that should come to `expected`, and again with its key."""
        key = str(uuid4())
        answer = self.run(self.api.post(path, body, as_, idempotency_key=key))
        code = expected.split(maxsplit=1)[0]
        if code in {"ok", "quiet"}:
            assert answer.status_code == ok, (expected, answer.text)
        else:
            assert (answer.status_code, answer.json()["code"]) == (REFUSED[code], code)
        if again and answer.is_success:
            replay = self.run(self.api.post(path, body, as_, idempotency_key=key))
            assert replay.headers["idempotent-replayed"] == "true"
            assert (replay.status_code, replay.content) == (answer.status_code, answer.content)
        told: dict[str, Any] = answer.json()
        return told

    def chosen(self, pick: tuple[bool, int], statuses: list[str]) -> str | None:
        newest_first = list(self.tasks)[::-1]
        fitting, index = pick
        ids = [i for i in newest_first if fitting and self.tasks[i].status in statuses]
        found = ids or newest_first
        return found[index % len(found)] if found else None

    # Users

    @rule(number=numbers, amount=st.integers(1, 30), ref=st.sampled_from(["a", "b", "c", "d"]))
    def grant(self, number: int, amount: int, ref: str) -> None:
        expected = self.accounts[number].grant(uuid4(), "paid", amount, 100, ref)
        body = {"amount": amount, "kind": "paid", "source_ref": ref, "reason": "of the test"}
        path = f"/v1/accounts/{public_id('acct', self.ids[number])}/grants"
        self.ask(path, body, "admin", expected, again=False, ok=200)

    @rule(
        number=numbers,
        priority=st.sampled_from(list(PRIORITIES)),
        times=st.sampled_from([1, 1, 2, 6]),
        again=twice,
    )
    def submit(self, number: int, priority: str, times: int, again: bool) -> None:  # noqa: FBT001
        for _ in range(times):
            self._submit(number, priority, again=again)

    def _submit(self, number: int, priority: str, *, again: bool) -> None:
        account = self.accounts[number]
        hold_id = uuid4()
        expected = account.hold(hold_id, PRICE, may_be_trial=True, owned=True)
        body = {"type": "double", "input": {"n": 1}, "priority": priority}
        told = self.ask("/v1/tasks", body, self.users[number], expected, again=again)
        if expected != "ok":
            return
        self.owner[told["id"]] = number
        self.tasks[told["id"]] = PlainTask(
            account=account,
            hold_id=hold_id,
            credits=len(account.holds[hold_id].credits),
            stalls_max=3,
            attempts_max=3,
            queue_seconds=DAY_SECONDS,
            run_seconds=RUN_SECONDS_MAX,
            priority=max(0, PRIORITIES[priority] - account.plan.priority_raise),
            not_before=None,
            deadline=self.now + timedelta(days=1),
        )

    @rule(pick=picks, again=twice)
    def cancel(self, pick: tuple[bool, int], again: bool) -> None:  # noqa: FBT001
        if task_id := self.chosen(pick, LIVE):
            self._cancel(task_id, again=again)

    def _cancel(self, task_id: str, *, again: bool) -> None:
        expected = self.tasks[task_id].cancel()
        ok = 200 if self.tasks[task_id].status == "cancelled" else 202
        user = self.users[self.owner[task_id]]
        self.ask(f"/v1/tasks/{task_id}/cancel", {}, user, expected, again=again, ok=ok)

    @rule(pick=picks, again=twice)
    def retry(self, pick: tuple[bool, int], again: bool) -> None:  # noqa: FBT001
        if task_id := self.chosen(pick, ["failed"]):
            expected = self.tasks[task_id].retry(uuid4(), PRICE, self.now)
            user = self.users[self.owner[task_id]]
            self.ask(f"/v1/tasks/{task_id}/retry", {}, user, expected, again=again)

    @rule(pick=picks, verb=st.sampled_from(["cancel", "retry"]))
    def another_account_tries(self, pick: tuple[bool, int], verb: str) -> None:
        """D4: what is another's does not exist."""
        if task_id := self.chosen(pick, LIVE):
            stranger = self.users[1 - self.owner[task_id]]
            path = f"/v1/tasks/{task_id}"
            assert self.run(self.api.get(path, stranger)).status_code == 404
            assert self.run(self.api.post(f"{path}/{verb}", {}, stranger)).status_code == 404

    # Workers

    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        """The most urgent that may start, each under the next token."""
        ready = [
            task_id
            for task_id, plain in self.tasks.items()
            if plain.status == "queued" or (plain.status == "backoff" and task_id in self.due)
        ]
        items = self.run(self.api.claim(types=["double"], limit=limit))
        assert len(items) == min(limit, len(ready))
        assert {item["id"] for item in items} <= set(ready)
        urgencies = [self.tasks[item["id"]].priority for item in items]
        assert sorted(urgencies) == sorted(self.tasks[i].priority for i in ready)[: len(items)]
        for item in items:
            plain = self.tasks[item["id"]]
            assert plain.start(self.now) == "ok"
            assert (item["token"], item["attempt"]) == (plain.token, plain.attempt)

    @rule(
        pick=picks,
        behind=st.sampled_from([0, 0, 0, 1]),
        verb=st.sampled_from(["stage", "complete", "complete", "fail", "fail_for_now", "release"]),
        again=twice,
    )
    def work(self, pick: tuple[bool, int], behind: int, verb: str, again: bool) -> None:  # noqa: FBT001
        task_id = self.chosen(pick, ["running", "cancelling"])
        if task_id is None or self.tasks[task_id].token <= behind:
            return
        plain, token = self.tasks[task_id], self.tasks[task_id].token - behind
        expected, more = _worked(plain, verb, token, self.now)
        if expected == "ok" and plain.status == "backoff":
            self.due.discard(task_id)
        path = f"/v1/worker/tasks/{task_id}/{verb.removesuffix('_for_now')}"
        self.ask(path, {"token": token, **more}, "worker", expected, again=again, ok=200)

    @rule(pick=picks, behind=st.sampled_from([0, 0, 1]))
    def beat(self, pick: tuple[bool, int], behind: int) -> None:
        task_id = self.chosen(pick, ["running", "cancelling"])
        if task_id is None or self.tasks[task_id].token <= behind:
            return
        plain = self.tasks[task_id]
        held = behind == 0 and plain.status in {"running", "cancelling"}
        answer = self.run(self.api.work(task_id, "heartbeat", plain.token - behind))
        assert answer.status_code == (200 if held else 409), answer.text
        if held:
            assert answer.json()["state"] == ("held" if plain.status == "running" else "cancelling")

    @rule(pick=picks)
    def lapse(self, pick: tuple[bool, int]) -> None:
        """Its worker falls silent, and it is rescued."""
        task_id = self.chosen(pick, ["running", "cancelling"])
        if task_id is None or self.tasks[task_id].status not in {"running", "cancelling"}:
            return
        plain = self.tasks[task_id]
        assert plain.stall(plain.token) == "ok"
        service = self.api.service
        self.run(fetch(service.pool, LAPSE, {"id": parse_id("task", task_id)}))
        assert self.run(service.bus.rescue(10)) == 1

    @rule(verb=st.sampled_from(["stage", "complete", "fail", "fail_for_now", "release"]))
    def wake_up_too_late(self, verb: str) -> None:
        """A worker oversleeps, another one gets the task, and both go on."""
        task_id = self.chosen((True, 0), ["running"])
        if task_id is None or self.tasks[task_id].status != "running":
            return
        self.lapse((False, list(self.tasks)[::-1].index(task_id)))
        self.claim(5)
        self.work((False, list(self.tasks)[::-1].index(task_id)), 1, verb, False)  # noqa: FBT003

    @rule(pick=picks)
    def come_due(self, pick: tuple[bool, int]) -> None:
        """The pause before the next attempt is over."""
        task_id = self.chosen(pick, ["backoff"])
        if task_id is None or self.tasks[task_id].status not in WAITING:
            return
        self.due.add(task_id)
        pool = self.api.service.pool
        self.run(fetch(pool, COME_DUE, {"id": parse_id("task", task_id)}))
        self.run(wake_delayed(pool, 10))

    # What must hold

    @invariant()
    def every_user_sees_what_the_model_has(self) -> None:
        for number in self.to_be_read():
            user, account = self.users[number], self.accounts[number]
            seen = self._read("/v1/account", user)
            assert (seen["available"], seen["held"], seen["captured"]) == (
                *(account.available, account.held, account.captured),
            )
            assert (seen["granted"], seen["active"]) == (account.granted, account.active)
            mine = {i: self.tasks[i] for i, owner in self.owner.items() if owner == number}
            items = self._read("/v1/tasks?limit=200", user)["items"]
            assert {item["id"]: _shown(item) for item in items} == {
                i: (p.status, p.run, p.attempt, p.failure, p.credits, p.charged, p.released)
                for i, p in mine.items()
            }

    def to_be_read(self) -> Sequence[int]:
        """Numbers of the accounts that the last step may have changed."""
        return range(len(self.users))

    def _read(self, path: str, user: str) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.api.secrets[user]}"}
        answer = self.run(self.plain.get(path, headers=headers))
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def teardown(self) -> None:
        """Leave nothing that the next history's workers could claim, also after a failure."""
        bus = self.api.service.bus
        for task_id, number in self.owner.items():
            with contextlib.suppress(DomainError):
                cancelled = parse_id("task", task_id), self.ids[number]
                self.run(bus.cancel(*cancelled, reason="", origin=SETUP))


def _worked(plain: PlainTask, verb: str, token: int, now: datetime) -> tuple[str, dict[str, Any]]:
    """What a worker's verb should come to, and what is sent with it."""
    match verb:
        case "stage":
            return plain.reach_stage(token, "half"), {"stage": "half"}
        case "complete":
            return plain.complete(token, None), {"result": {"n": 2}}
        case "release":
            return plain.release(token), {}
        case _:
            reason, failure = FAILURES[verb]
            return plain.fail(token, reason, now, chance=0.0, asked=None), {"failure": failure}


def _shown(item: dict[str, Any]) -> tuple[object, ...]:
    credits_ = item["credits"]
    return (
        *(item["status"], item["run"], item["attempt"]),
        item["failure"] and item["failure"]["type"],
        *(credits_["held"], credits_["charged"], credits_["released"]),
    )
