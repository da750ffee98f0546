"""Every fact that was ever stored can be told, to operators and to users."""

from __future__ import annotations

import re
from uuid import UUID

import msgspec
import pytest

from adapters.log import Recorded
from domain.catalogue import SNAPSHOTS
from service.http.history import history_entry
from tests.unit.domain.golden import load, names

BARE_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TOLD = [name for name in names() if type(load(name)) not in SNAPSHOTS]


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("reader", [None, UUID(int=1)], ids=["operator", "user"])
def test_a_fact_is_told_with_ids_as_they_are_given_out(name: str, reader: UUID | None) -> None:
    event = load(name)
    entry = history_entry(Recorded(7, event), reader)
    assert (entry.type, entry.position, entry.version) == (
        *(event.TOPIC, 7, event.originator_version),
    )
    assert BARE_ID.search(msgspec.json.encode(entry.data)) is None
