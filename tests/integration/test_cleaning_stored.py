"""What cleaning lets through, PostgreSQL stores: as text and as jsonb, and gives back the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from domain.cleaning import NUMBER_MAX, Json, clean_json, clean_text

words = st.text(st.characters(), max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(words, inner, max_size=5)
)
ON_ONE_CONNECTION = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100
)


@pytest.fixture
def connection(empty_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(empty_database, autocommit=True) as connected:
        yield connected


def stored(connection: psycopg.Connection, document: Json) -> str:
    """`document` as PostgreSQL gives it back."""
    query = "select %s::jsonb::text"
    row = connection.execute(query, [json.dumps(document, allow_nan=False)]).fetchone()
    assert row is not None
    return str(row[0])


@ON_ONE_CONNECTION
@given(document=documents)
@example(document={"a\x00": "\ud800", "b": [float("nan"), 2**70, -0.0, 1e308, 5e-324]})
def test_any_cleaned_document_is_jsonb(connection: psycopg.Connection, document: object) -> None:
    """The same document comes back, but that a whole float may be written as an integer."""
    cleaned = clean_json(document)
    back = json.loads(stored(connection, cleaned), parse_int=float)
    assert back == json.loads(json.dumps(cleaned), parse_int=float)


@pytest.mark.parametrize("number", [NUMBER_MAX, -NUMBER_MAX, 2**53 + 1, 0])
def test_integers_come_back_exact(connection: psycopg.Connection, number: int) -> None:
    assert json.loads(stored(connection, clean_json([number]))) == [number]


@ON_ONE_CONNECTION
@given(text=words)
@example(text="\x00\ud800")
def test_any_cleaned_text_is_text(connection: psycopg.Connection, text: str) -> None:
    cleaned = clean_text(text)
    row = connection.execute("select %s::text", [cleaned]).fetchone()
    assert row == (cleaned,)
