"""The golden files, and the state they tell of as JSON: every field, whatever its default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import asdict

from adapters.mapper import EventMapper
from domain.aggregate import AGGREGATE_OF, LEDGERS
from domain.event import Event
from domain.group import Group
from domain.ledger import CreditLedger
from domain.ledger_events import LedgerSnapshot

FOLDER = Path(__file__).parents[2] / "golden"
SUMS = FOLDER / "SHA256SUMS"
Json = Any


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: what came before, the event as stored, and the state after it."""

    given: tuple[str, ...]
    stored: Raw
    folded: dict[str, Json]


def names() -> list[str]:
    """Golden files, each named by a stored topic, maybe with `+` and what it is an example of."""
    return sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))


def golden(name: str) -> Golden:
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Golden)


def topic_of(name: str) -> str:
    """The stored topic of a golden file."""
    return name.partition("+")[0]


def load(name: str) -> Event:
    """The event of a golden file, as the store would load it today."""
    return EventMapper().decode(topic_of(name), bytes(golden(name).stored))


def folded(events: Sequence[Event]) -> dict[str, Json]:
    """The state after `events` of one stream."""
    state: Any = None
    for event in events:
        aggregate = LEDGERS if isinstance(event, LedgerSnapshot) else AGGREGATE_OF[type(event)]
        state = aggregate.evolve(state, event)
    if isinstance(state, Group):
        return _told(state) | {"members": [_told(member) for member in state.members]}
    return _ledger_told(state) if isinstance(state, CreditLedger) else _told(state)


def _ledger_told(state: CreditLedger) -> dict[str, Json]:
    return {
        "balance": _told(state.balance),
        "grants": [_told(grant) for grant in state.grants],
        "holds": [_told(hold) for _, hold in sorted(state.holds.items())],
        "source_refs": sorted(state.source_refs),
        "day": state.day.isoformat(),
        "day_count": state.day_count,
        "overdrawn": state.overdrawn,
        "expiring": {str(i): at.isoformat() for i, at in sorted(state.expiring.items())},
        "refunds": [_told(refund) for _, refund in sorted(state.refunds.items())],
        "told_at": state.told_at,
        "told_exhausted": state.told_exhausted,
        "period": state.period,
        **({"voided": sorted(map(str, state.voided))} if state.voided else {}),
    }


def _told(struct: msgspec.Struct) -> dict[str, Json]:
    fields: dict[str, Json] = msgspec.json.decode(msgspec.json.encode(asdict(struct)))
    return fields
