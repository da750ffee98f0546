"""What our recorder promises beyond the library's own test cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    OperationalError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment, retry
from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.committer import LOG_LOCK
from adapters.recorder import LogFactory, LogProcessRecorder, LogRecorder, environment


def _events(count: int, stream_id: UUID | None = None, *, first: int = 1) -> list[StoredEvent]:
    stream_id = stream_id or uuid4()
    return [
        StoredEvent(stream_id, version, f"topic{version}", b"state%d" % version)
        for version in range(first, first + count)
    ]


@contextmanager
def _recorder(dsn: str, **settings: str) -> Iterator[LogRecorder]:
    """Over the tables of our migrations."""
    env = {**environment(dsn), LogFactory.CREATE_TABLE: "n", **settings}
    factory = LogFactory(Environment("tallystick", env))
    try:
        recorder = factory.application_recorder()
        assert isinstance(recorder, LogRecorder)
        yield recorder
    finally:
        factory.close()


@pytest.fixture
def recorder(database: str) -> Iterator[LogRecorder]:
    with _recorder(database) as recorder:
        yield recorder


@pytest.fixture
def process_recorder(database: str) -> Iterator[LogProcessRecorder]:
    factory = LogFactory(environment(database))
    recorder = factory.process_recorder()
    assert isinstance(recorder, LogProcessRecorder)
    yield recorder
    factory.close()


def test_it_takes_the_lock_of_the_committer(recorder: LogRecorder) -> None:
    assert recorder.lock == LOG_LOCK


@pytest.mark.postgres15
def test_twenty_thousand_events_are_saved_at_once_and_in_order(recorder: LogRecorder) -> None:
    events = _events(20_000)

    positions = recorder.insert_events(events)

    assert positions == list(range(1, 20_001))
    notifications = recorder.select_notifications(None, 20_000)
    assert [n.originator_version for n in notifications] == list(range(1, 20_001))
    assert recorder.select_events(events[0].originator_id) == events


def test_positions_follow_the_order_given_over_several_streams(recorder: LogRecorder) -> None:
    streams = [_events(50) for _ in range(4)]
    mixed = [event for group in zip(*streams, strict=True) for event in group]

    recorder.insert_events(mixed)

    log = recorder.select_notifications(None, 1_000)
    assert [(n.originator_id, n.originator_version) for n in log] == [
        (e.originator_id, e.originator_version) for e in mixed
    ]


@pytest.mark.parametrize(
    "event",
    [
        StoredEvent(uuid4(), 2**63, "topic", b""),
        StoredEvent(uuid4(), 1, "nul\0", b""),
        StoredEvent(uuid4(), 1, "\ud800", b""),
        StoredEvent("no uuid", 1, "topic", b""),
        StoredEvent(uuid4(), "one", "topic", b""),  # type: ignore[arg-type]
    ],
    ids=["too large", "NUL", "lone surrogate", "not a uuid", "not a number"],
)
def test_what_no_column_can_hold_is_a_data_error(recorder: LogRecorder, event: StoredEvent) -> None:
    with pytest.raises(DataError):
        recorder.insert_events([*_events(1), event])
    assert recorder.max_notification_id() is None
    assert recorder.insert_events(_events(1)) is not None


def test_a_missing_state_breaks_the_tables_rules(recorder: LogRecorder) -> None:
    with pytest.raises(IntegrityError):
        recorder.insert_events([StoredEvent(uuid4(), 1, "topic", None)])  # type: ignore[arg-type]


def test_saving_notifies_listeners_once(database: str, recorder: LogRecorder) -> None:
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute("LISTEN tallystick_events")
        recorder.insert_events(_events(3))
        heard = list(listener.notifies(timeout=5, stop_after=1))
        heard += listener.notifies(timeout=0)
    assert [notify.payload for notify in heard] == [""]


class _Probed(LogRecorder):
    """Runs `probe` inside the transaction of a save, when its events are written."""

    probe: Callable[[Cursor[DictRow]], None]

    def _notify_channel(self, curs: Cursor[DictRow]) -> None:
        self.probe(curs)
        super()._notify_channel(curs)


@contextmanager
def _probed(
    dsn: str, probe: Callable[[Cursor[DictRow]], None], **settings: str
) -> Iterator[LogRecorder]:
    with _recorder(dsn, **settings) as recorder:
        probed = _Probed(recorder.datastore, events_table_name="tallystick_events")
        probed.probe = probe
        yield probed


def test_the_lock_timeout_of_the_settings_holds(database: str) -> None:
    seen: list[DictRow] = []

    def look(cursor: Cursor[DictRow]) -> None:
        seen.extend(cursor.execute("SHOW lock_timeout").fetchall())

    with _probed(database, look, POSTGRES_LOCK_TIMEOUT="7") as recorder:
        recorder.insert_events(_events(1))
    assert seen == [{"lock_timeout": "7s"}]


@pytest.mark.parametrize("db_functions", ["n", "y"])
def test_a_save_waits_for_the_writer_before_it(database: str, db_functions: str) -> None:
    """Also where the library would have used its function, which loses events to readers."""
    with (
        psycopg.connect(database) as writer,
        psycopg.connect(database, autocommit=True) as observer,
        _recorder(database, POSTGRES_ENABLE_DB_FUNCTIONS=db_functions) as recorder,
        ThreadPoolExecutor(1) as pool,
    ):
        writer.execute("SELECT pg_advisory_xact_lock(%s)", (LOG_LOCK,))
        save = pool.submit(recorder.insert_events, _events(1))
        _wait_for_waiter(observer)
        assert recorder.max_notification_id() is None
        writer.commit()
        assert save.result(timeout=10) == [1]


def _wait_for_waiter(observer: psycopg.Connection[tuple[Any, ...]]) -> None:
    deadline = time.monotonic() + 10
    query = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
    while observer.execute(query, (LOG_LOCK,)).fetchone() is None:
        assert time.monotonic() < deadline, "nobody waits for the log's lock"


def test_a_connection_lost_before_the_commit_is_made_anew(database: str) -> None:
    backends: list[int] = []

    def die_once(cursor: Cursor[DictRow]) -> None:
        backends.append(cursor.connection.info.backend_pid)
        if len(backends) == 1:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with _probed(database, die_once) as recorder:
        events = _events(2)
        positions = recorder.insert_events(events)
        assert len(backends) == 2
        assert positions == [n.id for n in recorder.select_notifications(None, 10)]
        assert recorder.select_events(events[0].originator_id) == events


class _AnswerLost:
    """Stands before a datastore's transactions; the first commit is not heard of."""

    def __init__(self, transaction: Callable[..., Any]) -> None:
        self._transaction = transaction
        self.lost = 0

    @contextmanager
    def __call__(self, *, commit: bool) -> Iterator[Cursor[DictRow]]:
        with self._transaction(commit=commit) as cursor:
            yield cursor
        if not self.lost:
            self.lost += 1
            raise OperationalError("server closed the connection unexpectedly")


def test_a_commit_whose_answer_was_lost_is_not_taken_for_a_conflict(
    recorder: LogRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.insert_events(_events(5))
    fate = _AnswerLost(recorder.datastore.transaction)
    monkeypatch.setattr(recorder.datastore, "transaction", fate)

    assert recorder.insert_events(_events(3)) == [6, 7, 8]

    assert fate.lost == 1
    assert recorder.max_notification_id() == 8


def test_a_conflict_stays_one_when_an_answer_was_lost(database: str) -> None:
    """The very same bytes, written by somebody else while the connection was away."""
    [event] = _events(1)
    attempts: list[int] = []

    def be_overtaken(_: Cursor[DictRow]) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise OperationalError("server closed the connection unexpectedly")

    with _probed(database, be_overtaken) as loser, _recorder(database) as winner:
        pause = f"{retry.__module__}.sleep"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pause, lambda _: winner.insert_events([event]))
            with pytest.raises(IntegrityError):
                loser.insert_events([event])
        assert loser.max_notification_id() == winner.select_notifications(None, 2)[-1].id
        assert len(winner.select_events(event.originator_id)) == 1


def test_a_position_is_kept_with_the_events_or_not_at_all(
    process_recorder: LogProcessRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = process_recorder
    events = _events(2)
    recorder.insert_events(events, tracking=Tracking("upstream", 5))
    with pytest.raises(IntegrityError):
        recorder.insert_events(events, tracking=Tracking("upstream", 6))
    assert recorder.max_tracking_id("upstream") == 5
    with pytest.raises(IntegrityError):
        recorder.insert_events(_events(1), tracking=Tracking("upstream", 5))
    assert recorder.max_notification_id() == 2

    fate = _AnswerLost(recorder.datastore.transaction)
    monkeypatch.setattr(recorder.datastore, "transaction", fate)
    assert recorder.insert_events([], tracking=Tracking("upstream", 7)) is None
    assert fate.lost == 1
    assert recorder.max_tracking_id("upstream") == 7
