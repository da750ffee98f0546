"""The process in which a media file is read: one request on standard input, one answer on output.

FFmpeg is a million lines of C, and the file is a stranger's. What it can do to this process (crash
it, hang it, exhaust it) ends here: the worker's other tasks are in another one.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback

import msgspec

from adapters.media_request import MediaAnswer, MediaCall, MediaLimits
from tallystick.handler import TaskFailure

DETAIL_LENGTH_MAX = 4_000
KILL_SECONDS = 5
"""Between the signal that ends a process out of processor time, and the one it cannot refuse."""


def main() -> None:
    """Answer the one request; the exit code is 0 whenever there is an answer."""
    call = msgspec.json.decode(sys.stdin.buffer.read(), type=MediaCall)
    _limit(call.limits)
    sys.stdout.buffer.write(msgspec.json.encode(_answer(call)))


def _answer(call: MediaCall) -> MediaAnswer:
    try:
        return MediaAnswer(result=msgspec.Raw(msgspec.json.encode(call.request.perform())))
    except TaskFailure as failure:
        return MediaAnswer(
            failure_type=failure.type, message=failure.message, detail=_detail(failure)
        )


def _limit(limits: MediaLimits) -> None:
    """Bound this process. Going past the processor or the wall clock kills it."""
    _bound(resource.RLIMIT_AS, limits.memory_bytes)
    _bound(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + KILL_SECONDS)
    _bound(resource.RLIMIT_FSIZE, limits.file_bytes)
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_NOFILE, 64)
    # Whoever started this process may be gone: it ends by itself.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    os.nice(5)


def _bound(kind: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit, never past what is already enforced."""
    _, enforced = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if enforced != resource.RLIM_INFINITY:
        soft, hard = min(soft, enforced), min(hard, enforced)
    resource.setrlimit(kind, (soft, hard))


def _detail(failure: TaskFailure) -> str:
    return "".join(traceback.format_exception(failure))[-DETAIL_LENGTH_MAX:]


if __name__ == "__main__":
    main()
