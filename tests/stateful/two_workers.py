"""Two workers, their user and the watchdog on one task, in any order; two of them also at once.

The model knows who holds the lease and under which token. What happens at once has to come out as
one after the other would, in either order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import uuid4

from hypothesis import strategies as st

from tests.stateful.plain_books import PlainTask
from tests.stateful.plain_credits import PlainClock, PlainPlan
from tests.stateful.plain_ledger import PlainLedger

PRICE = 5
CREDITS = 100
LIMIT = 10**6
NOW = datetime(2025, 1, 1, tzinfo=UTC)
DAYS_OF_A_RUN = 1
LATER = timedelta(days=2)
"""By so much the clock of whoever expires a run is ahead: past every deadline here."""
ENDS = ("task.completed", "task.failed", "task.cancelled")
WORKERS_VERBS = (
    *("heartbeat", "progress", "stage", "complete", "fail_for_now", "fail", "release", "confirm"),
)
OTHERS_VERBS = ("rescue", "cancel", "retry", "expire")
AROUND = ("lapse", "come_due")
"""What time does: the lease runs out, the pause before the next attempt is over."""


class Step(NamedTuple):
    """`worker` matters for a worker's verbs alone."""

    verb: str
    worker: int = 0

    def __repr__(self) -> str:
        return f"{self.verb} {self.worker}"


class Standing(NamedTuple):
    """What the task and its account come to, in the model and in the world."""

    status: str
    token: int
    stalls: int
    failures: int
    run: int
    attempt: int
    task_credits: tuple[int, int, int]
    """Held, charged, released."""
    account_credits: tuple[int, int, int]
    """Available, held, captured."""


class World(Protocol):
    """What the verbs are really done to."""

    async def do(self, step: Step, token: int) -> str:
        """`ok`, `quiet`, a refusal's code, the state of a lease, or the token of a claim."""
        ...

    async def standing(self) -> Standing: ...

    async def facts(self) -> Sequence[str]:
        """Topics of the task's and the account's events, in the order of the log."""
        ...


def _account() -> PlainLedger:
    account = PlainLedger(PlainClock(NOW), PlainPlan(LIMIT, LIMIT))
    account.grant(uuid4(), "paid", CREDITS, 100, "once")
    return account


@dataclass
class Lease:
    """The model: a plain task, its account, and what each worker was given."""

    account: PlainLedger = field(default_factory=_account)
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    lapsed: bool = False
    due: bool = True

    def __post_init__(self) -> None:
        hold_id = uuid4()
        self.account.hold(hold_id, PRICE, owned=True)
        self.task = PlainTask(
            account=self.account,
            hold_id=hold_id,
            credits=PRICE,
            stalls_max=3,
            attempts_max=3,
            queue_seconds=DAYS_OF_A_RUN * 86_400,
            run_seconds=DAYS_OF_A_RUN * 86_400,
            priority=2,
            not_before=None,
            deadline=NOW + timedelta(days=DAYS_OF_A_RUN),
        )

    def do(self, step: Step) -> str:
        """What the one who does it is told."""
        if step.verb == "claim":
            return self._claim(step.worker)
        if step.verb in WORKERS_VERBS:
            return self._by_worker(step.verb, self.tokens[step.worker])
        return self._by_others(step.verb)

    def _by_worker(self, verb: str, token: int) -> str:
        match verb:
            case "stage":
                return self.task.reach_stage(token, "half")
            case "complete":
                return self.task.complete(token, None)
            case "fail" | "fail_for_now":
                reason = "network" if verb == "fail_for_now" else "param_error"
                told = self.task.fail(token, reason, NOW, chance=0.0, asked=None)
                self.due = self.due and told != "ok"
                return told
            case "release":
                return self.task.release(token)
            case "confirm":
                return self.task.confirm_cancel(token)
            case _:
                return self._renew(token)

    def _by_others(self, verb: str) -> str:
        match verb:
            case "cancel":
                return self.task.cancel()
            case "retry":
                return self.task.retry(uuid4(), PRICE, NOW)
            case "expire":
                return self.task.expire(NOW + LATER)
            case "rescue":
                if not self.lapsed or self.task.status not in {"running", "cancelling"}:
                    return "quiet"
                return self.task.stall(self.task.token)
            case "lapse":
                self.lapsed = True
            case "come_due":
                self.due = True
        return "ok"

    def _claim(self, worker: int) -> str:
        if self.task.status == "backoff" and not self.due:
            return "quiet"
        if self.task.start(NOW) != "ok":
            return "quiet"
        self.lapsed = False
        self.tokens[worker] = self.task.token
        return f"token {self.task.token}"

    def _renew(self, token: int) -> str:
        if token != self.task.token or self.task.status not in {"running", "cancelling"}:
            return "lost"
        self.lapsed = False
        return "cancelling" if self.task.status == "cancelling" else "held"

    def standing(self) -> Standing:
        task, account = self.task, self.account
        return Standing(
            *(task.status, task.token, task.stalls, task.failures, task.run, task.attempt),
            (task.credits, task.charged, task.released),
            (account.available, account.held, account.captured),
        )


_workers = st.integers(0, 1)
_claims = st.builds(Step, st.just("claim"), _workers)
_verbs = st.builds(Step, st.sampled_from(WORKERS_VERBS), _workers)
_others = st.sampled_from([Step(verb) for verb in OTHERS_VERBS])
_around = st.sampled_from([Step(verb) for verb in AROUND])
_deeds = st.one_of(_claims, _verbs, _verbs, _others)
OVERSLEPT = [(Step("lapse"),), (Step("rescue"),)]
FAILED = [(Step("fail_for_now", 0),), (Step("come_due"),)]
_turns = st.one_of(
    _deeds.map(lambda deed: [(deed,)]),
    _around.map(lambda deed: [(deed,)]),
    st.tuples(_deeds, _deeds).map(lambda pair: [pair]),
    st.sampled_from([OVERSLEPT, FAILED]),
)
courses = st.lists(_turns, min_size=1, max_size=12).map(
    lambda turns: [(Step("claim", 0),), *(step for turn in turns for step in turn)]
)
"""Turns of one deed each, or of two at once; mostly the task is somebody's."""


async def play(world: World, course: Sequence[tuple[Step, ...]]) -> None:
    """Do all of it, and hold the world to the model after each turn."""
    lease = Lease()
    for turn in course:
        tokens = lease.tokens
        told = await _both_to_their_ends(world.do(step, tokens[step.worker]) for step in turn)
        standing = await world.standing()
        lease = _explained(lease, turn, told, standing)
    facts = await world.facts()
    runs = 1 + facts.count("task.retried")
    ends = sum(facts.count(end) for end in ENDS)
    assert ends == runs - 1 + (lease.task.status in {"completed", "failed", "cancelled"})
    assert facts.count("credits.held") == runs
    assert facts.count("credits.captured") + facts.count("credits.released") == ends
    assert facts.count("credits.captured") == facts.count("task.completed")


async def _both_to_their_ends(deeds: Iterable[Awaitable[str]]) -> list[str]:
    """Leave none behind that goes on while the next course begins; raises a first error."""
    told: list[str] = []
    for came in await asyncio.gather(*deeds, return_exceptions=True):
        if isinstance(came, BaseException):
            raise came
        told.append(came)
    return told


def _explained(
    before: Lease, turn: tuple[Step, ...], told: Sequence[str], standing: Standing
) -> Lease:
    """The model after some order of the turn's steps by which everybody was told the truth."""
    expected = []
    for order in ((0,),) if len(turn) == 1 else ((0, 1), (1, 0)):
        lease = deepcopy(before)
        answers = ["" for _ in turn]
        for place in order:
            # Who claims and acts at once acts under the token that it had before.
            answers[place] = _done_under(lease, turn[place], before.tokens)
        if (answers, lease.standing()) == (list(told), standing):
            return lease
        expected.append((answers, lease.standing()))
    raise AssertionError(f"{turn} was told {told}, {standing}; expected was one of {expected}")


def _done_under(lease: Lease, step: Step, tokens: Sequence[int]) -> str:
    if step.verb == "claim":
        return lease.do(step)
    kept = lease.tokens
    lease.tokens = list(tokens)
    try:
        return lease.do(step)
    finally:
        lease.tokens = kept
