"""What comes into a ledger, and what is taken back: grants, adjustments, voids."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.errors import AlreadyExists, InsufficientCredits, InvalidInput, LimitReached, NotFound
from domain.event import COUNT_MAX, CREDITS_MAX
from domain.grants import burn
from domain.ledger_book import Book, gone_of, guard_slices
from domain.ledger_commands import AdjustCredits, GrantCredits, VoidGrant
from domain.ledger_events import CreditsExpired, CreditsGranted, CreditsVoided, Grant, Slice
from domain.ledger_machines import ACCOUNT, GRANTS_MAX, VOIDED_MAX
from domain.ledger_state import CreditLedger


def granted(book: Book, command: GrantCredits) -> None:
    ledger = book.ledger
    ACCOUNT.target("grant", ledger.status)
    _guard_grant(command, book.meta.at)
    if command.source_ref in ledger.source_refs:
        return
    if any(grant.id == command.grant_id for grant in ledger.grants):
        raise AlreadyExists("There is a grant of that id already.")
    ended = _ended(ledger, command.rolls_over)
    rolled = _rolled_over(book, ended, command.rollover_max)
    amount = command.amount + rolled
    ledger = book.ledger
    if ledger.balance.granted + amount > CREDITS_MAX:
        raise InvalidInput("The account would hold too many credits.", ("/amount", "is too large"))
    if len(ledger.grants) >= GRANTS_MAX:
        raise LimitReached("grants_max", GRANTS_MAX)
    if ended is not None:
        _guard_voided(book)
    book.write(
        CreditsGranted,
        grant_id=command.grant_id,
        kind=command.kind,
        amount=amount,
        priority=command.priority,
        source_ref=command.source_ref,
        reason=command.reason,
        effective_at=command.effective_at,
        expires_at=command.expires_at,
        rolled_over=rolled,
        apart=command.apart,
        rolls_over=ended,
    )


def _guard_grant(command: GrantCredits, at: datetime) -> None:
    if not 0 < command.amount <= CREDITS_MAX:
        raise InvalidInput("A grant needs credits.", ("/amount", f"must be 1 to {CREDITS_MAX}"))
    if not 0 <= command.priority <= COUNT_MAX:
        raise InvalidInput("Priority out of range.", ("/priority", f"must be 0 to {COUNT_MAX}"))
    if not 0 <= command.rollover_max <= CREDITS_MAX:
        raise InvalidInput("Too much to roll over.", ("/rollover_max", "is out of range"))
    begins = max(at, command.effective_at or at)
    if command.expires_at is not None and command.expires_at <= begins:
        raise InvalidInput("The grant would be gone at once.", ("/expires_at", "is too early"))


def _ended(ledger: CreditLedger, grant_id: UUID | None) -> UUID | None:
    """The grant, if it ends now, also if all of it is spent: one to come goes on, one gone is."""
    if grant_id is None or grant_id in ledger.voided:
        return None
    if any(grant.id == grant_id and grant.pending for grant in ledger.grants):
        return None
    return grant_id


def _rolled_over(book: Book, ended: UUID | None, credits_max: int) -> int:
    """Let what is free of a grant that ends expire; how many of its credits are carried over."""
    for grant in book.ledger.grants:
        if grant.id == ended and grant.remaining:
            gone = gone_of(book.ledger.overdrawn, grant.remaining)
            book.write(CreditsExpired, **gone, slices=(Slice(grant.id, grant.remaining),))
            return min(gone["amount"], credits_max)
    return 0


def grant_voided(book: Book, command: VoidGrant) -> None:
    ACCOUNT.target("void", book.ledger.status)
    if command.grant_id in book.ledger.voided:
        return
    for grant in book.ledger.grants:
        if grant.id == command.grant_id:
            _guard_voided(book)
            void(book, grant, command.reason)
            return
    raise NotFound("The account has no grant of that id with credits left.")


def _guard_voided(book: Book) -> None:
    if len(book.ledger.voided) >= VOIDED_MAX:
        raise LimitReached("voided_max", VOIDED_MAX)


def void(book: Book, grant: Grant, reason: str) -> None:
    free = grant.remaining
    gone = {"amount": free, "repaid": 0} if grant.pending else gone_of(book.ledger.overdrawn, free)
    book.write(
        CreditsVoided,
        **gone,
        slices=(Slice(grant.id, free),) if free else (),
        grant_id=grant.id,
        pending=grant.pending,
        reason=reason,
    )


def adjusted(book: Book, command: AdjustCredits) -> None:
    ledger = book.ledger
    ACCOUNT.target("adjust", ledger.status)
    if command.amount > 0:
        granted(book, _as_grant(command))
        return
    if not -CREDITS_MAX <= command.amount < 0:
        raise InvalidInput("An adjustment needs credits.", ("/amount", "must not be 0"))
    if command.source_ref in ledger.source_refs:
        return
    taken = -command.amount
    if taken > ledger.balance.available:
        raise InsufficientCredits(taken, ledger.balance.available)
    book.write(
        CreditsVoided,
        amount=taken,
        slices=guard_slices(ledger, burn(ledger.grants, taken)),
        source_ref=command.source_ref,
        reason=command.reason,
        apart=command.apart,
    )


def _as_grant(command: AdjustCredits) -> GrantCredits:
    return GrantCredits(
        grant_id=command.adjustment_id,
        kind="adjustment",
        amount=command.amount,
        source_ref=command.source_ref,
        reason=command.reason,
        apart=command.apart,
    )
