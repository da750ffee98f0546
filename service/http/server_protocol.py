"""uvicorn's protocol, with a way to hang up on a client that takes nothing more.

ASGI has none, and closing waits for what was written to be taken: one that never reads would keep
its connection, and hold up the end of the process.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.event_stream import ABORT


class AbortableProtocol(HttpToolsProtocol):
    """Gives each request the extension `ABORT`, whose `call` drops the connection at once."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = {ABORT: {"call": self.transport.abort}}
