"""QUALITY 3 for groups: through HTTP and PostgreSQL, 60 x 15 each time, 600 x 30 nightly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from adapters.committer import Committer
from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from service.command_bus import CommandBus
from tests.fault.books import Books
from tests.integration.http.api import running_api
from tests.stateful.groups_over_http import Ahead, GroupsOverHttp
from tests.stateful.test_over_http import LEASE_SECONDS, NIGHTLY

pytestmark = pytest.mark.stateful
SIZE = settings(
    max_examples=600 if NIGHTLY else 60, stateful_step_count=30 if NIGHTLY else 15, deadline=None
)


@pytest.mark.timeout(3_600 if NIGHTLY else 240)
def test_any_history_of_groups_over_http_keeps_the_books(database: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        context = running_api(database, tmp_path, lease_seconds=LEASE_SECONDS)
        api = runner.run(context.__aenter__())
        late = Committer(database, EventMapper(), Ahead())
        runner.run(late.start())
        plain = httpx.AsyncClient(base_url=api.url, timeout=30, verify=False)  # noqa: S501
        ahead = CommandBus(late, api.service.types)
        given = {"api": api, "runner": runner, "plain": plain, "ahead": ahead}
        try:
            run_state_machine_as_test(type("Machine", (GroupsOverHttp,), given), settings=SIZE)
        finally:
            runner.run(plain.aclose())
            runner.run(late.close())
            runner.run(context.__aexit__(None, None, None))
        Books(database).verify()
        assert runner.run(compare_inline(database, EventMapper())).differences == ()
