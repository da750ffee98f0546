"""Submits a second on one account by two processes, and by the stock library's in the same run."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from itertools import count
from uuid import UUID

import msgspec

from bench import database, stock_system
from bench.stock_system import await_go
from bench.system import PATIENCE_SECONDS, timed
from bench.tallystick_system import ORIGIN, Tallystick, submission
from domain import ledger
from domain.errors import Unavailable
from domain.event import Metadata
from service.bootstrap import Service
from service.identifiers import new_id

PROCESSES = 2
SUBMITS = 8_000
"""Of each process; the stock library does a tenth."""
CALLERS = 32
STOCK_SHARE = 10
CREDITS = 10**9
LOADS_MAX = 10
"""Tries to load one account, each of as long as a command may take."""
NOBODY = UUID(int=0)


def measure() -> dict[str, object]:
    """`hot_submits_s`, `stock_submits_s` and how many times the one is the other."""
    ours, stock = _ours(), _stock()
    return {"hot_submits_s": ours, "stock_submits_s": stock, "hot_ratio": ours / stock}


def _ours() -> float:
    system = Tallystick()
    system.reset()
    account_id = asyncio.run(open_account())
    return rate(["submit", str(account_id), str(SUBMITS)], SUBMITS)


def _stock() -> float:
    dsn = database.fresh(stock_system.DATABASE)
    with stock_system.opened(dsn) as application:
        account_id = application.open(CREDITS)
    jobs = SUBMITS // STOCK_SHARE
    return rate(["stock", str(account_id), str(jobs)], jobs)


def rate(words: list[str], jobs: int, processes: int = PROCESSES) -> float:
    """Jobs a second of processes that begin together, up to the last one's end."""
    command = [sys.executable, "-m", "bench", "--system", "tallystick", *words]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    begun = time.perf_counter()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
    return processes * jobs / (time.perf_counter() - begun)


async def open_account() -> UUID:
    """One with no past and credits enough."""
    account_id = new_id()
    async with Tallystick().opened() as service:
        await service.bus.open_account(account_id, plan="unlimited", name=None, origin=ORIGIN)
        await service.bus.grant(
            account_id,
            amount=CREDITS,
            kind="paid",
            source_ref="bench hot",
            reason="benchmark",
            origin=ORIGIN,
        )
    return account_id


async def submit(account_id: UUID, jobs: int) -> float:
    """Seconds of one process with `CALLERS`; the ledger is loaded before."""
    async with Tallystick().opened() as service:

        async def one(number: int) -> None:
            await service.bus.submit(submission(account_id, number, 0.0), origin=ORIGIN)

        await one(0)
        await asyncio.to_thread(await_go)
        return await timed([one] * CALLERS, jobs)


async def state_bytes(account_id: UUID) -> float:
    """Size of the ledger's whole state as JSON, as its snapshots keep it."""
    async with Tallystick().opened() as service:
        state = await service.ledgers.state(account_id)
        meta = Metadata(
            at=state.balance.updated_at, actor="b", correlation_id=NOBODY, causation_id=NOBODY
        )
        return float(len(msgspec.json.encode(ledger.snapshot(state, meta))))


async def growth(account_id: UUID) -> float:
    """KiB that the process's largest size so far grew by, by the first submit that loads it."""
    async with Tallystick().opened() as service:
        other = await open_account()
        await service.bus.submit(submission(other, 0, 0.0), origin=ORIGIN)
        before = _largest_kib()
        await _submit_surely(service, account_id)
        return _largest_kib() - before


async def _submit_surely(service: Service, account_id: UUID) -> None:
    """Again where a very long way to load takes longer than a command may: it is gone on with."""
    for attempt in count():
        try:
            await service.bus.submit(submission(account_id, 0, 0.0), origin=ORIGIN)
        except Unavailable:
            if attempt == LOADS_MAX:
                raise
        else:
            return


def _largest_kib() -> float:
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


async def load(account_id: UUID) -> float:
    """Milliseconds of the first submit of a process, which loads the ledger, past a first one."""
    async with Tallystick().opened() as service:
        other = await open_account()
        await service.bus.submit(submission(other, 0, 0.0), origin=ORIGIN)
        begun = time.perf_counter()
        await _submit_surely(service, account_id)
        return (time.perf_counter() - begun) * 1_000
