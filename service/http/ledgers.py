"""Operators' verbs for an account's ledger; each has a reason, which stands in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from adapters.decision import Committed, States
from domain import ledger
from domain.errors import InvalidInput
from domain.event import CREDITS_MAX, Name, Timestamp
from service.command import Once
from service.http.accounts import AccountResource, Reason, account_resource
from service.http.answer import Answer
from service.http.call import Call, Reply
from service.http.grant_resource import HoldId, HoldResource
from service.http.ledger_resource import hold_in
from service.http.preferences import expected_versions
from service.http.route import ADMIN, Handler, Route, route
from service.http.task_resource import TaskId
from service.identifiers import new_id, parse_id
from service.ledgers import Asked
from service.statement_period import Month

Amount = Annotated[int, Meta(ge=1, le=CREDITS_MAX)]
_STATE = ("not_found", "illegal_transition")
_HOLD = (*_STATE, "hold_settled", "hold_not_yours")
_encode = msgspec.json.Encoder().encode
Carry = Callable[[Asked], Awaitable[Committed]]


class Because(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason


class NewPlan(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    plan: Name


class Adjustment(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up or down by `amount`, which is not 0; the same `source_ref` again changes nothing.

    With another amount it is refused (`reference_reused`).
    """

    amount: Annotated[int, Meta(ge=-CREDITS_MAX, le=CREDITS_MAX)]
    source_ref: Name


class NewHold(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Past `expires_at` it is given back by itself; without one it stays until it is settled."""

    amount: Amount
    expires_at: Timestamp | None = None


class Extension(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`added` credits more, or until `expires_at`, or both."""

    added: Annotated[int, Meta(ge=0, le=CREDITS_MAX)] = 0
    expires_at: Timestamp | None = None


class Capture(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of all that is held, unless `amount` says less; what is not charged goes back."""

    amount: Annotated[int, Meta(ge=0, le=CREDITS_MAX)] | None = None


class Refund(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of what a hold or a task was charged: all that is left of it, unless `amount` says less."""

    hold_id: HoldId | None = None
    task_id: TaskId | None = None
    amount: Amount | None = None


class ClosedPeriod(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A month (UTC) that has begun."""

    period: Month


def _verb(
    path: str,
    example: dict[str, object],
    *refusals: str,
    given: type[msgspec.Struct] = Because,
    answers: dict[int, type | None] | None = None,
    conditional: Literal["If-Match"] | None = None,
) -> Callable[[Handler], Route]:
    """Declare a verb on one account, done once for each idempotency key."""
    return route(
        "POST",
        f"/v1/accounts/{{id}}/{path}",
        scopes=ADMIN,
        given=given,
        answers=answers or {200: AccountResource},
        refusals=(*refusals, "version_mismatch") if conditional else refusals,
        idempotent=True,
        conditional=conditional,
        example=example,
    )


@_verb("plan", {"plan": "enterprise", "reason": "contract 7"}, *_STATE,
       given=NewPlan, conditional="If-Match")  # fmt: skip
async def change_plan(call: Call, given: NewPlan) -> Answer:
    """Let other limits hold from here on."""
    ledgers = call.service.ledgers
    return await _changed(call, lambda asked: ledgers.change_plan(asked, given.plan, given.reason))


@_verb("freeze", {"reason": "charge disputed"}, *_STATE, conditional="If-Match")
async def freeze_account(call: Call, given: Because) -> Answer:
    """Refuse new holds; what is held can still be settled."""
    return await _carried_out(call, ledger.FreezeAccount(reason=given.reason))


@_verb("unfreeze", {"reason": "dispute settled"}, *_STATE, conditional="If-Match")
async def unfreeze_account(call: Call, given: Because) -> Answer:
    """Allow holds again."""
    return await _carried_out(call, ledger.UnfreezeAccount(reason=given.reason))


@_verb("close", {"reason": "customer left"}, "not_found", "account_unsettled",
       conditional="If-Match")  # fmt: skip
async def close_account(call: Call, given: Because) -> Answer:
    """End the account for ever and void what it has left; nothing may be held or owed."""
    return await _carried_out(call, ledger.CloseAccount(reason=given.reason))


@_verb("grants/{grant_id}/void", {"reason": "payment bounced"}, *_STATE, "limit_reached")
async def void_grant(call: Call, given: Because) -> Answer:
    """Take back what is left of a grant; what is held of it goes when it comes back."""
    grant_id = call.id("grant", "grant_id")
    return await _carried_out(call, ledger.VoidGrant(grant_id=grant_id, reason=given.reason))


@_verb("adjustments", {"amount": -20, "source_ref": "ticket-9", "reason": "counted twice"},
       *_STATE, "reference_reused", "insufficient_credits", "limit_reached",
       given=Adjustment)  # fmt: skip
async def adjust_credits(call: Call, given: Adjustment) -> Answer:
    """Correct the balance up or down."""
    command = ledger.AdjustCredits(
        adjustment_id=new_id(),
        amount=given.amount,
        source_ref=given.source_ref,
        reason=given.reason,
    )
    return await _carried_out(call, command, referenced=True)


@_verb("holds", {"amount": 50, "reason": "order 12"},
       *_STATE, "insufficient_credits", "limit_reached",
       given=NewHold, answers={201: HoldResource})  # fmt: skip
async def hold_credits(call: Call, given: NewHold) -> Answer:
    """Set credits aside for something outside; it counts among the active tasks."""
    hold_id = new_id()
    return await _changed(
        call,
        lambda asked: call.service.ledgers.hold(
            asked,
            hold_id,
            amount=given.amount,
            expires_at=given.expires_at,
            reason=given.reason,
        ),
        partial(_hold, 201, hold_id),
    )


@_verb("holds/{hold_id}/extend", {"added": 10, "reason": "more than thought"},
       *_HOLD, "insufficient_credits", "limit_reached",
       given=Extension, answers={200: HoldResource})  # fmt: skip
async def extend_hold(call: Call, given: Extension) -> Answer:
    """Hold more, or for longer."""
    hold_id = call.id("hold", "hold_id")
    return await _changed(
        call,
        lambda asked: call.service.holds.extend(
            asked, hold_id, added=given.added, expires_at=given.expires_at, reason=given.reason
        ),
        partial(_hold, 200, hold_id),
    )


@_verb("holds/{hold_id}/capture", {"amount": 30, "reason": "delivered"},
       *_HOLD, "capture_exceeds_hold", given=Capture)  # fmt: skip
async def capture_hold(call: Call, given: Capture) -> Answer:
    """Charge a hold, whole or in part."""
    hold_id = call.id("hold", "hold_id")
    return await _changed(
        call,
        lambda asked: call.service.holds.capture(
            asked, hold_id, amount=given.amount, reason=given.reason
        ),
    )


@_verb("holds/{hold_id}/release", {"reason": "order withdrawn"}, *_HOLD)
async def release_hold(call: Call, given: Because) -> Answer:
    """Give all of a hold back."""
    hold_id = call.id("hold", "hold_id")
    return await _changed(
        call, lambda asked: call.service.holds.release(asked, hold_id, reason=given.reason)
    )


@_verb("refunds", {"hold_id": "hold_019bf3e1a2b47c118f3e9d5b6a7c8e90", "reason": "blurred"},
       *_STATE, "hold_settled", "member_of_group", "refund_exceeds_capture",
       "limit_reached", given=Refund)  # fmt: skip
async def refund_credits(call: Call, given: Refund) -> Answer:
    """Give charged credits back to the very grants that they came from."""
    holds, amount, reason = call.service.holds, given.amount, given.reason
    if given.hold_id is not None and given.task_id is None:
        hold_id = parse_id("hold", given.hold_id)
        return await _changed(
            call, lambda asked: holds.refund(asked, hold_id, amount=amount, reason=reason)
        )
    if given.task_id is not None and given.hold_id is None:
        task_id = parse_id("task", given.task_id)
        return await _changed(
            call, lambda asked: holds.refund_task(asked, task_id, amount=amount, reason=reason)
        )
    raise InvalidInput("A refund is of one charge.", ("", "give either hold_id or task_id"))


@_verb("books", {"period": "2026-01", "reason": "end of the month"}, *_STATE, given=ClosedPeriod)
async def close_books(call: Call, given: ClosedPeriod) -> Answer:
    """Close a month's books: the balances are carried on, and the ledger loads from there."""
    ledgers = call.service.ledgers
    return await _changed(
        call, lambda asked: ledgers.close_books(asked, given.period, given.reason)
    )


async def _carried_out(
    call: Call, command: ledger.LedgerCommand, *, referenced: bool = False
) -> Answer:
    ledgers = call.service.ledgers
    return await _changed(
        call, lambda asked: ledgers.carry_out(asked, command), referenced=referenced
    )


async def _changed(
    call: Call,
    carry: Carry,
    reply: Callable[[UUID, States], Reply] | None = None,
    *,
    referenced: bool = False,
) -> Answer:
    """Carry out a command on the account of the path, and answer with the account after it."""
    account_id = call.id("acct")
    versions = expected_versions(call.headers.get(b"if-match"))

    async def command(once: Once | None) -> Committed:
        return await carry(
            Asked(account_id=account_id, origin=call.origin, once=once, versions=versions)
        )

    told = partial(reply or _account, account_id)
    return (await call.once(command, told, referenced=referenced)).answer()


def _account(account_id: UUID, states: States) -> Reply:
    return Reply(200, _encode(account_resource(states[account_id].balance)))


def _hold(status: int, hold_id: UUID, account_id: UUID, states: States) -> Reply:
    return Reply(status, _encode(hold_in(states[account_id], hold_id)))


ROUTES = (
    change_plan,
    freeze_account,
    unfreeze_account,
    close_account,
    void_grant,
    adjust_credits,
    hold_credits,
    extend_hold,
    capture_hold,
    release_hold,
    refund_credits,
    close_books,
)
