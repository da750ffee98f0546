"""The library's application over our tables sees what the committer wrote, and writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.cipher import AESCipher
from psycopg.conninfo import conninfo_to_dict

from adapters.application import TallystickLog, WritesThroughCommitter, project
from adapters.arrays import Uuids
from adapters.committer import Committer
from adapters.mapper import EventMapper
from domain.aggregate import SNAPSHOT_EVENTS
from domain.errors import NotFound
from domain.ledger_events import LedgerSnapshot
from domain.task import Task
from tests.integration.decisions import (
    complete,
    grant,
    open_account,
    running_committer,
    start,
    submit,
)


@pytest.fixture
def log(database: str) -> Iterator[TallystickLog]:
    with TallystickLog.from_dsn(database) as log:
        yield log


async def _metered_tasks(committer: Committer, account_id: UUID, count: int) -> dict[UUID, Task]:
    tasks: dict[UUID, Task] = {}
    for _ in range(count):
        task_id = uuid4()
        await committer.execute(submit(task_id, account_id))
        await committer.execute(start(task_id))
        ended = await committer.execute(complete(task_id, account_id))
        tasks[task_id] = ended.states[task_id]
    return tasks


async def _account(committer: Committer, amount: int) -> UUID:
    account_id = uuid4()
    await committer.execute(open_account(account_id))
    await committer.execute(grant(account_id, amount))
    return account_id


@pytest.mark.postgres15
async def test_the_repository_agrees_with_the_committer(log: TallystickLog, database: str) -> None:
    async with running_committer(database) as committer:
        account_id = await _account(committer, 100)
        tasks = await _metered_tasks(committer, account_id, 5)
        last = await committer.execute(grant(account_id, 7))

    assert log.ledger(account_id) == last.states[account_id]
    assert {task_id: log.task(task_id) for task_id in tasks} == tasks
    assert log.ledger(account_id).balance.captured == 5


async def test_states_can_be_had_as_of_each_version(log: TallystickLog, database: str) -> None:
    async with running_committer(database) as committer:
        account_id = uuid4()
        states = [
            (await committer.execute(decision)).states[account_id]
            for decision in (
                open_account(account_id),
                grant(account_id, 10),
                submit(uuid4(), account_id),
                grant(account_id, 1),
            )
        ]
    assert [state.version for state in states] == [1, 2, 3, 4]
    assert [log.ledger(account_id, version) for version in (1, 2, 3, 4)] == states


async def test_snapshot_and_tail_are_the_full_fold(log: TallystickLog, database: str) -> None:
    """The snapshot is the committer's own, made off the path when enough events had passed."""
    async with running_committer(database) as committer:
        account_id = await _account(committer, SNAPSHOT_EVENTS)
        await asyncio.gather(
            *(_metered_tasks(committer, account_id, 2) for _ in range(SNAPSHOT_EVENTS // 4)),
            *(committer.execute(submit(uuid4(), account_id)) for _ in range(60)),
        )
        state = (await committer.execute(grant(account_id, 3))).states[account_id]

    assert log.snapshots is not None
    [snapshot] = log.snapshots.get(account_id)
    assert isinstance(snapshot, LedgerSnapshot)
    assert snapshot.originator_version < state.version
    whole = project(None, log.events.get(account_id))
    assert log.ledger(account_id) == whole == state
    assert len(whole.holds) == 60
    at_snapshot = log.ledger(account_id, snapshot.originator_version)
    assert at_snapshot == project(None, log.events.get(account_id, lte=snapshot.originator_version))


async def test_the_repository_starts_from_the_newest_snapshot(
    log: TallystickLog, database: str
) -> None:
    """A snapshot that lies is believed: so snapshots are read, and not the whole stream."""
    async with running_committer(database) as committer:
        account_id = await _account(committer, 10)
        true = (await committer.execute(grant(account_id, 5))).states[account_id]
    log.take_snapshot(account_id, version=2)
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE tallystick_snapshots SET state ="
            " replace(convert_from(state, 'UTF8'), '\"granted\":10', '\"granted\":90')::bytea"
        )
    assert true.balance.granted == 15
    assert log.ledger(account_id).balance.granted == 95
    assert log.ledger(account_id, 1).balance.granted == 0


async def test_a_snapshot_taken_here_serves_the_committer(
    log: TallystickLog, database: str
) -> None:
    async with running_committer(database) as committer:
        account_id = await _account(committer, 10)
        await committer.execute(submit(uuid4(), account_id))
    log.take_snapshot(account_id)
    log.take_snapshot(account_id)
    with psycopg.connect(database) as connection:
        counted = connection.execute("SELECT count(*) FROM tallystick_snapshots").fetchone()
        connection.execute(
            "DELETE FROM tallystick_events WHERE originator_id = ANY (%b)", (Uuids([account_id]),)
        )
    assert counted == (1,)
    async with running_committer(database) as other:
        after = await other.execute(grant(account_id, 1))
    assert after.states[account_id].version == 4
    assert after.states[account_id].balance.held == 1


async def test_a_task_is_no_ledger_and_nothing_is_neither(
    log: TallystickLog, database: str
) -> None:
    async with running_committer(database) as committer:
        account_id = await _account(committer, 10)
        [task_id] = await _metered_tasks(committer, account_id, 1)
    log.take_snapshot(task_id)
    for wrong in (account_id, uuid4()):
        with pytest.raises(NotFound):
            log.task(wrong)
    for wrong in (task_id, uuid4()):
        with pytest.raises(NotFound):
            log.ledger(wrong)
    with pytest.raises(AggregateNotFoundError):
        log.repository.get(uuid4(), projector_func=project)


async def test_saving_is_refused_and_says_where_to_write(log: TallystickLog, database: str) -> None:
    async with running_committer(database) as committer:
        account_id = await _account(committer, 10)
    event = next(iter(log.events.get(account_id)))
    with pytest.raises(WritesThroughCommitter, match=r"adapters\.committer\.Committer"):
        log.save(event)
    assert log.recorder.max_notification_id() == 2


async def test_a_subscription_sees_everything_in_order(log: TallystickLog, database: str) -> None:
    """What was there, and what is committed while it waits."""
    seen: list[tuple[UUID, int]] = []

    def subscribe(count: int) -> None:
        with log.recorder.subscribe(gt=None) as subscription:
            for notification in subscription:
                event = log.mapper.to_domain_event(notification)
                seen.append((event.originator_id, event.originator_version))
                if len(seen) == count:
                    return

    async with running_committer(database) as committer:
        account_id = await _account(committer, 100)
        subscribed = asyncio.create_task(asyncio.to_thread(subscribe, 2 + 20 * 5))
        await asyncio.gather(*(_metered_tasks(committer, account_id, 5) for _ in range(4)))
        async with asyncio.timeout(20):
            await subscribed

    sections = log.notification_log.select(1, 1_000)
    assert seen == [(n.originator_id, n.originator_version) for n in sections]


async def test_the_settings_cipher_and_compressor_are_honoured(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIPHER_TOPIC", "eventsourcing.cipher:AESCipher")
    monkeypatch.setenv("CIPHER_KEY", AESCipher.create_key(16))
    monkeypatch.setenv("COMPRESSOR_TOPIC", "zlib")
    with TallystickLog.from_dsn(database) as secret:
        assert isinstance(secret.mapper, EventMapper)
        account_id = uuid4()
        async with running_committer(database, secret.mapper) as committer:
            opened = await committer.execute(open_account(account_id))
        assert secret.ledger(account_id) == opened.states[account_id]
        [stored] = secret.recorder.select_events(account_id)
    assert b"plan" not in stored.state
    with TallystickLog.from_dsn(database, EventMapper()) as plain:
        assert plain.mapper.cipher is None
        with pytest.raises(ValueError, match="Cannot load"):
            plain.ledger(account_id)


def test_every_parameter_of_the_dsn_reaches_the_connection(database: str) -> None:
    dsn = psycopg.conninfo.make_conninfo(
        database, application_name="an auditor", options="-c statement_timeout=4321"
    )
    with (
        TallystickLog.from_dsn(dsn) as log,
        log.factory.datastore.get_connection() as connection,  # type: ignore[attr-defined]
    ):
        shown = connection.execute("SHOW statement_timeout").fetchone()
        assert shown == {"statement_timeout": "4321ms"}
        assert connection.info.get_parameters()["application_name"] == "an auditor"
        assert connection.info.host == conninfo_to_dict(database)["host"]


def test_a_url_with_a_socket_folder_will_do(database: str) -> None:
    parts = conninfo_to_dict(database)
    folder = str(parts["host"]).replace("/", "%2F")
    url = f"postgresql://{parts['user']}@{folder}:{parts['port']}/{parts['dbname']}"
    with TallystickLog.from_dsn(url) as log:
        assert log.recorder.max_notification_id() is None
