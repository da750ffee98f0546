"""What the committer promises its callers while nothing breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from adapters.committer import Committer
from adapters.decision import Committed, Decision
from domain import ledger, task
from domain.aggregate import LEDGERS, TASKS, Stream
from domain.errors import (
    AlreadyExists,
    CommandRejected,
    HoldNotFound,
    InsufficientCredits,
    NotFound,
    Overloaded,
    ShuttingDown,
)
from domain.ledger import CreditLedger, ReleaseHold
from tests.fault import commands
from tests.fault.books import LOG_LOCKS, Books
from tests.fault.commands import new_id, open_account
from tests.fault.writers import running

LOCK = "SELECT pg_advisory_lock(151363045)"
UNLOCK = "SELECT pg_advisory_unlock(151363045)"


async def _all(committer: Committer, decisions: Sequence[Decision]) -> list[Any]:
    """Outcomes of decisions sent at once, refusals too."""
    return await asyncio.gather(
        *(committer.execute(decision) for decision in decisions), return_exceptions=True
    )


@pytest.mark.postgres15
async def test_what_is_answered_is_in_the_log_and_in_the_read_models(database: str) -> None:
    account_id, task_id = new_id(), new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=10))
        for decision in (
            commands.submit(account_id, task_id, amount=3, project="p"),
            commands.start(task_id),
            commands.complete(task_id, account_id),
        ):
            committed = await committer.execute(decision)
            books = Books(database).verify()
            assert books.events[-len(committed.events) :] == list(committed.events)
            assert committed.position == books.positions[-1]
        assert books.tasks[task_id].status == "completed"
        assert books.ledgers[account_id].balance.captured == 3


async def test_concurrent_commands_on_one_ledger_are_all_counted(database: str) -> None:
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=700))
        decisions = [commands.submit(account_id) for _ in range(1_000)]
        outcomes = await _all(committer, decisions)
        assert committer.batches < 50, "commands that wait share a commit"
    accepted = [o for o in outcomes if isinstance(o, Committed)]
    refused = [o for o in outcomes if isinstance(o, InsufficientCredits)]
    assert (len(accepted), len(refused)) == (700, 300)
    books = Books(database).verify()
    assert [c.events[-1] for c in accepted] == [books.events[c.position - 1] for c in accepted]
    assert books.ledgers[account_id].balance.available == 0


async def test_positions_are_those_of_the_log(database: str) -> None:
    account_ids = [new_id() for _ in range(20)]
    async with running(database) as committer:
        opened = await _all(committer, [open_account(a, amount=1) for a in account_ids])
        more = await _all(committer, [commands.submit(a, amount=2) for a in account_ids])
        last = await _all(committer, [commands.submit(a) for a in account_ids])
    books = Books(database)
    assert {type(refusal) for refusal in more} == {InsufficientCredits}
    at = dict(zip(books.positions, books.events, strict=True))
    for committed in opened + last:
        assert at[committed.position] == committed.events[-1]


async def test_a_second_writer_is_noticed(database: str) -> None:
    """Each of two committers holds old states of what the other has changed, and neither errs."""
    account_id, task_id = new_id(), new_id()
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(account_id, amount=1))
        await two.execute(commands.submit(account_id, task_id))
        with pytest.raises(InsufficientCredits):
            await one.execute(commands.submit(account_id))
        # `one` believes that there are no credits.
        await two.execute(commands.grant(account_id, 1))
        await one.execute(commands.submit(account_id))
        # `two` believes that there is one left.
        with pytest.raises(InsufficientCredits):
            await two.execute(commands.submit(account_id))
        # `two` knows the task as queued; `one` starts and completes it.
        await one.execute(commands.start(task_id))
        await one.execute(commands.complete(task_id, account_id))
        again = await two.execute(commands.complete(task_id, account_id))
    assert again.events == ()
    Books(database).verify()


async def test_a_refusal_never_mixes_states_of_two_moments(database: str) -> None:
    """A stale task beside a fresh ledger looks like a task whose hold is gone."""
    account_id, task_id = new_id(), new_id()
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(account_id, amount=1))
        await one.execute(commands.submit(account_id, task_id))
        await one.execute(commands.start(task_id))
        await two.execute(commands.complete(task_id, account_id))
        # The refused hold makes `one` look at the ledger again, beside the task as it remembers it.
        outcomes = await _all(
            one, [commands.hold(account_id, 5), commands.complete(task_id, account_id)]
        )
    assert isinstance(outcomes[0], InsufficientCredits)
    assert isinstance(outcomes[1], Committed), outcomes[1]
    assert outcomes[1].events == ()


async def test_a_databases_own_defaults_do_not_blind_the_lock(database: str) -> None:
    """Repeatable read would show a writer what was there before it waited, not after."""
    account_id = new_id()
    with psycopg.connect(database, autocommit=True) as connection:
        name = connection.info.dbname
        setting = f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
        connection.execute(setting.encode())
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(account_id, amount=50))
        outcomes = await asyncio.gather(
            *(_one_by_one(writer, account_id, 20) for writer in (one, two) * 2)
        )
    counted = Counter(outcome for some in outcomes for outcome in some)
    assert counted == {Committed: 50, InsufficientCredits: 30}
    Books(database).verify()


async def _one_by_one(committer: Committer, account_id: UUID, count: int) -> list[type]:
    return [type((await _all(committer, [commands.hold(account_id)]))[0]) for _ in range(count)]


async def test_the_options_of_a_dsn_are_kept(database: str) -> None:
    dsn = make_conninfo(database, options="-c statement_timeout=12345")
    async with running(dsn) as committer:
        cursor = committer.session.cursor()
        await cursor.execute("SHOW statement_timeout")
        assert await cursor.fetchone() == ("12345ms",)
        await cursor.execute("SHOW default_transaction_isolation")
        assert await cursor.fetchone() == ("read committed",)


async def test_a_stream_that_was_only_read_must_not_have_moved(database: str) -> None:
    """A task is submitted on the word of another account's balance."""
    payer, reader = new_id(), new_id()

    def decide(states: Any, meta: Any) -> Any:
        if states[payer].balance.available < 1:
            raise InsufficientCredits(1, 0)
        return ledger.decide(states[reader], commands.grant_of(1), meta)

    decision = commands.decision(decide, streams=(Stream(LEDGERS, payer), Stream(LEDGERS, reader)))
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(payer, amount=1))
        await one.execute(open_account(reader, amount=1))
        await two.execute(commands.hold(payer))
        with pytest.raises(InsufficientCredits):
            await one.execute(decision)


async def test_what_is_only_read_is_no_conflict_while_it_stands_still(database: str) -> None:
    account_id, task_id = new_id(), new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1))
        await committer.execute(commands.submit(account_id, task_id))
        await committer.execute(commands.start(task_id))
        stage = task.ReachStage(token=1, stage="upload", percent=40)
        await committer.execute(commands.proceed(task_id, account_id, stage))
        assert committer.conflicts == 0
    assert Books(database).verify().tasks[task_id].percent == 40


async def test_an_id_thought_new_that_exists_is_noticed(database: str) -> None:
    account_id, task_id = new_id(), new_id()
    async with running(database) as one, running(database) as two:
        await one.execute(open_account(account_id, amount=9))
        await one.execute(commands.submit(account_id, task_id))
        with pytest.raises(AlreadyExists):
            await two.execute(commands.submit(account_id, task_id))
    Books(database).verify()


async def test_commands_of_one_batch_build_on_each_other(database: str) -> None:
    account_id, task_id = new_id(), new_id()
    async with running(database) as committer:
        outcomes = await _all(
            committer,
            [
                open_account(account_id, amount=2),
                commands.submit(account_id, task_id, amount=2),
                commands.submit(account_id, amount=1),
                commands.start(task_id),
                commands.proceed(task_id, account_id, task.StallTask(token=1)),
                commands.cancel(task_id, account_id),
                commands.submit(account_id, amount=1),
            ],
        )
        assert committer.batches == 1
    assert [type(o) for o in outcomes if not isinstance(o, Committed)] == [InsufficientCredits]
    books = Books(database).verify()
    assert books.tasks[task_id].status == "cancelled"
    assert books.ledgers[account_id].balance.held == 1


async def test_found_and_free_commands_share_a_batch(database: str) -> None:
    account_id, task_id = new_id(), new_id()
    found: list[Stream] = []

    async def find(cursor: Any, _: Any) -> list[Stream]:
        await cursor.execute("SELECT id FROM tasks WHERE status = 'queued'")
        found[:] = [Stream(TASKS, row[0]) for row in await cursor.fetchall()]
        return found

    def claim(states: Any, meta: Any) -> Any:
        starting = task.StartTask(worker="w")
        return [e for s in found for e in task.decide(states[s.id], starting, meta)]

    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=9))
        await committer.execute(commands.submit(account_id, task_id))
        outcomes = await _all(
            committer,
            [
                commands.submit(account_id),
                commands.decision(claim, find=find),
                commands.submit(account_id, amount=99),
            ],
        )
    assert [type(o) for o in outcomes] == [Committed, Committed, InsufficientCredits]
    assert outcomes[1].states[task_id].status == "running"
    books = Books(database).verify()
    assert Counter(t.status for t in books.tasks.values()) == {"running": 1, "queued": 1}


async def test_a_refusal_changes_nothing(database: str) -> None:
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1))
        before = Books(database).positions
        outcomes = await _all(
            committer,
            [
                commands.submit(account_id, amount=2),
                commands.submit(new_id()),
                commands.start(new_id()),
                commands.on_ledger(account_id, ReleaseHold(hold_id=new_id())),
            ],
        )
    assert [type(o) for o in outcomes] == [InsufficientCredits, NotFound, NotFound, HoldNotFound]
    assert Books(database).verify().positions == before


async def test_memory_is_bounded_also_when_everything_is_refused(database: str) -> None:
    async with running(database, cached_streams_max=10) as committer:
        account_ids = [new_id() for _ in range(100)]
        await _all(committer, [open_account(a, amount=1) for a in account_ids])
        for account_id in account_ids:
            with pytest.raises(InsufficientCredits):
                await committer.execute(commands.hold(account_id, 2))
        assert len(committer._cache._states) <= 11
        await _all(committer, [commands.hold(a) for a in account_ids])
    Books(database).verify()


async def test_a_wrong_version_never_reaches_the_log(database: str) -> None:
    account_id = new_id()

    def decide(states: Any, meta: Any) -> Any:
        account: CreditLedger = states[account_id]
        granted = ledger.decide(account, commands.grant_of(1), meta)[0]
        return (commands.replaced(granted, originator_version=account.version + 2),)

    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1))
        with pytest.raises(CommandRejected):
            await committer.execute(
                commands.decision(decide, streams=(Stream(LEDGERS, account_id),))
            )
    Books(database).verify()


# Waiting, and not waiting any longer


class Held:
    """Holds the log's lock, so that whoever commits waits."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._connection.execute(LOCK)

    async def waited_for(self) -> None:
        """Return when a session waits for the lock."""
        query = f"{LOG_LOCKS} AND NOT granted".encode()
        while not self._connection.execute(query).fetchall():  # noqa: ASYNC110 - asks PostgreSQL
            await asyncio.sleep(0.005)

    def let_go(self) -> None:
        self._connection.execute(UNLOCK)
        self._connection.close()


async def test_nothing_is_answered_before_it_is_committed(database: str) -> None:
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1))
        held = Held(database)
        caller = asyncio.create_task(committer.execute(commands.submit(account_id)))
        await held.waited_for()
        assert not caller.done()
        assert Books(database).tasks == {}
        held.let_go()
        committed = await caller
        assert Books(database).verify().positions[-1] == committed.position


async def test_a_full_queue_refuses_at_its_limit_and_writes_nothing(database: str) -> None:
    account_id = new_id()
    async with running(database, queue_commands_max=5) as committer:
        await committer.execute(open_account(account_id, amount=100))
        held = Held(database)
        first = asyncio.create_task(committer.execute(commands.submit(account_id)))
        await held.waited_for()
        decisions = [commands.submit(account_id) for _ in range(8)]
        callers = [asyncio.create_task(committer.execute(d)) for d in decisions]
        done, waiting = await asyncio.wait(callers, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(waiting), committer.waiting) == (3, 5, 5)
        for caller in done:
            with pytest.raises(Overloaded) as refusal:
                await caller
            assert refusal.value.maximum == 5
        held.let_go()
        await asyncio.gather(first, *waiting)
    Books(database).verify().verify_commands(
        [d.command_id for d in decisions[:5]], [d.command_id for d in decisions[5:]]
    )


async def test_a_cancelled_caller_frees_its_place_and_leaves_nothing(database: str) -> None:
    account_id = new_id()
    async with running(database, queue_commands_max=1) as committer:
        await committer.execute(open_account(account_id, amount=100))
        held = Held(database)
        taken_decision, withdrawn, third = (commands.submit(account_id) for _ in range(3))
        taken = asyncio.create_task(committer.execute(taken_decision))
        await held.waited_for()
        waiting = asyncio.create_task(committer.execute(withdrawn))
        await asyncio.sleep(0)
        assert committer.waiting == 1
        waiting.cancel()
        taken.cancel()
        outcomes = await asyncio.gather(waiting, taken, return_exceptions=True)
        assert {type(o) for o in outcomes} == {asyncio.CancelledError}
        assert committer.waiting == 0
        last = asyncio.create_task(committer.execute(third))
        await asyncio.sleep(0)
        held.let_go()
        await last
    Books(database).verify().verify_commands(
        [taken_decision.command_id, third.command_id], [withdrawn.command_id]
    )


async def test_closing_commits_what_waits_and_refuses_what_comes(database: str) -> None:
    account_id = new_id()
    async with running(database) as committer:
        await committer.execute(open_account(account_id, amount=1_000))
        decisions = [commands.submit(account_id) for _ in range(600)]
        callers = [asyncio.create_task(committer.execute(d)) for d in decisions]
        await asyncio.sleep(0)
        await committer.close()
        assert {type(o) for o in await asyncio.gather(*callers)} == {Committed}
        with pytest.raises(ShuttingDown):
            await committer.execute(commands.submit(account_id))
        await committer.close()
    Books(database).verify().verify_commands([d.command_id for d in decisions])


async def test_closing_does_not_wait_for_ever(database: str) -> None:
    account_id = new_id()
    async with running(database, drain_seconds_max=0.05, batch_commands_max=1) as committer:
        await committer.execute(open_account(account_id, amount=1_000))
        held = Held(database)
        sent, waiting = commands.submit(account_id), commands.submit(account_id)
        callers = [asyncio.create_task(committer.execute(d)) for d in (sent, waiting)]
        await held.waited_for()
        await committer.close()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert [o.code for o in outcomes] == ["outcome_unknown", "shutting_down"]  # type: ignore[union-attr]
        held.let_go()
    Books(database).verify().verify_commands([], [waiting.command_id])


async def test_nobody_waits_for_a_committer_whose_task_was_cancelled(database: str) -> None:
    """As the event loop does at its end, before anyone calls `close`."""
    async with running(database) as committer:
        assert committer._task is not None
        committer._task.cancel()
        await asyncio.wait([committer._task])
        async with asyncio.timeout(5):
            with pytest.raises(ShuttingDown):
                await committer.execute(commands.submit(new_id()))
