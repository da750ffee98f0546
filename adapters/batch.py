"""A batch of decided commands as parameters of one append: events, rows, keys and positions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from adapters.arrays import (
    Array,
    Bigints,
    Byteas,
    Floats,
    Jsons,
    Smallints,
    Texts,
    Timestamps,
    Uuids,
)
from adapters.decision import Committed, KeyRecord, Tracking
from domain.aggregate import AGGREGATE_WITH, Document
from domain.event import Event
from domain.ledger import CreditLedger
from domain.ledger_events import PeriodClosed
from domain.plan import STRIDE, Plans
from domain.task import Task

_EMPTY = Raw(b"{}")
Columns = tuple[Array | None, ...]
_BALANCE_COLUMNS: tuple[tuple[type[Array], str], ...] = (
    (Uuids, "id"),
    (Texts, "plan"),
    (Texts, "status"),
    (Texts, "name"),
    (Timestamps, "opened_at"),
    (Timestamps, "updated_at"),
)
_numbers = operator.attrgetter(
    *("version", "granted", "available", "held", "captured", "active"),
    *("pending", "expired", "voided", "refunded", "trials"),
)
"""One account after the other: arrays of their own would cost more than all the values."""
_NO_STREAMS = (None,) * 2
_NO_TASKS = (None,) * 26
_NO_LEDGERS = (None,) * (len(_BALANCE_COLUMNS) + 2)
_NO_DOCUMENTS = (None,) * 9
_NO_KEYS = (None,) * 5
_NO_TRACKING = (None,) * 2
_encode = msgspec.json.Encoder().encode
_field = operator.attrgetter


class Decided:
    """What the commands of one batch decided, in order, over the states that came before.

    `overlay` holds the states that the batch leaves; `created` the streams that had none before it;
    `reads` the durable versions of streams that were read, some of which it may write as well.
    `durable` gives the state of a stream as it was before the batch, where it was loaded; `plans`
    how far a task moves the turn of its account.
    """

    def __init__(self, durable: Callable[[UUID], Any], plans: Plans | None = None) -> None:
        self._durable = durable
        self._plans = plans or Plans()
        self.outcomes: list[Committed | BaseException] = []
        self.events: list[Event] = []
        self.stored: list[tuple[str, bytes]] = []
        self.overlay: dict[UUID, Any] = {}
        self.created: set[UUID] = set()
        self.reads: dict[UUID, int] = {}
        self._closed: set[UUID] = set()
        self._records: list[KeyRecord] = []
        self._tracked: dict[str, int] = {}

    @property
    def empty(self) -> bool:
        """True when there is nothing to write."""
        return not (self.events or self._records or self._tracked)

    @property
    def stored_bytes(self) -> int:
        """Size of the events; what is sent is a little more than twice this."""
        return sum(len(data) for _, data in self.stored)

    def take(
        self,
        events: Sequence[Event],
        stored: Sequence[tuple[str, bytes]],
        written: Mapping[UUID, Any],
        created: set[UUID],
        record: KeyRecord | None,
        tracking: Tracking | None,
    ) -> None:
        """Add what one command decided; `written` are the states that it leaves."""
        self.events += events
        self.stored += stored
        self.overlay.update(written)
        for event in events:
            if type(event) is PeriodClosed:
                self._closed.add(event.originator_id)
        self.created |= created
        if record is not None:
            self._records.append(record)
        if tracking is not None:
            self._tracked[tracking.consumer] = tracking.position

    def closes_books(self, stream_id: UUID) -> bool:
        """Whether the whole state of a ledger is said anew."""
        return bool(self._closed) and stream_id in self._closed

    def written(self) -> Iterable[tuple[UUID, Any]]:
        """Each stream the batch wrote to, with its last state."""
        return self.overlay.items()

    def parameters(self, *, lease_seconds: float) -> Sequence[Array | str | None]:
        """Values for `append_batch`, in its order; those of a table without rows are NULL.

        Most batches leave most tables alone, and a NULL costs neither side anything.
        """
        states = self.overlay.values()
        tasks = [state for state in states if type(state) is Task]
        ledgers = [state for state in states if type(state) is CreditLedger]
        return (
            Uuids([event.originator_id for event in self.events]),
            Bigints([event.originator_version for event in self.events]),
            Texts([topic for topic, _ in self.stored]),
            Byteas([data for _, data in self.stored]),
            *self._stream_columns(),
            *(self._task_columns(tasks, lease_seconds) if tasks else _NO_TASKS),
            *(_ledger_columns(ledgers) if ledgers else _NO_LEDGERS),
            *self._document_columns(),
            *(_key_columns(self._records) if self._records else _NO_KEYS),
            *(_tracking_columns(self._tracked) if self._tracked else _NO_TRACKING),
            self._wake(tasks),
        )

    def _wake(self, tasks: list[Task]) -> str | None:
        """Payload of the batch's one NOTIFY; None when the log does not grow."""
        if not self.events:
            return None
        return "queued" if any(task.status == "queued" for task in tasks) else ""

    def _line_columns(self, tasks: list[Task]) -> tuple[Columns, Columns]:
        """Of each task, the line it is queued in and the strides before it; of each line, its all.

        A line is one account's at one priority; None where no task is newly queued.
        """
        lines: dict[tuple[UUID, int], int] = {}
        strides: list[int] = []
        places: list[int | None] = []
        ahead: list[int | None] = []
        for task in tasks:
            stride = self._stride(task)
            if stride is None:
                places.append(None)
                ahead.append(None)
                continue
            line = lines.setdefault((task.account_id, task.priority), len(lines))
            if line == len(strides):
                strides.append(0)
            places.append(line + 1)
            ahead.append(strides[line])
            strides[line] += stride
        if not lines:
            return (None, None), (None,) * 3
        accounts, priorities = zip(*lines, strict=True)
        return (
            (Bigints(places), Bigints(ahead)),
            (Uuids(accounts), Smallints(priorities), Bigints(strides)),
        )

    def _stride(self, task: Task) -> int | None:
        """How far the account's next turn moves for a task newly queued; None for others."""
        if task.status != "queued" or task.attempt > 0:
            return None
        ledger = self.overlay.get(task.account_id) or self._durable(task.account_id)
        return (
            self._plans.stride_of(ledger.balance.plan) if type(ledger) is CreditLedger else STRIDE
        )

    def _stream_columns(self) -> Columns:
        """Each stream that is written or was read, with the version it was decided on."""
        versions = self.reads | {
            i: 0 if i in self.created else self._durable(i).version for i in self.overlay
        }
        if not versions:
            return _NO_STREAMS
        return Uuids(versions), Bigints(versions.values())

    def _task_columns(self, tasks: list[Task], lease_seconds: float) -> Columns:
        created = self.created
        places, lines = self._line_columns(tasks)
        return (
            Uuids(_column(tasks, "id")),
            Bigints(_column(tasks, "version")),
            Uuids(_column(tasks, "account_id")),
            Texts(_column(tasks, "type")),
            Texts(_column(tasks, "status")),
            Smallints(_column(tasks, "priority")),
            Texts(_column(tasks, "project")),
            Timestamps(_column(tasks, "queued_at")),
            Timestamps(_column(tasks, "not_before")),
            Texts(_column(tasks, "worker")),
            Bigints(_column(tasks, "token")),
            Timestamps(_column(tasks, "created_at")),
            Timestamps(_column(tasks, "ended_at")),
            Timestamps(_column(tasks, "deadline_at")),
            Smallints(_column(tasks, "percent")),
            Jsons([_encode(replace(task, input=_EMPTY, result=None)) for task in tasks]),
            Jsons([bytes(task.input) if task.id in created else None for task in tasks]),
            Jsons([bytes(task.result) if task.result is not None else None for task in tasks]),
            Uuids(_column(tasks, "group_id")),
            Texts(_column(tasks, "content_key")),
            *places,
            Floats([lease_seconds] * len(tasks)),
            *lines,
        )

    def _document_columns(self) -> Columns:
        ids: list[UUID] = []
        kinds: list[str] = []
        documents: list[Document] = []
        for stream_id, state in self.overlay.items():
            aggregate = AGGREGATE_WITH[type(state)]
            if aggregate.document is not None:
                ids.append(stream_id)
                kinds.append(aggregate.name)
                documents.append(aggregate.document(state))
        if not ids:
            return _NO_DOCUMENTS
        return (
            Uuids(ids),
            Texts(kinds),
            Bigints([self.overlay[stream_id].version for stream_id in ids]),
            Uuids(_column(documents, "account_id")),
            Texts(_column(documents, "name")),
            Texts(_column(documents, "status")),
            Timestamps(_column(documents, "due_at")),
            Timestamps(_column(documents, "created_at")),
            Jsons(_column(documents, "data")),
        )


def _column(rows: Sequence[object], name: str) -> list[Any]:
    return list(map(_field(name), rows))


def _ledger_columns(ledgers: list[CreditLedger]) -> Columns:
    balances = [ledger.balance for ledger in ledgers]
    return (
        *(array(_column(balances, name)) for array, name in _BALANCE_COLUMNS),
        Timestamps(_column(ledgers, "due_at")),
        Bigints([number for balance in balances for number in _numbers(balance)]),
    )


def _tracking_columns(tracked: Mapping[str, int]) -> Columns:
    return Texts(tracked), Bigints(tracked.values())


def _key_columns(records: list[KeyRecord]) -> Columns:
    return (
        Byteas(_column(records, "key")),
        Byteas(_column(records, "fingerprint")),
        Smallints(_column(records, "status")),
        Byteas(_column(records, "body")),
        Texts(_column(records, "location")),
    )


def task_of(data: bytes | str, task_input: Raw, result: Raw | None) -> Task:
    """The task of a read-model row: `data` lacks the two documents that have their own columns."""
    return replace(_decode_task(data), input=task_input, result=result)


_decode_task = msgspec.json.Decoder(Task).decode
