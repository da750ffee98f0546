"""A ledger's history as the domain itself makes it: every command at random, and time passing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from domain import ledger
from domain.errors import DomainError
from domain.event import Event, Metadata
from domain.ledger import (
    AdjustCredits,
    CaptureHold,
    ChangePlan,
    CloseAccount,
    CloseBooks,
    CreditLedger,
    ExtendHold,
    FreezeAccount,
    GrantCredits,
    HoldCredits,
    LedgerCommand,
    OpenAccount,
    RefundCapture,
    ReleaseHold,
    SettleDue,
    UnfreezeAccount,
    VoidGrant,
)
from domain.ledger_events import CreditsCaptured, CreditsGranted, GrantKind
from domain.plan import Plan

BEGIN = datetime(2026, 3, 30, 20, tzinfo=UTC)
PLAN = Plan(name="unlimited", overdraft_max=40, trial_tasks=2, low_credits=50)
KINDS: tuple[GrantKind, ...] = ("paid", "promotional", "trial", "adjustment")
CLOSED_FROM = 40
"""Commands before which an account is not closed, so that there is something to close."""
TYPES = (None, "image_generation", "upscaling")


class LedgerHistory:
    """`run` gives each event with the state after it. The same seed, the same history.

    `among_tasks`: its holds are those of tasks too, which nobody else settles.
    """

    def __init__(
        self, seed: int | Random, account_id: UUID | None = None, *, among_tasks: bool = False
    ) -> None:
        self.random = seed if isinstance(seed, Random) else Random(seed)  # noqa: S311 - repeatable
        self.at = BEGIN
        self.among_tasks = among_tasks
        self.state: CreditLedger | None = None
        self.captures: list[CreditsCaptured] = []
        self.granted: dict[UUID, CreditsGranted] = {}
        self.account_id = account_id or self._id()

    def run(self, commands: int) -> Iterator[tuple[Event, CreditLedger]]:
        """What so many commands lead to, those that are refused included."""
        yield from self.do(OpenAccount(account_id=self.account_id, plan=PLAN.name))
        for number in range(commands):
            self.at += timedelta(seconds=self.random.randrange(1, 20_000))
            with suppress(DomainError):
                yield from self.do(self.command(number))

    def do(self, command: LedgerCommand) -> Iterable[tuple[Event, CreditLedger]]:
        """Carry it out. Raises its refusal."""
        events = ledger.decide(self.state, command, self._meta())
        return [(event, self.take(event)) for event in events]

    def take(self, event: Event) -> CreditLedger:
        """Let it have happened; the state after it."""
        self.state = ledger.evolve(self.state, event)
        if isinstance(event, CreditsCaptured):
            self.captures.append(event)
        if isinstance(event, CreditsGranted):
            self.granted[event.grant_id] = event
        return self.state

    def command(self, number: int) -> LedgerCommand:
        random = self.random
        choices = (
            *(self._grant, self._hold, self._hold, self._end, self._end, self._refund),
            *(self._extend, self._adjust, self._void, self._settle),
        )
        assert self.state is not None
        if self.state.status == "frozen" and random.random() < 0.4:
            return UnfreezeAccount(reason="r")
        if random.random() < 0.05:
            return random.choice(self._seldom(number))
        return random.choice(choices)()

    def _seldom(self, number: int) -> list[LedgerCommand]:
        return [
            FreezeAccount(reason="r"),
            ChangePlan(plan="standard"),
            CloseBooks(period=f"{number:06}"),
            *([CloseAccount(reason="r")] if self._may_close(number) else []),
        ]

    def _may_close(self, number: int) -> bool:
        return number >= CLOSED_FROM and not self.among_tasks

    def _grant(self) -> LedgerCommand:
        random = self.random
        effective = random.choice((None, None, self._soon()))
        expires = random.choice((None, self._soon()))
        return GrantCredits(
            grant_id=self._id(),
            kind=random.choice(KINDS),
            amount=random.randrange(1, 100),
            source_ref=str(self._id()),
            priority=random.randrange(3),
            effective_at=effective,
            expires_at=None if expires is None else max(expires, (effective or self.at)) + _HOUR,
            rolls_over=random.choice((None, self._some_grant())),
            rollover_max=random.randrange(30),
        )

    def _hold(self) -> LedgerCommand:
        return HoldCredits(
            hold_id=self._id(),
            task_id=None if self.among_tasks else self._id(),
            amount=self.random.randrange(60),
            plan=PLAN,
            may_be_trial=self.random.random() < 0.3,
            expires_at=self.random.choice((None, self._soon())),
            task_type=self.random.choice(TYPES),
        )

    def _end(self) -> LedgerCommand:
        hold_id = self._some_hold()
        if self.random.random() < 0.3:
            return ReleaseHold(hold_id=hold_id, outside=self.among_tasks)
        assert self.state is not None
        hold = self.state.holds.get(hold_id)
        most = 0 if hold is None else hold.amount
        amount = self.random.randrange(most + 1)
        return CaptureHold(hold_id=hold_id, amount=amount, outside=self.among_tasks)

    def _extend(self) -> LedgerCommand:
        added = self.random.randrange(20)
        outside = self.among_tasks
        return ExtendHold(hold_id=self._some_hold(), plan=PLAN, added=added, outside=outside)

    def _refund(self) -> LedgerCommand:
        if not self.captures:
            return SettleDue()
        capture = self.random.choice(self.captures[-5:])
        amount = self.random.randrange(1, capture.amount + 2)
        return RefundCapture(capture=capture, amount=amount, reason="r", grants=self.granted)

    def _adjust(self) -> LedgerCommand:
        return AdjustCredits(
            adjustment_id=self._id(),
            amount=self.random.randrange(-30, 30),
            source_ref=str(self._id()),
            reason="r",
        )

    def _void(self) -> LedgerCommand:
        return VoidGrant(grant_id=self._some_grant(), reason="r")

    def _settle(self) -> LedgerCommand:
        self.at += timedelta(hours=self.random.randrange(12))
        return SettleDue()

    def _some_grant(self) -> UUID:
        assert self.state is not None
        return self.random.choice([g.id for g in self.state.grants] or [self._id()])

    def _some_hold(self) -> UUID:
        assert self.state is not None
        return self.random.choice(sorted(self.state.holds) or [self._id()])

    def _soon(self) -> datetime:
        return self.at + timedelta(hours=self.random.randrange(1, 40))

    def _id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def _meta(self) -> Metadata:
        return Metadata(
            at=self.at, actor="tester", correlation_id=self._id(), causation_id=self._id()
        )


_HOUR = timedelta(hours=1)
