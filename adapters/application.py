"""The log as an `eventsourcing` application: the library's repository, snapshots, subscriptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn, Self
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import IntegrityError, Mapper
from eventsourcing.utils import EnvType, get_topic

from adapters.mapper import EventMapper, NoTranscoder
from adapters.recorder import LogFactory, environment
from domain.aggregate import AGGREGATE_OF, LEDGERS, Aggregate
from domain.errors import AdapterError, NotFound
from domain.event import Event, Metadata
from domain.ledger import CreditLedger
from domain.ledger_events import LedgerSnapshot
from domain.task import Task

SECTION_EVENTS_MAX = 1_000
_NOBODY = UUID(int=0)
_AGGREGATES: Mapping[type[Event], Aggregate] = MappingProxyType(
    {**AGGREGATE_OF, LedgerSnapshot: LEDGERS}
)


class WritesThroughCommitter(AdapterError):
    """Saving here would pass the read models by that are written with the events."""

    code = "writes_through_committer"

    def __init__(self) -> None:
        super().__init__(
            "TallystickLog only reads; write with adapters.committer.Committer, which keeps the"
            " inline read models and idempotency keys in the events' transaction."
        )


def project(state: Any, events: Iterable[Any]) -> Any:  # noqa: ANN401 - each aggregate has its own
    """Fold any stream, from a snapshot or its first event: our repository's `projector_func`."""
    for event in events:
        state = _AGGREGATES[type(event)].evolve(state, event)
    return state


class TallystickLog(Application[UUID]):
    """Reads tallystick_events and tallystick_snapshots, which our migrations make.

    It blocks; keep it off event loops. Compressor and cipher are the library's settings
    (`COMPRESSOR_TOPIC`, `CIPHER_TOPIC`), or those of a given mapper.
    """

    name = "tallystick"
    env: ClassVar[dict[str, str]] = {
        "PERSISTENCE_MODULE": get_topic(LogFactory),
        "MAPPER_TOPIC": get_topic(EventMapper),
        "TRANSCODER_TOPIC": get_topic(NoTranscoder),
        "CREATE_TABLE": "n",
    }
    is_snapshotting_enabled = True
    log_section_size = SECTION_EVENTS_MAX

    def __init__(self, env: EnvType | None = None, mapper: EventMapper | None = None) -> None:
        self._given_mapper = mapper
        super().__init__(env)

    @classmethod
    def from_dsn(cls, dsn: str, mapper: EventMapper | None = None) -> Self:
        """The log in the database at `dsn`, a libpq conninfo string or URL.

        Raises the library's `OperationalError` when there is no server.
        """
        return cls({**cls.env, **environment(dsn)}, mapper)

    def construct_mapper(self) -> Mapper[UUID]:
        return self._given_mapper or super().construct_mapper()

    def task(self, task_id: UUID, version: int | None = None) -> Task:
        """State of a task, or as of a version. Raises `NotFound`."""
        state = self._state(task_id, version)
        if not isinstance(state, Task):
            raise NotFound("There is no such task.")
        return state

    def ledger(self, account_id: UUID, version: int | None = None) -> CreditLedger:
        """State of an account's ledger, or as of a version. Raises `NotFound`."""
        state = self._state(account_id, version)
        if not isinstance(state, CreditLedger):
            raise NotFound("There is no such account.")
        return state

    def save(self, *_: object, **__: object) -> NoReturn:
        """Refuse: raises `WritesThroughCommitter`."""
        raise WritesThroughCommitter

    def take_snapshot(
        self,
        aggregate_id: UUID,
        version: int | None = None,
        projector_func: Any = project,  # noqa: ANN401 - the library's type
    ) -> None:
        """Keep the state at its version, unless it was kept before; a task's needs no snapshot."""
        assert self.snapshots is not None
        state = self.repository.get(aggregate_id, version=version, projector_func=projector_func)
        if not isinstance(state, CreditLedger) or LEDGERS.snapshot is None:
            return
        meta = Metadata(
            at=state.balance.updated_at,
            actor="snapshots",
            correlation_id=_NOBODY,
            causation_id=_NOBODY,
        )
        try:
            self.snapshots.put([LEDGERS.snapshot(state, meta)])
        except IntegrityError:
            return

    def _state(self, stream_id: UUID, version: int | None) -> object:
        try:
            state: object = self.repository.get(stream_id, version=version, projector_func=project)
        except AggregateNotFoundError:
            return None
        return state
