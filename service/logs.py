"""Logs go to stderr: one JSON object a line for machines, or readable lines in a terminal."""

from __future__ import annotations

import logging
import os
import sys
from typing import IO, Any

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_QUIET = ("httpx", "httpcore", "uvicorn", "asyncio", "PIL", "libav", "psycopg", "psycopg.pool")
"""Libraries whose small talk is of no use to an operator; their warnings pass.

The pool tells of every connection that it lends, and the event-sourcing library hushes it whole
when it is imported; a pool in trouble is to be heard.
"""


def configure_logs(
    level: str = "info", *, readable: bool | None = None, file: IO[bytes] | None = None
) -> None:
    """Set up structlog and the standard library's logging, once a process, before the first line.

    `level` is a key of `LEVELS`; `readable` None means: if stderr is a terminal; `file` None is
    stderr. What is bound with `structlog.contextvars` (`trace_id`) stands in every line.
    """
    sink = _Sink(file if file is not None else sys.stderr.buffer)
    if readable is None:
        readable = sys.stderr.isatty()
    structlog.configure(
        processors=[*_STAMPS, *(_readable() if readable else _JSON)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(sink),  # type: ignore[arg-type]  # duck-typed
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=LEVELS[level], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))


class _Sink:
    """Swallows a broken stderr: a reader that went away must not fail the work."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, line: bytes) -> int:
        try:
            return self._file.write(line)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        try:
            self._file.flush()
        except (OSError, ValueError):
            return


class _ToStructlog(logging.Handler):
    """Lines of libraries that use `logging` come out like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        logger: FilteringBoundLogger = structlog.get_logger()
        logger.log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _render_json(_logger: object, _method: str, event: EventDict) -> bytes:
    try:
        return _encode(event)
    except (UnicodeError, ValueError, TypeError, RecursionError):
        return _encode({key: _printable(value) for key, value in event.items()})


def _printable(value: object) -> str:
    """Text without what UTF-8 cannot hold."""
    return str(value).encode(errors="backslashreplace").decode()


def _readable() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors="NO_COLOR" not in os.environ and sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,
    )

    def render(logger: Any, method: str, event: EventDict) -> bytes:  # noqa: ANN401 - structlog's
        return renderer(logger, method, event).encode(errors="backslashreplace")

    return [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), render]


_STAMPS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
]
_JSON: list[Processor] = [
    structlog.processors.format_exc_info,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    _render_json,
]
