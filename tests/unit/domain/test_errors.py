"""The tree of errors is what its module says, and each edge can map every code."""

from __future__ import annotations

import re

import pytest

from domain import errors
from domain.errors import AdapterError, DomainError, TallystickError

ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, TallystickError)
]


def written_tree() -> dict[str, str]:
    """Each error's parent, as the module's docstring draws them."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in str(errors.__doc__).splitlines():
        if drawn := re.match(r"^((?:[│ ] {3})*(?:[├└]── )?)([A-Z]\w+)(?:\s|$)", line):
            depth = len(drawn[1]) // 4
            path[depth:] = [drawn[2]]
            if depth:
                parents[drawn[2]] = path[depth - 1]
    return parents


def test_the_docstring_is_the_tree() -> None:
    parents = {error.__name__: error.__base__.__name__ for error in ERRORS if error.__base__}
    del parents["TallystickError"]
    assert written_tree() == parents


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_each_final_error_has_a_code_of_its_own(error: type[TallystickError]) -> None:
    if error in {TallystickError, DomainError, AdapterError}:
        assert error.code == "internal"
        return
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert [other for other in ERRORS if other.code == error.code] == [error]


def test_only_what_lies_outside_the_rules_is_transient() -> None:
    assert {error.__name__ for error in ERRORS if error.transient} == {
        "Unavailable",
        "Overloaded",
        "ShuttingDown",
    }


@pytest.mark.parametrize(("noun", "said"), [("account", "an account"), ("task", "a task")])
def test_a_refused_transition_is_told_in_words(noun: str, said: str) -> None:
    refusal = errors.IllegalTransition(noun, "hold", "frozen", ())
    assert str(refusal) == f"Cannot hold {said} that is frozen."


@pytest.mark.parametrize(("required", "said"), [(1, "1 credit is"), (2, "2 credits are")])
def test_what_is_required_is_told_in_its_number(required: int, said: str) -> None:
    refusal = errors.InsufficientCredits(required, 0)
    assert str(refusal) == f"{said} required, 0 are available."
