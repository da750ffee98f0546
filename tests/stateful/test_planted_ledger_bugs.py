"""The ledger's machine finds each of these bugs when it is planted, so its silence tells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.ledger_bugs import LEDGER_BUGS
from tests.stateful.ledger_owner_bugs import OWNER_BUGS
from tests.stateful.ledger_owners import LedgerOwners
from tests.stateful.test_planted_bugs import ENOUGH

pytestmark = pytest.mark.stateful
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("plant", [*LEDGER_BUGS, *OWNER_BUGS], ids=lambda plant: plant.__name__)
def test_a_bug_planted_in_the_ledger_is_found(
    plant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):  # KeyError: a hold that is not there any more
        run_state_machine_as_test(LedgerOwners, settings=ENOUGH)
