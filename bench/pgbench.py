"""What this machine and this server can do at all: pgbench, one row or fifty rows a commit."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench import database

DATABASE = "bench_pgbench"
SECONDS = 5
_SCRIPTS = {
    "one_row": "INSERT INTO physical (payload) VALUES ('{\"n\": 1}');",
    "fifty_rows": (
        "INSERT INTO physical (payload) SELECT '{\"n\": 1}' FROM generate_series(1, 50);"
    ),
}
_TABLE = """
CREATE TABLE physical (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
)
"""


def measure() -> dict[str, object]:
    """Commits a second of each script with 1 and 32 clients, keyed `<script>_<clients>`."""
    dsn = database.fresh(DATABASE)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_TABLE)
    figures: dict[str, object] = {"peer": "pgbench"}
    for name, script in _SCRIPTS.items():
        for clients in (1, 32):
            figures[f"{name}_{clients}"] = _run(dsn, name, script, clients)
    return figures


def _run(dsn: str, name: str, script: str, clients: int) -> float:
    path = database.folder() / f"{name}.sql"
    path.write_text(script)
    parts = conninfo_to_dict(dsn)
    words = ["-n", "-M", "prepared", "-f", str(path), "-T", str(SECONDS)]
    words += ["-c", str(clients), "-j", str(min(2, clients))]
    done = subprocess.run(
        [str(_program()), *words, str(parts["dbname"])],
        env={**os.environ, "PGHOST": str(parts["host"]), "PGUSER": str(parts["user"])},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


def _program() -> Path:
    return database.server().programs_folder() / "pgbench"
