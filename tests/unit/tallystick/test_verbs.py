"""The two clients offer the same verbs, under the same names, arguments and words."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getdoc, iscoroutinefunction, signature

import pytest

from tallystick.client import AsyncClient, Client
from tallystick.verbs import Verbs

DECLARED = sorted(name for name in vars(Verbs) if not name.startswith("_"))


def verbs_of(client: type) -> set[str]:
    return {name for name in vars(client) if not name.startswith("_")} - {"close", "aclose"}


def test_both_clients_have_all_verbs() -> None:
    assert verbs_of(Client) == verbs_of(AsyncClient) > set(DECLARED)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("name", DECLARED)
def test_a_verb_shows_its_arguments_and_its_words(client: type, name: str) -> None:
    verb, declared = getattr(client, name), getattr(Verbs, name)
    assert list(signature(verb).parameters.values()) == list(
        signature(declared).parameters.values()
    )
    assert getdoc(verb) == getdoc(declared)
    assert getdoc(verb)


@pytest.mark.parametrize("name", DECLARED)
def test_what_is_awaited_is_what_is_no_list(name: str) -> None:
    listed = signature(getattr(Verbs, name)).return_annotation.startswith("Listed")
    assert iscoroutinefunction(getattr(AsyncClient, name)) is not listed
    assert not iscoroutinefunction(getattr(Client, name))


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        (Client.submit, "Task"),
        (AsyncClient.submit, "Task"),
        (Client.statement, "Iterator[StatementLine]"),
        (AsyncClient.statement, "AsyncIterator[StatementLine]"),
    ],
)
def test_a_verb_shows_what_it_answers(verb: Callable[..., object], answer: str) -> None:
    assert signature(verb).return_annotation == answer
