"""Prices and their making, as the API shows them: exact decimals are text."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from domain.pricing import Bill, Price


class UnitPriceResource(msgspec.Struct, frozen=True, kw_only=True):
    price: str
    included: str


class PriceResource(msgspec.Struct, frozen=True, kw_only=True):
    """(base + price of each unit beyond the included ones) x factors by option, rounded up once.

    The whole credits are at least `minimum`, at most `maximum`. `version` is that of the price
    list, `declared` where the type's own price is in force.
    """

    version: str
    base: str
    units: dict[str, UnitPriceResource]
    options: dict[str, dict[str, str]]
    minimum: int
    maximum: int | None


class UnitLine(msgspec.Struct, frozen=True, kw_only=True):
    unit: str
    quantity: str
    included: str
    price: str
    amount: str


class FactorLine(msgspec.Struct, frozen=True, kw_only=True):
    option: str
    value: str
    factor: str


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """(`base` + amounts of `units`) x `factors` = `exact`; rounded up, in its bounds: `credits`."""

    base: str
    units: list[UnitLine]
    factors: list[FactorLine]
    exact: str
    minimum: int
    maximum: int | None
    credits: int


def price_resource(price: Price, version: str) -> PriceResource:
    return PriceResource(
        version=version,
        base=plain(price.base),
        units={
            name: UnitPriceResource(price=plain(unit.price), included=plain(unit.included))
            for name, unit in price.units.items()
        },
        options={
            field: {value: plain(factor) for value, factor in factors.items()}
            for field, factors in price.options.items()
        },
        minimum=price.minimum,
        maximum=price.maximum,
    )


def breakdown(bill: Bill) -> Breakdown:
    return Breakdown(
        base=plain(bill.base),
        units=[
            UnitLine(
                unit=line.unit,
                quantity=plain(line.quantity),
                included=plain(line.included),
                price=plain(line.price),
                amount=plain(line.amount),
            )
            for line in bill.units
        ],
        factors=[
            FactorLine(option=line.option, value=line.value, factor=plain(line.factor))
            for line in bill.factors
        ],
        exact=plain(bill.exact),
        minimum=bill.minimum,
        maximum=bill.maximum,
        credits=bill.credits,
    )


def plain(number: Decimal) -> str:
    """All its digits, and no zeros after them: 0.50 is 0.5."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
