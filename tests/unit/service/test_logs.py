"""Log lines: what stands in them, and that writing one never fails the work."""

from __future__ import annotations

import importlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from service.logs import configure_logs


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """What a test sets up must not outlive it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(file: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields() -> None:
    file = io.BytesIO()
    configure_logs(readable=False, file=file)
    structlog.get_logger().info("task.attempted", task_id="task_1", duration_ms=1.5)
    (line,) = lines(file)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "task.attempted",
        "level": "info",
        "task_id": "task_1",
        "duration_ms": 1.5,
    }


def test_the_trace_that_is_bound_stands_in_every_line() -> None:
    file = io.BytesIO()
    configure_logs(readable=False, file=file)
    with structlog.contextvars.bound_contextvars(trace_id="abc"):
        structlog.get_logger().info("inside")
    structlog.get_logger().info("outside")
    assert [line.get("trace_id") for line in lines(file)] == ["abc", None]


def test_an_exception_stands_in_its_line_without_the_values_of_variables() -> None:
    file = io.BytesIO()
    configure_logs(readable=False, file=file)
    try:
        _fail_with_a_secret()
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(file)
    assert "ValueError: 6" in line["exception"]
    assert "s3cret" not in json.dumps(line)


def _fail_with_a_secret() -> None:
    secret = "s3cret"
    raise ValueError(len(secret))


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize(
    "value", ["\ud800", b"\xff", object(), 2**80, float("nan"), {1: "\udfff"}, "a\nb\x1b[31m"]
)
def test_any_value_makes_one_line(value: object, readable: bool) -> None:  # noqa: FBT001
    file = io.BytesIO()
    configure_logs(readable=readable, file=file)
    structlog.get_logger().info("odd", value=value)
    written = file.getvalue()
    assert written.count(b"\n") == 1
    assert b"odd" in written
    if not readable:
        assert "value" in lines(file)[0]


def test_lines_below_the_level_are_not_written() -> None:
    file = io.BytesIO()
    configure_logs("warning", readable=False, file=file)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(file)] == ["loud"]


def test_lines_of_libraries_come_out_alike_and_their_small_talk_does_not() -> None:
    importlib.import_module("eventsourcing.postgres")  # hushes the pool at its import
    file = io.BytesIO()
    configure_logs(readable=False, file=file)
    logging.getLogger("psycopg.pool").warning("lost %s", "it")
    logging.getLogger("httpx").info("GET /")
    logging.getLogger("psycopg.pool").info("connection given by %r", "pool-1")
    (line,) = lines(file)
    assert (line["event"], line["logger"], line["level"]) == ("lost it", "psycopg.pool", "warning")


class Broken(io.BytesIO):
    def write(self, _line: object) -> int:
        raise BrokenPipeError


def test_a_reader_that_went_away_does_not_fail_the_work() -> None:
    file = Broken()
    configure_logs(readable=False, file=file)
    structlog.get_logger().info("nobody reads this")
    closed = io.BytesIO()
    configure_logs(readable=False, file=closed)
    closed.close()
    structlog.get_logger().info("nor this")
