"""Prices: exact against fractions, rounded once and up, never negative, never less for more."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.event import CREDITS_MAX
from domain.pricing import NUMBER_MAX, Price, PriceList, UnitPrice, bill_of, quantities_in

numbers = st.decimals(0, 1_000, places=9)
factors = st.decimals(0, 10, places=9)
quantities = st.decimals(0, 100_000, places=12)
UNITS = ("seconds", "megapixels", "shots")
prices = st.builds(
    Price,
    base=numbers,
    units=st.dictionaries(
        st.sampled_from(UNITS), st.builds(UnitPrice, price=numbers, included=numbers)
    ),
    options=st.dictionaries(
        st.sampled_from(("resolution", "model")),
        st.dictionaries(st.sampled_from(("a", "b")), factors, min_size=1),
    ),
    minimum=st.integers(0, 50),
    maximum=st.none() | st.integers(50, 10**9),
)
amounts = st.fixed_dictionaries(dict.fromkeys(UNITS, quantities))
choices = st.dictionaries(
    st.sampled_from(("resolution", "model", "other")), st.sampled_from(("a", "b", "c"))
)


def _by_fractions(price: Price, much: dict[str, Decimal], options: dict[str, str]) -> int:
    total = Fraction(price.base)
    for name, unit in price.units.items():
        beyond = max(Fraction(0), Fraction(much[name]) - Fraction(unit.included))
        total += beyond * Fraction(unit.price)
    for option, by_value in price.options.items():
        total *= Fraction(by_value.get(options.get(option, ""), Decimal(1)))
    credits_ = max(math.ceil(total), price.minimum)
    return credits_ if price.maximum is None else min(credits_, price.maximum)


@given(prices, amounts, choices)
def test_a_bill_is_exact_and_rounded_up_once(
    price: Price, much: dict[str, Decimal], options: dict[str, str]
) -> None:
    bill = bill_of(price, much, options)
    assert bill.credits == _by_fractions(price, much, options)
    assert 0 <= price.minimum <= bill.credits
    told = bill.base + sum(line.amount for line in bill.units)
    assert len(bill.units) == len(price.units)
    for factor in bill.factors:
        assert options[factor.option] == factor.value
        told *= factor.factor
    assert float(told) == pytest.approx(float(bill.exact))


@given(prices, amounts, st.sampled_from(UNITS), quantities)
def test_more_never_costs_less(
    price: Price, much: dict[str, Decimal], unit: str, more: Decimal
) -> None:
    increased = much | {unit: much[unit] + more}
    assert bill_of(price, increased).credits >= bill_of(price, much).credits


def test_parts_of_credits_add_up_before_they_are_rounded() -> None:
    """Rounded unit by unit this would be 3; rounded down it would be 1."""
    third = UnitPrice(price=Decimal("0.34"))
    price = Price(units=dict.fromkeys(UNITS, third))
    assert bill_of(price, dict.fromkeys(UNITS, Decimal(1))).credits == 2


def test_included_units_are_free_and_never_pay_for_others() -> None:
    seconds = UnitPrice(price=Decimal("0.25"), included=Decimal(10))
    price = Price(base=Decimal(3), units={"seconds": seconds})
    assert bill_of(price, {"seconds": Decimal(2)}).credits == 3
    assert bill_of(price, {"seconds": Decimal(12)}).credits == 4


def test_a_unit_that_nobody_counts_is_refused_and_one_without_price_is_free() -> None:
    price = Price(units={"seconds": UnitPrice(price=Decimal(1))})
    with pytest.raises(InvalidInput, match="cannot be told"):
        bill_of(price, {"shots": Decimal(3)})
    assert bill_of(price, {"seconds": Decimal(2), "shots": Decimal(9)}).credits == 2


def test_more_credits_than_there_may_be_are_refused_unless_a_maximum_holds() -> None:
    dear = {"seconds": UnitPrice(price=Decimal(NUMBER_MAX))}
    much = {"seconds": Decimal(NUMBER_MAX)}
    with pytest.raises(InvalidInput, match="too much"):
        bill_of(Price(units=dear), much)
    assert bill_of(Price(units=dear, maximum=CREDITS_MAX), much).credits == CREDITS_MAX


@pytest.mark.parametrize(
    "said",
    [
        {"seconds": -1},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": NUMBER_MAX + 1},
        {"seconds": Decimal("1e-999999")},
        {"seconds": "1"},
        {"seconds": True},
        {"": 1},
        {"x" * 65: 1},
        {1: 1},
        {str(number): 1 for number in range(17)},
        [("seconds", 1)],
        None,
    ],
    ids=[
        "negative", "nan", "inf", "huge", "tiny", "text", "bool",
        "nameless", "long", "unnamed", "many", "pairs", "nothing",
    ],
)  # fmt: skip
def test_quantities_have_bounds(said: object) -> None:
    with pytest.raises(InvalidInput):
        quantities_in(said)


def test_a_float_counts_as_the_shortest_decimal_that_means_it() -> None:
    assert quantities_in({"seconds": 0.1, "shots": 3}) == {
        "seconds": Decimal("0.1"),
        "shots": Decimal(3),
    }
    assert str(quantities_in({"seconds": Decimal("0E+999999")})["seconds"]) == "0"


@given(prices)
def test_a_price_is_the_same_after_it_was_stored(price: Price) -> None:
    stored = msgspec.json.encode(PriceList(version="1", types={"video": price}))
    assert msgspec.json.decode(stored, type=PriceList).types["video"] == price
