"""A process that uses an embedded server, and says so, until its input ends.

Run as `python server_user.py FOLDER`: prints the DSN once the server answers; on the end of its
standard input it stops the server's use in good order, on SIGKILL it cannot.
"""

from __future__ import annotations

import sys
from pathlib import Path

from adapters.embedded import EmbeddedPostgres

if __name__ == "__main__":
    with EmbeddedPostgres(Path(sys.argv[1])) as server:
        sys.stdout.write(server.dsn() + "\n")
        sys.stdout.flush()
        sys.stdin.read()
