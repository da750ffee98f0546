"""The whole's machine finds each of these bugs when it is planted, so its silence tells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.coupling_bugs import COUPLING_BUGS
from tests.stateful.test_planted_bugs import ENOUGH
from tests.stateful.whole_books import WholeBooks

pytestmark = pytest.mark.stateful
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("plant", COUPLING_BUGS, ids=lambda plant: plant.__name__)
def test_a_bug_planted_between_tasks_and_credits_is_found(
    plant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):  # KeyError: a hold that is not there any more
        run_state_machine_as_test(WholeBooks, settings=ENOUGH)
