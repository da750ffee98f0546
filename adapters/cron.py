"""The times of cron expressions in the time zones of the world, by `cronsim`.

As in Debian's cron, an expression that names its hours fires once on each of its days: a time that
the clocks skip comes as soon as they have, one that they show twice comes the first time. One that
says `*` for minutes or hours goes by what has passed, whatever the clocks show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from domain.errors import InvalidInput
from domain.schedule import Firing

MISSED_MAX = 100
"""So many missed times are counted; of more, the count says this."""
TIMES_CACHED_MAX = 1_000
_FIELDS = re.compile(r"[0-9A-Za-z*/,#-]+( +[0-9A-Za-z*/,#-]+){4}")
_FORM = "must be five fields: minute hour day-of-month month day-of-week"


class CronTimes:
    """The times of one expression in one zone, in UTC, all to the minute."""

    def __init__(self, cron: str, zone: tzinfo) -> None:
        self._cron = cron
        self._zone = zone

    def after(self, at: datetime) -> datetime | None:
        """The first one later than `at`; None when there is none within fifty years."""
        return next(self._following(at), None)

    def next_times(self, at: datetime, count: int) -> list[datetime]:
        """At most `count` times later than `at`."""
        return list(islice(self._following(at), count))

    def firing(self, due_at: datetime, now: datetime) -> Firing:
        """The latest time up to `now`, from `due_at` on."""
        missed = 0
        for at in self._following(due_at):
            if at > now:
                return Firing(due_at=due_at, next_at=at, missed=missed)
            if missed == MISSED_MAX:
                return self._latest(due_at, now)
            due_at, missed = at, missed + 1
        return Firing(due_at=due_at, next_at=None, missed=missed)

    def _latest(self, earliest: datetime, now: datetime) -> Firing:
        """Look for it from ever further back, since counting up to it would take too long."""
        back = timedelta(hours=1)
        found: datetime | None = None
        while found is None:
            start = max(now - back, earliest)
            for at in self._following(start):
                if at > now:
                    break
                found = at
            back *= 2
        return Firing(due_at=found, next_at=self.after(now), missed=MISSED_MAX)

    def _following(self, at: datetime) -> Iterator[datetime]:
        """Later times, each later than the one before, to the end of the calendar."""
        last = at
        try:
            for local in CronSim(self._cron, at.astimezone(self._zone)):
                found = local.astimezone(UTC)
                # A clock that is set back shows times again that were there before.
                if found > last:
                    last = found
                    yield found
        except (OverflowError, ValueError):
            return


@lru_cache(TIMES_CACHED_MAX)
def cron_times(cron: str, zone: str) -> CronTimes:
    """Raises `InvalidInput` for an expression or a zone that there is not."""
    found = _zone(zone)
    if not _FIELDS.fullmatch(cron):
        raise InvalidInput("The schedule cannot be read.", ("/cron", _FORM))
    try:
        CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError, AssertionError, TypeError) as error:
        raise InvalidInput(
            "The schedule cannot be read.", ("/cron", f"{error}; {_FORM}")
        ) from error
    return CronTimes(cron, found)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    if name not in _zones():
        hint = "must be of the IANA database, such as Europe/Berlin"
        raise InvalidInput("There is no such time zone.", ("/zone", hint))
    return ZoneInfo(name)


@lru_cache(1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
