"""Foreign data is made storable before it is kept, so that bad data never makes a write fail.

What comes out is valid UTF-8 and valid for PostgreSQL's `text` and `jsonb`. Cleaning twice
changes nothing that cleaning once did not.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

NUMBER_MAX = 2**63 - 1
"""Largest magnitude kept: what a `bigint`, and every reader of 64-bit integers, can hold."""
DEPTH_MAX = 32
ITEMS_MAX = 10_000
TEXT_LENGTH_MAX = 100_000

_LINE_ENDING = re.compile(r"\r\n?")
# C0 but tab and newline, DEL, C1, and surrogates (a `str` never holds them in valid pairs).
_UNSTORABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean_text(value: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """`value` without control characters but tab and newline, cut to `length_max` code points.

    Carriage returns become newlines; NUL, DEL, C1 characters and lone surrogates go.
    """
    plain = str.__str__(value)  # of somebody's own kind of text too
    return _UNSTORABLE.sub("", _LINE_ENDING.sub("\n", plain))[:length_max]


def clean_number(value: int | float | None) -> int | float | None:  # noqa: PYI041 - told apart
    """`value`, or None where it is not finite or past 63 bits, whole or not.

    jsonb hands a large float back as an integer that no 64-bit reader holds. None rather than a
    string or a nearby number: the type stays the same and nothing is made up.
    """
    return value if value is not None and -NUMBER_MAX <= value <= NUMBER_MAX else None


def clean_count(value: object, most: int = NUMBER_MAX) -> int | None:
    """`value` as a whole number of 0 to `most`, cut to them; None for what is no number."""
    if not isinstance(value, int | float):
        return None
    try:
        return max(0, min(most, int(value)))
    except Exception:  # noqa: BLE001 - not finite, or somebody's own kind of number
        return None


def clean_json(
    value: object,
    *,
    depth_max: int = DEPTH_MAX,
    items_max: int = ITEMS_MAX,
    length_max: int = TEXT_LENGTH_MAX,
) -> Json:
    """`value` as JSON within bounds: never raises, whatever is in it.

    `length_max` bounds each string and key in code points, `items_max` the values in the whole
    document (later ones are dropped), `depth_max` the nesting of containers (deeper ones become
    None). Keys that are not text are dropped; of keys equal after cleaning the first stays.
    Anything that JSON cannot hold becomes None; tuples become lists.
    """
    return _Cleaning(items_max, length_max).clean(value, depth_max)


class _Cleaning:
    """One run over one document, with what is left of its budget of values."""

    def __init__(self, items_max: int, length_max: int) -> None:
        self.items_left = items_max
        self.length_max = length_max

    def clean(self, value: object, depth_left: int) -> Json:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return clean_text(value, self.length_max)
        if isinstance(value, int | float):
            return clean_number(value)
        return self.clean_container(value, depth_left) if depth_left > 0 else None

    def clean_container(self, value: object, depth_left: int) -> Json:
        if isinstance(value, dict):
            return self.clean_object(value, depth_left)
        if isinstance(value, list | tuple):
            return self.clean_array(value, depth_left)
        return None

    def clean_array(self, values: list[object] | tuple[object, ...], depth_left: int) -> list[Json]:
        cleaned: list[Json] = []
        for value in values:
            if not self.take():
                break
            cleaned.append(self.clean(value, depth_left - 1))
        return cleaned

    def clean_object(self, members: dict[object, object], depth_left: int) -> dict[str, Json]:
        cleaned: dict[str, Json] = {}
        for key, value in members.items():
            name = clean_text(key, self.length_max) if isinstance(key, str) else None
            if name is None or name in cleaned:
                continue
            if not self.take():
                break
            cleaned[name] = self.clean(value, depth_left - 1)
        return cleaned

    def take(self) -> bool:
        """Whether one more value fits the budget; takes it."""
        if self.items_left <= 0:
            return False
        self.items_left -= 1
        return True
