"""The form of a server-sent event: one line of data, whatever the data is."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from service.http.live_facts import frame, moved_on


class Held(msgspec.Struct):
    result: Raw


def test_an_event_has_its_id_its_name_and_its_data_on_one_line() -> None:
    written = Raw(b'{\r\n  "a":\r "b\\nc"\n}')
    text = frame("task.completed", Held(result=written), 7)
    head, data, *rest = text.decode().splitlines(keepends=True)[1:]
    assert text.startswith(b"id: 7\n")
    assert (head, rest) == ("event: task.completed\n", ["\n"])
    assert msgspec.json.decode(data.removeprefix("data: ")) == {"result": {"a": "b\nc"}}


def test_what_is_no_fact_leaves_the_last_id_alone() -> None:
    assert b"id:" not in frame("progress", {"percent": 1})


def test_moving_on_tells_an_id_and_no_event() -> None:
    assert moved_on(12).splitlines() == [b":", b"id: 12", b""]
