"""Proves a database right by itself: read models are the fold of its log, credits add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from msgspec.structs import asdict

from adapters.batch import task_of
from adapters.mapper import EventMapper
from domain import group, ledger, task
from domain.event import Event
from domain.group import Group
from domain.group_events import GroupEvent
from domain.ledger import CreditLedger
from domain.ledger_events import (
    CreditsCaptured,
    CreditsHeld,
    CreditsReleased,
    HoldExpired,
    LedgerEvent,
)
from domain.task import Task
from domain.task_events import TaskEvent

LOG_LOCKS = (
    "SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE locktype = 'advisory' AND objid = 151363045 AND datname = current_database()"
)
"""One row for each session that holds the log's lock or waits for it."""
TASK_COLUMNS = (
    *("version", "account_id", "type", "status", "priority", "project", "queued_at", "not_before"),
    *("worker", "token", "created_at", "ended_at", "percent"),
)
ACCOUNT_COLUMNS = (
    *("version", "plan", "status", "name", "granted", "available", "held", "captured", "active"),
    *("opened_at", "updated_at", "pending", "expired", "voided", "refunded", "trials"),
)


class Books:
    """One reading of a database's log and read models."""

    def __init__(self, dsn: str) -> None:
        mapper = EventMapper()
        with psycopg.connect(dsn) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            rows = connection.execute(
                "SELECT notification_id, topic, state FROM tallystick_events"
                " ORDER BY notification_id"
            ).fetchall()
            self.task_rows = _rows(connection, "tasks")
            self.account_rows = _rows(connection, "accounts")
        self.positions = [row[0] for row in rows]
        self.events: list[Event] = [mapper.decode(row[1], row[2]) for row in rows]
        self.tasks: dict[UUID, Task] = {}
        self.ledgers: dict[UUID, CreditLedger] = {}
        self.groups: dict[UUID, Group] = {}
        self._fold()

    @property
    def command_ids(self) -> Counter[UUID]:
        """How many events each command led to."""
        return Counter(event.meta.causation_id for event in self.events)

    def verify(self, *, overdraft_max: int = 0) -> Books:
        """Assert all that must hold of any database, at any moment."""
        assert self.task_rows.keys() == self.tasks.keys()
        for task_id, state in self.tasks.items():
            _verify_task_row(state, self.task_rows[task_id])
        assert self.account_rows.keys() == self.ledgers.keys()
        for account_id, account in self.ledgers.items():
            self._verify_account(account, self.account_rows[account_id], overdraft_max)
        self._verify_holds()
        return self

    def verify_commands(
        self, done: Iterable[UUID], not_done: Iterable[UUID] = (), *, events_each: int = 2
    ) -> None:
        """Assert that the one kind is in the log exactly once, the other kind not at all."""
        counts = self.command_ids
        assert [c for c in done if counts[c] != events_each] == []
        assert [c for c in not_done if c in counts] == []

    def _fold(self) -> None:
        versions: defaultdict[UUID, int] = defaultdict(int)
        for event in self.events:
            stream_id = event.originator_id
            versions[stream_id] += 1
            assert event.originator_version == versions[stream_id], "a stream has no gaps"
            if isinstance(event, LedgerEvent):
                self.ledgers[stream_id] = ledger.evolve(self.ledgers.get(stream_id), event)
            elif isinstance(event, GroupEvent):
                self.groups[stream_id] = group.evolve(self.groups.get(stream_id), event)
            elif isinstance(event, TaskEvent):
                self.tasks[stream_id] = task.evolve(self.tasks.get(stream_id), event)

    def _verify_account(
        self, account: CreditLedger, row: dict[str, Any], overdraft_max: int
    ) -> None:
        balance = account.balance
        assert {name: row[name] for name in ACCOUNT_COLUMNS} == {
            name: getattr(balance, name) for name in ACCOUNT_COLUMNS
        }
        there = balance.pending + balance.available + balance.held
        assert balance.granted == there + balance.captured + balance.expired + balance.voided
        assert balance.available >= -overdraft_max
        assert balance.held == sum(hold.amount for hold in account.holds.values())
        free = sum(grant.remaining for grant in account.grants if not grant.pending)
        assert balance.available == free - account.overdrawn

    def _verify_holds(self) -> None:
        opened = Counter(e.hold_id for e in self.events if isinstance(e, CreditsHeld))
        ended = Counter(
            e.hold_id
            for e in self.events
            if isinstance(e, CreditsCaptured | CreditsReleased | HoldExpired)
        )
        assert set(opened.values()) <= {1}, "a hold is made once"
        assert set(ended.values()) <= {1}, "a hold ends once"
        live = {hold_id for account in self.ledgers.values() for hold_id in account.holds}
        assert live == opened.keys() - ended.keys()
        for state in self.tasks.values():
            if state.group_id is None:
                assert (state.hold_id in live) is not state.ended, (
                    "a task and its hold end together"
                )
        for one in self.groups.values():
            self._verify_group(one, live)

    def _verify_group(self, one: Group, live: set[UUID]) -> None:
        """I4, I5 and I7 for a group: its tasks, its one hold a run, and what that came to."""
        assert (one.hold_id in live) is not one.ended, "a group and its hold end together"
        for member in one.members:
            known = self.tasks.get(member.task_id)
            assert (known is None) is (member.status in {"pending", "skipped"})
            if known is not None:
                assert (known.group_id, known.ended) == (one.id, member.status != "active")
                assert member.status in {"active", known.status}
                assert member.charged == known.credits_charged
        at_work = [t for t in self.tasks.values() if t.group_id == one.id and not t.ended]
        assert len(at_work) == len(one.active) <= one.slots
        for held in self.events:
            if isinstance(held, CreditsHeld) and held.group_id == one.id:
                self._verify_settlement(held, live)

    def _verify_settlement(self, held: CreditsHeld, live: set[UUID]) -> None:
        members = [task for task in self.tasks.values() if task.hold_id == held.hold_id]
        ends = [
            event
            for event in self.events
            if isinstance(event, CreditsCaptured | CreditsReleased)
            and event.hold_id == held.hold_id
        ]
        assert len(ends) == (held.hold_id not in live)
        charged = sum(task.credits_charged for task in members)
        for end in ends:
            captured = end.amount if isinstance(end, CreditsCaptured) else 0
            back = end.released if isinstance(end, CreditsCaptured) else end.amount
            assert (captured, captured + back) == (charged, held.amount)


def _rows(connection: psycopg.Connection[Any], table: str) -> dict[UUID, dict[str, Any]]:
    cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
    columns = "*, data::text AS data, input::text AS input, result::text AS result"
    query = f"SELECT {columns if table == 'tasks' else '*'} FROM {table}"  # noqa: S608 - our own
    return {row["id"]: row for row in cursor.execute(query).fetchall()}


def _verify_task_row(state: Task, row: dict[str, Any]) -> None:
    assert {name: row[name] for name in TASK_COLUMNS} == {
        name: getattr(state, name) for name in TASK_COLUMNS
    }
    document = row["result"]
    stored = task_of(
        row["data"],
        msgspec.Raw(row["input"].encode()),
        None if document is None else msgspec.Raw(document.encode()),
    )
    assert _plain(stored) == _plain(state)
    assert (row["lease_until"] is not None) == (state.status in {"running", "cancelling"})


def _plain(state: Task) -> dict[str, Any]:
    fields = asdict(state)
    fields["input"] = bytes(state.input)
    fields["result"] = None if state.result is None else bytes(state.result)
    return fields
