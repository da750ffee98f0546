"""Two tasks of one content key do the same work: the later one may take the result of the first."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

import msgspec
import structlog

from tallystick.handler import Handler

FORM = 1
"""Grows when keys are made in another way, so that no old one is taken for a new one."""
_log = structlog.get_logger(__name__)


def content_key(handler: Handler, account_id: UUID, task_input: msgspec.Struct) -> str | None:
    """SHA-256 in hex of what makes a result the same; None for what is not to be reused.

    A `cache_key` that raises, or gives no text, costs the reuse and not the task: it is logged.
    """
    if handler.cache_seconds is None:
        return None
    try:
        key = (handler.cache_key or canonical)(task_input)
        said = None if key is None else key.encode("utf-8", "surrogatepass")
    except Exception:  # noqa: BLE001 - an owner's function may raise anything
        _log.warning("cache_key.failed", type=handler.name, exc_info=True)
        return None
    if said is None:
        return None
    account = account_id if handler.cache_scope == "account" else None
    # JSON holds no newline, so that no key can pass for another type's or account's.
    scope = msgspec.json.encode((FORM, handler.name, handler.cache_version, account))
    return sha256(scope + b"\n" + said).hexdigest()


def canonical(task_input: msgspec.Struct) -> str:
    """The decoded input as JSON: defaults filled in, members sorted, spelled in one way."""
    return msgspec.json.encode(task_input, order="sorted").decode()
