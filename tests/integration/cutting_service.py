"""A service whose streams are cut after so many bytes, as often as a test says."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Log:
    """Events of one stream by their positions; those without one come with the next that has."""

    def __init__(self, events: Sequence[tuple[str, int | None, dict[str, Any]]]) -> None:
        self.events = events

    def after(self, last_id: int) -> bytes:
        text, since = "", False
        for name, position, data in self.events:
            since = since or (position or 0) > last_id
            if since:
                head = "" if position is None else f"id: {position}\n"
                text += f"{head}event: {name}\ndata: {json.dumps(data)}\n\n"
        return f": welcome\n\n{text}".encode()


class CuttingService:
    """`cuts` are the bytes of each connection, one after the other; then nothing is cut."""

    def __init__(self, url: str, log: Log, cuts: list[int]) -> None:
        self.url = url
        self.log = log
        self.cuts = cuts
        self.last_ids: list[str | None] = []

    def answer(self, last_id: str | None) -> tuple[bytes, bool]:
        """What is sent, and whether the connection is cut after it."""
        self.last_ids.append(last_id)
        text = self.log.after(int(last_id or 0))
        if not self.cuts:
            return text, False
        return text[: self.cuts.pop(0)], True


@contextmanager
def cutting_service(log: Log, cuts: list[int]) -> Iterator[CuttingService]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            text, cut = service.answer(self.headers.get("Last-Event-ID"))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if text:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))
            self.close_connection = cut
            if cut:
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service = CuttingService(f"http://127.0.0.1:{server.server_port}", log, cuts)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
