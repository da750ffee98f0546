"""The ledger's machine finds each of these bugs when it is planted, so its silence tells."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.ledger_bugs import LEDGER_BUGS
from tests.stateful.ledger_owner_bugs import OWNER_BUGS
from tests.stateful.ledger_owners import LedgerOwners
from tests.stateful.narrowed import Bug, Rules, narrowed, searches
from tests.stateful.test_planted_bugs import ENOUGH

pytestmark = pytest.mark.stateful
Patch = pytest.MonkeyPatch


WHERE: Mapping[str, Rules] = {
    "settled_out_of_order": ("grant_for_a_time", "hold", "hold_all_there_is", "time_passes"),
    "snapshot_loses_trials": ("hold", "restart_from_a_snapshot"),
    "matured_credits_not_available": (
        "grant_for_a_time",
        "time_passes",
        "sweep",
        "something_comes_due",
    ),
    "refund_a_day_less": ("hold", "capture", "refund", "a_year_passes"),
    "refund_however_old": ("hold", "capture", "refund", "a_year_passes"),
    "group_asks_for_one_task_of_the_day": ("a_group", "hold"),
    "group_asks_for_one_slot": ("a_group", "hold"),
    "expired_trial_is_lost": ("hold", "time_passes", "sweep", "something_comes_due"),
    "failed_trial_is_lost": ("hold", "release"),
    "spent_before_it_begins": ("grant_for_a_time", "hold_all_there_is"),
    "due_a_moment_early": ("grant_for_a_time", "something_comes_due", "sweep"),
    "outsiders_refused_their_own": ("hold_for_an_outsider", "asked_from_outside"),
    "outsiders_refused_before_the_hold_is_looked_for": (
        "hold_for_an_outsider",
        "asked_from_outside",
    ),
    "refund_forgets_the_parts_before": ("hold", "capture", "refund"),
}
"""Rules among which a bug soon shows that others hide."""


@pytest.mark.parametrize(("plant", "rules"), searches([*LEDGER_BUGS, *OWNER_BUGS], WHERE))
def test_a_bug_planted_in_the_ledger_is_found(plant: Bug, rules: Rules, monkeypatch: Patch) -> None:
    machine = narrowed(LedgerOwners, rules)
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):  # KeyError: a hold that is not there any more
        run_state_machine_as_test(machine, settings=ENOUGH)
