"""What must hold of one account after each step of any history: I1, I2, I3, I6, I9, I11."""

from __future__ import annotations

from hypothesis.stateful import invariant, precondition

from domain import ledger
from tests.stateful import ledger_checks
from tests.stateful.ledger_acts import OVERDRAFT_MAX, PLAIN_PLANS, PLANS, TRIALS_MAX
from tests.stateful.ledger_play import LedgerPlay

opened = precondition(lambda machine: bool(machine.states))


class LedgerBooks(LedgerPlay):
    @opened
    @invariant()
    def the_balance_is_as_the_plain_ledger_has_it(self) -> None:
        ledger_checks.check_balance(self.state, self.plain)
        assert PLAIN_PLANS[self.state.balance.plan] is self.plain.plan

    @opened
    @invariant()
    def grants_and_holds_are_as_the_plain_ledger_has_them(self) -> None:
        ledger_checks.check_grants_and_holds(self.state, self.plain)

    @opened
    @invariant()
    def the_books_balance(self) -> None:
        ledger_checks.check_sums(self.state, overdraft_max=OVERDRAFT_MAX)

    @opened
    @invariant()
    def a_hold_ends_once_and_whole(self) -> None:
        ledger_checks.check_holds_end_once(self.log, self.state)

    @opened
    @invariant()
    def refunds_reverse_their_captures(self) -> None:
        ledger_checks.check_refunds(self.log, self.state)

    @opened
    @invariant()
    def nothing_that_is_gone_can_be_spent(self) -> None:
        ledger_checks.check_nothing_gone_is_free(self.state, self.decided_at)

    @invariant()
    def no_more_trials_than_the_plan_gives(self) -> None:
        ledger_checks.check_trials(self.log, trials_max=TRIALS_MAX)

    @invariant()
    def the_owner_is_told_once_a_crossing(self) -> None:
        ledger_checks.check_tellings(self.log, self.plain)

    @opened
    @invariant()
    def the_owner_knows_of_few_credits(self) -> None:
        ledger_checks.check_told(self.state, PLANS[self.state.balance.plan])

    def teardown(self) -> None:
        ledger_checks.check_postings(self.log, self.plain)

    @invariant()
    def folding_anew_gives_every_version_again(self) -> None:
        """I9: fold(k) is the state as of k, and the read model is the fold."""
        state = None
        for event, then in zip(self.log, self.states, strict=True):
            state = ledger.evolve(state, event)
            assert state == then
        assert state is None or state.balance == self.balance
