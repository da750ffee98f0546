"""Compares the inline read models with the fold of the whole log, row by row.

The log is read stream by stream beside the tables in the order of their ids, all in one
snapshot, so that one state is in memory at a time and writers may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from msgspec import Raw
from psycopg import AsyncConnection, AsyncServerCursor, IsolationLevel

from adapters.batch import task_of
from adapters.documents import document_view
from adapters.mapper import EventMapper
from adapters.queries import balance_of
from adapters.sql import statement
from domain.aggregate import AGGREGATE_OF, Aggregate
from domain.errors import Unavailable
from domain.event import Event
from domain.ledger import CreditLedger
from domain.task import Task
from projections.accounts import ACCOUNTS
from projections.tasks import TASKS

DIFFERENCES_MAX = 20
FETCH_ROWS = 2_000
SHOWN_LENGTH_MAX = 200
DOCUMENTS = "documents"
_TASK_COLUMNS = (
    "id",
    "version",
    "account_id",
    "type",
    "status",
    "priority",
    "project",
    "queued_at",
    "not_before",
    "worker",
    "token",
    "created_at",
    "ended_at",
    "deadline_at",
    "group_id",
    "content_key",
)
Fields = Mapping[str, object]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One field that is not what the log says; it is "row" for a missing or surplus row.

    Of table "log", field "event" is a stream that cannot be folded; its row is not compared.
    `expected` and `found` are shortened.
    """

    table: str
    id: UUID
    field: str
    expected: str
    found: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and the first differences; `complete` unless it stopped at too many."""

    events: int
    streams: int
    differences: tuple[Difference, ...]
    complete: bool


async def compare_inline(
    dsn: str, mapper: EventMapper, differences_max: int = DIFFERENCES_MAX
) -> Comparison:
    """Fold the whole log, compare `tasks`, `accounts` and `documents`. Raises `Unavailable`."""
    try:
        async with await AsyncConnection.connect(dsn) as connection:
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            await connection.set_read_only(True)
            return await _Audit(connection, mapper, differences_max).run()
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable(f"The log cannot be read: {error}") from error


class _Row(NamedTuple):
    """A row as it is stored: its id, and its fields as the log would have them."""

    id: UUID
    fields: Callable[[Any], tuple[Fields, Fields]]


class _TooMany(Exception):
    """Enough differences were found."""


class _Audit:
    def __init__(
        self, connection: AsyncConnection[Any], mapper: EventMapper, differences_max: int
    ) -> None:
        self._connection = connection
        self._mapper = mapper
        self._differences_max = differences_max
        self._differences: list[Difference] = []
        self._events = 0
        self._streams = 0

    async def run(self) -> Comparison:
        complete = True
        try:
            await self._compare()
        except _TooMany:
            complete = False
        return Comparison(
            events=self._events,
            streams=self._streams,
            differences=tuple(self._differences),
            complete=complete,
        )

    async def _compare(self) -> None:
        async with AsyncExitStack() as stack:
            tasks = await self._open(stack, "select_tasks_whole")
            accounts = await self._open(stack, "select_accounts_whole")
            documents = await self._open(stack, "select_documents_whole")
            sides = {
                TASKS.name: _Side(TASKS.name, tasks, _task_row, self._note),
                ACCOUNTS.name: _Side(ACCOUNTS.name, accounts, _account_row, self._note),
                DOCUMENTS: _Side(DOCUMENTS, documents, _document_row, self._note),
            }
            log = await self._open(stack, "select_log_by_stream")
            async for stream_id, fold in self._folded(log):
                self._streams += 1
                for name, side in sides.items():
                    if fold.broken:
                        await side.skip(stream_id)
                    elif name == fold.table:
                        await side.meet(stream_id, fold.shown)
            for side in sides.values():
                await side.end()

    async def _open(self, stack: AsyncExitStack, name: str) -> AsyncServerCursor[Any]:
        """A cursor in the server over a statement's rows."""
        cursor = self._connection.cursor(name, binary=True)
        await stack.enter_async_context(cursor)
        cursor.itersize = FETCH_ROWS
        await cursor.execute(statement(name))
        return cursor

    async def _folded(self, log: AsyncServerCursor[Any]) -> AsyncIterator[tuple[UUID, _StreamFold]]:
        current: UUID | None = None
        fold = _StreamFold()
        async for stream_id, topic, data in log:
            if stream_id != current:
                if current is not None:
                    yield current, fold
                current, fold = stream_id, _StreamFold()
            self._events += 1
            self._feed(fold, stream_id, topic, data)
        if current is not None:
            yield current, fold

    def _feed(self, fold: _StreamFold, stream_id: UUID, topic: str, data: bytes) -> None:
        if fold.broken:
            return
        try:
            fold.take(self._mapper.decode(topic, data))
        except Exception as error:  # noqa: BLE001 - whatever one stream holds, the rest is compared
            fold.broken = True
            self._note("log", stream_id, "event", "one that folds", repr(error))

    def _note(self, table: str, row_id: UUID, field: str, expected: object, found: object) -> None:
        self._differences.append(
            Difference(
                table=table,
                id=row_id,
                field=field,
                expected=_shown(expected),
                found=_shown(found),
            )
        )
        if len(self._differences) >= self._differences_max:
            raise _TooMany


class _StreamFold:
    """One stream's state, by the fold that its row comes from, until an event is `broken`.

    `table` is where the row is; `aggregate` is set for those without a table of their own.
    """

    __slots__ = ("_evolve", "_version", "aggregate", "broken", "state", "table")

    def __init__(self) -> None:
        self._evolve: Callable[[Any, Event], Any] | None = None
        self._version = 0
        self.table: str | None = None
        self.aggregate: Aggregate | None = None
        self.state: Any = None
        self.broken = False

    def take(self, event: Event) -> None:
        if self._evolve is None:
            self._begin(event)
            assert self._evolve is not None
        self._version += 1
        if event.originator_version != self._version:
            raise ValueError(f"version {self._version} is missing")
        self.state = self._evolve(self.state, event)

    def _begin(self, event: Event) -> None:
        """Find out where the stream of this first event is shown; maybe nowhere."""
        for projection in (TASKS, ACCOUNTS):
            if projection.key(event) is not None:
                self._evolve, self.table = projection.evolve, projection.name
                return
        self.aggregate = AGGREGATE_OF[type(event)]
        self._evolve = self.aggregate.evolve
        self.table = DOCUMENTS if self.aggregate.document else None

    @property
    def shown(self) -> Any:  # noqa: ANN401 - each table has rows of its own
        """What its row is compared with."""
        if self.aggregate is None:
            return self.state
        return self.aggregate, self.state


class _Side:
    """One table's rows in the order of their ids, met by what the log says."""

    def __init__(
        self,
        table: str,
        rows: AsyncServerCursor[Any],
        row_of: Callable[[Sequence[Any]], _Row],
        note: Callable[[str, UUID, str, object, object], None],
    ) -> None:
        self._table = table
        # Fetches many at a time, unlike `fetchone`.
        self._rows = aiter(rows)
        self._row_of = row_of
        self._note = note
        self._next: _Row | None = None

    async def meet(self, stream_id: UUID, state: Any) -> None:  # noqa: ANN401
        """Compare the row of `stream_id`; rows that come before it have no stream."""
        row = await self._take(stream_id)
        if row is None:
            self._note(self._table, stream_id, "row", "a row", "none")
            return
        expected, found = row.fields(state)
        for name, value in expected.items():
            if value != found[name]:
                self._note(self._table, stream_id, name, value, found[name])

    async def skip(self, stream_id: UUID) -> None:
        """Let the row of `stream_id`, if there is one, be as it is."""
        await self._take(stream_id)

    async def end(self) -> None:
        while (row := await self._peek()) is not None:
            self._surplus(row)

    async def _take(self, stream_id: UUID) -> _Row | None:
        row = await self._peek()
        while row is not None and row.id < stream_id:
            self._surplus(row)
            row = await self._peek()
        if row is None or row.id != stream_id:
            return None
        self._next = None
        return row

    def _surplus(self, row: _Row) -> None:
        self._next = None
        self._note(self._table, row.id, "row", "none", "a row")

    async def _peek(self) -> _Row | None:
        if self._next is None:
            values = await anext(self._rows, None)
            self._next = None if values is None else self._row_of(values)
        return self._next


def _shown(value: object) -> str:
    text = bytes(value).decode() if isinstance(value, Raw) else str(value)
    return text[:SHOWN_LENGTH_MAX]


def _account_row(values: Sequence[Any]) -> _Row:
    *columns, due_at = values
    found = msgspec.structs.asdict(balance_of(columns)) | {"due_at": due_at}

    def fields(state: CreditLedger) -> tuple[Fields, Fields]:
        return msgspec.structs.asdict(state.balance) | {"due_at": state.due_at}, found

    return _Row(values[0], fields)


def _document_row(values: Sequence[Any]) -> _Row:
    view = document_view(values)
    found = msgspec.structs.asdict(view) | {"data": bytes(view.data)}

    def fields(shown: tuple[Aggregate, Any]) -> tuple[Fields, Fields]:
        aggregate, state = shown
        assert aggregate.document is not None
        document = msgspec.structs.asdict(aggregate.document(state))
        return {"kind": aggregate.name, "version": state.version} | document, found

    return _Row(view.id, fields)


def _task_row(values: Sequence[Any]) -> _Row:
    def fields(state: Task) -> tuple[Fields, Fields]:
        *columns, percent, data, task_input, result = values
        document = Raw((task_input or "").encode())
        row = task_of(data, document, None if result is None else Raw(result.encode()))
        expected: dict[str, object] = _prefixed(state)
        expected |= {name: getattr(state, name) for name in _TASK_COLUMNS}
        found = _prefixed(row) | dict(zip(_TASK_COLUMNS, columns, strict=True))
        # While a worker has the task, its progress may be ahead of the last stage.
        ahead = state.leased and percent >= state.percent
        return (
            expected | {"percent": state.percent},
            found | {"percent": state.percent if ahead else percent},
        )

    return _Row(values[0], fields)


def _prefixed(task: Task) -> dict[str, object]:
    return {f"data.{name}": value for name, value in msgspec.structs.asdict(task).items()}
