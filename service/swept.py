"""What one sweep over what is due came to: how much, and whether there is more to be done."""

from __future__ import annotations

import msgspec


class Swept(msgspec.Struct, frozen=True):
    """`more`: it ended at its limit, so that the next one has something to do at once."""

    count: int
    more: bool
