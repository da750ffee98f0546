"""Sends alerts to an endpoint of the installation's own, signed as Standard Webhooks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog

from adapters.backlogs import Alert, Notice
from adapters.signed_delivery import Answered, DeliveryLimits, Message, SignedDelivery

LIMITS = DeliveryLimits(connect_seconds=2.0, total_seconds=5.0, answer_bytes_max=1_024)
ATTEMPTS_MAX = 15
"""Half a minute after the first, then twice as long each time, at most an hour: nine hours."""
GONE = 410
_log = structlog.get_logger(__name__)


class AlertMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent; `type` is the alert's moment."""

    type: str
    timestamp: datetime
    data: Alert


class AlertWebhook:
    """`(notice)` makes one attempt; whoever called it tries again later when it is False."""

    def __init__(
        self, deliver: SignedDelivery, url: str, secret: bytes, now: Callable[[], datetime]
    ) -> None:
        self._deliver = deliver
        self._url = url
        self._secret = secret
        self._now = now

    async def __call__(self, notice: Notice) -> bool:
        """True when it arrived, and when it is given up, which is logged."""
        alert = notice.alert
        content = AlertMessage(type=alert.moment, timestamp=alert.at, data=alert)
        message = Message(
            id=f"alert_{alert.id.hex}", at=self._now(), body=msgspec.json.encode(content)
        )
        answer = await self._deliver(self._url, message, [self._secret], limits=LIMITS)
        if isinstance(answer, Answered) and answer.accepted:
            return True
        gone = isinstance(answer, Answered) and answer.status == GONE
        given_up = gone or notice.attempts >= ATTEMPTS_MAX
        _log.warning(
            "alert.webhook_failed",
            alert_id=str(alert.id),
            attempt=notice.attempts,
            cause=f"status {answer.status}" if isinstance(answer, Answered) else answer.detail,
            given_up=given_up,
        )
        return given_up
