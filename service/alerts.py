"""Tells of backlogs: the log, functions and an endpoint of the owner; never in anyone's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from adapters.backlogs import Alert, Backlogs, Channel, Notice
from adapters.queue_depth import QueueCounter
from service.alert_webhook import AlertWebhook
from service.hooks import call_hook, load_function

AlertHook = Callable[[Alert], Awaitable[None] | None]
_log = structlog.get_logger(__name__)


class Alerts:
    """`sweep()` counts the queue, notes what is too much for too long, and tells what is due.

    Each alert is told at least once, by whichever process takes it; one that is killed meanwhile
    leaves it to the next.
    """

    def __init__(
        self,
        queue: QueueCounter,
        backlogs: Backlogs,
        hooks: Iterable[AlertHook] = (),
        webhook: AlertWebhook | None = None,
    ) -> None:
        self._queue = queue
        self._backlogs = backlogs
        self._hooks = tuple(hooks)
        self._webhook = webhook
        self._channels: tuple[Channel, ...] = ("hooks", "webhook") if webhook else ("hooks",)

    async def sweep(self) -> int:
        """How many alerts were told by their hooks or endpoint. Raises `Unavailable`."""
        await self._backlogs.see(await self._queue.count(), self._channels)
        notices = await self._backlogs.take()
        return sum(await asyncio.gather(*map(self._tell, notices)))

    async def _tell(self, notice: Notice) -> bool:
        """Also done with what another process was to send, when this one knows no endpoint."""
        if notice.channel == "hooks":
            await self._tell_hooks(notice.alert)
        elif self._webhook is not None and not await self._webhook(notice):
            return False
        await self._backlogs.told(notice)
        return True

    async def _tell_hooks(self, alert: Alert) -> None:
        log = _log.warning if alert.moment == "backlog.raised" else _log.info
        log(
            alert.moment,
            type=alert.type,
            waiting=alert.waiting,
            since=alert.since.isoformat(),
            oldest=alert.oldest_at and alert.oldest_at.isoformat(),
            alert_id=str(alert.id),
        )
        await asyncio.gather(*(_call(hook, alert) for hook in self._hooks))


async def _call(hook: AlertHook, alert: Alert) -> None:
    """One that raises or hangs is logged, and nothing more."""
    try:
        await call_hook(hook, alert)
    except Exception:  # noqa: BLE001 - a hook may raise anything
        _log.exception("alert.hook_failed", moment=alert.moment, alert_id=str(alert.id))


def load_alert_hooks(paths: Iterable[str]) -> list[AlertHook]:
    """Hooks by path, each `package.module:name`. Raises what the import raises, and `TypeError`."""
    return [load_function(path) for path in paths]
