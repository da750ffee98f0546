"""An account as its operator sees it, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from tests.integration.http.api import Api

Document = dict[str, Any]
WHY = {"reason": "because"}


class Books:
    """An account as its operator sees it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.path = f"/v1/accounts/{api.account_id}"

    async def post(self, verb: str, body: Document | None = None, **headers: str) -> httpx.Response:
        return await self.api.post(f"{self.path}/{verb}", WHY | (body or {}), "admin", **headers)

    async def done(self, verb: str, body: Document | None = None) -> Document:
        answer = await self.post(verb, body)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def refused(self, verb: str, body: Document | None = None) -> tuple[int, str]:
        answer = await self.post(verb, body)
        return answer.status_code, answer.json()["code"]

    async def items(self, what: str) -> list[Document]:
        answer = await self.api.get(f"{self.path}/{what}", "admin")
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]  # type: ignore[no-any-return]

    async def hold(self, amount: int) -> str:
        return str((await self.done("holds", {"amount": amount}))["id"])

    async def captured(self, amount: int) -> str:
        hold_id = await self.hold(amount)
        await self.done(f"holds/{hold_id}/capture")
        return hold_id

    async def completed_task(self) -> Document:
        """Submitted by the account's user, and charged."""
        task = await self.api.submit()
        [claimed] = await self.api.claim()
        await self.api.work(task["id"], "complete", claimed["token"], result={"n": 2})
        return task
