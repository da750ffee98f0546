"""A ledger as it was at a version or a time: the fold of its stream, stopped there.

The fold begins at the newest snapshot or closed period before, so that it is as short for an old
account as for a new one. It is exact: nothing behind the log is read. The version at a time is
found by halving, since the times of one stream grow; where two processes' clocks differed by a
moment, it is one after which the next event is later than the time.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
import structlog
from eventsourcing.persistence import MapperDeserialisationError

from adapters.log import EventLog
from adapters.mapper import EventMapper
from adapters.pool import Pool, fetch
from adapters.sql import statement
from domain import ledger
from domain.event import Event, Metadata
from domain.ledger import CreditLedger, SettleDue
from domain.ledger_events import CreditsExhausted, CreditsLow, LedgerEvent

SNAPSHOTS_TRIED_MAX = 3
_NOBODY = UUID(int=0)
_log = structlog.get_logger(__name__)


class PastLedger(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger after the event `version` at `position`, and with what time had brought by `at`.

    `settled` is what was due by then and in the log only later, or never, without what the owner
    would be told of it. For a version, `at` is its own time and nothing is settled.
    """

    ledger: CreditLedger
    version: int
    position: int
    at: datetime
    settled: tuple[LedgerEvent, ...] = ()


class PastLedgers:
    """Raises `Unavailable`; `EventUnreadable` and `StreamTooLong` as the log does."""

    def __init__(self, pool: Pool, mapper: EventMapper, log: EventLog) -> None:
        self._pool = pool
        self._mapper = mapper
        self._log = log

    async def at_version(self, account_id: UUID, version: int) -> PastLedger | None:
        """Right after the event of that version; None where there is none."""
        found = await self._event(account_id, version)
        if found is None:
            return None
        position, event = found
        state = await self._folded(account_id, version)
        return PastLedger(ledger=state, version=version, position=position, at=event.meta.at)

    async def at_time(self, account_id: UUID, at: datetime) -> PastLedger | None:
        """After the last event that is not later; None where the account was not open yet."""
        version = await self._version_at(account_id, at)
        found = await self.at_version(account_id, version) if version else None
        return None if found is None else _settled(found, at)

    async def _version_at(self, account_id: UUID, at: datetime) -> int:
        """The highest version not later than `at`, 0 for none."""
        query = (
            "SELECT coalesce(max(originator_version), 0) FROM tallystick_events"
            " WHERE originator_id = %(stream_id)s"
        )
        [(newest,)] = await fetch(self._pool, query, {"stream_id": account_id})
        low, high = 0, int(newest) + 1
        while high - low > 1:
            middle = (low + high) // 2
            found = await self._event(account_id, middle)
            assert found is not None, "versions have no gaps"
            if found[1].meta.at <= at:
                low = middle
            else:
                high = middle
        return low

    async def _event(self, account_id: UUID, version: int) -> tuple[int, Event] | None:
        found = await self._log.stream(account_id, after_version=version - 1, upto_version=version)
        return (found[0].position, found[0].event) if found else None

    async def _folded(self, account_id: UUID, version: int) -> CreditLedger:
        state = await self._kept(account_id, version)
        after = 0 if state is None else state.version
        for recorded in await self._log.stream(
            account_id, after_version=after, upto_version=version
        ):
            state = ledger.evolve(state, recorded.event)
        assert state is not None, "the version is there"
        return state

    async def _kept(self, account_id: UUID, version: int) -> CreditLedger | None:
        """The newest whole state up to `version` that can be read."""
        parameters = {"stream_id": account_id, "version": version, "limit": SNAPSHOTS_TRIED_MAX}
        for topic, stored in await fetch(self._pool, statement("select_kept_before"), parameters):
            try:
                return ledger.evolve(None, self._mapper.decode(topic, stored))
            except MapperDeserialisationError:
                _log.exception("snapshot.unreadable", account_id=str(account_id), topic=topic)
        return None


def _settled(found: PastLedger, at: datetime) -> PastLedger:
    meta = Metadata(at=at, actor="time", correlation_id=_NOBODY, causation_id=_NOBODY)
    due = ledger.decide(found.ledger, SettleDue(), meta)
    moved = tuple(event for event in due if not isinstance(event, CreditsLow | CreditsExhausted))
    return msgspec.structs.replace(
        found, at=at, settled=moved, ledger=ledger.evolved(found.ledger, due)
    )
