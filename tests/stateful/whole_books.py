"""QUALITY 2's whole: tasks, groups, and all that is done with the ledgers that pay for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from domain.event import Event
from domain.ledger import CreditLedger, LedgerCommand
from domain.plan import Plan
from tests.stateful import ledger_acts
from tests.stateful.group_books import GroupBooks
from tests.stateful.ledger_acts import HOUR, LedgerActs, plan_names
from tests.stateful.plain_credits import PlainPlan
from tests.stateful.plain_ledger import PlainLedger
from tests.stateful.play import ACCOUNTS, Pick, account_numbers

NEWEST: Pick = (True, 0)
LIMITS = (1, 3, 86_400, 86_400)
MEANWHILE = ["ends", "ends", "void", "follow", "freeze", "plan", "lasts"]
"""What becomes of a grant, or of its account, while a task at work holds credits of it."""
ENDINGS = [0, 0, 1, 1, 2, 3, 5, 6, 6, 7]
"""The usual steps of a running task; mostly it is delivered, whole or in part."""


class WholeBooks(GroupBooks, LedgerActs):
    """What is done with a ledger is done with the account that `number` says.

    That is mostly the one that has just submitted something.
    """

    OUTSIDE = True
    PLANS: ClassVar[Mapping[str, Plan]] = ledger_acts.PLANS
    PLAIN_PLANS: ClassVar[Mapping[str, PlainPlan]] = ledger_acts.PLAIN_PLANS
    FIRST_PLANS = ("tempting", "trusted")

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    @property
    def account_id(self) -> UUID:
        return ACCOUNTS[self.number]

    @property
    def plain(self) -> PlainLedger:
        return self.plain_accounts[self.account_id]

    @property
    def states(self) -> Sequence[CreditLedger]:
        states = self.history[self.account_id]
        return [state for state in states if isinstance(state, CreditLedger)]

    @property
    def events(self) -> Sequence[Event]:
        return self.log[self.account_id]

    def carry_out(self, expected: str, command: LedgerCommand, *, again: bool = True) -> None:
        account_id = self.account_id
        decide = partial(self.decide_on, account_id, command)
        self.check(expected, decide, again=again)

    @rule(number=account_numbers)
    def turn_to(self, number: int) -> None:
        self.number = number

    @rule(
        number=account_numbers,
        over=st.integers(-2, 8),
        ending=st.none() | st.sampled_from(ENDINGS),
        refunds=st.lists(st.integers(1, 3), max_size=1),
    )
    def submit_for_all_there_is(
        self, number: int, over: int, ending: int | None, refunds: list[int]
    ) -> None:
        """Or nearly; or for more, where it may be overdrawn."""
        self.number = number
        self.submit(number, max(0, self.plain.available + over), 2, None, LIMITS)
        if ending is not None:
            self.start(NEWEST)
            self.take_usual_step(NEWEST, ending)
            self.refund_parts(refunds)

    @rule(number=account_numbers, over=st.integers(-2, 8))
    def submit_what_is_there_for_all_there_is(self, number: int, over: int) -> None:
        self.number = number
        self.submit_what_is_there(number, max(0, self.plain.available + over))

    @rule(number=account_numbers, over=st.integers(-2, 4), parallel=st.integers(1, 2))
    def start_a_group_for_all_there_is(self, number: int, over: int, parallel: int) -> None:
        self.number = number
        price = max(0, self.plain.available + over)
        self.start_group(number, None, [price // 2, price - price // 2], parallel, 2)

    @rule(
        number=account_numbers,
        amount=st.integers(1, 8),
        price=st.integers(1, 9),
        meanwhile=st.sampled_from(MEANWHILE),
        plan=plan_names,
        ending=st.sampled_from(ENDINGS),
        refunds=st.lists(st.integers(1, 3), max_size=2),
    )
    def a_task_outlives_its_grant(
        self,
        number: int,
        amount: int,
        price: int,
        meanwhile: str,
        plan: str,
        ending: int,
        refunds: list[int],
    ) -> None:
        """A task is paid out of a grant that burns first; what comes back may come too late."""
        self.number = number
        self.bring_in_for_two_hours(amount)
        self.submit(number, price, 2, None, LIMITS)
        self.start(NEWEST)
        self.let_happen(meanwhile, plan)
        self.take_usual_step(NEWEST, ending)
        self.refund_parts(refunds)

    @rule(
        number=account_numbers,
        amount=st.integers(1, 8),
        prices=st.lists(st.integers(1, 4), min_size=1, max_size=2),
        meanwhile=st.sampled_from(MEANWHILE),
        plan=plan_names,
        endings=st.lists(st.sampled_from(ENDINGS), min_size=2, max_size=4),
        refunds=st.lists(st.integers(1, 3), max_size=2),
    )
    def a_group_outlives_its_grant(
        self,
        number: int,
        amount: int,
        prices: list[int],
        meanwhile: str,
        plan: str,
        endings: list[int],
        refunds: list[int],
    ) -> None:
        """I7 with I6: of a group's one hold, a part comes back to a grant that is gone."""
        self.number = number
        self.bring_in_for_two_hours(amount)
        self.start_group(number, None, prices, 1, 2)
        self.let_happen(meanwhile, plan)
        self.let_a_group_go_on(0, [0, *endings])
        self.refund_parts(refunds)

    def bring_in_for_two_hours(self, amount: int) -> None:
        dates = (None, self.now + 2 * HOUR)
        self.bring_in("trial", amount, f"{self.numbers}", priority=0, dates=dates)

    def let_happen(self, meanwhile: str, plan: str) -> None:
        acts: dict[str, Callable[[], None]] = {
            "ends": lambda: self.time_goes_on(2 * HOUR),
            "void": lambda: self.void(0),
            "follow": lambda: self.follow_a_grant(1, f"{self.numbers}", 0, 2),
            "freeze": lambda: self.freeze(5),
            "plan": lambda: self.change_plan(plan),
            "lasts": lambda: None,
        }
        acts[meanwhile]()

    def time_goes_on(self, duration: timedelta) -> None:
        self.now += duration

    def refund_parts(self, amounts: list[int]) -> None:
        """Of the charge that was made last."""
        charged = [*self.plain.charges][::-1]
        for amount in amounts if charged else []:
            self.give_back(charged[0], amount)
