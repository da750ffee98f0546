"""What an account's owner is to be told comes to their stream once, whatever process was killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.ledger import FreezeAccount, GrantCredits
from service.identifiers import new_id
from service.ledgers import Asked
from tests.e2e.tallystick_process import Home
from tests.integration.http.api import SETUP, Api, running_api
from tests.integration.http.sse import Heard, listening

pytestmark = pytest.mark.fault
PLANS = """
version = "telling"
[plans.standard]
low_credits = 50
"""
PASSING, LASTING = 60, 40
APART = timedelta(milliseconds=300)
ACCOUNTS = 8
KILLS = 3
NOTICES = ("credits.low", "credits.exhausted")


class Processors:
    """`tallystick process`, which alone settles what nobody asks for; killed and started again."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lives = ExitStack()
        self._left = KILLS

    def start(self) -> None:
        self._process = self._lives.enter_context(self._home.started("process")).process

    def die(self) -> None:
        """A few times; another one takes its place."""
        if self._left:
            self._left -= 1
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self.start()

    def end(self) -> int:
        """How often it died."""
        self._lives.close()
        return KILLS - self._left


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    path = tmp_path / "plans.toml"
    path.write_text(PLANS)
    return path


@pytest.fixture
def processors(tmp_path: Path, database: str, plans: Path) -> Iterator[Processors]:
    made = Processors(Home(tmp_path, database, {"TALLYSTICK_PLANS_FILE": str(plans)}))
    made.start()
    yield made
    made.end()


async def test_few_and_no_credits_are_told_once_though_the_processors_are_killed(
    database: str, tmp_path: Path, plans: Path, processors: Processors
) -> None:
    """One account after the other loses what it has for a time; every other one has no more."""
    async with running_api(database, tmp_path, plans_file=plans) as api:
        accounts = [new_id() for _ in range(ACCOUNTS)]
        keys = [await _opened(api, account_id) for account_id in accounts]
        begin = api.service.clock.now() + timedelta(seconds=1)
        for number, account_id in enumerate(accounts):
            await _grant(api, account_id, begin + number * APART, number % 2 * LASTING)
        one_dies = asyncio.Lock()

        async def listen(number: int) -> list[str]:
            async with listening(api, "/v1/events", keys[number], after=0) as stream:
                heard = await stream.until(_expected(number)[-1])
            async with one_dies:
                await asyncio.to_thread(processors.die)
            return _notices(heard)

        told = await asyncio.gather(*map(listen, range(ACCOUNTS)))
        expected = [_expected(number) for number in range(ACCOUNTS)]
        assert told == expected
        assert processors.end() == KILLS
        again = [await _again(api, *one) for one in zip(accounts, keys, strict=True)]
        assert again == expected


async def _opened(api: Api, account_id: UUID) -> str:
    await api.open_account(account_id, funds=0)
    return await api.key_of(account_id)


async def _grant(api: Api, account_id: UUID, ends: datetime, lasting: int) -> None:
    asked = Asked(account_id=account_id, origin=SETUP)
    for amount, expires_at in ((PASSING, ends), (lasting, None)):
        if amount:
            given = {"kind": "paid", "amount": amount, "expires_at": expires_at}
            command = GrantCredits(grant_id=new_id(), source_ref=f"{amount}", **given)  # type: ignore[arg-type]
            await api.service.ledgers.carry_out(asked, command)


def _expected(number: int) -> list[str]:
    """What is left is below the plan's few, or nothing."""
    return ["credits.low"] if number % 2 else ["credits.low", "credits.exhausted"]


def _notices(heard: list[Heard]) -> list[str]:
    return [event.name for event in heard if event.name in NOTICES]


async def _again(api: Api, account_id: UUID, key: str) -> list[str]:
    """Read anew, up to a fact that comes after all that can have been told."""
    asked = Asked(account_id=account_id, origin=SETUP)
    await api.service.ledgers.carry_out(asked, FreezeAccount(reason="r"))
    async with listening(api, "/v1/events", key, after=0) as stream:
        return _notices(await stream.until("account.frozen"))
