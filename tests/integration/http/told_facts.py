"""What the log has of a task and of an account, to be compared with what a stream told."""

from __future__ import annotations

from domain.reference import ReferenceUsed
from service.identifiers import parse_id
from tests.integration.http.api import Api


async def log_of(api: Api, task_id: str) -> list[tuple[int, str]]:
    facts = await api.service.log.stream(parse_id("task", task_id))
    return [(fact.position, fact.event.TOPIC) for fact in facts]


async def log_of_account(api: Api, *, after: int = 0) -> list[tuple[int, str]]:
    """All facts of the tests' one busy account, by looking at every fact there is.

    But for the memory of references, which has streams of its own and is told to nobody.
    """
    mine, told = {api.account}, []
    for fact in await api.service.log.read(after=0, limit=100_000):
        if isinstance(fact.event, ReferenceUsed):
            continue
        if getattr(fact.event, "account_id", None) == api.account:
            mine.add(fact.event.originator_id)
        if fact.event.originator_id in mine and fact.position > after:
            told.append((fact.position, fact.event.TOPIC))
    return told
