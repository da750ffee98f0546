"""QUALITY 3: the machine through HTTP and PostgreSQL, 100 x 20 each time, 1,000 x 30 nightly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from tests.fault.books import Books
from tests.integration.http.api import running_api
from tests.stateful.finished_books import check_finished
from tests.stateful.money_over_http import OVERDRAFT_MAX, PLANS_TOML, Finished, MoneyOverHttp
from tests.stateful.shifted_time import set_up_shift

pytestmark = pytest.mark.stateful
NIGHTLY = settings().max_examples >= 10_000
SIZE = settings(
    max_examples=1_000 if NIGHTLY else 100, stateful_step_count=30 if NIGHTLY else 20, deadline=None
)
LEASE_SECONDS = 3_600.0
"""Leases lapse when the machine says so, and at no other time."""


@pytest.mark.timeout(3_600 if NIGHTLY else 240)
def test_any_history_over_http_keeps_the_books(database: str, tmp_path: Path) -> None:
    set_up_shift(database)
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS_TOML)
    with asyncio.Runner() as runner:
        context = running_api(database, tmp_path, lease_seconds=LEASE_SECONDS, plans_file=plans)
        api = runner.run(context.__aenter__())
        plain = httpx.AsyncClient(base_url=api.url, timeout=30, verify=False)  # noqa: S501
        finished: list[Finished] = []
        given = {"api": api, "runner": runner, "plain": plain, "finished": finished}
        try:
            run_state_machine_as_test(type("Machine", (MoneyOverHttp,), given), settings=SIZE)
            check_finished(api, runner, finished)
        finally:
            runner.run(plain.aclose())
            runner.run(context.__aexit__(None, None, None))
        Books(database).verify(overdraft_max=OVERDRAFT_MAX)
        assert runner.run(compare_inline(database, EventMapper())).differences == ()
