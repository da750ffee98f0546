"""Tallystick for its users: a client of the service, and `@handler` to add task types."""

from tallystick.client import AsyncClient, Client
from tallystick.handler import (
    Context,
    Handler,
    Provider,
    TaskCancelled,
    TaskFailure,
    handler,
)
from tallystick.push_type import push_type

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
