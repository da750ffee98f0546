"""Each cell of an account's and of a hold's machine: a transition, quiet, or a refusal."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from domain import ledger
from domain.ledger import ACCOUNT, HOLD, CaptureHold, CreditLedger, LedgerCommand, ReleaseHold
from domain.ledger_events import CreditsCaptured
from tests.unit.domain.given import (
    HOLD_ID,
    NOON,
    OPENING,
    PRICE,
    a_ledger,
    fold_ledger,
    grant,
    hold,
    metadata,
)
from tests.unit.domain.state_tables import (
    ACCOUNT_TABLE,
    HOLD_TABLE,
    assert_next_in_stream,
    assert_refused_or_quiet,
    cells,
)

LATER = NOON + timedelta(hours=2)
TO_STATUS: dict[str, tuple[LedgerCommand, ...]] = {
    "open": (),
    "frozen": (ledger.FreezeAccount(reason="disputed"),),
    "closed": (
        CaptureHold(hold_id=HOLD_ID, amount=PRICE),
        ledger.CloseAccount(reason="left"),
    ),
}


def ledger_in(status: str, *, idle: bool = False) -> CreditLedger:
    """With a grant that expires before LATER and, unless `idle` or closed, an open hold."""
    expiring = replace(grant(100), expires_at=NOON + timedelta(hours=1))
    holds = () if idle and status != "closed" else (hold(),)
    return a_ledger(expiring, *holds, *TO_STATUS[status])


def capture_of(amount: int) -> CreditsCaptured:
    """What was charged of HOLD_ID, as its event tells."""
    state = a_ledger(grant(100), hold())
    (event,) = ledger.decide(state, CaptureHold(hold_id=HOLD_ID, amount=amount), metadata())
    assert isinstance(event, CreditsCaptured)
    return event


def ledger_commands() -> dict[str, LedgerCommand]:
    return {
        "OpenAccount": OPENING,
        "ChangePlan": ledger.ChangePlan(plan="enterprise"),
        "FreezeAccount": ledger.FreezeAccount(reason="r"),
        "UnfreezeAccount": ledger.UnfreezeAccount(reason="r"),
        "CloseAccount": ledger.CloseAccount(reason="r"),
        "GrantCredits": grant(100, number=2),
        "VoidGrant": ledger.VoidGrant(grant_id=grant(100).grant_id, reason="r"),
        "AdjustCredits": ledger.AdjustCredits(
            adjustment_id=UUID(int=77), amount=-1, source_ref="a", reason="r"
        ),
        "HoldCredits": hold(number=2),
        "ExtendHold": ledger.ExtendHold(hold_id=HOLD_ID, plan=hold().plan, added=1),
        "CaptureHold": CaptureHold(hold_id=HOLD_ID, amount=PRICE),
        "ReleaseHold": ReleaseHold(hold_id=HOLD_ID),
        "RefundCapture": ledger.RefundCapture(capture=capture_of(PRICE), amount=1, reason="r"),
        "SettleDue": ledger.SettleDue(),
        "CloseBooks": ledger.CloseBooks(period="2025-03"),
    }


@pytest.mark.parametrize(("name", "status", "outcome"), cells(ACCOUNT_TABLE))
def test_each_cell_of_the_account(name: str, status: str, outcome: str) -> None:
    command_name, _, variant = name.partition("/")
    before = None if status == "absent" else ledger_in(status, idle=variant == "idle")
    command = ledger_commands()[command_name]
    at = LATER if variant == "due" else NOON
    if outcome not in ACCOUNT.states:
        assert_refused_or_quiet(ledger.decide, before, command, outcome, at)
        return
    events = ledger.decide(before, command, metadata(at))
    state = before
    for event in events:
        assert_next_in_stream(event, state, at)
        state = fold_ledger([event], state)
    assert state is not None
    assert state.status == outcome


def ledger_with_hold(status: str) -> CreditLedger:
    """HOLD_ID in a state, out of a grant that lasts; it expires before LATER."""
    capture = CaptureHold(hold_id=HOLD_ID, amount=PRICE)
    refund = ledger.RefundCapture(capture=capture_of(PRICE), amount=PRICE, reason="r")
    settling: dict[str, tuple[LedgerCommand, ...]] = {
        "absent": (),
        "held": (),
        "captured": (capture,),
        "released": (ReleaseHold(hold_id=HOLD_ID),),
        "refunded": (capture, refund),
        "expired": (),
    }
    held = () if status == "absent" else (replace(hold(), expires_at=NOON + timedelta(hours=1)),)
    state = a_ledger(grant(100), *held, *settling[status])
    if status != "expired":
        return state
    return fold_ledger(ledger.decide(state, ledger.SettleDue(), metadata(LATER)), state)


@pytest.mark.parametrize(("name", "status", "outcome"), cells(HOLD_TABLE))
def test_each_cell_of_the_hold(name: str, status: str, outcome: str) -> None:
    if outcome == "-":
        return
    before = ledger_with_hold(status)
    whole = ledger.RefundCapture(capture=capture_of(PRICE), amount=PRICE, reason="r")
    commands = ledger_commands() | {
        "RefundCapture": whole,
        "RefundCapture/part": replace(whole, amount=1),
    }
    at = LATER if name == "SettleDue" else NOON
    if outcome not in HOLD.states:
        assert_refused_or_quiet(ledger.decide, before, commands[name], outcome, at)
        return
    (event,) = ledger.decide(before, commands[name], metadata(at))
    assert HOLD_TOPICS[name.split("/", maxsplit=1)[0]] == type(event).TOPIC
    after = fold_ledger([event], before)
    assert (HOLD_ID in after.holds) == (outcome == "held")
    if name.startswith("RefundCapture"):
        left = PRICE - after.refunds[HOLD_ID].amount
        assert (left == 0) == (outcome == "refunded")


HOLD_TOPICS = {
    "ExtendHold": "credits.hold_extended",
    "CaptureHold": "credits.captured",
    "ReleaseHold": "credits.released",
    "SettleDue": "credits.hold_expired",
    "RefundCapture": "credits.refunded",
}
