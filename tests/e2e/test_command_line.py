"""The command line in real processes: what it prints where, and how it exits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.tallystick_process import Home, Running

WHY = ("--reason", "because")

OK, FAILED, USAGE, REFUSED, UNAVAILABLE = range(5)


def signals(folder: Path) -> str:
    return json.dumps({"began": str(folder / "began"), "go": str(folder / "go")})


@pytest.mark.usefixtures("dev")
def test_a_task_goes_its_way_by_commands_alone(home: Home) -> None:
    submitted = home.run("task", "submit", "wait_for_go", signals(home.folder), "--json")
    assert submitted.status == OK, submitted.err
    task_id = submitted.json["id"]
    assert submitted.json["credits"]["held"] == 3

    assert home.run("balance", "--json").json["held"] == 3
    assert re.search(r"^stored bytes +0$", home.run("balance").out, re.MULTILINE)
    listed = home.run("task", "list", "--status", "queued", "--status", "running", "--json")
    assert [task["id"] for task in listed.json_lines] == [task_id]

    (home.folder / "go").touch()
    key = ("--key", "again-1", "--wait", "30", "--json")
    first = home.run("task", "submit", "wait_for_go", signals(home.folder), *key)
    assert (first.status, first.json["result"]) == (OK, {"attempt": 1})
    assert "Submitted task_" in first.err
    second = home.run("task", "submit", "wait_for_go", signals(home.folder), *key)
    assert second.json["id"] == first.json["id"]

    watched = home.run("task", "watch", task_id, "--wait", "30", "--json")
    assert (watched.status, watched.json["status"]) == (OK, "completed")
    assert "100 % completed" in watched.err
    history = home.run("task", "history", task_id, "--json").json_lines
    assert history[0]["type"] == "task.submitted"
    kinds = {line["kind"] for line in home.run("statement", "--json").json_lines}
    assert {"granted", "held"} <= kinds
    names = [one["name"] for one in home.run("types", "--json").json_lines]
    assert {"wait_for_go", "media_extraction"} <= set(names)


@pytest.mark.usefixtures("dev")
def test_a_failed_task_exits_with_1_and_gives_the_credits_back(home: Home) -> None:
    failed = home.run("task", "submit", "always_fails", "--wait", "30", "--json")
    assert failed.status == FAILED
    task = failed.json
    assert task["failure"]["message"] == "This never works."
    assert task["credits"] == {"held": 0, "charged": 0, "released": 5}
    retried = home.run("task", "retry", task["id"], "--json")
    assert (retried.status, retried.json["run"]) == (OK, 2)


@pytest.mark.usefixtures("dev")
def test_waiting_that_is_over_exits_with_4_and_cancelling_ends_the_task(home: Home) -> None:
    waited = home.run("task", "submit", "wait_for_go", signals(home.folder), "--wait", "0.5")
    assert waited.status == UNAVAILABLE
    assert "It goes on: `tallystick task show task_" in waited.err
    task_id = home.run("task", "list", "--json").json["id"]
    cancelled = home.run("task", "cancel", task_id, "--reason", "enough", "--json")
    assert cancelled.status == OK
    assert cancelled.json["status"] in {"cancelling", "cancelled"}


@pytest.mark.usefixtures("dev")
def test_refusals_exit_with_3_and_a_sentence(home: Home) -> None:
    missing = home.run("task", "show", "task_" + 32 * "0")
    assert (missing.status, missing.out) == (REFUSED, "")
    finished = home.run("task", "submit", "always_fails", "--wait", "30", "--json").json
    again = home.run("task", "cancel", finished["id"])
    assert again.status == REFUSED
    assert "From failed it can: retry" in again.err
    stranger = home.run("balance", "--api-key", "tsk_" + 12 * "0" + "_" + 64 * "0")
    assert stranger.status == REFUSED
    for done in (missing, again, stranger):
        assert "Traceback" not in done.err


@pytest.mark.usefixtures("dev")
def test_input_that_does_not_fit_exits_with_2(home: Home) -> None:
    for arguments in (
        ("task", "submit", "no_such_type"),
        ("task", "submit", "wait_for_go", '{"began": 3}'),
        ("task", "submit", "wait_for_go", "[1]"),
        ("task", "submit", "wait_for_go", "{"),
        ("task", "submit", "wait_for_go", "@nowhere.json"),
        ("task", "submit", "always_fails", "--not-before", "tomorrow"),
        ("task", "submit", "always_fails", "--not-before", "2030-01-01T00:00"),
        ("task", "submit", "always_fails", "--key", "a b"),
        ("task", "submit", "always_fails", "--priority", "vip"),
        ("task", "submit", "always_fails", "--wait", "-1"),
        ("task", "show", "a/b"),
        ("task", "list", "--after", "never"),
    ):
        done = home.run(*arguments)
        assert (done.status, done.out) == (USAGE, ""), (arguments, done)
        assert "Traceback" not in done.err


@pytest.mark.usefixtures("dev")
def test_input_comes_from_a_file_or_stdin_too(home: Home) -> None:
    (home.folder / "input.json").write_text(signals(home.folder))
    (home.folder / "go").touch()
    for done in (
        home.run("task", "submit", "wait_for_go", "@input.json", "--wait", "30"),
        home.run("task", "submit", "wait_for_go", "-", "--wait", "30", given=signals(home.folder)),
    ):
        assert done.status == OK, done.err
        assert "completed" in done.out


def test_without_a_service_the_commands_say_what_to_do(home: Home) -> None:
    lost = home.run("task", "list")
    assert lost.status == USAGE
    assert "tallystick dev" in lost.err
    nobody = ("--url", "http://127.0.0.1:9", "--api-key", "tsk_x")
    away = home.run("task", "list", *nobody)
    assert (away.status, away.out) == (UNAVAILABLE, "")
    malformed = home.run("task", "list", "--url", "127.0.0.1", "--api-key", "x")
    assert malformed.status == USAGE
    unhealthy = home.run("health", "--url", "http://127.0.0.1:9")
    assert unhealthy.status == UNAVAILABLE
    for done in (lost, away, malformed, unhealthy):
        assert "Traceback" not in done.err


def test_the_key_of_the_profile_is_not_sent_elsewhere(home: Home, dev: Running) -> None:
    assert home.run("health", "--json").status == OK
    elsewhere = home.run("task", "list", "--url", "http://127.0.0.1:9")
    assert elsewhere.status == USAGE
    assert "No API key for http://127.0.0.1:9" in elsewhere.err
    profile = home.folder / ".tallystick" / "profile.json"
    assert profile.stat().st_mode & 0o777 == 0o600
    assert dev.process.poll() is None


def test_operators_open_grant_and_key_without_a_service(home: Home) -> None:
    account = home.run("accounts", "open", "--name", "Studio", *WHY, "--json").json
    granted = home.run("grant", account["id"], "50", "--reference", "invoice-1", *WHY, "--json")
    assert granted.json["available"] == 50
    again = home.run("grant", account["id"], "50", "--reference", "invoice-1", *WHY, "--json")
    assert again.json["available"] == 50
    assert "nothing was changed" in again.err
    assert home.run("accounts", "show", account["id"], "--json").json["granted"] == 50
    listed = home.run("accounts", "list", "--json").json_lines
    assert [one["name"] for one in listed] == ["Studio"]

    made = home.run("keys", "create", "--account", account["id"], "--json").json
    assert made["secret"].startswith(made["prefix"])
    rotated = home.run("keys", "rotate", made["id"], "--json").json
    assert home.run("keys", "revoke", rotated["id"], "--json").json["revoked_at"]
    keys = home.run("keys", "list", "--json")
    assert made["secret"] not in keys.out
    assert {key["id"] for key in keys.json_lines} == {made["id"], rotated["id"]}


def test_operators_mistakes_are_told(home: Home) -> None:
    account = "acct_" + 32 * "0"
    for arguments, status in (
        (("accounts", "show", account), REFUSED),
        (("grant", account, "5", *WHY), REFUSED),
        (("grant", account, "99999999999999999999", *WHY), USAGE),
        (("grant", account, "5"), USAGE),
        (("accounts", "open"), USAGE),
        (("grant", account, "5", "--reason", "x" * 2_001), USAGE),
        (("keys", "create"), USAGE),
        (("keys", "create", "--account", account), REFUSED),
        (("keys", "revoke", "key_" + 32 * "0"), REFUSED),
        (("nonsense",), USAGE),
    ):
        done = home.run(*arguments)
        assert (done.status, done.out) == (status, ""), (arguments, done)
        assert "Traceback" not in done.err


def test_a_database_that_is_away_exits_with_4_and_a_wrong_setting_with_2(home: Home) -> None:
    home.environment["DATABASE_URL"] = "postgresql://127.0.0.1:9/none?connect_timeout=2"
    away = home.run("accounts", "list")
    assert (away.status, away.out) == (UNAVAILABLE, "")
    home.environment["TALLYSTICK_HTTP_PORT"] = "a port"
    wrong = home.run("serve")
    assert wrong.status == USAGE
    assert "TALLYSTICK_HTTP_PORT" in wrong.err
    assert "Traceback" not in away.err + wrong.err


def test_a_port_that_is_taken_is_told_at_once(home: Home, dev: Running) -> None:
    url = json.loads((home.folder / ".tallystick" / "profile.json").read_text())["url"]
    port = url.rpartition(":")[2]
    for command in ("serve", "dev"):
        taken = home.run(command, "--port", port)
        assert taken.status == UNAVAILABLE
        assert f"127.0.0.1:{port}" in taken.err
        assert "Traceback" not in taken.err
    assert dev.process.poll() is None


def test_the_schema_is_brought_up_to_date_once(home: Home) -> None:
    done = home.run("migrate", "--json")
    assert (done.status, done.json) == (OK, {"applied": []})


def test_help_and_version_need_nothing(home: Home) -> None:
    help_ = home.run("--help")
    assert help_.status == OK
    for command in ("dev", "serve", "work", "process", "task", "keys", "demo"):
        assert command in help_.out
    assert home.run("--version").out.startswith("tallystick")


def test_strangers_words_do_not_reach_the_terminals_controls(home: Home, dev: Running) -> None:
    evil = "\x1b[2J\x07evil"
    home.run("task", "submit", "always_fails", "--project", evil, "--wait", "30")
    for done in (home.run("task", "list"), home.run("task", "list", "--json")):
        assert done.status == OK
        assert "\x1b" not in done.out
        assert "evil" in done.out
    assert dev.process.poll() is None
