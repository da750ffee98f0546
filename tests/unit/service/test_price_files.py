"""Price lists and plans are read strictly, and those that are shipped are as they were."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from domain.event import COUNT_MAX
from domain.plan import Plan
from domain.pricing import Price, UnitPrice
from service.handlers import SHIPPED
from service.price_files import load_plans, load_prices
from service.pricing import Pricing
from service.settings import BadSetting
from service.task_types import TaskTypes

SHIPPED_DIGESTS = {
    "2026-01": "9bb7c86500a2fc2195ef950da4d8461a7a93e12bcd02bf9679989d90d59e5d7a",
    "2026-02": "947f1969c11fefe03f310cc2dc38ddba99500886be56ab5eb033601d6e1ac44c",
}
"""What is shipped under a version; other content needs another version, and a line here."""


def _write(folder: Path, text: str) -> Path:
    path = folder / "tariff.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_prices_are_those_that_the_types_declare() -> None:
    prices = load_prices()
    assert {name: price.base for name, price in prices.types.items()} == {
        handler.name: handler.price_credits for handler in SHIPPED
    }
    Pricing(TaskTypes(SHIPPED), prices)


def test_the_shipped_plans_are_as_they_were() -> None:
    assert list(load_plans()) == [
        Plan(name="standard", active_tasks_max=10, daily_tasks_max=1_000),
        Plan(
            name="enterprise",
            active_tasks_max=10_000,
            daily_tasks_max=1_000_000,
            weight=4,
            priority_raise=1,
        ),
        Plan(name="unlimited", active_tasks_max=COUNT_MAX, daily_tasks_max=COUNT_MAX),
        Plan(name="operator", operator=True),
    ]


def test_what_is_shipped_under_a_version_never_changes() -> None:
    """An installation that has published it would not start with other content."""
    prices, plans = load_prices(), load_plans()
    assert prices.version == plans.version
    both = msgspec.json.encode([prices, plans.content], order="deterministic")
    assert hashlib.sha256(both).hexdigest() == SHIPPED_DIGESTS[prices.version]


def test_numbers_are_exact_whether_they_are_written_as_numbers_or_as_text(tmp_path: Path) -> None:
    text = """
        version = "7"
        [types.video]
        base = "1.5"
        minimum = 2
        [types.video.units.seconds]
        price = 0.1
        included = 10
        [types.video.options.resolution]
        "4k" = 2.5
    """
    assert load_prices(_write(tmp_path, text)).types == {
        "video": Price(
            base=Decimal("1.5"),
            minimum=2,
            units={"seconds": UnitPrice(price=Decimal("0.1"), included=Decimal(10))},
            options={"resolution": {"4k": Decimal("2.5")}},
        )
    }


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "version"),
        ('version = "No good"', "version"),
        ('version = "declared"', "version"),
        ('version = "1"\nprice = 3', "price"),
        ('version = "1"\n[types.video]\nbase = -1', "types.video"),
        ('version = "1"\n[types.video]\nbase = nan', "types.video"),
        ('version = "1"\n[types.video]\nbase = true', "types.video.base"),
        ('version = "1"\n[types.video]\nbase = 0.0000000001', "types.video"),
        ('version = "1"\n[types.video]\nbasis = 1', "types.video"),
        ('version = "1"\n[types.video]\nminimum = 3\nmaximum = 2', "types.video"),
        ('version = "1"\n[types.video.units.seconds]\nprize = 1', "types.video.units.seconds"),
        ('version = "1"\n[types.video.units.seconds]\nprice = "x"', "seconds.price"),
        ('version = "1"\n[types.video.options.size]\nbig = "x"', "types.video.options.size.big"),
        ('version = "1"\nversion = "2"', "TOML"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        load_prices(_write(tmp_path, text))
    assert refusal.value.name == "TALLYSTICK_PRICES_FILE"
    assert place in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('version = "1"\n[plans]', "plans"),
        ('version = "1"\n[plans.a]\ntasks = 1', "plans.a"),
        ('version = "1"\n[plans.a]\nweight = 0', "plans.a.weight"),
        ('version = "1"\n[plans.a]\ntrial_tasks = "3"', "plans.a.trial_tasks"),
        ('version = "1"\n[plans.a]\nname = "b"', "plans.a.name"),
    ],
)
def test_plans_are_read_as_strictly(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        load_plans(_write(tmp_path, text))
    assert (refusal.value.name, place in str(refusal.value)) == ("TALLYSTICK_PLANS_FILE", True)


def test_a_file_that_is_not_there_is_refused_by_the_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="TALLYSTICK_PRICES_FILE"):
        load_prices(tmp_path / "none.toml")
