"""Users that submit, cancel and retry over HTTP without a pause, and remember every answer.

A request whose answer is lost, or that is refused for the moment, is sent again with its key.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx

from adapters.clock import DatabaseClock
from service.identifiers import new_id, parse_id
from tests.fault.busy_tasks import HANDLERS

USERS = 6
PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 1.0
WEIGHTS = {"quick": 50, "slow": 20, "flaky": 10, "failing": 8, "hanging": 1, "blocking": 1}
FOLLOWED_SECONDS_MAX = 60.0
"""How long a task may take before a user's patience ends, whatever has died meanwhile."""
FOR_THE_MOMENT = {503, 429}
PRICES = {handler.name: handler.price_credits for handler in HANDLERS}


class Load:
    """What the users were told: the truth that the log is held against afterwards."""

    def __init__(self, url: str, secret: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {secret}"},
            timeout=30,
            verify=False,  # noqa: S501 - nothing here is TLS, and reading authorities takes long
            trust_env=False,
        )
        self._numbers = iter(range(1, 10**9))
        self._stopping = False
        self.answers = 0
        self.lost = 0
        """Requests whose answer was lost, or that were refused for the moment."""
        self.submitted: dict[int, UUID] = {}
        self.cancelled: set[UUID] = set()
        self.retried: Counter[UUID] = Counter()
        self._sent: dict[int, tuple[dict[str, Any], str]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Users at work during the block; at its end each finishes what it is about."""
        async with self._client:
            users = [asyncio.create_task(self._user()) for _ in range(USERS)]
            try:
                yield
                self._stopping = True
                await asyncio.gather(*users)
                await self._repeat_some()
            finally:
                for user in users:
                    user.cancel()
                await asyncio.gather(*users, return_exceptions=True)
                self._users_failed(users)

    @staticmethod
    def _users_failed(users: list[asyncio.Task[None]]) -> None:
        for user in users:
            if not user.cancelled() and (error := user.exception()) is not None:
                raise error

    async def _user(self) -> None:
        while not self._stopping:
            number = next(self._numbers)
            type_ = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]  # noqa: S311
            task_id = await self._submit(number, type_)
            fate = random.random()  # noqa: S311
            if fate < 0.15:
                await self._cancel(task_id)
            elif type_ == "failing" or fate < 0.3:
                status = await self._follow(task_id)
                if status == "failed":
                    await self._retry(task_id)

    async def _submit(self, number: int, type_: str) -> str:
        body: dict[str, Any] = {"type": type_, "input": {"n": number}}
        if random.random() < 0.05:  # noqa: S311
            body["not_before"] = DatabaseClock().now().isoformat()
        key = str(new_id())
        answer = await self._surely("POST", "/v1/tasks", body, key)
        assert answer.status_code == 202, answer.text
        self._sent[number] = (body, key)
        task_id: str = answer.json()["id"]
        self.submitted[number] = parse_id("task", task_id)
        return task_id

    async def _cancel(self, task_id: str) -> None:
        answer = await self._surely("POST", f"/v1/tasks/{task_id}/cancel", {}, str(new_id()))
        assert answer.status_code in {200, 202, 409}, answer.text
        if answer.status_code != 409:
            self.cancelled.add(parse_id("task", task_id))

    async def _retry(self, task_id: str) -> None:
        answer = await self._surely("POST", f"/v1/tasks/{task_id}/retry", {}, str(new_id()))
        assert answer.status_code == 202, answer.text
        self.retried[parse_id("task", task_id)] += 1

    async def _follow(self, task_id: str) -> str:
        """The status in which the task ends."""
        async with asyncio.timeout(FOLLOWED_SECONDS_MAX):
            while True:
                answer = await self._surely("GET", f"/v1/tasks/{task_id}")
                assert answer.status_code == 200, f"an accepted task is gone: {answer.text}"
                task = answer.json()
                if task["ended_at"] is not None:
                    status: str = task["status"]
                    return status

    async def _repeat_some(self) -> None:
        """I8: the same key is answered with the same task, however often its process has died."""
        for number in random.sample(sorted(self._sent), min(20, len(self._sent))):
            answer = await self._surely("POST", "/v1/tasks", *self._sent[number])
            assert answer.headers["idempotent-replayed"] == "true"
            assert parse_id("task", answer.json()["id"]) == self.submitted[number]

    async def _surely(
        self, method: str, path: str, body: object = None, key: str | None = None
    ) -> httpx.Response:
        """Ask until there is an answer that stands."""
        headers = {"prefer": "wait=2"} if key is None else {"idempotency-key": key}
        pause = PAUSE_SECONDS
        while True:
            try:
                answer = await self._client.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                pass
            else:
                if not _passing(answer):
                    self.answers += 1
                    return answer
            self.lost += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)

    async def more(self, answers: int, enough: Callable[[], bool] = lambda: True) -> None:
        """Return when so many further answers have come, and `enough()`, asked off the loop."""
        wanted = self.answers + answers
        async with asyncio.timeout(FOLLOWED_SECONDS_MAX):
            while self.answers < wanted or not await asyncio.to_thread(enough):  # noqa: ASYNC110
                await asyncio.sleep(PAUSE_SECONDS)


def _passing(answer: httpx.Response) -> bool:
    """True for a refusal that will not stand: busy, gone for the moment, or still under way."""
    if answer.status_code in FOR_THE_MOMENT:
        return True
    return answer.status_code == 409 and answer.json()["code"] == "idempotency_key_in_flight"
