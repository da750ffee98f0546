"""Tasks and groups a second time, in plain Python without events: what the domain is held against.

Each method answers `ok`, `quiet`, or the code of the refusal, and changes itself only when `ok`.
Nothing here is shared with the domain, not even its machines. They pay out of the plain ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tests.stateful.plain_ledger import PlainLedger

WAITING = ["queued", "backoff"]
ENDED = ["completed", "failed", "cancelled"]


PRIORITIES = [0, 1, 2, 3]
PAUSES = [10.0, 20.0, 30.0]
"""After the first, second, and every later failure; half of each is left to chance."""
ASKED_MAX = 3_600.0
DAYS_AHEAD_MAX = 366


def settle_hold(account: PlainLedger, hold_id: UUID, charge: int | None) -> None:
    """Of an ending, which no state of the account may stop; None where nothing was delivered."""
    told = account.release(hold_id) if charge is None else account.settle(hold_id, charge)
    assert told == "ok", told


def submission_refused(priority: int, not_before: datetime | None, at: datetime) -> bool:
    """True for what no task can have."""
    too_far = not_before is not None and not_before > at + timedelta(days=DAYS_AHEAD_MAX)
    return priority not in PRIORITIES or too_far


@dataclass(kw_only=True)
class PlainTask:
    account: PlainLedger
    hold_id: UUID
    credits: int
    stalls_max: int
    attempts_max: int
    queue_seconds: int
    run_seconds: int
    priority: int
    not_before: datetime | None
    deadline: datetime
    status: str = "queued"
    token: int = 0
    stalls: int = 0
    failures: int = 0
    run: int = 1
    attempt: int = 0
    stage: str | None = None
    failure: str | None = None
    charged: int = 0
    released: int = 0
    reused_from: UUID | None = None
    group: PlainGroup | None = None

    def start(self, at: datetime) -> str:
        if self.status not in WAITING:
            return "illegal_transition"
        if self.attempt == 0:
            self.deadline = at + timedelta(seconds=self.run_seconds)
        self.status, self.stage, self.not_before = "running", None, None
        self.token += 1
        self.attempt += 1
        return "ok"

    def lost(self, token: int) -> bool:
        return self.status in WAITING or token != self.token

    def reach_stage(self, token: int, stage: str) -> str:
        if self.lost(token):
            return "lease_lost"
        if self.status != "running":
            return "illegal_transition"
        if self.stage == stage:
            return "quiet"
        self.stage = stage
        return "ok"

    def release(self, token: int) -> str:
        if self.lost(token):
            return "lease_lost"
        if self.status == "running":
            self.status = "queued"
            return "ok"
        return self.end("cancelled", 0) if self.status == "cancelling" else "illegal_transition"

    def stall(self, token: int) -> str:
        if self.lost(token):
            return "lease_lost"
        if self.status == "running" and self.stalls < self.stalls_max:
            self.status = "queued"
            self.stalls += 1
            return "ok"
        if self.status == "running":
            return self.end("failed", 0, "stalled")
        return self.end("cancelled", 0) if self.status == "cancelling" else "illegal_transition"

    def complete(self, token: int, charge: int | None) -> str:
        if self.lost(token):
            return "lease_lost"
        if self.status == "completed":
            return "quiet"
        if self.status in ENDED:
            return "illegal_transition"
        charge = self.credits if charge is None else charge
        if charge < 0 or charge > self.credits:
            return "capture_exceeds_hold"
        self.failure = None
        return self.end("completed", charge)

    def reuse(self, origin_id: UUID) -> str:
        if self.reused_from == origin_id:
            return "quiet"
        if self.status != "queued":
            return "illegal_transition"
        self.reused_from, self.failure = origin_id, None
        return self.end("completed", self.credits)

    def fail(
        self, token: int, reason: str, at: datetime, *, chance: float, asked: float | None
    ) -> str:
        """`reason` is `network`, which may pass, or one that does not."""
        if self.status in {"failed", "backoff"} and token == self.token:
            return "quiet"
        if self.lost(token):
            return "lease_lost"
        if self.status in ENDED:
            return "illegal_transition"
        retry_at = at + timedelta(seconds=self.pause(chance, asked))
        tries_left = self.attempts_max - (self.failures + 1)
        if (
            reason == "network"
            and self.status == "running"
            and tries_left > 0
            and retry_at < self.deadline
        ):
            self.status, self.failure, self.not_before = "backoff", reason, retry_at
            self.failures += 1
            return "ok"
        return self.end("failed", 0, reason)

    def pause(self, chance: float, asked: float | None) -> float:
        own = PAUSES[min(self.failures, len(PAUSES) - 1)]
        wanted = 0.0 if asked is None else min(asked, ASKED_MAX)
        return max(own - own * chance / 2, wanted)

    def expire(self, at: datetime) -> str:
        if self.status in ENDED or at < self.deadline:
            return "quiet"
        if self.status == "cancelling":
            return self.end("cancelled", 0)
        return self.end("failed", 0, "timeout")

    def cancel(self) -> str:
        if self.status in {"cancelling", "cancelled"}:
            return "quiet"
        if self.status in WAITING:
            return self.end("cancelled", 0)
        if self.status == "running":
            self.status = "cancelling"
            return "ok"
        return "illegal_transition"

    def confirm_cancel(self, token: int) -> str:
        if self.lost(token):
            return "lease_lost"
        if self.status == "cancelled":
            return "quiet"
        return self.end("cancelled", 0) if self.status == "cancelling" else "illegal_transition"

    def retry(self, hold_id: UUID, price: int, at: datetime) -> str:
        if self.group is not None:
            return "member_of_group"
        if self.status != "failed":
            return "illegal_transition"
        answer = self.account.hold(hold_id, price, may_be_trial=True, owned=True)
        if answer == "ok":
            self.status, self.hold_id = "queued", hold_id
            self.credits = len(self.account.holds[hold_id].credits)
            self.run += 1
            self.stalls = self.failures = self.attempt = 0
            self.stage = self.failure = None
            self.deadline = at + timedelta(seconds=self.queue_seconds)
        return answer

    def end(self, status: str, charge: int, failure: str | None = None) -> str:
        if self.group is None:
            settle_hold(self.account, self.hold_id, charge if status == "completed" else None)
        self.charged += charge
        self.released += self.credits - charge
        self.status, self.credits, self.not_before = status, 0, None
        self.failure = failure or self.failure
        if self.group is not None:
            self.group.end_member(charge)
        return "ok"


@dataclass(kw_only=True)
class PlainMember:
    """`task` is there once it was submitted; `frozen` is its part of the hold."""

    id: UUID
    frozen: int
    run: int = 1
    skipped: bool = False
    task: PlainTask | None = None

    @property
    def status(self) -> str:
        if self.task is None:
            return "skipped" if self.skipped else "pending"
        return self.task.status if self.task.status in ENDED else "active"


@dataclass(kw_only=True)
class PlainGroup:
    """`submit(member)` makes the task of a member."""

    account: PlainLedger
    submit: Callable[[PlainMember], PlainTask]
    hold_id: UUID
    parallel: int
    members: list[PlainMember]
    status: str = "processing"
    run: int = 1
    captured: int = 0
    returned: int = 0
    run_charge: int = 0

    def those(self, status: str) -> list[PlainMember]:
        return [member for member in self.members if member.status == status]

    def fill(self) -> None:
        """Submit members, in their order, until all slots are taken."""
        while self.those("pending") and len(self.those("active")) < self.parallel:
            member = self.those("pending")[0]
            member.task = self.submit(member)

    def end_member(self, charge: int) -> None:
        self.run_charge += charge
        if self.status == "processing":
            self.fill()
        if not self.those("active"):
            self.end()

    def end(self) -> None:
        frozen = sum(member.frozen for member in self.members if member.run == self.run)
        any_delivered = any(m.status == "completed" for m in self.members if m.run == self.run)
        settle_hold(self.account, self.hold_id, self.run_charge if any_delivered else None)
        self.captured += self.run_charge
        self.returned += frozen - self.run_charge
        delivered = len(self.those("completed"))
        if self.status == "cancelling":
            self.status = "cancelled"
        elif delivered == len(self.members):
            self.status = "completed"
        else:
            self.status = "partial" if delivered else "failed"

    def cancel(self) -> str:
        if self.status in {"cancelling", "cancelled"}:
            return "quiet"
        if self.status != "processing":
            return "illegal_transition"
        self.status = "cancelling"
        for member in self.those("pending"):
            member.skipped = True
        for member in self.those("active"):
            assert member.task is not None
            member.task.cancel()
        return "ok"

    def retry(self, hold_id: UUID, ids: list[UUID], price: int) -> str:
        if self.status not in {"partial", "failed"}:
            return "illegal_transition"
        lost = [member for member in self.members if member.status != "completed"]
        slots = min(self.parallel, len(lost))
        answer = self.account.hold(
            hold_id, price * len(lost), tasks=len(lost), slots=slots, owned=True
        )
        if answer == "ok":
            self.begin(hold_id)
            for member, new_id in zip(lost, ids, strict=False):
                member.id, member.frozen, member.run, member.task = new_id, price, self.run, None
            self.fill()
        return answer

    def start_again(self, hold_id: UUID, parallel: int, members: list[PlainMember]) -> None:
        """The members are new ones, held for already."""
        self.begin(hold_id)
        self.parallel, self.members = parallel, members
        for member in members:
            member.run = self.run
        self.fill()

    def begin(self, hold_id: UUID) -> None:
        self.hold_id, self.status, self.run_charge = hold_id, "processing", 0
        self.run += 1
