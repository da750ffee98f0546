"""Quotes: what a task would cost now, and whether it would be accepted; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from adapters.decision import States
from domain import quote
from domain.aggregate import LEDGERS, Stream
from domain.event import Event, Metadata
from domain.pause_events import GateKind
from domain.quote import Quote
from service.command import Origin
from service.command_bus import CommandBus
from service.gates import Gates
from service.ownership import account_in
from service.pricing import Estimate
from service.submission import Submission
from service.task_types import TaskTypes


class Quoted(msgspec.Struct, frozen=True, kw_only=True):
    """`estimate` is the price of the work, `price` what is asked: less for a result that is there.

    `paused` are the gates behind which the task would wait.
    """

    estimate: Estimate
    price: int
    reused: bool
    quote: Quote
    paused: tuple[GateKind, ...]


class Quotes:
    """Raises what a submission raises for the request itself, and the committer's errors."""

    def __init__(self, bus: CommandBus, types: TaskTypes, gates: Gates) -> None:
        self._bus = bus
        self._types = types
        self._gates = gates

    async def quote(self, submission: Submission, *, origin: Origin) -> Quoted:
        """By the very decision of a submission, at one moment of the account's ledger."""
        account_id = submission.account_id
        handler = self._types.named(submission.type)
        task_input = self._types.read_input(submission.type, submission.input)
        submittal = await self._bus.submissions.submittal(submission)
        decided: list[Quote] = []

        def decide(states: States, meta: Metadata) -> Sequence[Event]:
            account = account_in(states, account_id)
            plan = self._bus.plans.named(account.balance.plan)
            decided[:] = [quote.quote(account, submittal.command, plan, meta, submittal.reuse)]
            return ()

        await self._bus.execute(decide, origin, streams=(Stream(LEDGERS, account_id),))
        return Quoted(
            estimate=self._bus.pricing.estimate(handler, task_input),
            price=submittal.command.credits,
            reused=submittal.reuse is not None,
            quote=decided[0],
            paused=await self._paused(submission),
        )

    async def _paused(self, submission: Submission) -> tuple[GateKind, ...]:
        provider = self._types.provider_names.get(submission.type)
        names: dict[GateKind, str | None] = {
            "type": submission.type,
            "account": submission.account_id.hex,
            "provider": provider,
        }
        gates = await self._gates.paused()
        return tuple(gate.kind for gate in gates if names[gate.kind] == gate.name)
