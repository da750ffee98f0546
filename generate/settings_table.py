"""`docs/settings.md`: every setting with its variable, default, bounds and meaning."""

from __future__ import annotations

from typing import get_type_hints

import msgspec

from service.settings import FILE_NAME, FILE_VARIABLE, GIB, KIB, MIB, Settings, variable_of

PATH = "docs/settings.md"
INTRODUCTION = f"""\
# Settings

Generated from `service/settings.py` by `make generate`.

A setting comes from its environment variable, else from the file `{FILE_NAME}` in the current
folder (or the file that `{FILE_VARIABLE}` names), else from its default. In the file its key is the
name in the second column. A value that does not fit is refused at the start, by name.

| variable | key in `{FILE_NAME}` | default | bounds | meaning |
| --- | --- | --- | --- | --- |
"""


def settings_table() -> dict[str, str]:
    """The file by its path."""
    hints = get_type_hints(Settings, include_extras=True)
    rows = (_row(field, hints[field].__metadata__[0]) for field in Settings.__struct_fields__)
    return {PATH: INTRODUCTION + "\n".join(rows)}


def _row(field: str, meta: msgspec.Meta) -> str:
    default = _shown(field, getattr(Settings(), field))
    bounds = "" if meta.ge is None else f"{_shown(field, meta.ge)} to {_shown(field, meta.le)}"
    cells = (f"`{variable_of(field)}`", f"`{field}`", default, bounds, meta.description)
    return f"| {' | '.join(map(str, cells))} |"


def _shown(field: str, value: object) -> str:
    match value:
        case None:
            return "unset"
        case ():
            return "none"
        case bool():
            return str(value).lower()
        case int() | float():
            return _number(field, value)
        case _:
            return f"`{value}`"


def _number(field: str, value: float) -> str:
    """Plain, so that it can be copied, with the round size of large numbers of bytes."""
    if "_bytes_" in field:
        for size, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
            if value >= size and value % size == 0:
                return f"{value} ({value // size:g} {name})"
    return str(value).removesuffix(".0")
