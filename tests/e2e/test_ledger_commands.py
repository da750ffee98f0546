"""Commands for credits, in real processes beside a service that runs."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.e2e.tallystick_process import Home

USAGE, REFUSED = 2, 3
WHY = ("--reason", "because", "--json")


@pytest.mark.usefixtures("dev")
def test_a_charge_is_refunded_in_part_and_whole_by_its_task(home: Home) -> None:
    signals = json.dumps({"began": str(home.folder / "began"), "go": str(home.folder / "go")})
    quoted = home.run("quote", "wait_for_go", signals, "--json").json
    assert (quoted["credits"], quoted["accepted"], quoted["refusal"]) == (3, True, None)
    (home.folder / "go").touch()
    done = home.run("task", "submit", "wait_for_go", signals, "--wait", "30", "--json").json
    assert done["credits"]["charged"] == 3
    refund = ("accounts", "refund", done["account_id"], done["id"])

    part = home.run(*refund, "--credits", "1", "--key", "r-1", *WHY).json
    assert (part["captured"], part["refunded"]) == (2, 1)
    money = home.run("task", "show", done["id"], "--json").json["money"]
    assert money["sentence"] == "2 credits are charged; 1 more came back."
    assert home.run(*refund, "--credits", "1", "--key", "r-1", *WHY).json == part
    whole = home.run(*refund, *WHY).json
    assert (whole["captured"], whole["refunded"]) == (0, 3)
    again = home.run(*refund, *WHY)
    assert (again.status, again.out) == (REFUSED, "")

    before = home.run("balance", "--at", str(part["version"]), "--json").json
    assert (before["refunded"], before["as_of"]["version"]) == (1, part["version"])
    now = home.run("balance", "--details")
    assert "refunded      3" in now.out
    assert "grant_" in now.out


@pytest.mark.usefixtures("dev")
def test_an_owner_reads_a_statement_and_what_plans_allow(home: Home) -> None:
    failed = home.run("task", "submit", "always_fails", "--wait", "30", "--json").json
    refused = home.run("accounts", "refund", failed["account_id"], failed["id"], *WHY)
    assert (refused.status, refused.out) == (REFUSED, "")
    assert "The hold has ended: it is released." in refused.err

    table: list[dict[str, str]] = []
    while not table:  # the statement follows the log
        table = list(csv.DictReader(io.StringIO(home.run("statement", "--csv").out)))
    assert table[0]["kind"] == "granted"
    summary = home.run("statement", "--summary", "--json").json
    assert summary["opening"] == {"available": 0, "held": 0}
    assert summary["closing"]["available"] > 0
    month = home.run("statement", "--period", table[0]["at"][:7])
    assert "Opening: 0 available, 0 held." in month.err
    dear = home.run("quote", "no_such_type")
    assert (dear.status, dear.out) == (USAGE, "")
    plans = {plan["name"]: plan for plan in home.run("plans", "--json").json_lines}
    assert plans["standard"]["active_tasks_max"] == 10
