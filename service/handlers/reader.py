"""One reader for all handlers of a process, so that its bound on media processes is one."""

from __future__ import annotations

from adapters.media_reader import MediaReader

READER = MediaReader()
