"""Same content, same key; anything that a result depends on makes another one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from service.content_key import content_key
from service.handlers.generate_thumbnail import GenerateThumbnailInput, generate_thumbnail
from service.handlers.media_extraction import MediaExtractionInput, media_extraction
from tallystick.handler import Context, Handler, handler

ADA, BOB = UUID(int=1), UUID(int=2)


class Ask(msgspec.Struct, frozen=True):
    word: str = "hello"
    options: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True):
    word: str = ""


def echo(name: str = "echo", **options: Any) -> Handler:
    @handler(name, price_credits=1, **{"cache_seconds": 60, **options})
    async def function(ask: Ask, context: Context) -> Reply:
        return Reply(ask.word)

    return function


def key(sent: str, made: Handler | None = None, account: UUID = ADA) -> str | None:
    made = made or echo()
    return content_key(made, account, msgspec.json.decode(sent, type=made.input_type))


def test_a_key_is_a_digest() -> None:
    found = key("{}")
    assert found is not None
    assert len(bytes.fromhex(found)) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{}", '{"word": "hello"}'),
        ('{"word":"\\u0061"}', ' {"word" : "a"}'),
        ('{"options":{"b":1,"a":{"d":1,"c":2}}}', '{"options":{"a":{"c":2,"d":1},"b":1}}'),
        ('{"word":"a","stranger":1}', '{"word":"a"}'),
    ],
)
def test_spelling_order_and_defaults_make_no_difference(one: str, other: str) -> None:
    assert key(one) == key(other)


def test_whatever_a_result_depends_on_makes_another_key() -> None:
    keys = [
        key("{}"),
        key('{"word":"b"}'),
        key('{"options":{"a":1}}'),
        key("{}", account=BOB),
        key("{}", echo("shout")),
        key("{}", echo(cache_version=2)),
        key("{}", echo(cache_scope="everyone")),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_everyone_shares_a_key_where_the_type_says_so() -> None:
    shared = echo(cache_scope="everyone")
    assert key("{}", shared, ADA) == key("{}", shared, BOB)


def test_a_key_of_the_types_own_says_what_counts() -> None:
    lax = echo(cache_key=lambda ask: ask.word.lower())
    assert key('{"word":"HELLO"}', lax) == key('{"options":{"a":1}}', lax)
    assert key('{"word":"bye"}', lax) != key("{}", lax)


def test_a_key_cannot_pass_for_anothers() -> None:
    """The parts of what is digested cannot run into each other."""
    sly = echo(cache_key=lambda _: '","x\n[1,"echo"')
    assert key("{}", sly) != key("{}", echo('echo","x', cache_key=lambda _: '[1,"echo"'))


def test_nothing_is_kept_where_the_type_keeps_nothing() -> None:
    assert key("{}", echo(cache_seconds=None)) is None
    assert key("{}", echo(cache_key=lambda _: None)) is None


def boom(_: Ask) -> str:
    raise ZeroDivisionError


@pytest.mark.parametrize("broken", [boom, lambda _: 17], ids=["raises", "no text"])
def test_a_broken_key_costs_the_reuse_and_not_the_task(broken: Any) -> None:
    with capture_logs() as logs:
        assert key("{}", echo(cache_key=broken)) is None
    assert [line["event"] for line in logs] == ["cache_key.failed"]


def test_a_key_may_hold_any_text() -> None:
    assert key("{}", echo(cache_key=lambda _: "\ud800\x00")) is not None


def test_media_from_a_url_is_kept_and_an_upload_is_not() -> None:
    url = "https://example.com/clip.mp4"
    extraction = MediaExtractionInput(url=url)
    assert content_key(media_extraction, ADA, extraction) is not None
    assert content_key(media_extraction, ADA, MediaExtractionInput(upload="clip.mp4")) is None
    early = GenerateThumbnailInput(url=url, at_seconds=1.0)
    late = GenerateThumbnailInput(url=url, at_seconds=2.0)
    assert content_key(generate_thumbnail, ADA, early) != content_key(generate_thumbnail, ADA, late)
    upload = GenerateThumbnailInput(upload="clip.mp4")
    assert content_key(generate_thumbnail, ADA, upload) is None
