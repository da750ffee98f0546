"""What cannot be sent is refused before anything is sent, as one kind of error."""

from __future__ import annotations

import pytest

from tallystick import Client
from tallystick.errors import InvalidArgument

_ENDLESS: list[object] = []
_ENDLESS.append(_ENDLESS)


@pytest.mark.parametrize(
    "value", [object(), "\ud800", _ENDLESS, {(1, 2): 3}], ids=["object", "text", "deep", "key"]
)
def test_an_input_that_json_cannot_hold_is_an_invalid_argument(value: object) -> None:
    with (
        Client("http://127.0.0.1:9", "tsk_none") as client,
        pytest.raises(InvalidArgument, match="cannot be sent as JSON"),
    ):
        client.submit("echo", {"value": value})
