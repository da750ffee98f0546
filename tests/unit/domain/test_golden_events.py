"""QUALITY 20: what was stored once loads, folds and is told the same, for ever."""

from __future__ import annotations

import hashlib
import json

import jsonschema
import msgspec
import pytest

from adapters.mapper import EventMapper
from domain.catalogue import BY_STORED_TOPIC, EVENTS, SNAPSHOTS, stored_topic
from domain.event import Event
from generate.event_catalogue import schema_of
from tests.unit.domain.golden import FOLDER, SUMS, Json, folded, golden, load, names, topic_of

each = pytest.mark.parametrize("name", names())
newest = pytest.mark.parametrize(
    "event_type", [*EVENTS, *SNAPSHOTS], ids=lambda event_type: event_type.TOPIC
)


def test_each_version_of_each_event_has_its_golden_file() -> None:
    assert {topic_of(name) for name in names()} == set(BY_STORED_TOPIC)
    assert set(BY_STORED_TOPIC) <= set(names())
    versions = sum(event_type.VERSION for event_type in (*EVENTS, *SNAPSHOTS))
    assert len(BY_STORED_TOPIC) == versions


def test_no_golden_file_was_changed_removed_or_left_out_of_the_sums() -> None:
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.json")
    }
    listed = dict(line.split()[::-1] for line in SUMS.read_text().splitlines())
    assert sums == listed


@each
def test_a_golden_event_loads_and_folds_as_it_always_did(name: str) -> None:
    """Fields that a later version adds to the state are free; those there were are not."""
    told = folded([*map(load, golden(name).given), load(name)])
    then = golden(name).folded
    assert _restricted(told, then) == then


def _restricted(now: Json, then: Json) -> Json:
    """`now` without the fields that `then` does not know."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: _restricted(now[key], then[key]) for key in then if key in now}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [_restricted(one, old) for one, old in zip(now, then, strict=True)]
    return now


@each
def test_the_newest_version_is_still_written_as_it_was(name: str) -> None:
    """Another stored form without another version would not be readable by what runs beside it."""
    event_type, version = BY_STORED_TOPIC[topic_of(name)]
    topic, state = EventMapper().encode(load(name))
    assert topic == stored_topic(event_type)
    if version == event_type.VERSION:
        assert json.loads(state) == msgspec.json.decode(golden(name).stored)


@newest
def test_the_published_schema_describes_the_golden_event(event_type: type) -> None:
    schema = schema_of(event_type)
    stored = msgspec.json.decode(golden(stored_topic(event_type)).stored)
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    validator.check_schema(schema)
    validator.validate(stored)
    for required in schema["$defs"][event_type.__name__]["required"]:
        without = {key: value for key, value in stored.items() if key != required}
        assert not validator.is_valid(without), required


@newest
def test_every_optional_field_has_a_golden_event(event_type: type[Event]) -> None:
    """So that a renamed or dropped one is noticed too; later fields have files of their own."""
    of_this = [name for name in names() if topic_of(name) == stored_topic(event_type)]
    stored = [set(msgspec.json.decode(golden(name).stored)) for name in of_this]
    assert set().union(*stored) == set(event_type.__struct_fields__)
