"""How long a remote server asks its clients to wait."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import httpx

RETRY_AFTER_SECONDS_MAX = 3600


def retry_after(response: httpx.Response) -> int | None:
    """Seconds the server asks to wait, by its own clock, at most `RETRY_AFTER_SECONDS_MAX`.

    None where it asks for nothing, or for nothing that can be read.
    """
    asked = response.headers.get("retry-after", "").strip()
    try:
        seconds = int(asked) if asked.isdigit() else _seconds_until(asked, response)
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0), RETRY_AFTER_SECONDS_MAX)


def _seconds_until(date: str, response: httpx.Response) -> int:
    answered = parsedate_to_datetime(response.headers.get("date", ""))
    return int((parsedate_to_datetime(date) - answered).total_seconds())
