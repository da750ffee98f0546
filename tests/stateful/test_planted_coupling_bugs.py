"""The whole's machine finds each of these bugs when it is planted, so its silence tells."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.coupling_bugs import COUPLING_BUGS
from tests.stateful.narrowed import Bug, Rules, narrowed, searches
from tests.stateful.test_planted_bugs import ENOUGH
from tests.stateful.whole_books import WholeBooks

pytestmark = pytest.mark.stateful
Patch = pytest.MonkeyPatch


WHERE: Mapping[str, Rules] = {
    "overdraft_of_a_failed_task_is_owed": ("a_task_outlives_its_grant",),
    "part_charged_as_the_whole": ("submit_for_all_there_is",),
}
"""Rules among which a bug soon shows that others hide."""


@pytest.mark.parametrize(("plant", "rules"), searches(COUPLING_BUGS, WHERE))
def test_a_bug_planted_between_tasks_and_credits_is_found(
    plant: Bug, rules: Rules, monkeypatch: Patch
) -> None:
    machine = narrowed(WholeBooks, rules)
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):  # KeyError: a hold that is not there any more
        run_state_machine_as_test(machine, settings=ENOUGH)
