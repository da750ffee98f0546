"""What a task costs: a base, prices per unit, factors by option; rounded once, up, at the end."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Context, Decimal, Inexact, InvalidOperation
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.errors import InvalidInput
from domain.event import CREDITS_MAX, Credits

DECLARED = "declared"
"""Version of the price that a task type itself declares, where no price list names the type."""
VERSION_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
NUMBER_MAX = 10**12
"""Of a price, a factor, a quantity."""
PLACES_MAX = 9
"""Decimal places of a price or a factor."""
QUANTITY_PLACES_MAX = 30
UNITS_MAX = 16
OPTIONS_MAX = 16
VALUES_MAX = 100
"""Of one option, those that have a factor."""
TYPES_MAX = 1_000
_EXACT = Context(prec=2_000, rounding=ROUND_CEILING, traps=[Inexact, InvalidOperation])
"""Wide enough for every product of numbers within the bounds; it would raise, never round."""

Version = Annotated[str, Meta(pattern=VERSION_PATTERN)]
Label = Annotated[str, Meta(min_length=1, max_length=64)]
Quantities = Mapping[str, Decimal]
"""How much of each unit."""
Options = Mapping[str, str]
"""The value of each field of the input, as text."""
_NONE: Mapping[str, str] = MappingProxyType({})
NO_QUANTITIES: Quantities = MappingProxyType({})


def _guard_number(name: str, number: Decimal, places_max: int = PLACES_MAX) -> None:
    """Raises `ValueError`, which msgspec tells with the place where the number stands."""
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 <= number <= NUMBER_MAX:
        raise ValueError(f"{name} must be a number from 0 to {NUMBER_MAX}")
    if -exponent > places_max:
        raise ValueError(f"{name} must have at most {places_max} decimal places")


class UnitPrice(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """`price` credits for each unit beyond the `included` ones."""

    price: Decimal
    included: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        _guard_number("price", self.price)
        _guard_number("included", self.included)


class Price(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The rule by which a task of one type is priced.

    `options` are factors by an input field's value, which multiply the base and the units; a value
    without one counts once. The whole credits are at least `minimum` and at most `maximum`.
    """

    base: Decimal = Decimal(0)
    units: Annotated[dict[Label, UnitPrice], Meta(max_length=UNITS_MAX)] = {}
    options: Annotated[
        dict[Label, Annotated[dict[Label, Decimal], Meta(min_length=1, max_length=VALUES_MAX)]],
        Meta(max_length=OPTIONS_MAX),
    ] = {}
    minimum: Credits = 0
    maximum: Credits | None = None

    def __post_init__(self) -> None:
        _guard_number("base", self.base)
        for field, factors in self.options.items():
            for value, factor in factors.items():
                _guard_number(f"options.{field}.{value}", factor)
        if self.maximum is not None and self.maximum < self.minimum:
            raise ValueError("maximum must not be below minimum")


class UnitLine(msgspec.Struct, frozen=True, kw_only=True):
    """`amount` is what the quantity beyond the included one comes to, before the factors."""

    unit: str
    quantity: Decimal
    included: Decimal
    price: Decimal
    amount: Decimal


class FactorLine(msgspec.Struct, frozen=True, kw_only=True):
    option: str
    value: str
    factor: Decimal


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """How a price comes about: (`base` + `units`) x `factors` is `exact`, which is rounded up.

    `credits` is that within `minimum` and `maximum`.
    """

    base: Decimal
    units: tuple[UnitLine, ...]
    factors: tuple[FactorLine, ...]
    exact: Decimal
    minimum: int
    maximum: int | None
    credits: int


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of a task is held for, and the version of the prices that say so."""

    credits: int
    price_version: str | None = None


class PriceList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices by task type. Once published, a version is these prices for ever."""

    version: Version
    types: Annotated[dict[Label, Price], Meta(max_length=TYPES_MAX)] = {}

    def __post_init__(self) -> None:
        if self.version == DECLARED:
            raise ValueError(f"version must not be {DECLARED!r}: that is a type's own price")


def bill_of(price: Price, quantities: Quantities = NO_QUANTITIES, options: Options = _NONE) -> Bill:
    """What so much of each unit costs with these options.

    Units without a price are free. Raises `InvalidInput` for a unit that has a price and no
    quantity, and for more credits than there may be.
    """
    units = tuple(_unit_line(name, unit, quantities) for name, unit in price.units.items())
    factors = tuple(
        FactorLine(option=option, value=options[option], factor=by_value[options[option]])
        for option, by_value in price.options.items()
        if options.get(option) in by_value
    )
    exact = price.base
    for line in units:
        exact = _EXACT.add(exact, line.amount)
    for factor in factors:
        exact = _EXACT.multiply(exact, factor.factor)
    return Bill(
        base=price.base,
        units=units,
        factors=factors,
        exact=exact,
        minimum=price.minimum,
        maximum=price.maximum,
        credits=_whole(exact, price),
    )


def _unit_line(name: str, unit: UnitPrice, quantities: Quantities) -> UnitLine:
    quantity = quantities.get(name)
    if quantity is None:
        raise InvalidInput("The price cannot be told.", ("/input", f"nobody says how many {name}"))
    beyond = max(Decimal(0), _EXACT.subtract(quantity, unit.included))
    return UnitLine(
        unit=name,
        quantity=quantity,
        included=unit.included,
        price=unit.price,
        amount=_EXACT.multiply(beyond, unit.price),
    )


def _whole(exact: Decimal, price: Price) -> int:
    """The only place where a price is rounded: up, so that a part of a credit is not given away."""
    credits_ = max(int(exact.to_integral_value(ROUND_CEILING)), price.minimum)
    if price.maximum is not None:
        credits_ = min(credits_, price.maximum)
    if credits_ > CREDITS_MAX:
        raise InvalidInput("The task costs too much.", ("/input", f"is over {CREDITS_MAX} credits"))
    return credits_


def quantities_in(said: object) -> Quantities:
    """Quantities as a task type or its worker says them: numbers of at least 0 by unit.

    A float counts as the shortest decimal that means it. Raises `InvalidInput`.
    """
    if not isinstance(said, Mapping) or len(said) > UNITS_MAX:
        raise _unusable("", f"must be an object of at most {UNITS_MAX} units")
    return {_unit(unit): _quantity(unit, number) for unit, number in said.items()}


def _unit(name: object) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= 64:  # noqa: PLR2004 - as `Label`
        raise _unusable("", "must name units with 1 to 64 characters")
    return name


def _quantity(unit: str, number: object) -> Decimal:
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        raise _unusable(f"/{unit}", "must be a number")
    exact = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    try:
        _guard_number("it", exact, QUANTITY_PLACES_MAX)
    except ValueError as error:
        raise _unusable(f"/{unit}", str(error).removeprefix("it ")) from error
    return exact or Decimal(0)


def _unusable(where: str, sentence: str) -> InvalidInput:
    return InvalidInput("The quantities cannot be priced.", (f"/quantities{where}", sentence))
