"""An exception of a handler becomes a failure: its type for both, its words for operators only."""

from __future__ import annotations

import pytest

from domain.errors import InvalidInput
from domain.failure import FailureType, failure
from service.attempt import failure_of
from tallystick.handler import TaskFailure

SECRETS = ("sk-live-0000", "postgres://ada:pw@10.0.0.9/db", "/srv/handlers/private.py")
SAID = " ".join(SECRETS)


class ConnectError(Exception):
    """As httpx has one."""


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """The error as a handler would raise it, with its traceback."""
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


@pytest.mark.parametrize(
    ("error", "type_"),
    [
        (RuntimeError(SAID), "unknown"),
        (RuntimeError(f"timed out at {SAID}"), "timeout"),
        (RuntimeError(f"请求过多 {SAID}"), "rate_limited"),
        (ConnectionResetError(SAID), "network"),
        (ConnectError(SAID), "network"),
        (KeyError(SAID), "internal"),
        (OSError(28, "No space left", SAID), "storage"),
        (ExceptionGroup(SAID, [TimeoutError(SAID)]), "timeout"),
    ],
    ids=repr,
)
def test_users_are_told_nothing_of_an_exception_and_operators_all(
    error: Exception, type_: FailureType
) -> None:
    made = failure_of(raised(error, ValueError(f"behind it: {SAID}")), "upload")
    assert (made.type, made.message) == (type_, failure(type_).message)
    assert not any(secret in made.message for secret in SECRETS)
    for told in (*SECRETS, "behind it: ", type(error).__name__, "Traceback"):
        assert told in made.detail
    assert (made.stage, made.retryable) == ("upload", failure(type_).retryable)


@pytest.mark.parametrize("retryable", [None, True, False])
def test_what_a_handler_states_is_taken_and_its_cause_kept_from_users(
    *, retryable: bool | None
) -> None:
    stated = TaskFailure("rate_limited", "Come back later.", retryable=retryable)
    made = failure_of(raised(stated, RuntimeError(SAID)), None)
    assert (made.type, made.message) == ("rate_limited", "Come back later.")
    assert made.retryable is (retryable is not False)
    assert SAID in made.detail


def test_an_input_that_does_not_fit_is_the_users_to_mend() -> None:
    made = failure_of(raised(InvalidInput("The input does not fit the task type.")), None)
    assert (made.type, made.message) == ("param_error", "The input does not fit the task type.")
    assert not made.retryable


def test_the_end_of_a_long_cause_is_kept() -> None:
    made = failure_of(raised(RuntimeError("x" * 50_000 + "the end")), None)
    assert made.detail.rstrip().endswith("the end")
