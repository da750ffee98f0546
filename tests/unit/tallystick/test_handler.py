"""A task type's numbers are checked where it is declared."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tallystick.handler import Context, Handler, handler


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
