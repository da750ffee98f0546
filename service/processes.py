"""What a process can be: API, worker, processors or all; each runs until told to stop.

A part that fails ends the whole process with its error, for whoever supervises it to see: nothing
is started again in silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, NoReturn

import structlog
import uvloop

from adapters.embedded import EmbeddedPostgres
from adapters.idempotency_keys import delete_expired_keys
from adapters.pool import fetch
from domain.errors import AdapterError, TallystickError, Unavailable
from service.bootstrap import Service
from service.garbage import calm_garbage_collection
from service.handler_threads import await_handler_threads, handler_threads
from service.sweeps import PURGE_KEYS_MAX, sweeps_of

WATCH_SECONDS = 1.0
PURGE_SECONDS = 600.0
BACKLOG = 1_024
PORTS = 65_536
"""Above, ports would be counted from 0 again."""
UNSENT_BYTES_MAX = 128 * 1_024
"""What the system keeps of an answer that its client does not take."""
DATABASE_SECONDS = 1.0
DATABASE_SECONDS_MAX = 5.0
THREADS_SECONDS_MAX = 2.0
"""A handler's thread that goes on after its task was handed back holds up the exit no longer."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_log = structlog.get_logger(__name__)


class AddressTaken(Unavailable):
    """The API cannot listen where it should."""

    code = "address_taken"


def listen(host: str, port: int, *, tries: int = 1) -> socket.socket:
    """A listening socket on `port`, or on one of the next `tries - 1`; port 0 takes a free one.

    Raises AddressTaken.
    """
    for candidate in range(port, min(port + tries, PORTS)):
        try:
            return _listen(host, candidate)
        except OSError as error:
            last = f"{host}:{candidate}: {error.strerror}"
    raise AddressTaken(f"Cannot listen on {last}. Set TALLYSTICK_HTTP_PORT to another port.")


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Each connection has it from here: so we see what a client takes, not what is buffered.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a listener is reached from this machine."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def run_api(
    service: Service,
    stop: asyncio.Event,
    listener: socket.socket,
    *,
    ready: asyncio.Event | None = None,
) -> None:
    """Serve until `stop`; then accept no more, and let requests end within the grace time."""
    from service.http.server import Server  # noqa: PLC0415 - others start faster without it

    server = Server(service, stop, ready or asyncio.Event())

    async def serve() -> None:
        try:
            await server.serve([listener])
        except SystemExit as error:
            raise RuntimeError("the API could not start; its log says why") from error

    await _until(stop, serve(), lambda: setattr(server, "should_exit", True))


async def run_worker(service: Service, stop: asyncio.Event) -> None:
    """Work until `stop`; then claim no more, and finish or hand back what is held."""
    worker = service.worker()
    await _until(stop, worker.run(), worker.stop)


async def run_processors(service: Service, stop: asyncio.Event) -> None:
    """Keep the read models up, rescue what lapsed, forget old keys, until `stop`."""
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for projector in service.projectors():
            stack.push_async_callback(projector.close)
            group.create_task(projector.run())
        group.create_task(_watch(service, stop))
        group.create_task(_alert(service, stop))
        group.create_task(_purge(service, stop))
        await stop.wait()
        await stack.aclose()


async def run_database(service: Service, stop: asyncio.Event) -> None:
    """Bring the embedded PostgreSQL back when it was killed; nothing to do for a given one."""
    if service.settings.database_url is not None:
        await stop.wait()
        return
    server = EmbeddedPostgres(service.settings.postgres_folder)
    try:
        while not stop.is_set():
            if not await _answers(service):
                _log.error("postgres.lost")
                await asyncio.to_thread(server.start)
                _log.warning("postgres.back")
            await _pause(stop, DATABASE_SECONDS)
    finally:
        await asyncio.to_thread(server.stop)


async def _answers(service: Service) -> bool:
    try:
        async with asyncio.timeout(DATABASE_SECONDS_MAX):
            await fetch(service.pool, "SELECT", {})
    except (TimeoutError, Unavailable):
        return False
    return True


async def run_all(
    service: Service,
    stop: asyncio.Event,
    listener: socket.socket,
    *,
    ready: asyncio.Event | None = None,
) -> None:
    """Everything in one process; `ready` is set when the API serves."""
    await run_parts(
        stop,
        run_database(service, stop),
        run_api(service, stop, listener, ready=ready),
        run_worker(service, stop),
        run_processors(service, stop),
    )


async def run_parts(stop: asyncio.Event, *parts: Coroutine[Any, Any, None]) -> None:
    """Run them side by side; when one ends, for whatever reason, the others are stopped too.

    Garbage is collected less for this while. Raises the first error as it is.
    """

    async def watched(part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        finally:
            stop.set()

    tasks = [asyncio.create_task(watched(part)) for part in parts]
    try:
        with calm_garbage_collection():
            results = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
    for result in results:
        if isinstance(result, BaseException):
            raise _first(result)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _until(
    stop: asyncio.Event, work: Coroutine[Any, Any, None], end: Callable[[], object]
) -> None:
    """Carry `work` until it ends by itself or, after `stop`, by `end()`."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        stopping = group.create_task(stop.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        end()
        stopping.cancel()


async def _watch(service: Service, stop: asyncio.Event) -> None:
    """Nothing stays for ever: leases, deadlines, pauses, schedules that are due."""
    sweeps = sweeps_of(service)
    while not stop.is_set():
        pause = WATCH_SECONDS
        for sweep in sweeps:
            try:
                swept = await sweep()
            except TallystickError as error:
                _log.warning("watch.failed", sweep=sweep.name, error=str(error))
                continue
            if swept.count:
                _log.info("watch.swept", sweep=sweep.name, count=swept.count)
            if swept.more:
                pause = 0.0
        await _pause(stop, pause)


async def _alert(service: Service, stop: asyncio.Event) -> None:
    """Tell when too many tasks wait; apart from the sweeps, which no hook may hold up."""
    while not stop.is_set():
        try:
            await service.alerts.sweep()
        except TallystickError as error:
            _log.warning("alert.failed", error=str(error))
        await _pause(stop, WATCH_SECONDS)


async def _purge(service: Service, stop: asyncio.Event) -> None:
    """Forget idempotency keys that are older than they are kept."""
    days = service.settings.idempotency_days
    while not stop.is_set():
        pause = PURGE_SECONDS
        try:
            deleted = await delete_expired_keys(service.pool, days=days, limit=PURGE_KEYS_MAX)
        except AdapterError as error:
            _log.warning("purge.failed", error=str(error))
        else:
            pause = 0.0 if deleted == PURGE_KEYS_MAX else PURGE_SECONDS
        await _pause(stop, pause)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


# The process around them: its loop, its signals, its end.


@contextlib.asynccontextmanager
async def stopped_by_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT or SIGTERM sets; the second signal ends the process at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            _exit_now(128 + number)
        _log.info("process.stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def run_process(main: Callable[[], Awaitable[int]]) -> int:
    """Run `main` on uvloop to its exit status. SIGTERM during its start counts as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    async def run() -> int:
        status = await main()
        await _leave_threads(status)
        return status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(run())
        except BaseExceptionGroup as errors:
            raise _first(errors) from None


async def _leave_threads(status: int) -> None:
    """Wait for threads a little.

    Python itself would wait for some of them without a limit, and not at all for others.
    """
    ending = asyncio.ensure_future(_threads_ended())
    done, _ = await asyncio.wait([ending], timeout=THREADS_SECONDS_MAX)
    if not done or handler_threads():
        _log.warning("process.threads_left")
        _exit_now(status)


async def _threads_ended() -> None:
    await asyncio.to_thread(await_handler_threads, THREADS_SECONDS_MAX)
    await asyncio.get_running_loop().shutdown_default_executor()


def _exit_now(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
