"""An account with very many past entries beside a new one: how fast it loads and submits."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from adapters.mapper import EventMapper
from bench import database, hot_account
from bench.system import in_process
from bench.tallystick_system import DATABASE, ORIGIN, Tallystick
from domain import ledger
from domain.aggregate import LEDGERS, Stream
from domain.event import Event
from domain.ledger_events import CreditsCaptured, CreditsGranted, CreditsHeld, Slice

SUBMITS = 4_000
LOADS, RATES = 5, 3
VERSION, NUMBER = 987_654_321, UUID(int=0xFEDCBA98)
"""What stands in the model of a stored event where each one has its own."""
_FILL = """
INSERT INTO tallystick_events (originator_id, originator_version, topic, state)
SELECT
    %(account)s, v.version, m.topic,
    convert_to(replace(replace(m.state, %(version)s, v.version::text), %(number)s,
        lpad(to_hex((v.version - 3) / 2), 32, '0')::uuid::text), 'UTF8')
FROM generate_series(%(first)s::bigint, %(last)s) AS v (version)
JOIN unnest(%(places)s::int[], %(topics)s::text[], %(states)s::text[]) AS m (place, topic, state)
    ON m.place = (v.version - 3) %% 2
ORDER BY v.version
"""
_BATCH = 100_000


def measure(entries: int) -> dict[str, object]:
    """Submits a second; milliseconds and memory of a cold load: new, old, without snapshots."""
    system = Tallystick()
    system.reset()
    new, old = asyncio.run(_accounts())
    begun = time.perf_counter()
    _fill(old, entries)
    database.settle(DATABASE)
    figures: dict[str, object] = {"entries": entries, "fill_s": time.perf_counter() - begun}
    # The first load folds all of it, as after the loss of every snapshot, and leaves one.
    figures["fold_all_kib"] = _part("growth", old)
    _execute("DELETE FROM tallystick_snapshots")
    figures["fold_all_ms"] = _load(old)
    asyncio.run(_close_books(old))
    # In turns, so that a busy machine is as busy for both.
    loads = [(_load(new), _load(old)) for _ in range(LOADS)]
    figures["new_load_ms"], figures["old_load_ms"] = map(min, zip(*loads, strict=True))
    for name, account_id in (("new", new), ("old", old)):
        figures[f"{name}_load_kib"] = _part("growth", account_id)
        figures[f"{name}_state_bytes"] = _part("state-bytes", account_id)
    _execute("DELETE FROM tallystick_snapshots")
    figures["old_load_from_books_ms"] = min(_load(old) for _ in range(LOADS))
    rates = [(_rate(new), _rate(old)) for _ in range(RATES)]
    best_new, best_old = max(rate for rate, _ in rates), max(rate for _, rate in rates)
    return figures | {
        "new_submits_s": best_new,
        "old_submits_s": best_old,
        "old_to_new": best_old / best_new,
    }


def _load(account_id: UUID) -> float:
    return _part("load", account_id)


def _part(name: str, account_id: UUID) -> float:
    return in_process(Tallystick(), name, str(account_id))


def _rate(account_id: UUID) -> float:
    return hot_account.rate(["submit", str(account_id), str(SUBMITS)], SUBMITS, processes=1)


async def _accounts() -> tuple[UUID, UUID]:
    return await hot_account.open_account(), await hot_account.open_account()


async def _close_books(account_id: UUID) -> None:
    command = ledger.CloseBooks(period="2026-11")
    async with Tallystick().opened() as service:
        await service.bus.execute(
            lambda states, meta: ledger.decide(states[account_id], command, meta),
            ORIGIN,
            streams=(Stream(LEDGERS, account_id),),
        )


def _fill(account_id: UUID, entries: int) -> None:
    """Holds and their captures, after the two events that the account has."""
    with psycopg.connect(database.dsn(DATABASE), autocommit=True) as connection:
        events = connection.execute(
            "SELECT topic, convert_from(state, 'UTF8') FROM tallystick_events"
            " WHERE originator_id = %s ORDER BY originator_version",
            (account_id,),
        ).fetchall()
        grant = EventMapper().decode(events[1][0], events[1][1].encode())
        models = [EventMapper().encode(event) for event in _pair(grant)]
        for first in range(3, 3 + entries, _BATCH):
            parameters = {
                "account": account_id,
                "first": first,
                "last": min(first + _BATCH, 3 + entries) - 1,
                "version": str(VERSION),
                "number": str(NUMBER),
                "places": [0, 1],
                "topics": [topic for topic, _ in models],
                "states": [state.decode() for _, state in models],
            }
            connection.execute(_FILL, parameters)


def _pair(grant: Event) -> tuple[Event, Event]:
    """A hold of one credit, and its capture."""
    assert isinstance(grant, CreditsGranted)
    common: dict[str, Any] = {
        "originator_id": grant.originator_id,
        "originator_version": VERSION,
        "meta": msgspec.structs.replace(grant.meta, causation_id=NUMBER),
        "hold_id": NUMBER,
        "task_id": NUMBER,
        "amount": 1,
        "slices": (Slice(grant.grant_id, 1),),
    }
    return CreditsHeld(**common), CreditsCaptured(**common)


def _execute(query: str) -> None:
    with psycopg.connect(database.dsn(DATABASE), autocommit=True) as connection:
        connection.execute(query.encode())
