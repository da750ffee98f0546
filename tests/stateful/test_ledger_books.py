"""QUALITY 2 for the ledger alone: 200 histories of 30 steps each time, 10,000 x 50 nightly."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.ledger_owners import LedgerOwners

pytestmark = pytest.mark.stateful
SIZE = settings(suppress_health_check=list(HealthCheck))
"""Named, since a machine without settings keeps those that were in force when it was first run."""


@pytest.mark.timeout(max(120, settings().max_examples // 2))
def test_any_history_of_an_account_keeps_its_books() -> None:
    run_state_machine_as_test(LedgerOwners, settings=SIZE)
