"""Operators' commands for credits, in real processes on the database itself."""

from __future__ import annotations

import psycopg

from tests.e2e.tallystick_process import Home

OK, FAILED, USAGE, REFUSED, UNAVAILABLE = range(5)
WHY = ("--reason", "because", "--json")


def test_operators_do_all_of_it_with_a_reason(home: Home) -> None:
    account = home.run("accounts", "open", "--json").json["id"]
    home.run("grant", account, "50", "--reference", "invoice-1")
    [grant] = home.run("accounts", "grants", account, "--json").json_lines
    assert (grant["kind"], grant["remaining"]) == ("paid", 50)
    assert home.run("accounts", "holds", account, "--json").json_lines == []

    assert home.run("accounts", "plan", account, "enterprise", *WHY).json["plan"] == "enterprise"
    assert home.run("accounts", "freeze", account, *WHY).json["status"] == "frozen"
    again = home.run("accounts", "freeze", account, *WHY)
    assert (again.status, "nothing was changed" in again.err) == (OK, True)
    assert home.run("accounts", "unfreeze", account, *WHY).json["status"] == "open"
    lowered = home.run("accounts", "adjust", account, *WHY, "--reference", "t", "--", "-20")
    assert lowered.json["available"] == 30
    assert home.run("accounts", "close-books", account, "2026-01", *WHY).json["available"] == 30
    assert home.run("accounts", "void", account, grant["id"], *WHY).json["voided"] == 50
    assert home.run("accounts", "close", account, *WHY).json["status"] == "closed"

    with psycopg.connect(home.environment["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "SELECT topic, convert_from(state, 'UTF8')::json FROM tallystick_events"
            " WHERE originator_version > 2 ORDER BY notification_id"
        ).fetchall()
    assert [topic for topic, _ in rows] == [
        *("account.plan_changed.v1", "account.frozen.v1", "account.unfrozen.v1"),
        *("credits.voided.v1", "books.closed.v1", "credits.voided.v1"),
        *("credits.exhausted.v1", "account.closed.v1"),
    ]
    told = "credits.exhausted.v1"
    assert {event["reason"] for topic, event in rows if topic != told} == {"because"}
    assert {event["meta"]["actor"].partition(":")[0] for _, event in rows} == {"cli"}


def test_a_charge_is_refunded_by_its_task(home: Home) -> None:
    with home.started("dev") as running:
        running.wait_for("Tallystick is ready at ")
        failed = home.run("task", "submit", "always_fails", "--wait", "30", "--json").json
        account = failed["account_id"]
        refused = home.run("accounts", "refund", account, failed["id"], *WHY)
    assert (refused.status, refused.out) == (REFUSED, "")
    assert "The hold has ended: it is released." in refused.err


def test_mistakes_are_told(home: Home) -> None:
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
        done = home.run("accounts", *arguments)
        assert (arguments, done.status, done.out) == (arguments, status, "")
        assert "Traceback" not in done.err
