"""Gates: what a pause says, that it is said once, and that nonsense is refused."""

from __future__ import annotations

from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import pause
from domain.aggregate import PAUSES
from domain.errors import InvalidInput
from domain.event import NAME_LENGTH_MAX, TEXT_LENGTH_MAX
from domain.pause import Pause, PauseCommand, PauseQueue, ResumeQueue, gate_id
from domain.pause_events import GateKind
from tests.unit.domain.given import NOON, a_pause, metadata

ACCOUNT = UUID(int=7)
commands: st.SearchStrategy[type[PauseQueue | ResumeQueue]] = st.sampled_from(
    [PauseQueue, ResumeQueue]
)


@given(st.lists(commands, max_size=12))
def test_any_history_has_one_fact_a_change_and_none_for_what_is_so(
    history: list[type[PauseQueue | ResumeQueue]],
) -> None:
    state: Pause | None = None
    paused, changes = False, 0
    for kind in history:
        command: PauseCommand = kind(kind="type", name="image", reason="because")
        events = pause.decide(state, command, metadata())
        wanted = kind is PauseQueue
        assert len(events) == (1 if wanted is not paused else 0)
        for event in events:
            state = pause.evolve(state, event)
        paused, changes = wanted, changes + len(events)
        assert (state.version if state else 0) == changes
        assert (state is not None and state.status == "paused") is paused


def test_a_pause_says_who_why_and_since_when() -> None:
    state = a_pause("paused")
    assert (state.reason, state.actor, state.since) == ("maintenance", "tester", NOON)
    assert (state.kind, state.name, state.account_id) == ("type", "image", None)
    assert a_pause("open").reason == "done"


def test_the_document_of_an_accounts_pause_is_the_accounts() -> None:
    command = PauseQueue(kind="account", name=ACCOUNT.hex, reason="fraud?")
    (event,) = pause.decide(None, command, metadata())
    assert PAUSES.document is not None
    document = PAUSES.document(pause.evolve(None, event))
    assert (document.account_id, document.status) == (ACCOUNT, "paused")
    assert document.name == f"account:{ACCOUNT.hex}"


def test_no_two_gates_share_a_stream() -> None:
    names = ["a", "b", "type:a", ACCOUNT.hex]
    kinds: tuple[GateKind, ...] = get_args(GateKind)
    assert len({gate_id(kind, name) for kind in kinds for name in names}) == 12
    assert gate_id("type", "image") == UUID("45b9f823-6622-5fbf-8c4b-764476b0c903")


@pytest.mark.parametrize("kind", [PauseQueue, ResumeQueue])
@pytest.mark.parametrize(
    ("name", "reason", "pointer"),
    [
        ("", "r", "/name"),
        ("n" * (NAME_LENGTH_MAX + 1), "r", "/name"),
        ("n", "", "/reason"),
        ("n", " \t", "/reason"),
        ("n", "r" * (TEXT_LENGTH_MAX + 1), "/reason"),
    ],
)
def test_a_name_and_a_reason_must_say_something(
    kind: type[PauseQueue | ResumeQueue], name: str, reason: str, pointer: str
) -> None:
    for state in (None, a_pause("paused"), a_pause("open")):
        with pytest.raises(InvalidInput) as refusal:
            pause.decide(state, kind(kind="type", name=name, reason=reason), metadata())
        assert [at for at, _ in refusal.value.errors] == [pointer]
