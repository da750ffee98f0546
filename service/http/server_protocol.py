"""uvicorn's protocol, which hangs up on a client that takes nothing more of what was written to it.

Closing waits for what was written to be taken, and ASGI has no way to hang up: one that never reads
would keep its connection for ever, and hold up the end of the process.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.event_stream import ABORT

TAKE_SECONDS_MAX = 60.0
"""How long a client may take nothing, unless a setting says otherwise."""
STOPPING_TAKE_SECONDS_MAX = 5.0
"""The same once the process was told to stop."""


class PatientProtocol(HttpToolsProtocol):
    """Gives each request the extension `ABORT`, whose `call` drops the connection at once.

    `take_seconds_max` counts while more is written than the client takes, or while the rest is on
    its way before a close; each look that finds less to be taken than the one before begins anew.
    """

    take_seconds_max = TAKE_SECONDS_MAX
    _look: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, take_seconds_max: float) -> type[PatientProtocol]:
        """The protocol with this patience."""
        return type(cls.__name__, (cls,), {"take_seconds_max": take_seconds_max})

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    # When there is reason to look

    def pause_writing(self) -> None:
        super().pause_writing()
        self._begin_looking()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._end_looking()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look_if_closing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._look_if_closing()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        self._look_if_closing()

    def shutdown(self) -> None:
        """Also look more often at a client that takes nothing."""
        self.take_seconds_max = min(self.take_seconds_max, STOPPING_TAKE_SECONDS_MAX)
        super().shutdown()
        if self.flow.write_paused or self.transport.is_closing():
            self._begin_looking()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_looking()
        super().connection_lost(exc)

    # Looking

    def _look_if_closing(self) -> None:
        if self.transport.is_closing():
            self._begin_looking()

    def _begin_looking(self) -> None:
        self._end_looking()
        left = self.transport.get_write_buffer_size()
        self._look = self.loop.call_later(self.take_seconds_max, self._look_again, left)

    def _end_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_again(self, left_before: int) -> None:
        """Nothing is written meanwhile: what is left shrinks if the client takes some of it."""
        if self.transport.get_write_buffer_size() < left_before:
            self._begin_looking()
        else:
            self.logger.warning("Hung up on a client that takes nothing.")
            self.transport.abort()
