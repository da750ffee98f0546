"""What the exit status says: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 unavailable."""

from __future__ import annotations

from enum import IntEnum

from domain.errors import InvalidInput, TallystickError
from service.problems import PROBLEMS, problem_of
from tallystick import errors


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130


EXPECTED = (TallystickError, errors.TallystickError, OSError)
"""Errors that end a command with a sentence; any other one is a defect, and keeps its traceback."""


def sentence_of(error: Exception) -> str:
    """What happened, and what was charged or can be done where that is known."""
    match error:
        case errors.LimitReached(retry_after=float() as seconds):
            return f"{error} Try again in {seconds:g} s."
        case errors.Conflict(allowed=allowed) if allowed:
            return f"{error} From {error.state} it can: {', '.join(allowed)}."
        case errors.Unauthorized():
            return f"{error} Check TALLYSTICK_API_KEY, or make a key with `tallystick keys create`."
        case errors.Unreachable(transient=True):
            return f"{error}. Is the service running? `tallystick dev` starts it."
        case errors.WaitTimeout() | errors.GroupWaitTimeout():
            return f"{error} It goes on: `tallystick {_shown_by(error)}`."
        case _:
            return f"{str(error) or type(error).__name__}{_where_wrong(error)}"


def _where_wrong(error: Exception) -> str:
    """In brackets what does not fit in which place; the client's errors say it by themselves."""
    places = error.errors if isinstance(error, InvalidInput) else ()
    where = "; ".join(f"{place}: {what}" if place else what for place, what in places)
    return f" ({where})" if where else ""


def _shown_by(late: errors.WaitTimeout | errors.GroupWaitTimeout) -> str:
    """The command that shows what was waited for."""
    if isinstance(late, errors.WaitTimeout):
        return f"task show {late.task.id}"
    return f"group show {late.group.id}"


def exit_of(error: Exception) -> Exit:
    """The exit status of an expected error."""
    match error:
        case errors.ApiError() if error.code in PROBLEMS:
            return Exit(PROBLEMS[error.code].exit_code)
        case errors.InvalidArgument():
            return Exit.USAGE
        case (
            errors.Unavailable()
            | errors.Unreachable()
            | errors.WaitTimeout()
            | errors.GroupWaitTimeout()
        ):
            return Exit.UNAVAILABLE
        case errors.ApiError():
            return Exit.REFUSED if error.status < 500 else Exit.FAILED  # noqa: PLR2004 - HTTP's
        case TallystickError():
            return Exit(problem_of(error).exit_code)
        case _:
            return Exit.FAILED
