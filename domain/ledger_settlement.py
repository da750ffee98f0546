"""What time brings to a ledger, moment by moment: grants mature and go, holds expire."""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from domain.grants import Slices, due_at, overdraft_in
from domain.ledger_book import Book, ending_of, gone_of
from domain.ledger_events import (
    OVERDRAFT,
    CreditsExpired,
    CreditsMatured,
    CreditsVoided,
    Grant,
    Hold,
    HoldExpired,
    Slice,
)
from domain.ledger_machines import HOLD, SLICES_MAX


def settle_due(book: Book, events_max: int | None = None) -> None:
    """Mature and expire what is due; what comes back to a grant that is gone goes after it.

    Moment by moment, so that it comes to the same whether it is done in time or late; with
    `events_max`, no further moment once there are so many events.
    """
    due = book.ledger.due_at
    if due is not None and due <= book.meta.at:
        _Settlement(book).run(events_max)


class _Due(NamedTuple):
    """When something is to be done about a grant; `place` is the one in the burn order."""

    at: datetime
    place: int
    grant_id: UUID


class _Settlement:
    """Looks at each thing that is due once, and folds nothing before its end.

    Meanwhile it keeps account itself of what is overdrawn, and of the grants. Those that mature,
    and those that go, one after the other are one event, of at most `SLICES_MAX`.
    """

    __slots__ = ("_book", "_due", "_expiring", "_gone", "_grants", "_matured", "_overdrawn", "_way")

    def __init__(self, book: Book) -> None:
        ledger = book.ledger
        self._book = book
        self._overdrawn = ledger.overdrawn
        self._grants: dict[UUID, tuple[int, Grant]] = {}
        self._due: list[_Due] = []
        for place, grant in enumerate(ledger.grants):
            self._keep(place, grant)
        ends = sorted((at, i) for i, at in ledger.expiring.items() if at <= book.meta.at)
        self._expiring = [(at, ledger.holds[hold_id]) for at, hold_id in reversed(ends)]
        self._matured: list[Slice] = []
        self._gone: list[Slice] = []
        self._way: type[CreditsExpired | CreditsVoided] = CreditsExpired

    def run(self, events_max: int | None) -> None:
        while (moment := self._next()) is not None:
            if events_max is not None and len(self._book.events) >= events_max:
                break
            while self._due and self._due[0].at <= moment:
                self._settle(*self._grants[heappop(self._due).grant_id])
            while self._expiring and self._expiring[-1][0] <= moment:
                self._expire(self._expiring.pop()[1])
        self._write_gone()

    def _next(self) -> datetime | None:
        """The earliest moment that is left."""
        moments = [due.at for due in self._due[:1]] + [at for at, _ in self._expiring[-1:]]
        return min(moments, default=None)

    def _keep(self, place: int, grant: Grant) -> None:
        """Take over a grant as it is now, and note when it is due, if it is by now."""
        self._grants[grant.id] = place, grant
        due = due_at(grant)
        if due is not None and due <= self._book.meta.at:
            heappush(self._due, _Due(due, place, grant.id))

    def _settle(self, place: int, grant: Grant) -> None:
        piece = Slice(grant.id, grant.remaining)
        if grant.pending and not grant.voided:
            if len(self._matured) == SLICES_MAX:
                self._write_matured()
            self._matured.append(piece)
            self._keep(place, replace(grant, pending=False))
            return
        way = CreditsVoided if grant.voided else CreditsExpired
        if way is not self._way or len(self._gone) == SLICES_MAX:
            self._write_gone()
        self._way = way
        self._gone.append(piece)
        self._keep(place, replace(grant, remaining=0, pending=False))

    def _write_matured(self) -> None:
        if not self._matured:
            return
        first, *others = self._matured
        self._book.write(
            CreditsMatured,
            grant_id=first.grant_id,
            amount=_sum(self._matured),
            slices=tuple(self._matured) if others else (),
        )
        self._matured.clear()

    def _write_gone(self) -> None:
        """None goes before it has matured; otherwise the two do not touch each other."""
        self._write_matured()
        if not self._gone:
            return
        slices = tuple(self._gone)
        gone = gone_of(self._overdrawn, _sum(slices))
        self._overdrawn -= gone["repaid"]
        if self._way is CreditsExpired:
            self._book.write(CreditsExpired, **gone, slices=slices)
        else:
            only = slices[0].grant_id if len(slices) == 1 else None
            fields = {"slices": slices, "grant_id": only, "reason": "voided before"}
            self._book.write(CreditsVoided, **gone, **fields)
        self._gone.clear()

    def _expire(self, hold: Hold) -> None:
        self._write_gone()
        HOLD.target("expire", "held")
        self._book.write(
            HoldExpired, **ending_of(hold), amount=hold.amount, slices=hold.slices, trial=hold.trial
        )
        self._overdrawn -= overdraft_in(hold.slices)
        for piece in hold.slices:
            if piece.grant_id != OVERDRAFT:
                self._give_back(piece)

    def _give_back(self, piece: Slice) -> None:
        place, grant = self._grants[piece.grant_id]
        back = replace(
            grant, remaining=grant.remaining + piece.amount, held=grant.held - piece.amount
        )
        if grant.remaining:
            self._grants[grant.id] = place, back
        else:
            self._keep(place, back)


def _sum(slices: Slices | list[Slice]) -> int:
    return sum(piece.amount for piece in slices)
