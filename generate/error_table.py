"""`docs/errors.md`: every problem type, with its HTTP status and its exit of the command line."""

from __future__ import annotations

from service.problems import PROBLEMS, ProblemType

PATH = "docs/errors.md"
INTRODUCTION = """\
# Errors

Generated from `service/problems.py` by `make generate`.

Every error of the API is `application/problem+json` (RFC 9457). `type` leads to the problem's page,
`code` names it for programs, `errors` lists what is wrong where, `trace_id` finds it in the logs,
and `credits` says what the failed request charged and gave back: nothing, unless the outcome is
unknown (null). A task that fails gives its credits back; the task's own `credits` say so.

The command line ends with 0 if all went well, 1 if something failed, 2 for wrong usage, 3 if it was
refused, and 4 if the service is unavailable.

A request is refused for the first of these reasons that it meets: path (404) and method (405), key
(401), scope (403), media type (415), size (413), time (408), bytes of the body (400), its form
(400); then `Idempotency-Key` and `If-Match` that cannot be read (400), a key in flight (409), the
task type (400); then what the key was used for before: the first answer again, or 422. Last come
the task (404, then 412, then 409) and the account (404, 429, 402).
"""


def error_table() -> dict[str, str]:
    """The file by its path."""
    table = "\n".join(_row(entry) for entry in PROBLEMS.values())
    details = "\n".join(_section(entry) for entry in PROBLEMS.values())
    head = "| code | HTTP status | exit | title |\n| --- | --- | --- | --- |"
    return {PATH: f"{INTRODUCTION}\n{head}\n{table}\n\n{details}"}


def _row(entry: ProblemType) -> str:
    link = f"[`{entry.code}`](#{entry.code})"
    return f"| {link} | {entry.status} | {entry.exit_code} | {entry.title} |"


def _section(entry: ProblemType) -> str:
    return f"## {entry.code}\n\n{entry.title} (HTTP {entry.status}). {entry.help}\n"
