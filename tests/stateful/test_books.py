"""QUALITY 2 for the whole, tasks, groups and ledgers: 200 x 30 each time, 10,000 x 50 nightly."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.whole_books import WholeBooks

pytestmark = pytest.mark.stateful
SIZE = settings(suppress_health_check=list(HealthCheck))
"""Named, since a machine without settings keeps those that were in force when it was first run."""


# 200 histories take 3 seconds; the nightly profile has fifty times as many, and longer ones.
@pytest.mark.timeout(max(120, settings().max_examples // 2))
def test_any_history_keeps_the_books() -> None:
    run_state_machine_as_test(WholeBooks, settings=SIZE)
