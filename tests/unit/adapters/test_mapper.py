"""Whatever an event holds comes back the same from its stored bytes, or was never stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar, NoReturn
from uuid import UUID

import msgspec
import pytest
from eventsourcing.cipher import AESCipher
from eventsourcing.compressor import ZlibCompressor
from eventsourcing.persistence import MapperDeserialisationError, StoredEvent
from eventsourcing.utils import Environment
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, inspect

from adapters import mapper
from adapters.mapper import EventMapper
from domain.catalogue import BY_STORED_TOPIC, EVENTS, SNAPSHOTS, stored_topic
from domain.event import Count, Event, Metadata, Name, Upcast
from domain.ledger_events import LedgerSnapshot, PeriodClosed
from domain.task_events import TaskStarted, TaskSubmitted
from tests.unit.adapters.event_strategies import breaking, documents, events, leaves
from tests.unit.domain.golden import golden, topic_of

ALL = (*EVENTS, *SNAPSHOTS)
BIGINT_MAX = 2**63 - 1
CIPHER_KEY = AESCipher.create_key(32)
META = Metadata(
    at=datetime(2025, 3, 1, tzinfo=UTC),
    actor="tester",
    correlation_id=UUID(int=1),
    causation_id=UUID(int=2),
)
each_event = pytest.mark.parametrize("event_type", ALL, ids=lambda event_type: event_type.TOPIC)


def cipher() -> AESCipher:
    return AESCipher(Environment(env={"CIPHER_KEY": CIPHER_KEY}))


MAPPERS = {
    "plain": EventMapper(),
    "compressed": EventMapper(compressor=ZlibCompressor()),
    "encrypted": EventMapper(cipher=cipher()),
    "both": EventMapper(compressor=ZlibCompressor(), cipher=cipher()),
}
each_mapper = pytest.mark.parametrize("store", MAPPERS.values(), ids=MAPPERS.keys())


@each_event
@given(data=st.data())
@settings(max_examples=settings().max_examples // 16)
def test_any_event_comes_back_the_same(event_type: type[Event], data: st.DataObject) -> None:
    event = data.draw(events(event_type))
    for store in MAPPERS.values():
        topic, state = store.encode(event)
        assert topic == stored_topic(event_type)
        assert store.decode(topic, state) == event


@each_event
@given(data=st.data())
@settings(max_examples=10)
def test_an_event_beyond_any_of_its_bounds_is_refused(
    event_type: type[Event], data: st.DataObject
) -> None:
    event = data.draw(events(event_type))
    for path, broken in breaking(event):
        with pytest.raises((msgspec.MsgspecError, OverflowError)):
            pytest.fail(f"{path} was stored: {MAPPERS['plain'].encode(broken)!r}")


@each_event
def test_integers_fit_a_bigint_and_strings_and_times_are_bounded(event_type: type[Event]) -> None:
    for path, type_ in leaves(inspect.type_info(event_type)):
        match type_:
            case inspect.IntType(ge=ge, le=le):
                assert ge is not None, path
                assert le is not None, path
                assert -BIGINT_MAX <= ge <= le <= BIGINT_MAX, path
            case inspect.StrType(max_length=longest):
                assert longest, path
            case inspect.DateTimeType(tz=tz):
                assert tz is True, path
            case _:
                assert not isinstance(type_, inspect.AnyType | inspect.FloatType), path


@each_mapper
def test_the_librarys_stored_event_holds_the_stream_and_the_version(store: EventMapper) -> None:
    event = started()
    stored = store.to_stored_event(event)
    assert (stored.originator_id, stored.originator_version) == (event.originator_id, 7)
    assert stored.topic == "task.started.v1"
    assert store.to_domain_event(stored) == event


def test_compressor_and_cipher_are_honoured() -> None:
    event = started(worker="w" * 150)
    sizes = {name: len(store.encode(event)[1]) for name, store in MAPPERS.items()}
    assert sizes["compressed"] < sizes["plain"] < sizes["encrypted"]
    assert b"w" * 150 in MAPPERS["plain"].encode(event)[1]
    for name in ("compressed", "encrypted", "both"):
        assert b"www" not in MAPPERS[name].encode(event)[1]


@pytest.mark.parametrize("name", ["compressed", "encrypted", "both"])
def test_bytes_stored_otherwise_are_refused(name: str) -> None:
    topic, plain = MAPPERS["plain"].encode(started())
    with pytest.raises(MapperDeserialisationError, match=r"task\.started\.v1"):
        MAPPERS[name].decode(topic, plain)


def test_encrypted_bytes_that_were_touched_are_refused() -> None:
    topic, state = MAPPERS["encrypted"].encode(started())
    flipped = state[:-1] + bytes([state[-1] ^ 1])
    with pytest.raises(MapperDeserialisationError):
        MAPPERS["encrypted"].decode(topic, flipped)


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        ("task.flown.v1", b"{}"),
        ("task.started", b"{}"),
        ("task.started.v2", b"{}"),
        ("task.started.v1", b"{}"),
        ("task.started.v1", b""),
        ("task.started.v1", b"\xff"),
    ],
)
def test_what_is_no_event_is_refused_by_its_topic(topic: str, state: bytes) -> None:
    with pytest.raises(MapperDeserialisationError, match=topic.replace(".", r"\.")):
        EventMapper().decode(topic, state)
    stored = StoredEvent(originator_id=UUID(int=1), originator_version=1, topic=topic, state=state)
    with pytest.raises(MapperDeserialisationError):
        EventMapper().to_domain_event(stored)


@given(documents)
def test_documents_are_kept_to_the_byte(document: object) -> None:
    text = Raw(msgspec.json.format(msgspec.json.encode(document), indent=1))
    event = submitted(text)
    back = MAPPERS["plain"].decode(*MAPPERS["plain"].encode(event))
    assert isinstance(back, TaskSubmitted)
    assert bytes(back.input) == bytes(text)


def started(worker: str = "w") -> TaskStarted:
    return TaskStarted(
        originator_id=UUID(int=3),
        originator_version=7,
        meta=META,
        run=1,
        attempt=1,
        worker=worker,
        token=1,
    )


def submitted(document: Raw) -> TaskSubmitted:
    return TaskSubmitted(
        originator_id=UUID(int=3),
        originator_version=1,
        meta=META,
        account_id=UUID(int=4),
        type="t",
        input=document,
        hold_id=UUID(int=5),
        credits=1,
        priority=2,
        stalls_max=3,
        attempts_max=3,
        queue_seconds_max=60,
        run_seconds_max=60,
    )


# Upcasting, with a made-up event that is at its third version.


def _weight_in_grams(fields: dict[str, Raw]) -> Mapping[str, object]:
    """v1 had `kilograms`."""
    kilograms = msgspec.json.decode(fields.pop("kilograms"), type=int)
    return fields | {"grams": kilograms * 1_000}


def _sender_named(fields: dict[str, Raw]) -> Mapping[str, object]:
    """v2 had no sender."""
    return {**fields, "sender": "unknown"}


class ParcelWeighed(Event, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "parcel.weighed"
    VERSION: ClassVar[int] = 3
    UPCASTS: ClassVar[Mapping[int, Upcast]] = {1: _weight_in_grams, 2: _sender_named}

    grams: Count
    sender: Name
    label: Raw


@pytest.fixture
def parcels(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        stored_topic(ParcelWeighed, version): (ParcelWeighed, version) for version in (1, 2, 3)
    }
    monkeypatch.setattr(mapper, "BY_STORED_TOPIC", {**BY_STORED_TOPIC, **known})


HEAD = (
    '"originator_id":"00000000-0000-0000-0000-000000000003","originator_version":1,'
    f'"meta":{msgspec.json.encode(META).decode()}'
)
# Numbers that no parser here keeps: a step that does not look at them must not either.
LABEL = '{ "far": 1e400, "fine": 0.1000000000000000055511151231257827, "long": 12345678901234567890123 }'  # noqa: E501
STORED = {
    1: f'{{{HEAD},"kilograms":2,"label":{LABEL}}}',
    2: f'{{{HEAD},"grams":2000,"label":{LABEL}}}',
    3: f'{{{HEAD},"grams":2000,"sender":"Ada","label":{LABEL}}}',
}


@pytest.mark.usefixtures("parcels")
@each_mapper
@pytest.mark.parametrize(("version", "sender"), [(1, "unknown"), (2, "unknown"), (3, "Ada")])
def test_each_old_version_becomes_the_newest(store: EventMapper, version: int, sender: str) -> None:
    state = STORED[version].encode()
    if store.compressor:
        state = store.compressor.compress(state)
    if store.cipher:
        state = store.cipher.encrypt(state)
    event = EventMapper(None, store.compressor, store.cipher).decode(
        f"parcel.weighed.v{version}", state
    )
    assert event == ParcelWeighed(
        originator_id=UUID(int=3),
        originator_version=1,
        meta=META,
        grams=2_000,
        sender=sender,
        label=Raw(LABEL.encode()),
    )


@pytest.mark.usefixtures("parcels")
def test_events_are_written_in_their_newest_version() -> None:
    store = EventMapper()
    event = store.decode("parcel.weighed.v1", STORED[1].encode())
    topic, state = store.encode(event)
    assert topic == "parcel.weighed.v3"
    assert store.decode(topic, state) == event


@pytest.mark.usefixtures("parcels")
def test_an_old_version_is_held_to_the_newest_bounds() -> None:
    heavy = STORED[1].replace('"kilograms":2', '"kilograms":3000000')
    with pytest.raises(MapperDeserialisationError, match="grams"):
        EventMapper().decode("parcel.weighed.v1", heavy.encode())


def test_what_whole_ledgers_load_from_is_decoded_by_what_is_there_from_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Making one of those decoders takes longer than to load an account."""
    mapper = EventMapper()

    def made_too_late(topic: str) -> NoReturn:
        raise LookupError(topic)

    monkeypatch.setattr("adapters.mapper._decoder_of", made_too_late)
    for name in ("ledger.snapshot.v1+whole", "books.closed.v1+whole"):
        stored = bytes(golden(name).stored)
        event = mapper.decode(topic_of(name), stored)
        assert isinstance(event, LedgerSnapshot | PeriodClosed)
    with pytest.raises(MapperDeserialisationError):
        mapper.decode("credits.held.v1", b"{}")
