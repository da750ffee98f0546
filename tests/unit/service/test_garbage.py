"""Garbage is collected less while a process serves, and as before afterwards."""

from __future__ import annotations

import gc

from service.garbage import THRESHOLDS, calm_garbage_collection


def test_collection_is_calm_for_the_while_and_as_before_afterwards() -> None:
    before = gc.get_threshold()

    with calm_garbage_collection():
        assert gc.get_threshold() == THRESHOLDS
        assert gc.get_freeze_count() > 0

    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
