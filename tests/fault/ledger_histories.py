"""Plays on one ledger from several callers at once, and writes down what each was told, and when.

Times are of the system's monotonic clock, which all processes of a host share.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID, uuid5

import msgspec
import psycopg
from detangle.lin import LinearizabilityResult, Operation, check

from adapters.committer import Committer, OutcomeUnknown
from adapters.mapper import EventMapper
from domain import ledger
from domain.errors import CommandRejected, DomainError, InsufficientCredits, Unavailable
from domain.ledger_events import CreditsCaptured, CreditsGranted
from tests.fault import commands
from tests.fault.ledger_model import LedgerModel, Said
from tests.plans import plan_named

CREDITS_FIRST = 8
CALLERS = 3
TURNS = 6
SEARCH_STEPS_MAX = 2_000_000
"""Of the checker, for one history."""
_HOLDS = {"hold": 6, "capture": 5, "release": 2, "refund": 4}
ODDS = _HOLDS | {"grant": 3, "adjust": 1, "close": 1, "read": 4}
Read = Callable[[UUID], Awaitable[Said]]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A call, or what came of it: `status` is then "ok", "fail" (without effect) or "info"."""

    caller: str
    number: int
    at: int
    verb: str
    given: tuple[Any, ...] = ()
    status: str | None = None


Say = Callable[[Entry], None]


async def to_their_ends(callers: Iterable[Awaitable[None]]) -> None:
    """Run all at once, and leave none behind that still uses a connection; raises a first error."""
    for came in await asyncio.gather(*callers, return_exceptions=True):
        if came is not None:
            raise came


class Player:
    """One process's callers on one account: `name` sets their holds apart from other processes'."""

    def __init__(self, committer: Committer, dsn: str, name: int, seed: int, say: Say) -> None:
        self._committer = committer
        self._dsn = dsn
        self._name = name
        self._random = random.Random(seed)  # noqa: S311
        self._say = say
        self._calls = 0
        self.read: Read = self.read_row

    async def play(self, account_id: UUID) -> None:
        """`CALLERS` at once, each one call after the other."""
        await to_their_ends(self._caller(account_id, n) for n in range(CALLERS))

    async def _caller(self, account_id: UUID, caller: int) -> None:
        for turn in range(TURNS):
            [verb] = self._random.choices([*ODDS], [*ODDS.values()])
            given = self._given(verb, caller, turn)
            if verb == "refund":
                await self._refund(account_id, caller, *given)
            elif verb == "read":
                await self._call(caller, verb, given, lambda: self.read(account_id))
            else:
                await self._command(account_id, caller, verb, given)

    def _given(self, verb: str, caller: int, turn: int) -> tuple[int, ...]:
        pick = self._random.randint
        choices = {
            "hold": (hold_number(self._name, caller, turn), pick(1, 5)),
            "capture": (self._some_hold(turn), pick(1, 4)),
            "release": (self._some_hold(turn),),
            "refund": (pick(0, 99), pick(1, 4)),
            "grant": (pick(1, 6), pick(1, 5)),
            "adjust": (pick(1, 6), pick(1, 5)),
            "close": (pick(1, 9),),
            "read": (),
        }
        return choices[verb]

    def _some_hold(self, turn: int) -> int:
        """One that was probably made, by anybody."""
        pick = self._random.randint
        return hold_number(pick(0, 1), pick(0, CALLERS - 1), pick(0, turn))

    async def _command(
        self, account_id: UUID, caller: int, verb: str, given: tuple[int, ...]
    ) -> None:
        command = _COMMANDS[verb](account_id, *given)
        await self._call(caller, verb, given, lambda: self._execute(account_id, command))

    async def _refund(self, account_id: UUID, caller: int, which: int, amount: int) -> None:
        """Of one of the captures that stand in the log; nothing where there is none."""
        captures, grants = await _charged(self._dsn, account_id)
        if not captures:
            return
        capture = captures[which % len(captures)]
        assert capture.task_id is not None
        command = ledger.RefundCapture(capture=capture, amount=amount, reason="r", grants=grants)
        run = functools.partial(self._execute, account_id, command)
        await self._call(caller, "refund", (capture.task_id.int, amount), run)

    async def _execute(self, account_id: UUID, command: ledger.LedgerCommand) -> Said:
        done = await self._committer.execute(commands.on_ledger(account_id, command))
        balance = done.states[account_id].balance
        word = "ok" if done.events else "quiet"
        return word, balance.available, balance.held, balance.captured

    async def read_row(self, account_id: UUID) -> Said:
        """The account's row of the inline read model."""
        query = "SELECT available, held, captured FROM accounts WHERE id = %s"
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            row = await (await connection.execute(query, (account_id,))).fetchone()
        assert row is not None
        return ("ok", *row)

    async def _call(
        self,
        caller: int,
        verb: str,
        given: tuple[int, ...],
        run: Callable[[], Awaitable[Said]],
    ) -> None:
        self._calls += 1
        name, number = f"{self._name}.{caller}", self._calls
        self._say(Entry(name, number, time.monotonic_ns(), verb, given))
        status, said = await _outcome(run())
        self._say(Entry(name, number, time.monotonic_ns(), verb, said, status))


async def _outcome(running: Awaitable[Said]) -> tuple[str, Said]:
    try:
        return "ok", await running
    except InsufficientCredits as refusal:
        return "ok", (refusal.code, refusal.available)
    except (DomainError, CommandRejected) as refusal:
        return "ok", (refusal.code,)
    except (OutcomeUnknown, psycopg.OperationalError) as error:
        return "info", (type(error).__name__,)
    except Unavailable:
        return "fail", ()


def hold_number(process: int, caller: int, turn: int) -> int:
    return process * 1_000 + caller * 100 + turn


def _hold_id(account_id: UUID, number: int) -> UUID:
    return uuid5(account_id, f"hold {number}")


def _hold(account_id: UUID, number: int, amount: int) -> ledger.HoldCredits:
    """Its task is its number."""
    hold_id, task_id = _hold_id(account_id, number), UUID(int=number)
    plan = plan_named("unlimited")
    return ledger.HoldCredits(hold_id=hold_id, task_id=task_id, amount=amount, plan=plan)


def _adjust(_: UUID, reference: int, amount: int) -> ledger.AdjustCredits:
    return ledger.AdjustCredits(
        adjustment_id=commands.new_id(), amount=-amount, source_ref=str(reference), reason="r"
    )


def _grant(_: UUID, reference: int, amount: int) -> ledger.GrantCredits:
    return ledger.GrantCredits(
        grant_id=commands.new_id(), kind="paid", amount=amount, source_ref=str(reference)
    )


_COMMANDS: dict[str, Callable[..., ledger.LedgerCommand]] = {
    "hold": _hold,
    "capture": lambda a, n, amount: ledger.CaptureHold(hold_id=_hold_id(a, n), amount=amount),
    "release": lambda a, n: ledger.ReleaseHold(hold_id=_hold_id(a, n)),
    "grant": _grant,
    "adjust": _adjust,
    "close": lambda _, period: ledger.CloseBooks(period=f"{period:04}"),
}


async def _charged(
    dsn: str, account_id: UUID
) -> tuple[list[CreditsCaptured], dict[UUID, CreditsGranted]]:
    """Captures and grants, as the log has them."""
    mapper = EventMapper()
    query = (
        "SELECT topic, state FROM tallystick_events"
        " WHERE originator_id = %s ORDER BY originator_version"
    )
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = await (await connection.execute(query, (account_id,))).fetchall()
    events = [mapper.decode(topic, state) for topic, state in rows]
    grants = {event.grant_id: event for event in events if isinstance(event, CreditsGranted)}
    return [event for event in events if isinstance(event, CreditsCaptured)], grants


def operations(entries: Iterable[Entry]) -> list[Operation]:
    """What was called, with what came of it; a call that was never answered may have happened."""
    found: dict[tuple[str, int], Operation] = {}
    for entry in entries:
        key = entry.caller, entry.number
        if entry.status is None:
            operation = Operation(
                len(found), entry.caller, entry.verb, entry.given, entry.at, 0.0, status="info"
            )
            found[key] = operation
        elif entry.status != "info":
            operation = found[key]
            operation.status, operation.output = entry.status, entry.given
            operation.ret = entry.at if entry.status == "ok" else None
    return list(found.values())


def checked(entries: Iterable[Entry]) -> LinearizabilityResult:
    """Whether one caller after the other could have been told all this, in that order of time."""
    model = LedgerModel(CREDITS_FIRST)
    return check(operations(entries), model, budget=SEARCH_STEPS_MAX)
