"""Prices at work: what a submission is held for, and what its end is charged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from decimal import Decimal
from enum import Enum

import msgspec
import structlog
from msgspec import Raw

from domain.errors import DomainError, InvalidInput, TallystickError
from domain.pricing import (
    DECLARED,
    NO_QUANTITIES,
    Bill,
    Price,
    PriceList,
    Quantities,
    Terms,
    bill_of,
    quantities_in,
)
from domain.task import Task
from domain.task_events import Quantity
from service.settings import BadSetting, variable_of
from service.task_types import TaskTypes
from tallystick.handler import Handler

ReadPrices = Callable[[str], Awaitable[PriceList | None]]
LISTS_KEPT_MAX = 100
"""Earlier price lists in memory, for tasks that were held for by them."""
_log = structlog.get_logger(__name__)


class PricesNeeded(TallystickError):
    """A task was held for at prices that this process has not read yet."""

    code = "prices_needed"

    def __init__(self, version: str) -> None:
        super().__init__(f"The prices of version {version!r} were not read.")
        self.version = version


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What is held, by which prices, and how that comes about."""

    bill: Bill
    price_version: str

    @property
    def terms(self) -> Terms:
        return Terms(credits=self.bill.credits, price_version=self.price_version)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What is captured at the end, at most the hold; `charge` is None for the whole of it."""

    charge: int | None = None
    quantities: tuple[Quantity, ...] = ()


class Pricing:
    """Without `prices` each type costs what it declares; `published` reads those of a version.

    Raises `BadSetting` for a price of a type of `types` that can never be told: with units, and the
    type estimates none; with an option that is no field of its input.
    """

    def __init__(
        self,
        types: TaskTypes,
        prices: PriceList | None = None,
        published: ReadPrices | None = None,
    ) -> None:
        self._types = types
        self._prices = prices
        self._published = published
        self._earlier: OrderedDict[str, PriceList] = OrderedDict()
        self._fixed: dict[str, Estimate] = {}
        for handler in types:
            price = self.price_of(handler)
            _guard_price(handler, price)
            if not price.units and not price.options:
                version = self.version_for(handler)
                self._fixed[handler.name] = Estimate(bill=bill_of(price), price_version=version)

    @property
    def version(self) -> str | None:
        """Of the prices in force; None where there are none but the types' own."""
        return None if self._prices is None else self._prices.version

    def price_of(self, handler: Handler) -> Price:
        """The rule for a type today."""
        listed = None if self._prices is None else self._prices.types.get(handler.name)
        return listed or _declared(handler)

    def version_for(self, handler: Handler) -> str:
        """The version that a run of the type is held by today."""
        if self._prices is None or handler.name not in self._prices.types:
            return DECLARED
        return self._prices.version

    def floor_of(self, handler: Handler) -> int:
        """What a task of the type costs that is of no units, and has no options."""
        price = self.price_of(handler)
        return bill_of(price, dict.fromkeys(price.units, Decimal(0))).credits

    def estimate(self, handler: Handler, task_input: msgspec.Struct) -> Estimate:
        """Today's price of a task. Raises `InvalidInput` where the type cannot estimate it."""
        if (fixed := self._fixed.get(handler.name)) is not None:
            return fixed
        price = self.price_of(handler)
        quantities = _estimated(handler, task_input) if price.units else NO_QUANTITIES
        return Estimate(
            bill=bill_of(price, quantities, _options(price, task_input)),
            price_version=self.version_for(handler),
        )

    def terms_of(self, type_: str, task_input: Raw) -> Terms:
        """Today's, for a task that is to run again. Raises `UnknownTaskType`, `InvalidInput`."""
        handler = self._types.named(type_)
        return self.estimate(handler, self._types.read_input(type_, task_input)).terms

    async def learn(self, version: str) -> None:
        """Read the prices of an earlier, or another process's later, version. Raises `Unavailable`.

        A version that nobody published prices nothing: what is held by it is charged as a whole.
        """
        found = None if self._published is None else await self._published(version)
        if found is None:
            _log.error("prices.unpublished", version=version)
        self._earlier[version] = found or PriceList(version=version)
        if len(self._earlier) > LISTS_KEPT_MAX:
            self._earlier.popitem(last=False)

    def measured(self, task: Task, quantities: Quantities | None) -> Measured:
        """What the end of a task is charged for so much, at the prices that it was held for.

        Never more than the hold. What cannot be priced is charged as it was estimated: the user
        agreed to that and has the result. Raises `PricesNeeded`.
        """
        if quantities is None or task.price_version in {None, DECLARED}:
            return Measured()
        assert task.price_version is not None
        price = self._list_of(task.price_version).types.get(task.type)
        if price is None or not price.units:
            return Measured()
        try:
            task_input = self._types.read_input(task.type, task.input)
            bill = bill_of(price, quantities, _options(price, task_input))
        except DomainError as error:
            _log.warning("measure.unpriced", type=task.type, task_id=str(task.id), error=str(error))
            return Measured()
        return Measured(
            charge=min(bill.credits, task.credits_held),
            quantities=tuple(
                Quantity(line.unit, format(line.quantity, "f")) for line in bill.units
            ),
        )

    def _list_of(self, version: str) -> PriceList:
        if self._prices is not None and version == self._prices.version:
            return self._prices
        if version not in self._earlier:
            raise PricesNeeded(version)
        return self._earlier[version]


def note_strangers(prices: PriceList, types: TaskTypes) -> None:
    """Tell the operator of prices for types that are not here: maybe a slip in a name."""
    if strangers := sorted(prices.types.keys() - set(types.names)):
        _log.warning("prices.unknown_types", version=prices.version, types=strangers)


def quantities_of(handler: Handler, task_input: msgspec.Struct, result: Raw) -> Quantities | None:
    """What the type measures of its result (JSON); None where it does not, or fails at it.

    Never raises: a function that measures wrongly costs its user no result.
    """
    if handler.measure is None:
        return None
    try:
        decoded = msgspec.json.decode(result, type=handler.output_type)
        return quantities_in(handler.measure(task_input, decoded))
    except Exception as error:  # noqa: BLE001 - an owner's function may raise anything
        _log.warning("measure.failed", type=handler.name, error=type(error).__name__)
        return None


def _estimated(handler: Handler, task_input: msgspec.Struct) -> Quantities:
    assert handler.estimate is not None, "guarded at the start"
    try:
        return quantities_in(handler.estimate(task_input))
    except Exception as error:
        _log.warning("estimate.failed", type=handler.name, error=type(error).__name__)
        sentence = "the task type cannot say how much this will be"
        raise InvalidInput("The price cannot be told.", ("/input", sentence)) from error


def _declared(handler: Handler) -> Price:
    return Price(base=Decimal(handler.price_credits))


def _options(price: Price, task_input: msgspec.Struct) -> dict[str, str]:
    """The input's values that the price asks for, as they are written in JSON."""
    found = {field: getattr(task_input, field, None) for field in price.options}
    return {field: _text(value) for field, value in found.items() if value is not None}


def _text(value: object) -> str:
    plain = value.value if isinstance(value, Enum) else value
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def _guard_price(handler: Handler, price: Price) -> None:
    place = f"types.{handler.name}"
    if price.units and handler.estimate is None:
        sentence = f"{place}.units: the type does not estimate any"
        raise BadSetting(variable_of("prices_file"), sentence)
    fields = set(handler.input_type.__struct_fields__)
    for option in price.options:
        if option not in fields:
            sentence = f"{place}.options.{option}: its input has no such field"
            raise BadSetting(variable_of("prices_file"), sentence)
