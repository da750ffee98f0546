"""All open streams of a process share one tail of the log, one look at progress, one at keys."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from adapters.account_log import AccountLog
from adapters.api_keys import KEYS_CHANGED
from adapters.light_progress import progress_of
from adapters.log import EventUnreadable, Recorded
from adapters.task_states import TaskStates
from domain.aggregate import TASKS
from domain.errors import Overloaded, ShuttingDown, Unavailable
from domain.event import Event
from domain.ledger_events import LedgerEvent
from domain.task_events import TaskSubmitted
from service.bootstrap import Service
from service.http.fact import Fact, Reader
from service.http.owners import Owners
from service.http.refusals import TooManyStreams
from service.http.subscription import Subscription

TAIL_EVENTS_MAX = 500
KEYS_SECONDS_MIN = 0.25
RETRY_AFTER_SECONDS = 15
"""When a stream that one key has too many of may be tried again."""
CATCH_UPS_MAX = 2
"""Windows of the log that are read at one time for streams that are behind."""
_log = structlog.get_logger(__name__)


class Streams:
    """`admit` a stream, then let it `listen`; `leave` in any case. Nothing runs while none is open.

    What `listen` gives is a clean cut: facts up to that position are in the log for the stream to
    read, those past it are offered to the stream, none is in both.
    """

    def __init__(self, service: Service, owners: Owners) -> None:
        self._service = service
        self._settings = service.settings
        self._owners = owners
        self._states = TaskStates(service.pool, service.mapper)
        self._open: set[Subscription] = set()
        self._by_task: dict[UUID, set[Subscription]] = {}
        self._by_account: dict[UUID, set[Subscription]] = {}
        self._turn = asyncio.Lock()
        self._loops: list[asyncio.Task[None]] = []
        self._tailing = False
        self._stopped = False
        self.position = 0
        self.accounts = AccountLog(service.pool, service.mapper)
        self.catching_up = asyncio.Semaphore(CATCH_UPS_MAX)

    @property
    def count(self) -> int:
        """Streams open at the moment."""
        return len(self._open)

    # Coming and going

    def admit(self, reader: Reader, key_id: UUID) -> Subscription:
        """A place for one more stream. Raises `TooManyStreams`, `Overloaded`, `ShuttingDown`."""
        settings = self._settings
        if self._stopped:
            raise ShuttingDown("No stream is begun any more.")
        of_key = sum(one.key_id == key_id for one in self._open)
        if of_key >= settings.streams_per_key_max:
            raise TooManyStreams(
                "streams_per_key_max", settings.streams_per_key_max, RETRY_AFTER_SECONDS
            )
        if self.count >= settings.streams_max:
            raise Overloaded("The room for streams", settings.streams_max)
        subscription = Subscription(reader, key_id, settings.stream_buffer_bytes_max)
        if not self._loops:
            self._start(self._watch_keys())
        self._open.add(subscription)
        return subscription

    async def listen(self, subscription: Subscription) -> int:
        """Offer it all that comes after the position that is given back. Raises `Unavailable`."""
        async with self._turn:
            if not self._tailing:
                self.position = await self._service.log.head()
                self._start(self._tail())
                self._start(self._watch_progress())
                self._tailing = True
            if subscription in self._open:
                self._places(subscription.reader).add(subscription)
            return self.position

    def _places(self, reader: Reader) -> set[Subscription]:
        if reader.task_id is not None:
            return self._by_task.setdefault(reader.task_id, set())
        assert reader.account_id is not None, "a stream is of a task or of an account"
        return self._by_account.setdefault(reader.account_id, set())

    def leave(self, subscription: Subscription) -> None:
        """Give the place back; once more changes nothing."""
        self._open.discard(subscription)
        reader = subscription.reader
        places = self._by_account if reader.task_id is None else self._by_task
        key = reader.account_id if reader.task_id is None else reader.task_id
        assert key is not None
        with suppress(KeyError):
            places[key].discard(subscription)
            if not places[key]:
                del places[key]
        if not self._open:
            self._end()

    def stop(self) -> None:
        """End all streams: the process is to end."""
        self._stopped = True
        _close(self._open)

    async def run(self) -> None:
        """For ever; leaves nothing running behind."""
        try:
            await asyncio.Event().wait()
        finally:
            loops = self._end()
            await asyncio.gather(*loops, return_exceptions=True)

    def _start(self, loop: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(loop)
        task.add_done_callback(self._tell_failure)
        self._loops.append(task)

    def _end(self) -> list[asyncio.Task[None]]:
        loops, self._loops = self._loops, []
        self._tailing = False
        for task in loops:
            task.cancel()
        return loops

    def _tell_failure(self, task: asyncio.Task[None]) -> None:
        """A loop that failed ends the streams, which may resume on a new one."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("streams.loop_failed", loop=repr(task.get_coro()), exc_info=error)
            _close(self._open)
            self._end()

    # The tail

    async def _tail(self) -> None:
        while True:
            try:
                async for batch in self._service.log.follow(self.position, limit=TAIL_EVENTS_MAX):
                    await self._pass_on(batch)
            except EventUnreadable as error:
                _log.exception("streams.unreadable", position=error.position)
                self.position = error.position
            except Unavailable as error:
                _log.warning("streams.unavailable", error=str(error))
                await asyncio.sleep(self._settings.poll_seconds)

    async def _pass_on(self, batch: list[Recorded]) -> None:
        """Offer each fact to whom it concerns; all of a batch, or none of it."""
        async with self._turn:
            accounts = await self._accounts_of(batch)
            wanted = [recorded for recorded in batch if self._concerns(recorded, accounts)]
            await self._states.prepare(wanted)
            for recorded in wanted:
                self._offer(recorded, accounts)
            self.position = batch[-1].position

    async def _accounts_of(self, batch: list[Recorded]) -> dict[UUID, UUID | None]:
        """Account of each stream of the batch; not looked up while nobody follows an account."""
        if not self._by_account:
            return {}
        for recorded in batch:
            if (account_id := _told_account(recorded.event)) is not None:
                self._owners.remember(recorded.event.originator_id, account_id)
        ids = {recorded.event.originator_id for recorded in batch}
        return await self._owners.accounts_of(ids)

    def _concerns(self, recorded: Recorded, accounts: dict[UUID, UUID | None]) -> bool:
        stream_id = recorded.event.originator_id
        return stream_id in self._by_task or accounts.get(stream_id) in self._by_account

    def _offer(self, recorded: Recorded, accounts: dict[UUID, UUID | None]) -> None:
        fact = fact_of(recorded, self._states)
        stream_id = recorded.event.originator_id
        if fact is None:
            _close(self._by_task.get(stream_id, ()))
            return
        account_id = accounts.get(stream_id)
        for subscription in self._by_task.get(stream_id, ()):
            subscription.offer(fact)
        if account_id is not None:
            for subscription in self._by_account.get(account_id, ()):
                subscription.offer(fact)

    # Progress and keys

    def _listening(self) -> Iterator[Subscription]:
        for places in (self._by_task, self._by_account):
            for subscriptions in places.values():
                yield from subscriptions

    async def _watch_progress(self) -> None:
        """Look at the light columns of all tasks that are followed and run, in one query."""
        while True:
            await asyncio.sleep(self._settings.stream_progress_seconds)
            running = {task_id for one in self._listening() for task_id in one.running}
            if not running:
                continue
            try:
                looked = await progress_of(self._service.pool, running)
            except Unavailable as error:
                _log.warning("streams.unavailable", error=str(error))
                continue
            for subscription in self._listening():
                for light in looked:
                    subscription.offer_progress(light)

    async def _watch_keys(self) -> None:
        """End the streams of keys that were revoked or have expired."""
        watch = self._service.wakeup.watch(only=KEYS_CHANGED)
        pause = max(self._settings.key_cache_seconds, KEYS_SECONDS_MIN)
        while True:
            await watch.wait(pause)
            keys = {one.key_id for one in self._open}
            try:
                ended = keys - await self._service.keys.in_force(keys)
            except Unavailable as error:
                _log.warning("streams.unavailable", error=str(error))
                continue
            _close(one for one in self._open if one.key_id in ended)


def _close(subscriptions: Iterable[Subscription]) -> None:
    for subscription in subscriptions:
        subscription.over.set()


def _told_account(event: Event) -> UUID | None:
    """The account that an event itself names as its stream's owner."""
    if isinstance(event, LedgerEvent):
        return event.originator_id
    return event.account_id if isinstance(event, TaskSubmitted) else None


def fact_of(recorded: Recorded, states: TaskStates) -> Fact | None:
    """The fact with the task after it; None where an earlier fact of the task is unreadable."""
    task = None
    if type(recorded.event) in TASKS.events:
        task = states.after(recorded.event)
        if task is None:
            _log.warning("streams.left_out", position=recorded.position)
            return None
    return Fact(recorded, task)
