"""Where an embedded server keeps its files, and by which short path its socket is reached."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

PORT = 5432
SOCKET_PATH_BYTES_MAX = 103
"""The smallest limit of the systems served: 103 on macOS, 107 on Linux."""


class ServerFolder:
    """`data` is PostgreSQL's own; the lock files beside it say who uses the server.

    `gate` serialises starting and stopping; each user of the server holds `users` shared; the
    guard holds `guard`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.data = self.path / "data"
        self.gate = self.path / "gate.lock"
        self.users = self.path / "users.lock"
        self.guard = self.path / "guard.lock"

    def socket_folder(self) -> Path:
        """The folder to give libpq as host: `data`, or a short link to it where that is too long.

        Also a comma needs the link, because libpq takes it to part two hosts. Raises OSError if no
        safe link can be made.
        """
        socket_path = os.fsencode(self.data / f".s.PGSQL.{PORT}")
        if len(socket_path) <= SOCKET_PATH_BYTES_MAX and b"," not in socket_path:
            return self.data
        link = self._link()
        if not link.is_symlink() or link.readlink() != self.data:
            fresh = link.with_name(f"{link.name}.{os.getpid()}")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self.data)
            fresh.replace(link)
        return link

    def remove_link(self) -> None:
        """Forget the short link, if there is one."""
        link = Path(tempfile.gettempdir()) / f"tallystick-{os.getuid()}" / self._link_name()
        link.unlink(missing_ok=True)

    def _link(self) -> Path:
        home = Path(tempfile.gettempdir()) / f"tallystick-{os.getuid()}"
        home.mkdir(mode=0o700, exist_ok=True)
        status = home.lstat()
        # Another user could have made it first, to lead us to a server of theirs.
        if (
            not stat.S_ISDIR(status.st_mode)
            or status.st_uid != os.getuid()
            or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        ):
            raise PermissionError(f"{home} is not a private folder of this user")
        return home / self._link_name()

    def _link_name(self) -> str:
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
