"""Each refusal and fault by its code: the one table for HTTP, the command line and the docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from domain.errors import TallystickError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_UNAVAILABLE = range(5)


class ProblemType(msgspec.Struct, frozen=True):
    """`status` is HTTP's, `exit_code` the command line's, `help` what the docs say about it."""

    code: str
    status: int
    exit_code: int
    title: str
    help: str


_TABLE = (
    # What was sent cannot be read, or not be taken as it is.
    ProblemType(
        "malformed_request",
        400,
        EXIT_USAGE,
        "The request is malformed",
        "The body is no valid JSON document in UTF-8, is nested too deeply, or holds what cannot be"
        " stored: NUL characters, lone surrogates, integers of more than 63 bits; or a header"
        " cannot be read. `detail` says which.",
    ),
    ProblemType(
        "invalid_input",
        400,
        EXIT_USAGE,
        "The input is invalid",
        "A value is missing, of the wrong type or out of its bounds. `errors` lists each, with a"
        " JSON pointer into the body, or the name of the query parameter or header.",
    ),
    ProblemType(
        "unknown_task_type",
        400,
        EXIT_USAGE,
        "The task type is unknown",
        "No task type of that name is registered here. `GET /v1/task-types` lists those that are.",
    ),
    ProblemType(
        "invalid_cursor",
        400,
        EXIT_USAGE,
        "The cursor is invalid",
        "The cursor was changed, belongs to somebody else, or was given for another filter. Begin"
        " again without a cursor.",
    ),
    # Who is asking.
    ProblemType(
        "unauthenticated",
        401,
        EXIT_REFUSED,
        "Authentication is needed",
        "Send `Authorization: Bearer tsk_…` with an API key that is neither expired nor revoked.",
    ),
    ProblemType(
        "forbidden",
        403,
        EXIT_REFUSED,
        "The API key does not allow this",
        "The key is good, but of another scope than this route needs (user, worker or admin).",
    ),
    # Money and limits.
    ProblemType(
        "insufficient_credits",
        402,
        EXIT_REFUSED,
        "There are not enough credits",
        "`required` credits are needed and `available` are there. Nothing was held.",
    ),
    ProblemType(
        "limit_reached",
        429,
        EXIT_REFUSED,
        "A limit of the plan is reached",
        "`limit` names it, `maximum` is its value; `Retry-After` says when trying again can "
        "help; without one, something has to be ended or taken away first.",
    ),
    ProblemType(
        "storage_full",
        409,
        EXIT_REFUSED,
        "The account stores as much as its plan allows",
        "`stored_bytes` of the plan's `stored_bytes_max` are in use, and the task would store more."
        " Nothing was held. `GET /v1/account` shows how much that is, a task of type `update_quota`"
        " counts it anew.",
    ),
    ProblemType(
        "operators_only",
        403,
        EXIT_REFUSED,
        "The task type is for the operator",
        "It works on what is left over of all accounts: only an account whose plan is an"
        " `operator`'s may submit it.",
    ),
    ProblemType(
        "too_many_streams",
        429,
        EXIT_REFUSED,
        "Too many streams are open",
        "The key has `maximum` live streams open. Close one, or ask again after `Retry-After`.",
    ),
    # What is there, and in which state.
    ProblemType(
        "not_found",
        404,
        EXIT_REFUSED,
        "There is no such thing",
        "Nothing of that id or path exists, or it is not yours: both are told alike.",
    ),
    ProblemType(
        "method_not_allowed",
        405,
        EXIT_USAGE,
        "The method is not allowed here",
        "`Allow` lists the methods of this path.",
    ),
    ProblemType(
        "already_exists",
        409,
        EXIT_REFUSED,
        "The id is taken",
        "Something of that id exists already; it was not changed.",
    ),
    ProblemType(
        "illegal_transition",
        409,
        EXIT_REFUSED,
        "The state does not allow this",
        "`state` is the present state, `allowed` what can be done from it. `money` says what has"
        " become of the credits of a task or group.",
    ),
    ProblemType(
        "member_of_group",
        409,
        EXIT_REFUSED,
        "The task belongs to a group",
        "Only the whole group can do that; `GET /v1/tasks/{id}` names it in `group_id`.",
    ),
    ProblemType(
        "lease_lost",
        409,
        EXIT_REFUSED,
        "The lease is lost",
        "The token is stale: the task has ended, was handed back, or another worker has it. Stop"
        " working on it.",
    ),
    ProblemType(
        "capture_exceeds_hold",
        409,
        EXIT_REFUSED,
        "The charge is larger than the hold",
        "No more can be charged than is held for the task.",
    ),
    ProblemType(
        "hold_not_found",
        409,
        EXIT_REFUSED,
        "There is no such open hold",
        "No open hold of the account has that id.",
    ),
    ProblemType(
        "hold_settled",
        409,
        EXIT_REFUSED,
        "The hold has ended",
        "A hold ends once. `state` says how: captured, released, expired, or refunded after its"
        " capture. Nothing was moved.",
    ),
    ProblemType(
        "hold_not_yours",
        409,
        EXIT_REFUSED,
        "The hold belongs to a task or a group",
        "It is settled with the end of its task or group: cancel that instead.",
    ),
    ProblemType(
        "refund_exceeds_capture",
        409,
        EXIT_REFUSED,
        "The refund is larger than what was charged",
        "`refundable` is what is left of the charge. Nothing was given back.",
    ),
    ProblemType(
        "reference_reused",
        409,
        EXIT_REFUSED,
        "The reference was used with other content",
        "Credits of this account were granted or adjusted under the same `source_ref` before, but"
        " not the same: `errors` names what differs and what it was. Nothing was changed.",
    ),
    ProblemType(
        "account_unsettled",
        409,
        EXIT_REFUSED,
        "The account is not settled",
        "An account is closed when nothing is held (`holds` are open) and nothing is owed"
        " (`available` is below zero).",
    ),
    ProblemType(
        "version_mismatch",
        412,
        EXIT_REFUSED,
        "The version is stale",
        "`If-Match` names another version than the current one (`actual`). Read again, then decide"
        " again.",
    ),
    # Idempotency.
    ProblemType(
        "idempotency_key_in_flight",
        409,
        EXIT_UNAVAILABLE,
        "The first request with this key has not ended",
        "Send the same request again after `Retry-After`.",
    ),
    ProblemType(
        "idempotency_key_reused",
        422,
        EXIT_USAGE,
        "The key was used with another body",
        "An `Idempotency-Key` stands for one request. Use a new key for a new request.",
    ),
    # The body as such.
    ProblemType(
        "request_timeout",
        408,
        EXIT_UNAVAILABLE,
        "The body did not arrive in time",
        "The whole body has to arrive within the time that `detail` names.",
    ),
    ProblemType(
        "body_too_large",
        413,
        EXIT_USAGE,
        "The body is too large",
        "`detail` names the limit in bytes.",
    ),
    ProblemType(
        "unsupported_media_type",
        415,
        EXIT_USAGE,
        "The media type is not supported",
        "Bodies are `application/json` in UTF-8, without a content encoding.",
    ),
    # Our side.
    ProblemType(
        "unavailable",
        503,
        EXIT_UNAVAILABLE,
        "The service is unavailable",
        "The database cannot be reached, or a health check fails. Nothing was written. Try again"
        " after `Retry-After`.",
    ),
    ProblemType(
        "overloaded",
        503,
        EXIT_UNAVAILABLE,
        "The service is overloaded",
        "A bounded queue is full. Nothing was written. Try again after `Retry-After`.",
    ),
    ProblemType(
        "shutting_down",
        503,
        EXIT_UNAVAILABLE,
        "This process is shutting down",
        "Nothing was written. Another process, or the next one, will answer.",
    ),
    ProblemType(
        "outcome_unknown",
        503,
        EXIT_UNAVAILABLE,
        "The outcome is not known",
        "The database was lost during the commit. What was charged is not known (null): send the"
        " same request with the same `Idempotency-Key` again, and it happens once.",
    ),
    ProblemType(
        "command_rejected",
        500,
        EXIT_FAILED,
        "The database refused the data",
        "A fault of ours: what was sent should have been refused earlier. Nothing was written.",
    ),
    ProblemType(
        "event_unreadable",
        500,
        EXIT_FAILED,
        "A fact in the log cannot be read",
        "It was altered, or written by a newer release than this process is of. Nothing was"
        " changed. The log's `event.unreadable` says which position it is at.",
    ),
    ProblemType(
        "stream_too_long",
        500,
        EXIT_FAILED,
        "The history is too long to be read at once",
        "More facts than one answer reads lie between the newest snapshot or closed period and the"
        " version asked for. Nothing was changed. Ask as of another time, or close the account's"
        " books.",
    ),
    ProblemType(
        "internal",
        500,
        EXIT_FAILED,
        "Something went wrong on our side",
        "A fault of ours. Quote `trace_id` when you report it.",
    ),
    ProblemType(
        "bad_setting",
        500,
        EXIT_USAGE,
        "A setting is wrong",
        "Said by the command line before anything is started.",
    ),
)
PROBLEMS: Mapping[str, ProblemType] = MappingProxyType({entry.code: entry for entry in _TABLE})
"""By code, in the order of the docs."""


def problem_of(error: TallystickError) -> ProblemType:
    """The row of an error's code; of its nearest ancestor's that has one."""
    for kind in type(error).__mro__:
        entry = PROBLEMS.get(getattr(kind, "code", ""))
        if entry is not None:
            return entry
    return PROBLEMS["internal"]
