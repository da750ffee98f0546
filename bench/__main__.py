"""`python -m bench`: measure, three times over, and print one table with ratios."""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast
from uuid import UUID

from adapters.clock import DatabaseClock
from bench import database
from bench.system import System, line, measure, recorder, run
from service.logs import configure_logs

RESULTS = Path(__file__).parent / "results"
REPEATS = 3
SYSTEMS = {
    "tallystick": "bench.tallystick_system:Tallystick",
    "pgqueuer": "bench.pgqueuer_system:PgQueuerSystem",
    "oban": "bench.oban_system:ObanSystem",
    "procrastinate": "bench.procrastinate_system:ProcrastinateSystem",
}
COLUMNS = ("enq1", "enq32", "bulk", "drain", "lat_p50_ms", "lat_p99_ms")
Figures = dict[str, object]


def main() -> None:
    """Measure all that was asked for, or (as a child process) one part of one system."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="measure the peers in the same run")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument(
        "--only", choices=["claims", "hot-account", "old-account"], help="measure this alone"
    )
    parser.add_argument("--entries", type=int, default=1_000_000, help="past of the old account")
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.system:
        _part(_system(options.system), options.words)
        return
    with tempfile.TemporaryDirectory(
        prefix="tallystick-bench-", ignore_cleanup_errors=True
    ) as made:
        Path(made).chmod(0o711)
        os.environ[database.FOLDER_VARIABLE] = made
        with database.server():
            if options.only:
                _alone(options.only, options.repeats, options.entries)
            else:
                _all(options.repeats, peers=options.peers)


def _system(name: str) -> System:
    module, _, attribute = SYSTEMS[name].partition(":")
    return cast("System", getattr(importlib.import_module(module), attribute)())


def _part(system: System, words: list[str]) -> None:
    configure_logs(readable=False)  # as in production; the lines go to a file
    from bench import hot_account, stock_system  # noqa: PLC0415 - each part brings its own imports

    match words:
        case ["drain", jobs]:
            sys.stdout.write(f"{run(system.drain(int(jobs)))}\n")
            sys.stdout.flush()
            os._exit(0)
        case ["replay"]:
            from bench import replay  # noqa: PLC0415 - each part brings its own imports

            sys.stdout.write(f"{run(replay.replay())}\n")
        case ["submit", account_id, jobs]:
            run(hot_account.submit(UUID(account_id), int(jobs)))
        case ["stock", account_id, jobs]:
            stock_system.submit(UUID(account_id), int(jobs))
        case ["growth", account_id]:
            sys.stdout.write(f"{run(hot_account.growth(UUID(account_id)))}\n")
        case ["state-bytes", account_id]:
            sys.stdout.write(f"{run(hot_account.state_bytes(UUID(account_id)))}\n")
        case ["load", account_id]:
            sys.stdout.write(f"{run(hot_account.load(UUID(account_id)))}\n")
        case ["work", path]:
            run(cast("object", system.work(recorder(path))))  # type: ignore[arg-type]
        case _:
            raise SystemExit(f"unknown part {words}")


def _all(repeats: int, *, peers: bool) -> None:
    RESULTS.mkdir(exist_ok=True)
    runs: dict[str, list[Figures]] = {}
    for repeat in range(repeats):
        for name in _measured(peers=peers):
            _say(f"run {repeat + 1} of {repeats}: {name}")
            figures = _measure(name)
            runs.setdefault(name, []).append(figures)
            stamp = {"at": DatabaseClock().now().isoformat(timespec="seconds")}
            with (RESULTS / f"{name}.jsonl").open("a") as file:
                file.write(line({**figures, **stamp}) + "\n")
    sys.stdout.write(table({name: _medians(figures) for name, figures in runs.items()}))


def _alone(name: str, repeats: int, entries: int) -> None:
    """One scenario of our own."""
    from bench import claims, hot_account, old_account  # noqa: PLC0415 - as each part does

    scenarios: dict[str, Callable[[], Figures]] = {
        "claims": claims.measure,
        "hot-account": hot_account.measure,
        "old-account": lambda: old_account.measure(entries),
    }
    runs = []
    for repeat in range(repeats):
        _say(f"run {repeat + 1} of {repeats}: {name}")
        runs.append(scenarios[name]())
        _say(line(runs[-1]))
    sys.stdout.write(claims.table(runs))


def _measured(*, peers: bool) -> list[str]:
    names = ["pgbench", "tallystick"]
    for name in ("pgqueuer", "oban", "procrastinate") if peers else ():
        try:
            _system(name)
        except ImportError as error:
            _say(f"{name} is left out: {error}")
        else:
            names.append(name)
    return names


def _measure(name: str) -> Figures:
    if name == "pgbench":
        from bench import pgbench  # noqa: PLC0415 - each system brings its own imports

        return pgbench.measure()
    figures = measure(_system(name))
    if name == "tallystick":
        from bench import http, replay  # noqa: PLC0415

        figures |= http.measure() | replay.measure()
    return figures


def _medians(runs: list[Figures]) -> dict[str, float]:
    keys = [key for key, value in runs[0].items() if isinstance(value, int | float)]
    return {key: statistics.median(cast("float", figures[key]) for figures in runs) for key in keys}


def table(medians: dict[str, dict[str, float]]) -> str:
    """Markdown: absolute figures, and what ours is as a ratio to each peer and to pgbench."""
    ours, limit = medians["tallystick"], medians["pgbench"]
    rows = ["| system | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, figures in medians.items():
        if name != "pgbench":
            cells = (f"{figures[column]:,.1f}" for column in COLUMNS)
            rows.append(f"| {name} | " + " | ".join(cells) + " |")
    for name, figures in medians.items():
        if name not in {"pgbench", "tallystick"}:
            cells = (f"{ours[column] / figures[column]:.2f}x" for column in COLUMNS)
            rows.append(f"| tallystick / {name} | " + " | ".join(cells) + " |")
    rows += ["", *_sentences(ours, limit), ""]
    return "\n".join(rows)


def _sentences(ours: dict[str, float], limit: dict[str, float]) -> list[str]:
    one, many, fifty = limit["one_row_1"], limit["one_row_32"], limit["fifty_rows_1"] * 50
    http, bare = ours["http_rps"], ours["http_bare_rps"]
    physical = f"pgbench, one row a commit: {one:,.0f}/s at 1 client, {many:,.0f}/s at 32"
    against = f"{ours['enq1'] / one:.2f}x at 1, {ours['enq32'] / many:.2f}x at 32"
    waits = f"p50 {ours['http_p50_ms']:.1f} ms, p99 {ours['http_p99_ms']:.1f} ms"
    return [
        f"{physical}; fifty rows a commit: {fifty:,.0f} rows/s.",
        f"tallystick / pgbench: {against} (each task is two events and two rows).",
        f"HTTP submit {http:,.0f}/s ({waits}), bare route {bare:,.0f}/s: {http / bare:.2f}x.",
        f"Replay {ours['replay_events_s']:,.0f} events/s.",
    ]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
