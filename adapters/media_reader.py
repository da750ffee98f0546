"""Each media file is read in a process of its own, which can be killed and takes nothing along."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

import msgspec

from adapters.media_probe import MediaInfo
from adapters.media_request import (
    ExtractSubtitles,
    MakeThumbnail,
    MediaAnswer,
    MediaCall,
    MediaLimits,
    MediaRequest,
    ProbeMedia,
)
from adapters.subtitles import SubtitleTrack
from adapters.thumbnail import PictureFormat, Thumbnail
from tallystick.handler import TaskFailure

ANSWER_BYTES_MAX = 4 * 1024**2
ERRORS_BYTES_MAX = 4_000
READ_BYTES = 64 * 1024
START_SECONDS_MAX = 30.0
"""Beyond its own limit, what a process may take to start and to be noticed."""
PROCESSES_MAX = max(2, os.cpu_count() or 1)

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
_OUT_OF_TIME = frozenset({signal.SIGALRM, signal.SIGXCPU})
_KEPT_VARIABLES = (
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "PYTHONPYCACHEPREFIX", "TMPDIR"),
)

Result = TypeVar("Result")


class MediaProcessError(Exception):
    """What a media process said in its end, for operators."""


class MediaReader:
    """Reads media files within `limits`, in at most `processes_max` processes at a time.

    Its methods raise `TaskFailure`: of type param_error for a file that cannot be read, needs
    too much memory, or makes its process crash, and of type timeout for one that takes too long.
    Cancelling a call kills its process.
    """

    def __init__(
        self, limits: MediaLimits | None = None, *, processes_max: int = PROCESSES_MAX
    ) -> None:
        self._limits = limits or MediaLimits()
        self._processes_max = processes_max
        # A semaphore belongs to one event loop; a reader may outlive it.
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
        self._places = WeakKeyDictionary()

    async def probe(self, path: Path) -> MediaInfo:
        """What the file at `path` is made of; `probe_media`."""
        return await self._ask(ProbeMedia(str(path)), MediaInfo)

    async def subtitles(self, path: Path, folder: Path) -> tuple[SubtitleTrack, ...]:
        """Its subtitle streams, written to `folder` where they are text; `extract_subtitles`."""
        request = ExtractSubtitles(str(path), str(folder))
        return await self._ask(request, tuple[SubtitleTrack, ...])

    async def thumbnail(
        self,
        path: Path,
        target: Path,
        *,
        at_seconds: float | None,
        width_max: int,
        picture_format: PictureFormat,
    ) -> Thumbnail | None:
        """A picture of it at `target`, None where it holds no video; `make_thumbnail`."""
        request = MakeThumbnail(str(path), str(target), at_seconds, width_max, picture_format)
        return await self._ask(request, cast("type[Thumbnail | None]", Thumbnail | None))

    async def _ask(self, request: MediaRequest, result_type: type[Result]) -> Result:
        async with self._place():
            answer = await _answer(MediaCall(request, self._limits))
        if answer.failure_type is not None:
            cause = MediaProcessError(answer.detail)
            raise TaskFailure(answer.failure_type, answer.message) from cause
        return _decode(answer.result, result_type)

    def _place(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        return self._places.setdefault(loop, asyncio.Semaphore(self._processes_max))


async def _answer(call: MediaCall) -> MediaAnswer:
    """Run one process to its end, whatever happens to this task meanwhile."""
    process = await _start()
    try:
        async with asyncio.timeout(call.limits.seconds + START_SECONDS_MAX):
            answer, errors = await _exchange(process, msgspec.json.encode(call))
    except TimeoutError as error:
        raise TaskFailure("timeout", "Reading the file took too long.") from error
    finally:
        await _end(process)
    _refuse_exit(process.returncode or 0, errors)
    return _decode(answer, MediaAnswer)


async def _start() -> Process:
    """A process that sees this one's modules, none of its secrets, and not its terminal."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "adapters.media_process"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        start_new_session=True,
    )


async def _exchange(process: Process, call: bytes) -> tuple[bytes, bytes]:
    """Send the call; what came back on standard output and, for operators, on standard error."""
    stdin, stdout, stderr = _pipes(process)
    stdin.write(call)
    stdin.close()
    answer, errors, _ = await asyncio.gather(
        _read(stdout, ANSWER_BYTES_MAX), _read(stderr, ERRORS_BYTES_MAX), process.wait()
    )
    return answer, errors


def _pipes(
    process: Process,
) -> tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr


async def _read(pipe: asyncio.StreamReader, bytes_max: int) -> bytes:
    """The pipe's first `bytes_max` bytes, read to its end."""
    kept = bytearray()
    while chunk := await pipe.read(READ_BYTES):
        kept += chunk[: bytes_max - len(kept)]
    return bytes(kept)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await asyncio.shield(process.communicate())


def _decode(content: bytes | msgspec.Raw, content_type: type[Result]) -> Result:
    """What a process wrote, which may have been the file's idea. Raises `TaskFailure`."""
    try:
        return msgspec.json.decode(content, type=content_type)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TaskFailure("internal", "The file could not be read.", retryable=True) from error


def _refuse_exit(returncode: int, errors: bytes) -> None:
    """Raise `TaskFailure` for a process that ended without an answer."""
    if returncode == 0:
        return
    cause = MediaProcessError(f"exit {returncode}: {errors.decode('utf-8', 'replace')}")
    if -returncode in _OUT_OF_TIME:
        raise TaskFailure("timeout", "Reading the file took too long.") from cause
    if -returncode in _CRASHES:
        message = "The file is damaged in a way that makes it unreadable."
        raise TaskFailure("param_error", message, retryable=False) from cause
    raise TaskFailure("internal", "The file could not be read.", retryable=True) from cause
