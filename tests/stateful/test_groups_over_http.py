"""QUALITY 3 for groups: through HTTP and PostgreSQL, 60 x 15 each time, 600 x 30 nightly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from adapters.committer import Committer
from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from domain import metering
from domain.task import STALLS_MAX, StallTask
from service.attempts import Attempts
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
    with machine_over(database, tmp_path) as machine:
        run_state_machine_as_test(machine, settings=SIZE)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_rescue_ends_a_member_with_its_group(
    database: str,
    tmp_path: Path,
    cancelled: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Found by luck alone otherwise: one of two falls silent until it is given up, or cancelled."""
    with machine_over(database, tmp_path) as machine:
        let_a_member_fall_silent(machine(), cancelled=cancelled)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_rescue_without_the_group_is_found(
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cancelled: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    proceed = metering.proceed

    def alone(
        task: Any, paying: Any, command: Any, meta: Any, group: Any = None, *more: Any
    ) -> Any:
        known = None if isinstance(command, StallTask) else group
        return proceed(task, paying, command, meta, known, *more)

    monkeypatch.setattr(metering, "proceed", alone)
    # KeyError: the hold that a member's end leaves behind, or takes along, is not as expected.
    with (
        pytest.raises((AssertionError, KeyError)),
        machine_over(database, tmp_path) as machine,
    ):
        let_a_member_fall_silent(machine(), cancelled=cancelled)


def let_a_member_fall_silent(machine: GroupsOverHttp, *, cancelled: bool) -> None:
    machine.open_accounts([40, 40])
    try:
        machine.start_group(0, None, 3, 2, "normal", False)  # noqa: FBT003
        for _ in range(STALLS_MAX + 1):
            machine.claim(5)
            if cancelled:
                machine.cancel_group(0, False)  # noqa: FBT003
            machine.lapse((True, 0))
            machine.every_user_sees_what_the_model_has()
            machine.every_user_sees_the_groups_that_the_model_has()
    finally:
        machine.teardown()


@contextmanager
def machine_over(dsn: str, folder: Path) -> Iterator[type[GroupsOverHttp]]:
    """The machine on a running service, whose books are audited at the end."""
    with asyncio.Runner() as runner:
        context = running_api(dsn, folder, lease_seconds=LEASE_SECONDS)
        api = runner.run(context.__aenter__())
        late = Committer(dsn, EventMapper(), Ahead())
        runner.run(late.start())
        plain = httpx.AsyncClient(base_url=api.url, timeout=30, verify=False)  # noqa: S501
        ahead = Attempts(CommandBus(late, api.service.types), api.service.types)
        given = {"api": api, "runner": runner, "plain": plain, "ahead": ahead}
        try:
            yield type("Machine", (GroupsOverHttp,), given)
        finally:
            runner.run(plain.aclose())
            runner.run(late.close())
            runner.run(context.__aexit__(None, None, None))
        Books(dsn).verify()
        assert runner.run(compare_inline(dsn, EventMapper())).differences == ()
