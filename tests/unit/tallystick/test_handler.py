"""A task type's numbers are checked where it is declared."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tallystick.handler import Context, Handler, handler
from tallystick.push_type import push_type


class Ask(msgspec.Struct, frozen=True):
    word: str = ""


class Reply(msgspec.Struct, frozen=True):
    word: str = ""


def declared(**numbers: Any) -> Handler:
    @handler("echo", **{"price_credits": 1, **numbers})
    async def echo(ask: Ask, context: Context) -> Reply:
        return Reply(ask.word)

    return echo


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("price_credits", -1),
        ("attempt_seconds_max", 0),
        ("running_tasks_max", 0),
        ("attempts_max", 0),
        ("attempts_max", 101),
        ("retry_seconds", 0),
        ("retry_seconds_max", 90_000),
        ("queue_seconds_max", 0),
        ("run_seconds_max", -1),
        ("cache_seconds", 0),
        ("cache_price_percent", -1),
        ("cache_price_percent", 101),
        ("cache_version", -1),
    ],
)
def test_a_number_out_of_its_bounds_is_refused_by_name(name: str, number: float) -> None:
    with pytest.raises(ValueError, match=f"handler 'echo': {name} must be"):
        declared(**{name: number})


def test_only_a_known_scope_is_taken() -> None:
    with pytest.raises(ValueError, match="cache_scope must be account or everyone"):
        declared(cache_scope="plan")


@pytest.mark.parametrize(
    ("price", "percent", "charged"), [(7, 100, 7), (7, 50, 3), (1, 99, 0), (7, 0, 0), (0, 50, 0)]
)
def test_a_reused_result_costs_its_part_rounded_down(
    price: int, percent: int, charged: int
) -> None:
    made = declared(price_credits=price, cache_price_percent=percent)
    assert made.cache_price_credits == charged


@pytest.mark.parametrize("percent", [0, 100])
def test_a_stage_lies_between_start_and_end(percent: int) -> None:
    with pytest.raises(ValueError, match="stage 'half' must be 1 to 99"):
        declared(stages={"half": percent})


def test_a_run_has_time_for_at_least_one_attempt() -> None:
    assert declared().run_seconds_max == 300
    assert declared(attempt_seconds_max=900).run_seconds_max == 900
    assert declared(attempt_seconds_max=900, run_seconds_max=60).run_seconds_max == 60


def declared_push(**more: Any) -> Handler:
    declaration = {"endpoint": "https://draw.example.com/run", "price_credits": 1, **more}
    return push_type("draw", input_type=Ask, output_type=Reply, **declaration)


@pytest.mark.parametrize(
    "endpoint",
    ["https://draw.example.com", "http://127.0.0.1:8000/run", "http://[::1]/", "http://localhost/"],
)
def test_a_push_type_has_an_endpoint_and_no_function(endpoint: str) -> None:
    made = declared_push(endpoint=endpoint, attempt_seconds_max=900)
    assert (made.endpoint, made.function, made.run_seconds_max) == (endpoint, None, 900)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "draw.example.com",
        "http://draw.example.com/",
        "http://127.0.0.1.example.com/",
        "http://localhost@draw.example.com/",
        "ftp://draw.example.com/",
        "https:///run",
        "https://[::1",
        "https://draw.example.com/" + "x" * 2_048,
    ],
)
def test_an_endpoint_that_is_no_https_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="must be an https URL"):
        declared_push(endpoint=endpoint)


@pytest.mark.parametrize(
    "number", [{"delivery_seconds_max": 0}, {"delivery_seconds_max": 3_601}, {"attempts_max": 0}]
)
def test_a_push_types_numbers_are_checked(number: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(number))):
        declared_push(**number)


@pytest.mark.parametrize("both", [True, False])
def test_a_type_has_either_a_function_or_an_endpoint(*, both: bool) -> None:
    made = declared_push()
    other = {"function": declared().function} if both else {"endpoint": None}
    with pytest.raises(ValueError, match="either a function or an endpoint"):
        msgspec.structs.replace(made, **other)
