"""`tallystick accounts …`: every verb of the ledger, by somebody, for a reason, once for a key."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from service.cli import tallystick
from service.http.routes import ROUTES
from tallystick.client import Client
from tests.integration.read_models import drain

OK, FAILED, USAGE, REFUSED = range(4)
WHY = ("--reason", "because", "--actor", "ada", "--json")
LATER, FAR = "2099-01-01T00:00Z", "2099-02-01T00:00Z"
CREDITS = 50
FORMS: tuple[tuple[str, ...], ...] = ((), ("--summary",), ("--csv",))

COMMANDS: dict[str, tuple[str, str | None]] = {
    "get_own_account": ("balance", "account"),
    "get_own_statement": ("statement", "statement"),
    "get_own_statement_csv": ("statement", "statement_csv"),
    "get_own_statement_summary": ("statement", "statement_summary"),
    "list_own_grants": ("balance", "grants"),
    "list_own_holds": ("balance", "holds"),
    "quote_task": ("quote", "quote"),
    "list_plans": ("plans", "plans"),
    "open_account": ("accounts open", None),
    "list_accounts": ("accounts list", None),
    "get_account": ("accounts show", None),
    "get_statement": ("accounts statement", None),
    "get_statement_csv": ("accounts statement", None),
    "get_statement_summary": ("accounts statement", None),
    "get_account_history": ("accounts history", None),
    "grant_credits": ("grant", None),
    "list_grants": ("accounts grants", None),
    "list_holds": ("accounts holds", None),
    "change_plan": ("accounts plan", None),
    "freeze_account": ("accounts freeze", None),
    "unfreeze_account": ("accounts unfreeze", None),
    "close_account": ("accounts close", None),
    "void_grant": ("accounts void", None),
    "adjust_credits": ("accounts adjust", None),
    "hold_credits": ("accounts hold", None),
    "extend_hold": ("accounts extend", None),
    "capture_hold": ("accounts capture", None),
    "release_hold": ("accounts release", None),
    "refund_credits": ("accounts refund", None),
    "close_books": ("accounts close-books", None),
    "get_trial_balance": ("books trial-balance", None),
    "get_book_totals": ("books totals", None),
}
"""Every route of the ledger: its command, and for users its method of the Python client."""


@pytest.fixture(autouse=True)
def _installation(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("TALLYSTICK_DATA", str(tmp_path))


@pytest.fixture
def account(database: str) -> str:
    """With credits, and nothing else yet."""
    opened = done("accounts", "open", *WHY)
    done("grant", opened["id"], str(CREDITS), "--reference", "invoice-1", *WHY)
    return str(opened["id"])


def run(*arguments: str) -> Result:
    return CliRunner().invoke(tallystick, list(arguments))


def done(*arguments: str) -> Any:
    """What it printed, as JSON where it is."""
    finished = run(*arguments)
    assert finished.exit_code == OK, finished.stderr
    return json.loads(finished.stdout) if "--json" in arguments else finished.stdout


def test_every_route_of_the_ledger_has_its_command() -> None:
    ledger = ("/v1/account", "/v1/books", "/v1/quotes", "/v1/plans")
    assert {r.name for r in ROUTES if r.path.startswith(ledger)} == COMMANDS.keys()
    for command, method in COMMANDS.values():
        assert run(*command.split(), "--help").exit_code == OK, command
        assert method is None or callable(getattr(Client, method))


def test_a_hold_from_outside_is_made_extended_and_charged_in_part(
    account: str, database: str
) -> None:
    hold = done("accounts", "hold", account, "20", "--expires", LATER, *WHY)
    assert (hold["amount"], hold["expires_at"]) == (20, "2099-01-01T00:00:00Z")
    more = done("accounts", "extend", account, hold["id"], "--credits", "5", "--expires", FAR, *WHY)
    assert (more["id"], more["amount"]) == (hold["id"], 25)
    assert more["expires_at"] == "2099-02-01T00:00:00Z"
    assert done("accounts", "holds", account, "--json") == more
    after = done("accounts", "capture", account, hold["id"], "--credits", "7", *WHY)
    assert (after["available"], after["held"], after["captured"]) == (CREDITS - 7, 0, 7)
    again = run("accounts", "release", account, hold["id"], *WHY)
    assert (again.exit_code, "The hold has ended: it is captured." in again.stderr) == (
        *(REFUSED, True),
    )
    assert done("accounts", "refund", account, hold["id"], *WHY)["refunded"] == 7

    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT convert_from(state, 'UTF8')::json FROM tallystick_events"
            " WHERE topic ~ 'held|extended|captured|refunded'"
        ).fetchall()
    told = [(event["reason"], event["meta"]["actor"]) for (event,) in rows]
    assert told == [("because", "cli:ada")] * 4


def test_a_key_makes_each_verb_happen_once(account: str) -> None:
    hold = _twice("accounts", "hold", account, "20")
    for verb in ("extend", "capture", "refund"):
        _twice("accounts", verb, account, hold["id"], "--credits", "2")
    shown = done("accounts", "show", account, "--json")
    assert (shown["available"], shown["held"], shown["captured"]) == (CREDITS, 0, 0)
    assert shown["refunded"] == 2


def _twice(*given: str) -> Any:
    """The one answer to both."""
    first = done(*given, "--key", "k", *WHY)
    again = run(*given, "--key", "k", *WHY)
    assert (again.exit_code, json.loads(again.stdout)) == (OK, first)
    assert "nothing was changed" in again.stderr
    other = run(*given, "--key", "k", "--reason", "another")
    assert (other.exit_code, "with a different request" in other.stderr) == (USAGE, True)
    return first


def test_a_release_gives_all_back_to_people_too(account: str) -> None:
    hold = done("accounts", "hold", account, "20", *WHY)
    assert "held        20" in done("accounts", "show", account)
    shown = done("accounts", "release", account, hold["id"], "--reason", "order withdrawn")
    assert f"available   {CREDITS}" in shown


def test_a_statement_has_lines_a_summary_and_csv(account: str, database: str) -> None:
    hold = done("accounts", "hold", account, "20", *WHY)
    done("accounts", "capture", account, hold["id"], "--credits", "7", *WHY)
    asyncio.run(drain(database))

    lines = done("accounts", "statement", account).splitlines()
    assert lines[0].split() == [
        "VERSION",
        "AT",
        "KIND",
        "AMOUNT",
        "AVAILABLE",
        "HELD",
        "FOR",
        "REASON",
    ]
    assert [line.split()[3] for line in lines[1:]] == ["captured", "held", "granted"]
    assert [line.split()[0] for line in lines[1:]] == ["4", "3", "2"]
    assert hold["id"] in lines[1]
    assert "invoice-1" in lines[3]

    summary = done("accounts", "statement", account, "--summary", "--json")
    assert summary["opening"] == {"available": 0, "held": 0}
    assert summary["closing"] == {"available": CREDITS - 7, "held": 0}
    people = done("accounts", "statement", account, "--summary").splitlines()
    assert people[0].split() == ["KIND", "LINES", "AMOUNT", "AVAILABLE", "HELD"]
    assert people[1].split() == ["opening", "-", "-", "0", "0"]
    assert people[-1].split() == ["closing", "-", "-", str(CREDITS - 7), "0"]

    table = list(csv.DictReader(io.StringIO(done("accounts", "statement", account, "--csv"))))
    assert [row["kind"] for row in table] == ["granted", "held", "captured"]
    assert table[-1]["available"] == str(CREDITS - 7)


def test_a_period_has_its_lines_and_its_balances(account: str, database: str) -> None:
    asyncio.run(drain(database))
    [month] = {line["at"][:7] for line in [done("accounts", "statement", account, "--json")]}
    inside = run("accounts", "statement", account, "--period", month)
    assert len(inside.stdout.splitlines()) == 2
    assert f"Closing: {CREDITS} available, 0 held." in inside.stderr
    past = run("accounts", "statement", account, "--period", "2020-02")
    assert (past.exit_code, past.stdout) == (OK, "")
    assert "Opening: 0 available, 0 held. Closing: 0 available, 0 held." in past.stderr
    heading = done("accounts", "statement", account, "--csv", "--until", "2020-01-01T00:00Z")
    assert heading.count("\n") == 1


def test_an_account_of_before_is_shown_to_people(account: str) -> None:
    done("accounts", "hold", account, "20", *WHY)
    past = run("accounts", "show", account, "--at", "2")
    assert "version 2." in past.stderr
    assert f"available   {CREDITS}" in past.stdout
    assert [line for line in past.stdout.splitlines() if line.startswith("grant_")]
    for at in ("2020-02-01T00:00Z", "2020-02-01T01:00+01:00"):
        early = run("accounts", "show", account, "--at", at)
        assert "There was no such account then." in early.stderr, "a time as people write it"
        assert early.exit_code == REFUSED


def test_what_is_refused_says_where_it_is_wrong(account: str) -> None:
    finished = run("accounts", "show", account, "--at", LATER)
    assert "(/at: is in the future)" in finished.stderr
    finished = run("accounts", "plan", account, "no such", *WHY)
    assert "(/plan: must be one of enterprise, " in finished.stderr


def test_who_did_what_and_why_is_told_of_an_account(account: str) -> None:
    done("accounts", "freeze", account, *WHY)
    newest = done("accounts", "history", account, "--limit", "1", "--json")
    assert (newest["type"], newest["actor"]) == ("account.frozen", "cli:ada")
    assert newest["data"] == {"reason": "because"}
    lines = run("accounts", "history", account, "--json").stdout.splitlines()
    assert [json.loads(line)["version"] for line in lines] == [3, 2, 1]
    granted = done("accounts", "history", account, "--version", "2", "--json")
    assert (granted["type"], granted["data"]["amount"]) == ("credits.granted", CREDITS)
    table = run("accounts", "history", account).stdout
    assert table.splitlines()[1].split()[-3:] == ["cli:ada", "because", "-"]
    assert run("accounts", "history", account, "--version", "0").exit_code == USAGE
    assert run("accounts", "history", account, "--version", "99").stdout == ""
    assert run("accounts", "history", "acct_" + 32 * "0").exit_code == REFUSED


def test_a_reference_with_other_content_is_refused_and_says_what_differs(account: str) -> None:
    again = run("grant", account, str(CREDITS), "--reference", "invoice-1", *WHY)
    assert (again.exit_code, "nothing was changed" in again.stderr) == (OK, True)
    other = run("grant", account, "7", "--reference", "invoice-1", *WHY)
    assert other.exit_code == REFUSED
    assert "used before, with other content: amount." in other.stderr


def test_a_grant_has_its_dates_and_its_rank(account: str) -> None:
    dated = ("--effective", LATER, "--expires", FAR, "--priority", "7", *WHY)
    shown = done("grant", account, "5", "--kind", "promotional", *dated)
    assert (shown["available"], shown["pending"]) == (CREDITS, 5)
    listed = run("accounts", "grants", account, "--json").stdout.splitlines()
    first = json.loads(listed[0])
    assert (first["priority"], first["expires_at"]) == (7, "2099-02-01T00:00:00Z")
    rolled = ("--rolls-over", first["id"], "--rollover-max", "3", *WHY)
    assert done("grant", account, "1", *rolled)["granted"] == CREDITS + 5 + 1


def test_a_span_that_ends_before_it_begins_is_refused_in_one_way(account: str) -> None:
    times, days = ("2026-02-02T00:00Z", "2026-02-01T00:00Z"), ("2026-02-02", "2026-02-01")
    statements = [("accounts", "statement", account, *form) for form in FORMS]
    for words, (since, until) in (
        *((words, times) for words in (*statements, ("statistics",))),
        (("books", "totals"), days),
    ):
        finished = run(*words, "--since", since, "--until", until)
        assert finished.exit_code == USAGE, words
        said = "The span of time is invalid. (/since: must not be after until)"
        assert said in finished.stderr, words


def test_what_cannot_be_meant_is_wrong_usage_and_changes_nothing(account: str) -> None:
    for verb, *given in (
        ("hold", "0", *WHY),
        ("hold", "5", "--expires", "tomorrow", *WHY),
        ("hold", "5", "--expires", "2099-01-01", *WHY),
        ("hold", "5", "--reason", " "),
        ("hold", "5", "--actor", "", "--reason", "r"),
        ("hold", "5", "--actor", "x" * 101, "--reason", "r"),
        ("hold", "5", "--key", "", "--reason", "r"),
        ("extend", "hold_" + 32 * "0", *WHY),
        ("statement", "--csv", "--json"),
        ("statement", "--csv", "--summary"),
        ("statement", "--period", "2026-13"),
        ("statement", "--period", "2026-11", "--since", LATER),
        ("statement", "--summary", "--since", LATER),
        *(("statement", *form, "--since", LATER, "--until", "2020-01-01T00:00Z") for form in FORMS),
        ("show", "--at", "soon"),
        ("show", "--at", LATER),
        ("show", "--at", "0"),
        ("show", "--at", "9" * 25),
        ("show", "--at", "2026-01-01T00:00"),
    ):
        finished = run("accounts", verb, account, *given)
        assert (given, finished.exit_code, finished.stdout) == (given, USAGE, "")
        assert isinstance(finished.exception, SystemExit), given
    assert done("accounts", "show", account, "--json")["version"] == 2


def test_operators_do_all_of_it_with_a_reason(database: str) -> None:
    account = done("accounts", "open", *WHY)["id"]
    done("grant", account, "50", "--reference", "invoice-1", *WHY)
    grant = done("accounts", "grants", account, "--json")
    assert (grant["kind"], grant["remaining"]) == ("paid", 50)
    assert run("accounts", "holds", account, "--json").stdout == ""

    assert done("accounts", "plan", account, "enterprise", *WHY)["plan"] == "enterprise"
    assert done("accounts", "freeze", account, *WHY)["status"] == "frozen"
    again = run("accounts", "freeze", account, *WHY)
    assert (again.exit_code, "nothing was changed" in again.stderr) == (OK, True)
    assert done("accounts", "unfreeze", account, *WHY)["status"] == "open"
    lowered = done("accounts", "adjust", account, *WHY, "--reference", "t", "--", "-20")
    assert lowered["available"] == 30
    assert done("accounts", "close-books", account, "2026-01", *WHY)["available"] == 30
    assert done("accounts", "void", account, grant["id"], *WHY)["voided"] == 50
    assert done("accounts", "close", account, *WHY)["status"] == "closed"

    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT topic, convert_from(state, 'UTF8')::json FROM tallystick_events"
            " WHERE topic ~ '^(account|books|credits)' ORDER BY notification_id"
        ).fetchall()
    assert [topic for topic, _ in rows] == [
        *("account.opened.v1", "credits.granted.v1"),
        *("account.plan_changed.v1", "account.frozen.v1", "account.unfrozen.v1"),
        *("credits.voided.v1", "books.closed.v1", "credits.voided.v1"),
        *("credits.exhausted.v1", "account.closed.v1"),
    ]
    told = "credits.exhausted.v1"
    assert {event["reason"] for topic, event in rows if topic != told} == {"because"}
    assert {event["meta"]["actor"].partition(":")[0] for _, event in rows} == {"cli"}


def test_mistakes_are_told() -> None:
    nobody, hold = "acct_" + 32 * "0", "hold_" + 32 * "0"
    for arguments, status in (
        (("freeze", nobody), USAGE),
        (("freeze", nobody, "--reason", ""), USAGE),
        (("freeze", nobody, "--reason", "x" * 2_001), USAGE),
        (("freeze", nobody, *WHY), REFUSED),
        (("plan", nobody, "golden", *WHY), USAGE),
        (("close-books", nobody, "2026-13", *WHY), USAGE),
        (("refund", nobody, hold, *WHY), REFUSED),
        (("void", nobody, hold, *WHY), REFUSED),
        (("grants", nobody), REFUSED),
    ):
        finished = run("accounts", *arguments)
        assert (arguments, finished.exit_code, finished.stdout) == (arguments, status, "")
        assert isinstance(finished.exception, SystemExit), arguments
