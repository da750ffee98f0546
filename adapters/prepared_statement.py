"""One statement that is sent very often: prepared once a connection, its values in binary form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection, generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

_BINARY = int(Format.BINARY)
_ANSWERED = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class PreparedStatement:
    """`query` has PostgreSQL's own placeholders (`$1`), whose types the server infers.

    psycopg's cursor finds out at each call what sort of statement it has and how each value is
    sent, which for a commit of one task takes a fifth of this process's time.
    """

    def __init__(self, name: str, query: str) -> None:
        self._stem = name
        self._name = b""
        self._query = query.encode()
        self._prepared_on: PGconn | None = None
        self._times = 0

    def forget(self) -> None:
        """Be prepared anew, under another name, whether the server still has it or not."""
        self._prepared_on = None

    async def row(
        self, connection: AsyncConnection[Any], values: Sequence[bytes | None]
    ) -> list[bytes | None]:
        """The first row of the answer, each value in binary form. Raises `psycopg.Error`."""
        pgconn = connection.pgconn
        async with connection.lock:
            if self._prepared_on is not pgconn:
                self._times += 1
                self._name = f"{self._stem}_{self._times}".encode()
                pgconn.send_prepare(self._name, self._query)
                await _answer(connection, pgconn)
                self._prepared_on = pgconn
            formats = [_BINARY] * len(values)
            pgconn.send_query_prepared(self._name, values, formats, _BINARY)
            result = await _answer(connection, pgconn)
        return [result.get_value(0, column) for column in range(result.nfields)]


async def _answer(connection: AsyncConnection[Any], pgconn: PGconn) -> PGresult:
    results: list[PGresult] = await connection.wait(generators.execute(pgconn))
    for result in results:
        if result.status not in _ANSWERED:
            raise error_from_result(result)
    if not results:
        raise psycopg.InternalError("The server gave no answer.")
    return results[-1]
