"""One request on its way through a route, and what all requests of a process share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from litestar.types import Receive

from adapters.api_keys import ApiKey
from adapters.decision import Committed, KeyRecord, States
from domain.balance import Balance
from domain.errors import KeyReused
from domain.ledger_state import CreditLedger, day_of
from service.bootstrap import Service
from service.command import Once, Origin
from service.http.answer import Answer, Headers, bytes_answer
from service.http.authentication import actor_of
from service.http.body import Bodies
from service.http.cursors import Cursors
from service.http.estimates import Estimates
from service.http.idempotency import InFlight, fingerprint_of, idempotency_key, scoped
from service.http.metrics import Metrics
from service.http.owners import Owners
from service.http.preferences import wait_seconds
from service.http.rate_limit import task_limit_headers
from service.http.streams import Streams
from service.http.trace import Trace, trace_of
from service.http.waiters import Waiters
from service.identifiers import Prefix, parse_id

REPLAYED = (b"idempotent-replayed", b"true")


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes of one process work with."""

    service: Service
    stop: asyncio.Event
    bodies: Bodies
    waiters: Waiters
    estimates: Estimates
    cursors: Cursors
    owners: Owners
    streams: Streams
    metrics: Metrics
    in_flight: InFlight
    openapi: Callable[[], bytes]
    """Makes the document when it is first asked for, which takes longer than a start should."""


class Reply(NamedTuple):
    """What is kept of an answer for its idempotency key, and what it is made of."""

    status: int
    body: bytes
    location: str | None = None
    replayed: bool = False

    def answer(self, *more: tuple[bytes, bytes]) -> Answer:
        headers: Headers = [(b"cache-control", b"no-store"), *more]
        if self.location is not None:
            headers.append((b"location", self.location.encode()))
        if self.replayed:
            headers.append(REPLAYED)
        return bytes_answer(self.body, self.status, headers)


class Call:
    """A request: `key` and `body` are set when the route has checked them."""

    __slots__ = ("body", "front", "headers", "key", "left", "method", "parameters", "path",
                 "receive", "template", "trace")  # fmt: skip

    def __init__(
        self, front: Front, scope: Mapping[str, Any], receive: Receive, template: str
    ) -> None:
        self.front = front
        self.receive = receive
        self.template = template
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.parameters: Mapping[str, str] = scope["path_params"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.trace: Trace = trace_of(self.headers.get(b"traceparent"))
        self.key: ApiKey = None  # type: ignore[assignment]
        self.body = b""
        self.left: Headers = []
        """What the account has left of its limits after the request's command."""

    @property
    def service(self) -> Service:
        return self.front.service

    @property
    def is_user(self) -> bool:
        return self.key.account_id is not None

    @property
    def account_id(self) -> UUID:
        """The account that the key acts for; only on routes for users."""
        assert self.key.account_id is not None, "the route is for users"
        return self.key.account_id

    @property
    def principal(self) -> bytes:
        """Whose idempotency keys and cursors these are: an account's, or another key's own."""
        return (self.key.account_id or self.key.id).bytes

    @property
    def origin(self) -> Origin:
        return Origin(actor=actor_of(self.key), trace_id=self.trace.trace_id)

    @property
    def wait_seconds(self) -> int:
        """What `Prefer: wait` asks for, within its limit."""
        prefer = self.headers.get(b"prefer")
        return wait_seconds(prefer, self.service.settings.prefer_wait_seconds_max)

    def id(self, prefix: Prefix, name: str = "id") -> UUID:
        """An id out of the path. Raises `NotFound`."""
        return parse_id(prefix, self.parameters[name])

    @property
    def idempotency_key(self) -> bytes | None:
        """The request's key, told from all others'. Raises `InvalidHeader`."""
        key = idempotency_key(self.headers.get(b"idempotency-key"))
        return None if key is None else scoped(self.principal, self.method, self.path, key)

    async def once(
        self,
        command: Callable[[Once | None], Awaitable[Committed]],
        reply: Callable[[States], Reply],
        *,
        referenced: bool = False,
    ) -> Reply:
        """Carry out a command, once if the request has an idempotency key.

        `reply(states)` is what is told of it, now and to those who send it again. One that is
        `referenced` bears a reference of its own: if it writes nothing, it was done before. Raises
        `KeyInFlight`, `KeyReused`, and what the command raises, which is not kept.
        """
        key = self.idempotency_key
        if key is None:
            committed = await command(None)
            return self._told(committed, reply, referenced=referenced)
        fingerprint = fingerprint_of(self.body)

        def record(states: States) -> KeyRecord:
            status, body, location, _ = reply(states)
            return KeyRecord(
                key=key, fingerprint=fingerprint, status=status, body=body, location=location
            )

        with self.front.in_flight.only(key):
            committed = await command(Once(key=key, fingerprint=fingerprint, answer=record))
        if committed.replayed is None:
            return self._told(committed, reply, referenced=referenced)
        return replay(committed.replayed, fingerprint)

    def _told(
        self, committed: Committed, reply: Callable[[States], Reply], *, referenced: bool
    ) -> Reply:
        self._note_limits(committed.states)
        told = reply(committed.states)
        return told._replace(replayed=True) if referenced and not committed.events else told

    def _note_limits(self, states: States) -> None:
        ledger = states.get(self.account_id) if self.is_user else None
        if type(ledger) is CreditLedger:
            at = self.service.clock.now()
            _, today = day_of(ledger, at)
            self.note_limits(ledger.balance, today, at)

    def note_limits(self, balance: Balance, today: int, at: datetime) -> None:
        """Have the answer tell what is left of the plan's limits."""
        plan = self.service.plans.known(balance.plan)
        if plan is not None:
            self.left = task_limit_headers(plan, active=balance.active, today=today, at=at)


def replay(first: KeyRecord, fingerprint: bytes) -> Reply:
    """The first answer again. Raises `KeyReused` when the request was another one."""
    if first.fingerprint != fingerprint:
        raise KeyReused
    return Reply(first.status, first.body, first.location, replayed=True)
