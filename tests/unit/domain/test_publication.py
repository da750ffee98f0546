"""A version is published once, and stands for its content for ever."""

from __future__ import annotations

import pytest
from msgspec import Raw

from domain import publication
from domain.errors import AlreadyExists
from domain.publication import Publication, Publish
from tests.unit.domain.given import metadata

FIRST = b'{"version":"1","types":{"video":{"base":"0.5"}}}'


def _publish(content: bytes, before: Publication | None = None) -> Publication | None:
    command = Publish(kind="prices", name="1", content=Raw(content))
    state = before
    for event in publication.decide(before, command, metadata()):
        state = publication.evolve(state, event)
    return state


def test_the_same_content_again_is_quiet_however_it_is_written() -> None:
    first = _publish(FIRST)
    assert first is not None
    again = b'{"types": {"video": {"minimum": 0, "base": "0.50"}}, "version": "1"}'
    assert _publish(again, first) is first


@pytest.mark.parametrize(
    "content",
    [
        b'{"version":"1","types":{"video":{"base":"0.6"}}}',
        b'{"version":"1","types":{}}',
        b'{"version":"1","types":{"video":{"base":"0.5","later":1}}}',
    ],
    ids=["dearer", "gone", "unknown"],
)
def test_other_content_under_the_same_version_is_refused(content: bytes) -> None:
    first = _publish(FIRST)
    with pytest.raises(AlreadyExists, match="other content"):
        _publish(content, first)
