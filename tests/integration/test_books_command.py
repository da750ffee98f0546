"""`tallystick books` shows the books, and fails where they do not hold."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from service.cli import tallystick
from service.identifiers import public_id
from tests.integration.read_models import commit, drain
from tests.ledger_history import LedgerHistory

SPAN = ("--since", "2026-03-30", "--until", "2026-06-01")


@pytest.fixture
def history(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LedgerHistory:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("TALLYSTICK_DATA", str(tmp_path))
    grown = LedgerHistory(7)
    asyncio.run(commit(database, [event for event, _ in grown.run(60)]))
    asyncio.run(drain(database))
    return grown


def run(*arguments: str) -> Result:
    return CliRunner().invoke(tallystick, ["books", *arguments])


def test_scripts_get_the_trial_balance(history: LedgerHistory) -> None:
    shown = run("trial-balance", "--json")
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert found["balanced"]
    assert found["customers"]["compared"] == 1
    assert history.state is not None
    held = next(line for line in found["accounts"] if line["account"] == "held")
    assert held["balance"] == history.state.balance.held


def test_people_see_every_account_and_what_was_proved(history: LedgerHistory) -> None:
    shown = run("trial-balance")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0].split() == [
        "ACCOUNT",
        "SIDE",
        "DEBITS",
        "CREDITS",
        "BALANCE",
    ]
    assert "1 customers were compared, 0 differ." in shown.stderr
    before = run("trial-balance", "--day", "2026-03-29")
    assert before.exit_code == 0
    assert "0 debits = 0 credits" in before.stderr


def test_books_that_do_not_hold_end_in_failure(history: LedgerHistory, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE accounts SET held = held + 1")
    shown = run("trial-balance")
    assert shown.exit_code == 1
    assert f"Differs: {public_id('acct', history.account_id)}." in shown.stderr
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE journal_totals SET debits = debits + 1")
    again = run("trial-balance")
    assert again.exit_code == 1
    assert "IS NOT" in again.stderr
    assert run("trial-balance", "--day", "2026-12-31").exit_code == 1


def test_totals_are_told_by_account_and_type(history: LedgerHistory) -> None:
    told = [json.loads(line) for line in run("totals", *SPAN, "--json").stdout.splitlines()]
    assert sum(one["debits"] for one in told) == sum(one["credits"] for one in told) > 0
    shown = run("totals", *SPAN, "--bucket", "total").stdout.splitlines()
    assert shown[0].split() == ["FROM", "ACCOUNT", "TYPE", "DEBITS", "CREDITS"]
    begins = {tuple(line.split()[:2]) for line in shown[1:]}
    assert ("2026-03-30", "held") in begins


def test_bad_days_are_wrong_usage(history: LedgerHistory) -> None:
    assert history.state is not None
    for arguments in (
        ("trial-balance", "--day", "soon"),
        ("trial-balance", "--day", "9999-12-31"),
        ("totals", "--since", "2026-02-02", "--until", "2026-02-02"),
    ):
        assert run(*arguments).exit_code == 2
