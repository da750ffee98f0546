"""Any history of one account's credits, on the domain and on the plain ledger side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from adapters.mapper import EventMapper
from domain import balance, ledger
from domain.balance import Balance
from domain.event import Event, Metadata
from domain.ledger import CreditLedger, LedgerCommand
from domain.plan import Plan
from tests.stateful.ledger_acts import HOUR, PLAIN_PLANS, PLANS, LedgerActs, plan_names
from tests.stateful.outcomes import tried
from tests.stateful.plain_credits import PlainClock
from tests.stateful.plain_ledger import PlainLedger

BEGIN = datetime(2025, 2, 27, 22, tzinfo=UTC)
ACCOUNT = UUID(int=1)


class LedgerPlay(LedgerActs):
    """What can happen. The log is what came back from the mapper's bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = PlainClock(BEGIN)
        self.numbers = 100
        self.mapper = EventMapper()
        self.log: list[Event] = []
        self.history: list[CreditLedger] = []
        self.balance: Balance | None = None
        self.model = PlainLedger(self.clock, PLAIN_PLANS["careful"])
        self.decided_at = BEGIN

    @property
    def plain(self) -> PlainLedger:
        return self.model

    @property
    def states(self) -> Sequence[CreditLedger]:
        return self.history

    @property
    def events(self) -> Sequence[Event]:
        return self.log

    def new_id(self) -> UUID:
        self.numbers += 1
        return UUID(int=self.numbers)

    def metadata(self) -> Metadata:
        return Metadata(
            at=self.clock.now,
            actor="anyone",
            correlation_id=self.new_id(),
            causation_id=self.new_id(),
        )

    def decide(self, command: LedgerCommand) -> Sequence[Event]:
        state = self.states[-1] if self.states else None
        return ledger.decide(state, command, self.metadata(), self.plan_after(command))

    def plan_after(self, command: LedgerCommand) -> Plan | None:
        if isinstance(command, ledger.ChangePlan):
            return PLANS[command.plan]
        return self.plan if self.states else None

    def carry_out(self, expected: str, command: LedgerCommand, *, again: bool = True) -> None:
        events, outcome = tried(partial(self.decide, command))
        assert outcome == expected, command
        for event in events:
            self.append(event)
        if events:
            self.decided_at = self.clock.now
        if events and again:
            repeated, outcome = tried(partial(self.decide, command))
            assert not repeated, f"the same command twice wrote twice, then {outcome}"

    def append(self, decided: Event) -> None:
        event = self.mapper.decode(*self.mapper.encode(decided))
        assert event == decided
        self.log.append(event)
        assert event.originator_version == len(self.log)
        self.history.append(ledger.evolve(self.states[-1] if self.states else None, event))
        self.balance = balance.evolve(self.balance, event)

    @initialize(plan=plan_names, amount=st.integers(0, 20))
    def open_account(self, plan: str, amount: int) -> None:
        self.model.plan = PLAIN_PLANS[plan]
        self.append(*self.decide(ledger.OpenAccount(account_id=ACCOUNT, plan=plan)))
        self.bring_in("paid", amount, "first")

    @rule(hours=st.integers(0, 14))
    def time_passes(self, hours: int) -> None:
        self.clock.now += hours * HOUR

    # I9: the state comes back from what is kept of it

    @rule(share=st.floats(0, 1))
    def restart_from_a_snapshot(self, share: float) -> None:
        """Any snapshot and the tail after it is the state, to go on from."""
        version = 1 + int(share * (len(self.states) - 1))
        old = self.states[version - 1]
        snapshot = ledger.snapshot(old, self.metadata())
        restored = ledger.evolve(None, self.mapper.decode(*self.mapper.encode(snapshot)))
        assert restored == old
        for event in self.log[version:]:
            restored = ledger.evolve(restored, event)
        assert restored == self.state
        self.history[-1] = restored
