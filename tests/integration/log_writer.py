"""A process that writes to the log by the library's recorder, in every unhelpful manner.

Commits are slow now and then, some transactions are rolled back after their events were written,
and with `--naive` it waits for no writer before it. Stdout gets the positions given, as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from datetime import UTC, datetime
from uuid import UUID, uuid4

from eventsourcing.persistence import IntegrityError
from eventsourcing.utils import Environment
from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.mapper import EventMapper
from adapters.recorder import LogFactory, LogRecorder, environment
from domain.event import Event, Metadata
from domain.ledger_events import AccountOpened, CreditsGranted
from tests.integration.rivals import await_start

GRANTS_MAX = 3
SLOW_SHARE = 0.2
SLOW_SECONDS_MAX = 0.005
ROLLBACK_SHARE = 0.1


class UnhelpfulRecorder(LogRecorder):
    """Between the events and their commit: a pause, or a rollback."""

    random: random.Random

    def _notify_channel(self, curs: Cursor[DictRow]) -> None:
        super()._notify_channel(curs)
        if self.random.random() < SLOW_SHARE:
            seconds = self.random.uniform(0, SLOW_SECONDS_MAX)
            curs.execute("SELECT pg_sleep(%s)", (seconds,))
        if self.random.random() < ROLLBACK_SHARE:
            raise IntegrityError("rolled back on purpose")


class NaiveRecorder(UnhelpfulRecorder):
    """Trusts that positions become visible in their order."""

    def _lock_log(self, cursor: Cursor[DictRow]) -> str:
        cursor.execute("SELECT pg_current_xact_id()::text AS id")
        row = cursor.fetchone()
        assert row is not None
        return str(row["id"])


def write(recorder: UnhelpfulRecorder, commits: int) -> list[int]:
    """Positions of the events in `commits` transactions that were committed."""
    mapper = EventMapper()
    given: list[int] = []
    while commits:
        events = [mapper.to_stored_event(event) for event in _account(recorder.random)]
        try:
            positions = recorder.insert_events(events)
        except IntegrityError:
            continue
        assert positions is not None
        given += positions
        commits -= 1
    return given


def _account(rng: random.Random) -> list[Event]:
    account_id = uuid4()
    meta = Metadata(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        actor="writer",
        correlation_id=UUID(int=1),
        causation_id=account_id,
    )
    opened = AccountOpened(originator_id=account_id, originator_version=1, meta=meta, plan="p")
    grants = [
        CreditsGranted(
            originator_id=account_id,
            originator_version=version,
            meta=meta,
            grant_id=uuid4(),
            kind="paid",
            amount=1,
            priority=1,
            source_ref=str(version),
        )
        for version in range(2, 2 + rng.randint(0, GRANTS_MAX))
    ]
    return [opened, *grants]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("--commits", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--naive", action="store_true")
    arguments = parser.parse_args()
    settings = {**environment(arguments.dsn), LogFactory.CREATE_TABLE: "n"}
    with LogFactory(Environment("tallystick", settings)) as factory:
        kind = NaiveRecorder if arguments.naive else UnhelpfulRecorder
        recorder = kind(factory.datastore, events_table_name="tallystick_events")
        recorder.random = random.Random(arguments.seed)  # noqa: S311 - no secret
        recorder.max_notification_id()
        await_start()
        json.dump(write(recorder, arguments.commits), sys.stdout)


if __name__ == "__main__":
    main()
