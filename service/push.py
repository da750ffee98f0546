"""Runs tasks on endpoints of others: sends each attempt, signed, and reads the answer's meaning.

The lease is the worker's while the delivery is under way. An endpoint that accepts has it until the
attempt's time is up, and ends the attempt by the worker verbs, fenced by the token it was sent.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta
from typing import Any, Protocol, assert_never

import msgspec
import structlog
from msgspec import Raw, UnsetType

from adapters.queue import Heartbeat, Leases
from adapters.signed_delivery import (
    Answered,
    DeliveryLimits,
    Message,
    SignedDelivery,
    Unanswered,
)
from adapters.signing_secret import SigningSecrets
from domain.classification import classify_status
from domain.cleaning import DEPTH_MAX, clean_json
from domain.errors import InvalidInput, Unavailable
from domain.task import Task
from service.attempt import RESULT_BYTES_MAX, clean_result
from service.http.raw_json import mended_json
from service.http.refusals import MalformedRequest
from service.identifiers import public_id
from tallystick.handler import FailureType, Handler, TaskFailure
from tallystick.push import Delivery, PushedTask

ANSWER_BYTES_MAX = 2 * RESULT_BYTES_MAX
"""Escapes and spaces may make a result longer on its way than it is where it is kept."""
EXCERPT_BYTES_MAX = 500
RENEW_PAUSE_SECONDS = 0.2
RENEW_PAUSE_SECONDS_MAX = 5.0
OK = 200
SERVER_ERRORS = range(500, 600)
TRANSIENT_CLIENT_ERRORS = frozenset({408, 425, 429})
_log = structlog.get_logger(__name__)


class Clock(Protocol):
    def now(self) -> datetime: ...


class UnusableAnswer(Exception):
    """What an endpoint answered, for operators."""


class _Result(msgspec.Struct, frozen=True):
    result: Raw | UnsetType = msgspec.UNSET


def secret_name(type_name: str) -> str:
    """Name under which the signing secret of a push type is kept."""
    return f"push:{type_name}"


class Push:
    """`(handler, task)` sends one attempt to the handler's endpoint."""

    def __init__(
        self, deliver: SignedDelivery, signing: SigningSecrets, leases: Leases, clock: Clock
    ) -> None:
        self._deliver = deliver
        self._signing = signing
        self._leases = leases
        self._clock = clock

    async def __call__(self, handler: Handler, task: Task) -> Raw | None:
        """The result in the answer, cleaned; None when the endpoint goes on by itself.

        Then the lease holds until the attempt's time is up. Raises `TaskFailure` for every other
        outcome, and `Unavailable` when the secret cannot be read.
        """
        assert handler.endpoint is not None
        secret = await self._signing.get(secret_name(handler.name))
        at = self._clock.now()
        until = at + timedelta(seconds=handler.attempt_seconds_max)
        limits = DeliveryLimits(
            total_seconds=min(handler.delivery_seconds_max, handler.attempt_seconds_max),
            answer_bytes_max=ANSWER_BYTES_MAX,
        )
        answer = await self._deliver(
            handler.endpoint, _message(handler, task, at, until), secret.all, limits=limits
        )
        match answer:
            case Unanswered():
                raise _unanswered(answer) from UnusableAnswer(answer.detail)
            case Answered():
                result = _result(handler, answer)
            case _:
                assert_never(answer)
        if result is None:
            await self._hand_over(task, until)
        return result

    async def _hand_over(self, task: Task, until: datetime) -> None:
        """Prolong the lease, through the database's faults, for as long as this worker holds it.

        A lease that is lost was ended by the endpoint already, or belongs to another attempt.
        """
        beat = Heartbeat(task_id=task.id, token=task.token)
        pause = RENEW_PAUSE_SECONDS
        while True:
            seconds = max(0.0, (until - self._clock.now()).total_seconds())
            try:
                await self._leases.renew([beat], seconds=seconds)
            except Unavailable as error:
                _log.warning("push.delayed", task_id=str(task.id), error=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, RENEW_PAUSE_SECONDS_MAX)
            else:
                return


def _message(handler: Handler, task: Task, at: datetime, until: datetime) -> Message:
    task_id = public_id("task", task.id)
    data = PushedTask(
        id=task_id,
        type=task.type,
        account_id=public_id("acct", task.account_id),
        input=task.input,
        token=task.token,
        run=task.run,
        attempt=task.attempt,
        lease_until=until,
        attempt_seconds_max=handler.attempt_seconds_max,
        path=f"/v1/worker/tasks/{task_id}",
    )
    body = msgspec.json.encode(Delivery(type="task.run", timestamp=at, data=data))
    # The token is another one in each attempt, so the id is this attempt's, however often sent.
    return Message(
        id=f"{task_id}_{task.token}", at=at, body=body, traceparent=_traceparent(task.trace_id)
    )


def _traceparent(trace_id: str | None) -> str | None:
    """Our span, with which the endpoint joins the trace of the request that opened the run."""
    return f"00-{trace_id}-{secrets.token_hex(8)}-01" if trace_id else None


def _result(handler: Handler, answer: Answered) -> Raw | None:
    """The result, None for an acceptance. Raises `TaskFailure`."""
    if not answer.accepted:
        raise _failed(answer) from UnusableAnswer(_excerpt(answer))
    if answer.status != OK or not answer.body.strip():
        return None
    if not answer.whole:
        raise _unusable("its answer is too large") from UnusableAnswer(_excerpt(answer))
    try:
        found = msgspec.json.decode(mended_json(answer.body, DEPTH_MAX), type=_Result).result
        if isinstance(found, UnsetType):
            return None
        cleaned: Any = clean_json(msgspec.json.decode(found))
        fitting = msgspec.convert(cleaned, handler.output_type)
    except (msgspec.DecodeError, MalformedRequest, InvalidInput, UnicodeError) as error:
        raise _unusable("its answer is not of the form agreed") from error
    return clean_result(handler, fitting)


def _failed(answer: Answered) -> TaskFailure:
    """An answer that is no 2xx, by its status; what may pass is tried again."""
    status = answer.status
    type_: FailureType = classify_status(status) or "internal"
    return TaskFailure(
        type_,
        f"The service that carries out this task answered with an error ({status}).",
        retryable=status in TRANSIENT_CLIENT_ERRORS or status in SERVER_ERRORS,
        retry_after_seconds=answer.retry_after_seconds,
    )


def _unanswered(answer: Unanswered) -> TaskFailure:
    match answer.reason:
        case "refused" | "certificate":
            message = "The service that carries out this task is not set up rightly."
            return TaskFailure("internal", message, retryable=False)
        case "timeout":
            message = "The service that carries out this task did not answer in time."
            return TaskFailure("timeout", message)
        case "broken":
            message = "The service that carries out this task could not be reached, or broke off."
            return TaskFailure("network", message)
        case _:
            assert_never(answer.reason)


def _unusable(reason: str) -> TaskFailure:
    message = f"The service that carries out this task made a mistake: {reason}."
    return TaskFailure("internal", message, retryable=False)


def _excerpt(answer: Answered) -> str:
    start = answer.body[:EXCERPT_BYTES_MAX].decode(errors="replace")
    return f"status {answer.status}: {start}"
