"""QUALITY 9: whatever callers of one account were told, one after the other could have been told.

Histories are recorded from committers in one process and in several, while processes are killed and
connections cut; a call that was cut off may have happened or not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from adapters import batch, committer
from adapters.committer import Committer
from adapters.stream_cache import StreamCache
from domain import ledger_holds, ledger_state
from domain.event import Event
from domain.ledger_events import CreditsGranted, CreditsRefunded
from tests.fault.books import Books
from tests.fault.commands import new_id, open_account
from tests.fault.ledger_histories import CREDITS_FIRST, Entry, Player, checked, to_their_ends
from tests.fault.ledger_model import Said
from tests.fault.postgres_proxy import Fault, PostgresProxy
from tests.fault.writers import WriterProcess, running

pytestmark = pytest.mark.fault

PLAYERS = 2
NIGHTLY_HISTORIES = 10_000
CAUGHT_WITHIN_HISTORIES = 60
"""Each planted bug shows itself in that many histories at most."""
Patch = pytest.MonkeyPatch


def _histories(ci: int) -> pytest.MarkDecorator:
    nightly = pytest.param(
        NIGHTLY_HISTORIES, marks=[pytest.mark.nightly, pytest.mark.timeout(NIGHTLY_HISTORIES)]
    )
    return pytest.mark.parametrize("histories", [ci, nightly])


async def _account(committer: Committer) -> UUID:
    account_id = new_id()
    await committer.execute(open_account(account_id, amount=CREDITS_FIRST))
    return account_id


def _assert_linearizable(entries: list[Entry], seed: int) -> None:
    result = checked(entries)
    assert result.ok, f"seed {seed}: {result.explain()}"


class _Players:
    """Two committers of this process, each with connections and a cache of its own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stack = AsyncExitStack()
        self.committers: list[Committer] = []

    async def __aenter__(self) -> Self:
        for _ in range(PLAYERS):
            self.committers.append(await self._stack.enter_async_context(running(self._dsn)))
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._stack.aclose()

    async def history(self, seed: int, *, stale: bool = False) -> list[Entry]:
        entries: list[Entry] = []
        account_id = await _account(self.committers[0])
        players = [
            Player(one, self._dsn, number, seed * PLAYERS + number, entries.append)
            for number, one in enumerate(self.committers)
        ]
        if stale:
            for player, one in zip(players, self.committers, strict=True):
                player.read = _cached(one)
        await to_their_ends(player.play(account_id) for player in players)
        return entries


@_histories(60)
async def test_histories_of_two_committers(database: str, histories: int) -> None:
    first = random.randrange(10**9)  # noqa: S311
    async with _Players(database) as players:
        for seed in range(first, first + histories):
            _assert_linearizable(await players.history(seed), seed)
        assert sum(one.conflicts for one in players.committers) > histories / 2
    Books(database).verify()


@_histories(30)
async def test_histories_with_connections_cut(
    database: str, server_folder: Path, histories: int
) -> None:
    """One committer's connection breaks once in each: before the append or after its commit."""
    first = random.randrange(10**9)  # noqa: S311
    async with (
        PostgresProxy(server_folder, database) as proxy,
        running(proxy.dsn, reconnect_seconds_max=5.0) as cut,
        running(database) as other,
    ):
        for seed in range(first, first + histories):
            entries: list[Entry] = []
            account_id = await _account(other)
            proxy.arm(Fault("append_batch", random.choice(["before", "after"]), "cut"))  # noqa: S311
            players = [
                Player(cut, database, 0, seed, entries.append),
                Player(other, database, 1, -seed, entries.append),
            ]
            await to_their_ends(player.play(account_id) for player in players)
            _assert_linearizable(entries, seed)
        # A history may consist of refusals and reads alone.
        assert len(proxy.struck) > histories / 2
    Books(database).verify()


@_histories(60)
async def test_histories_of_processes_that_are_killed(database: str, histories: int) -> None:
    """Every tenth ends with one of them killed at some line; what it had not said is open."""
    first = random.randrange(10**9)  # noqa: S311
    async with running(database) as committer:
        fleet = [await _player(database, number) for number in range(PLAYERS)]
        open_calls = 0
        for seed in range(first, first + histories):
            account_id = await _account(committer)
            for writer in fleet:
                writer.tell(f"{account_id} {seed}")
            victim = seed // 10 % PLAYERS if seed % 10 == 0 else None
            told = await asyncio.gather(
                *(_told(writer, killed=n == victim) for n, writer in enumerate(fleet))
            )
            entries = [entry for one in told for entry in one]
            _assert_linearizable(entries, seed)
            if victim is not None:
                open_calls += sum(1 if e.status is None else -1 for e in told[victim])
                fleet[victim] = await _player(database, victim)
        for writer in fleet:
            await writer.kill()
    assert open_calls > 0, "nothing was cut off"
    Books(database).verify()


async def _player(dsn: str, number: int) -> WriterProcess:
    writer = await WriterProcess.begin("play", dsn, UUID(int=0), number)
    assert await writer.line() == "ready"
    writer.go()
    return writer


async def _told(writer: WriterProcess, *, killed: bool) -> list[Entry]:
    """What it says of one account, up to its end or to a random line."""
    if killed:
        first = await writer.lines(random.randint(1, 25))  # noqa: S311
        lines = [*first, *await writer.kill()]
    else:
        lines = []
        while (line := await writer.line()) != "end":
            assert line, "it has ended"
            lines.append(line)
    return [msgspec.json.decode(line, type=Entry) for line in lines if line.endswith("]")]


# Bugs that must be caught.


def _cached(committer: Committer) -> Callable[[UUID], Any]:
    """Reads what this process remembers."""

    async def read(account_id: UUID) -> Said:
        state = committer._cache.get(account_id)
        if state is None:
            return ("ok", CREDITS_FIRST, 0, 0)
        balance = state.balance
        return ("ok", balance.available, balance.held, balance.captured)

    return read


def _fold_otherwise(patch: Patch, kind: type[Event], fields: Callable[[Any, Any], Any]) -> None:
    folds = dict(ledger_state._FOLDS)
    fold = folds[kind]
    folds[kind] = lambda ledger, event: fold(ledger, event) | fields(ledger, event)
    patch.setattr(ledger_state, "_FOLDS", folds)


def overdraft(patch: Patch) -> None:
    patch.setattr(ledger_holds, "_guard_available", lambda *_: None)


def double_capture(patch: Patch) -> None:
    """A hold stays open after its end."""
    patch.setattr(ledger_state, "_without_hold", lambda *_: {})


def refunds_forgotten(patch: Patch) -> None:
    """What was given back of a capture is not remembered."""
    _fold_otherwise(patch, CreditsRefunded, lambda ledger, _: {"refunds": ledger.refunds})


def references_forgotten(patch: Patch) -> None:
    """The same payment may be granted again."""
    _fold_otherwise(patch, CreditsGranted, lambda ledger, _: {"source_refs": ledger.source_refs})


def lost_update(patch: Patch) -> None:
    """A state that is read anew takes over the version, and nothing of what others did."""
    load = StreamCache._load_tails

    async def blind(cache: StreamCache, cursor: Any, wanted: Any) -> None:
        known = {i: cache.get(i) for i in wanted}
        await load(cache, cursor, wanted)
        for stream_id, before in known.items():
            if before is not None:
                version = cache.get(stream_id).version
                balance = replace(before.balance, version=version)
                cache._states[stream_id] = replace(before, balance=balance)

    patch.setattr(StreamCache, "_load_tails", blind)


def stale_refusal(patch: Patch) -> None:
    """A refusal is told that rests on what was remembered."""
    patch.setattr(committer, "_doubtful", lambda *_: [])


def row_left_behind(patch: Patch) -> None:
    """The inline read model keeps the totals of before."""
    columns = batch._ledger_columns

    def old(ledgers: list[Any]) -> Any:
        balances = (one.balance for one in ledgers)
        wrong = (replace(one, available=one.available + one.held) for one in balances)
        return columns([replace(one, balance=b) for one, b in zip(ledgers, wrong, strict=True)])

    patch.setattr(batch, "_ledger_columns", old)


BUGS = (
    *(overdraft, double_capture, refunds_forgotten, references_forgotten),
    *(lost_update, stale_refusal, row_left_behind),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
async def test_a_planted_bug_is_caught(database: str, bug: Any, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert await _caught(database)


async def test_a_stale_read_is_caught(database: str) -> None:
    assert await _caught(database, stale=True)


async def _caught(dsn: str, *, stale: bool = False) -> bool:
    async with _Players(dsn) as players:
        for seed in range(CAUGHT_WITHIN_HISTORIES):
            try:
                entries = await players.history(seed, stale=stale)
            except KeyError:
                # The fold itself met what it had lost.
                return True
            if not checked(entries).ok:
                return True
    return False


async def test_a_commit_that_is_repeated_because_its_answer_was_lost_is_caught(
    database: str, server_folder: Path, monkeypatch: Patch
) -> None:
    async def forgotten(*_: object) -> bool:
        return False

    monkeypatch.setattr(Committer, "_found", forgotten)
    async with PostgresProxy(server_folder, database) as proxy, running(proxy.dsn) as cut:
        for seed in range(CAUGHT_WITHIN_HISTORIES):
            entries: list[Entry] = []
            account_id = await _account(cut)
            proxy.arm(Fault("append_batch", "after", "cut"))
            await Player(cut, database, 0, seed, entries.append).play(account_id)
            if not checked(entries).ok:
                return
    pytest.fail("nobody noticed")


@pytest.mark.parametrize(
    ("calls", "possible"),
    [
        pytest.param([("hold", (1, 5), ("ok", 3, 5, 0), 0, 9)], True, id="alone"),
        pytest.param(
            [("hold", (1, 5), ("ok", 3, 5, 0), 0, 2), ("read", (), ("ok", 8, 0, 0), 1, 3)],
            True,
            id="a read beside it may come first",
        ),
        pytest.param(
            [("hold", (1, 5), ("ok", 3, 5, 0), 0, 1), ("read", (), ("ok", 8, 0, 0), 2, 3)],
            False,
            id="a read after it may not",
        ),
        pytest.param(
            [("hold", (1, 5), None, 0, 1), ("read", (), ("ok", 8, 0, 0), 2, 3)],
            True,
            id="an open call may not have happened",
        ),
        pytest.param(
            [("hold", (1, 5), None, 0, 1), ("read", (), ("ok", 3, 5, 0), 2, 3)],
            True,
            id="or may have",
        ),
        pytest.param(
            [
                ("hold", (1, 5), None, 0, 1),
                ("read", (), ("ok", 3, 5, 0), 2, 3),
                ("read", (), ("ok", 8, 0, 0), 4, 5),
            ],
            False,
            id="but not be undone",
        ),
    ],
)
def test_the_checker_tells_possible_from_impossible(
    calls: list[tuple[str, tuple[int, ...], Said | None, int, int]],
    *,
    possible: bool,
) -> None:
    """Planted by hand: what it is trusted for here."""
    entries = []
    for number, (verb, given, said, begun, ended) in enumerate(calls):
        entries.append(Entry(f"{number}", 0, begun, verb, given))
        status = "info" if said is None else "ok"
        entries.append(Entry(f"{number}", 0, ended, verb, said or (), status))
    assert checked(entries).ok is possible
