"""`docs/events.md`, every event with its fields, and `docs/events/*.json`, their JSON Schemas."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from domain.catalogue import EVENTS, SNAPSHOTS, stored_topic
from domain.event import Event, Metadata

PATH = "docs/events.md"
FOLDER = "docs/events"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
INTRODUCTION = """\
# The events

Generated from `domain/catalogue.py` by `make generate`.

Every fact in the log is one JSON object under a topic with a version, kept for ever. A field that
has its default is left out. New versions are added beside the old ones, which are read as the
newest: `tests/golden/` has one example of each version that was ever written. The JSON Schema of
each event's newest version is linked from its name.
"""
Schema = dict[str, Any]


def event_catalogue() -> dict[str, str]:
    """The table and the schemas by their paths."""
    schemas = {f"{FOLDER}/{stored_topic(event)}.json": _file(event) for event in _all()}
    return {PATH: "\n".join(_page()), **schemas}


def schema_of(event_type: type[Event]) -> Schema:
    """JSON Schema of the stored form of an event's newest version."""
    schema = msgspec.json.schema(event_type)
    for definition in schema["$defs"].values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return {"$schema": DIALECT, "title": stored_topic(event_type), **schema}


def _all() -> tuple[type[Event], ...]:
    return (*EVENTS, *SNAPSHOTS)


def _file(event_type: type[Event]) -> str:
    return json.dumps(schema_of(event_type), indent=2, ensure_ascii=False)


def _page() -> Iterator[str]:
    yield INTRODUCTION
    yield "| event | what happened |"
    yield "| --- | --- |"
    for event_type in _all():
        yield f"| {_link(event_type)} | {_sentence(event_type)} |"
    yield "\n## What all of them carry\n"
    yield "`originator_id` is the stream (a task or an account), `originator_version` the place in"
    yield "it, from 1 without gaps; `meta` is this:\n"
    yield inspect.cleandoc(str(Metadata.__doc__)) + "\n"
    yield from _fields(msgspec.json.schema(Metadata), Metadata, ())
    for event_type in _all():
        yield f"\n## {stored_topic(event_type)}\n"
        yield inspect.cleandoc(str(event_type.__doc__)) + "\n"
        yield from _fields(schema_of(event_type), event_type, Event.__struct_fields__)


def _link(event_type: type[Event]) -> str:
    name = stored_topic(event_type)
    return f"[`{name}`](events/{name}.json)"


def _sentence(event_type: type[Event]) -> str:
    return " ".join(inspect.cleandoc(str(event_type.__doc__)).split("\n\n")[0].split())


def _fields(schema: Schema, struct_type: type, without: tuple[str, ...]) -> Iterator[str]:
    definition = schema["$defs"][struct_type.__name__]
    own = {name: d for name, d in definition["properties"].items() if name not in without}
    if not own:
        return
    yield "| field | value | default |"
    yield "| --- | --- | --- |"
    for name, field in own.items():
        default = f"`{json.dumps(field['default'])}`" if "default" in field else "required"
        yield f"| `{name}` | {_value(field)} | {default} |"


def _value(field: Schema) -> str:
    match field:
        case {"anyOf": kinds}:
            return " or ".join(_value(kind) for kind in kinds)
        case {"enum": values}:
            return "one of " + ", ".join(f"`{value}`" for value in values)
        case {"$ref": definition}:
            return str(definition).rpartition("/")[2]
        case {"type": "array", "items": items}:
            return f"list of {_value(items)}"
        case _:
            return _plain_value(field)


def _plain_value(field: Schema) -> str:
    match field:
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"integer, {least} to {most}"
        case {"type": "string", "maxLength": longest}:
            return f"text, {field.get('minLength', 0)} to {longest} characters"
        case {"format": kind} | {"type": kind}:
            return str(kind)
        case _:
            return "any JSON"
