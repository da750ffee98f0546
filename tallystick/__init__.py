"""Tallystick for its users: a client of the service, and `@handler` to add task types."""

from typing import TYPE_CHECKING

from tallystick.handler import (
    Context,
    Handler,
    Provider,
    TaskCancelled,
    TaskFailure,
    handler,
)
from tallystick.push_type import push_type

if TYPE_CHECKING:
    from tallystick.client import AsyncClient, Client
else:

    def __getattr__(name: str) -> object:
        """Whoever only handles tasks need not wait for an HTTP client to be imported."""
        if name not in {"AsyncClient", "Client"}:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tallystick import client  # noqa: PLC0415

        return getattr(client, name)


__all__ = [
    "AsyncClient",
    "Client",
    "Context",
    "Handler",
    "Provider",
    "TaskCancelled",
    "TaskFailure",
    "handler",
    "push_type",
]
