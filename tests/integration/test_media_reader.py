"""A media file is read in a process that may crash, hang or gorge itself, and harms no other."""

# ruff: noqa: ASYNC240 - a test may block its own loop

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters import media_reader
from adapters.media_probe import probe_media
from adapters.media_reader import MediaProcessError, MediaReader
from adapters.media_request import MediaAnswer, MediaCall, MediaLimits
from tallystick.handler import TaskFailure
from tests.integration.media_clips import CLIP, LINES, TEXT, Track, mux_subtitles


async def failure_of(reader: MediaReader, path: Path = CLIP) -> TaskFailure:
    with pytest.raises(TaskFailure) as failure:
        await reader.probe(path)
    return failure.value


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program in the place of the one that reads media."""

    def put(program: str) -> None:
        (tmp_path / "adapters").mkdir()
        (tmp_path / "adapters" / "__init__.py").touch()
        (tmp_path / "adapters" / "media_process.py").write_text(program)
        monkeypatch.syspath_prepend(str(tmp_path))

    return put


async def test_a_process_answers_what_the_function_would() -> None:
    assert await MediaReader().probe(CLIP) == probe_media(CLIP)


async def test_subtitles_and_pictures_come_back_as_files(tmp_path: Path) -> None:
    file = mux_subtitles(tmp_path / "clip.mkv", Track("subrip", LINES))
    reader = MediaReader()
    (track,) = await reader.subtitles(file, tmp_path)
    assert (tmp_path / str(track.text)).read_text() == TEXT
    made = await reader.thumbnail(
        file, tmp_path / "picture", at_seconds=1.0, width_max=64, picture_format="png"
    )
    assert made is not None
    assert (made.width, made.height) == (64, 36)
    assert (tmp_path / "picture").read_bytes().startswith(b"\x89PNG")


async def test_a_refusal_comes_back_with_its_whole_cause(tmp_path: Path) -> None:
    (tmp_path / "media").write_bytes(b"nothing")
    failure = await failure_of(MediaReader(), tmp_path / "media")
    assert failure.type == "param_error"
    assert str(tmp_path) not in failure.message
    assert isinstance(failure.__cause__, MediaProcessError)
    assert "InvalidDataError" in str(failure.__cause__)


async def test_too_much_memory_is_refused() -> None:
    failure = await failure_of(MediaReader(MediaLimits(memory_bytes=100 * 1024**2)))
    assert failure.type == "param_error"
    assert "memory" in failure.message


async def test_too_much_time_is_a_timeout(tmp_path: Path) -> None:
    reader = MediaReader(MediaLimits(seconds=0.001))
    with pytest.raises(TaskFailure) as failure:
        await reader.thumbnail(
            CLIP, tmp_path / "picture", at_seconds=5.0, width_max=640, picture_format="png"
        )
    assert failure.value.type == "timeout"


@pytest.mark.parametrize(
    ("ending", "failure_type", "retryable"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "param_error", False),
        ("os.abort()", "param_error", False),
        ("os.kill(os.getpid(), signal.SIGXCPU)", "timeout", None),
        ("os.kill(os.getpid(), signal.SIGALRM)", "timeout", None),
        ("os.kill(os.getpid(), signal.SIGKILL)", "internal", True),
        ("raise MemoryError", "internal", True),
        ("sys.exit(3)", "internal", True),
    ],
)
async def test_how_a_process_ends_is_told_apart(
    stand_in: Callable[[str], None], ending: str, failure_type: str, *, retryable: bool | None
) -> None:
    stand_in(f"import os, resource, signal, sys\nresource.setrlimit(4, (0, 0))\n{ending}\n")
    failure = await failure_of(MediaReader())
    assert (failure.type, failure.retryable) == (failure_type, retryable)
    assert isinstance(failure.__cause__, MediaProcessError)


async def test_a_process_that_floods_its_output_is_not_believed(
    stand_in: Callable[[str], None],
) -> None:
    stand_in("import sys\nfor _ in range(64): sys.stdout.write('x' * 1_000_000)\n")
    assert (await failure_of(MediaReader())).type == "internal"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "null",
        '{"result": {}}',
        '{"result": {"format": 7}}',
        '{"failure_type": "unheard_of"}',
        '{"result": ' + "[" * 100_000,
    ],
)
async def test_an_answer_out_of_form_is_not_believed(
    stand_in: Callable[[str], None], answer: str
) -> None:
    stand_in(f"print({answer!r})\n")
    assert (await failure_of(MediaReader())).type == "internal"


async def test_files_are_named_by_their_stream_and_nothing_else(
    stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    track = '{"index":0,"codec":null,"language":null,"title":null,"srt":"../../x"}'
    stand_in(f"print('{{\"result\":[{track}]}}')\n")
    with pytest.raises(TaskFailure) as failure:
        await MediaReader().subtitles(CLIP, tmp_path)
    assert failure.value.type == "internal"


async def test_a_process_that_ignores_its_limits_is_killed(
    stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("import signal\nsignal.sigwait([signal.SIGUSR1])\n")
    monkeypatch.setattr(media_reader, "START_SECONDS_MAX", 1.0)
    assert (await failure_of(MediaReader(MediaLimits(seconds=0.1)))).type == "timeout"


async def first_word(fifo: Path) -> str:
    """What somebody writes into `fifo`, once they do."""
    written = asyncio.Event()
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    asyncio.get_running_loop().add_reader(descriptor, written.set)
    try:
        await asyncio.wait_for(written.wait(), 30)
        return os.read(descriptor, 100).decode()
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def test_cancelling_kills_the_process(
    stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    fifo = tmp_path / "process"
    os.mkfifo(fifo)
    stand_in(
        "import os, signal\n"
        f"told = os.open({str(fifo)!r}, os.O_WRONLY)\n"
        "os.write(told, str(os.getpid()).encode())\n"
        "signal.sigwait([signal.SIGUSR1])\n"
    )
    reading = asyncio.create_task(MediaReader().probe(CLIP))
    process = int(await first_word(fifo))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


async def test_secrets_of_this_process_are_not_passed_on(
    stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("DATABASE_URL", "hunter2")
    stand_in("import os, sys\nsys.exit('hunter2' in str(os.environ) and 'told' or 'kept')\n")
    assert "kept" in str((await failure_of(MediaReader())).__cause__)


async def test_only_so_many_processes_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[MediaCall] = []
    most = 0

    async def answer(call: MediaCall) -> MediaAnswer:
        nonlocal most
        running.append(call)
        most = max(most, len(running))
        for _ in range(10):
            await asyncio.sleep(0)
        running.remove(call)
        return MediaAnswer(failure_type="internal")

    monkeypatch.setattr(media_reader, "_answer", answer)
    reader = MediaReader(processes_max=2)
    await asyncio.gather(*(failure_of(reader) for _ in range(6)))
    assert most == 2


async def test_no_more_is_kept_of_an_output_than_its_limit() -> None:
    pipe = asyncio.StreamReader()
    pipe.feed_data(b"x" * 500_000)
    pipe.feed_eof()
    assert await media_reader._read(pipe, 1_000) == b"x" * 1_000
    assert pipe.at_eof()


def test_a_reader_outlives_an_event_loop() -> None:
    reader = MediaReader(processes_max=1)

    async def probe_twice() -> None:
        await asyncio.gather(reader.probe(CLIP), reader.probe(CLIP))

    asyncio.run(probe_twice())
    asyncio.run(probe_twice())


async def test_a_reader_leaves_no_process_and_no_descriptor() -> None:
    reader = MediaReader()
    await reader.probe(CLIP)
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        await reader.probe(CLIP)
    assert len(list(descriptors.iterdir())) == before
