"""The stock `eventsourcing` library doing what a submit does: a task, and a hold on its account.

Its own Application and PostgreSQL recorder as they come, with its cache and snapshots switched on.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError
from psycopg.conninfo import conninfo_to_dict

from bench import database

DATABASE = "bench_stock"
SNAPSHOT_EVENTS = 500


class StockTask(Aggregate):
    """One that is queued."""

    @event("Submitted")
    def __init__(self, account_id: UUID, type: str, input: str) -> None:  # noqa: A002
        self.account_id = account_id
        self.type = type
        self.input = input
        self.status = "queued"


class StockAccount(Aggregate):
    """Credits and what is held of them."""

    @event("Opened")
    def __init__(self, available: int) -> None:
        self.available = available
        self.holds: dict[str, int] = {}

    @event("Held")
    def hold(self, hold_id: str, amount: int) -> None:
        if amount > self.available:
            raise ValueError(hold_id)
        self.available -= amount
        self.holds[hold_id] = amount


class StockLedger(Application[UUID]):
    """Submits with its own save, again when somebody else was faster."""

    is_snapshotting_enabled = True
    snapshotting_intervals: ClassVar[Any] = {StockAccount: SNAPSHOT_EVENTS}

    def open(self, available: int) -> UUID:
        account = StockAccount(available=available)
        self.save(account)
        return account.id

    def submit(self, account_id: UUID, number: int) -> None:
        while True:
            account: StockAccount = self.repository.get(account_id)
            account.hold(str(uuid4()), 1)
            task = StockTask(account_id=account_id, type="noop", input=f'{{"n":{number}}}')
            try:
                self.save(task, account)
            except IntegrityError:
                continue
            return


def opened(dsn: str) -> StockLedger:
    given = conninfo_to_dict(dsn)
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(given["dbname"]),
        "POSTGRES_HOST": str(given.get("host") or ""),
        "POSTGRES_PORT": str(given.get("port") or ""),
        "POSTGRES_USER": str(given.get("user") or ""),
        "POSTGRES_PASSWORD": str(given.get("password") or ""),
        "AGGREGATE_CACHE_MAXSIZE": "1000",
    }
    return StockLedger(environment)


def submit(account_id: UUID, jobs: int) -> None:
    """That many, one after the other: more threads only meet each other's conflicts."""
    with opened(database.dsn(DATABASE)) as application:
        application.repository.get(account_id)
        await_go()
        for number in range(jobs):
            application.submit(account_id, number)


def await_go() -> None:
    """Say that all is ready, and wait for the others."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
