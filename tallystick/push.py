"""The receiving end of push: an endpoint checks what it was sent, and reads the task.

A deployment of your own answers with the result, or with 202 and ends the task by the worker verbs
under `path`. Deliveries are in the form of Standard Webhooks 1.0, so any library of those checks
them as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1_048_576
"""A longer body is refused unread: no task's input is that large."""
SECRETS_MAX = 5
Input = TypeVar("Input", bound=msgspec.Struct)
Schema: TypeAlias = type[Input]


class DeliveryRefused(Exception):
    """Not from Tallystick, changed on its way, or more than five minutes old: answer with 401."""


class PushedTask(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a task. `token` goes with every worker verb below `path` of the API.

    Once accepted, the task is yours until `lease_until`; then it is taken to have stalled, and is
    sent again under another token, with which this one is refused.
    """

    id: str
    type: str
    account_id: str
    input: msgspec.Raw
    token: int
    run: int
    attempt: int
    lease_until: datetime
    attempt_seconds_max: int
    path: str

    def input_as(self, schema: Schema[Input]) -> Input:
        """The input as the struct its type is declared with. Raises `msgspec.ValidationError`."""
        return msgspec.json.decode(self.input, type=schema)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a delivery; `timestamp` is when it was sent."""

    type: Literal["task.run"]
    timestamp: datetime
    data: PushedTask


def verify(headers: Mapping[str, str], body: bytes, secrets: str | Sequence[str]) -> PushedTask:
    """The task in a delivery that is signed with one of `secrets` (`whsec_…`), and fresh.

    Two secrets bridge a rotation. The same `webhook-id` twice is the same attempt sent twice.
    Raises `DeliveryRefused`, and `ValueError` for secrets that are none.
    """
    known = [secrets] if isinstance(secrets, str) else list(secrets)
    if not 1 <= len(known) <= SECRETS_MAX:
        raise ValueError(f"1 to {SECRETS_MAX} secrets are needed, not {len(known)}")
    verifiers = [Webhook(secret) for secret in known]
    if len(body) > BODY_BYTES_MAX:
        raise DeliveryRefused(f"The body is longer than {BODY_BYTES_MAX} bytes.")
    refusals = [_refusal(verifier, dict(headers), body) for verifier in verifiers]
    if None not in refusals:
        raise DeliveryRefused(refusals[0])
    try:
        return msgspec.json.decode(body, type=Delivery).data
    except msgspec.DecodeError as error:
        raise DeliveryRefused(f"The body is no delivery of a task: {error}.") from error


def completed(result: object) -> bytes:
    """The body of a 200 that ends the task with `result`, a struct or what JSON has for it."""
    return msgspec.json.encode({"result": result})


def _refusal(verifier: Webhook, headers: dict[str, str], body: bytes) -> str | None:
    """Why the signature does not hold; None when it does."""
    try:
        verifier.verify(body, headers, json_parse=False)
    except WebhookVerificationError as error:
        return str(error)
    except ValueError:
        # The library's own slips: a signature without a comma or no base64, a body of no text.
        return "The signature cannot be read."
    return None
