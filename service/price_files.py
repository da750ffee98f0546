"""Reads price lists and plans from TOML, strictly: what does not fit is refused by its place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from domain.plan import PLANS_MAX, Plan, Plans
from domain.pricing import Price, PriceList, UnitPrice, Version
from service.settings import BadSetting, variable_of

FILE_BYTES_MAX = 1024 * 1024
_FOLDER = Path(__file__).parent
T = TypeVar("T")


class _PlanFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Version
    plans: dict[str, dict[str, Any]]


class TariffFile:
    """One file of the setting `field`; each method raises `BadSetting` with the place."""

    def __init__(self, field: str, path: Path) -> None:
        self._variable = variable_of(field)
        self._path = path

    def price_list(self) -> PriceList:
        content = self._content()
        types = content.get("types", {})
        for name, table in types.items() if isinstance(types, dict) else ():
            self._guard_parts(f"types.{name}", table)
            self.fit(f"types.{name}", table, Price)
        return self.fit("", content, PriceList)

    def _guard_parts(self, place: str, table: object) -> None:
        """Each unit and option by itself first, so that a refusal names it."""
        parts = table if isinstance(table, dict) else {}
        units, options = parts.get("units"), parts.get("options")
        for name, unit in units.items() if isinstance(units, dict) else ():
            self.fit(f"{place}.units.{name}", unit, UnitPrice)
        for name, factors in options.items() if isinstance(options, dict) else ():
            for value, factor in factors.items() if isinstance(factors, dict) else ():
                self.fit(f"{place}.options.{name}.{value}", factor, Decimal)

    def plans(self) -> Plans:
        content = self.fit("", self._content(), _PlanFile)
        if not 1 <= len(content.plans) <= PLANS_MAX:
            raise self.refusal("plans", f"must be 1 to {PLANS_MAX}")
        return Plans(content.version, [self._plan(*one) for one in content.plans.items()])

    def _plan(self, name: str, fields: Mapping[str, Any]) -> Plan:
        if "name" in fields:
            raise self.refusal(f"plans.{name}.name", "is the table's own name already")
        return self.fit(f"plans.{name}", {**fields, "name": name}, Plan)

    def fit(self, place: str, value: object, kind: type[T]) -> T:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            sentence, _, path = str(error).partition(" - at `$")
            steps = path.rstrip("`").replace("[...]", "").lstrip(".")
            where = ".".join(step for step in (place, steps) if step)
            raise self.refusal(where, sentence) from error

    def refusal(self, place: str, sentence: str) -> BadSetting:
        at = f"{place}: " if place else ""
        return BadSetting(self._variable, f"{at}{sentence} (in {self._path})")

    def _content(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            content = tomllib.loads(data.decode(), parse_float=Decimal)
        except (OSError, ValueError, ArithmeticError, RecursionError) as error:
            raise self.refusal("", f"cannot be read as TOML: {error}") from error
        if len(data) > FILE_BYTES_MAX:
            raise self.refusal("", f"is larger than {FILE_BYTES_MAX} bytes")
        return content


def load_prices(path: Path | None = None) -> PriceList:
    """The price list of a file, the shipped one without. Raises `BadSetting`."""
    return TariffFile("prices_file", path or _FOLDER / "prices.toml").price_list()


def load_plans(path: Path | None = None) -> Plans:
    """The plans of a file, the shipped ones without. Raises `BadSetting`."""
    return TariffFile("plans_file", path or _FOLDER / "plans.toml").plans()


@cache
def shipped_plans() -> Plans:
    """The plans that come with the service."""
    return load_plans()
