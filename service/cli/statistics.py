"""`tallystick statistics`: the queue now and what happened over time, for operators."""

from __future__ import annotations

from typing import get_args

import rich_click as click

from adapters.queries import Bucket
from adapters.queue_depth import QueueDepth
from domain.event import NAME_LENGTH_MAX
from service.bootstrap import Service
from service.cli.administration import with_service
from service.cli.arguments import read_time
from service.cli.output import json_option, print_json, print_table, say
from service.statistics import Statistics, Times, TypeFigures, read_statistics, span_of


@click.command()
@click.option("--type", "types", multiple=True, help="Only this type; may be given several times.")
@click.option("--since", help="From this time (ISO 8601); a day before the end by default.")
@click.option("--until", help="Up to this time (ISO 8601); now by default.")
@click.option(
    "--bucket",
    type=click.Choice(get_args(Bucket)),
    default="total",
    show_default=True,
    help="How the hours are added up.",
)
@json_option
def statistics(
    types: tuple[str, ...], since: str | None, until: str | None, bucket: Bucket, as_json: bool
) -> None:
    """Show the queue, and how tasks of each type fared, straight from the database."""
    begin, end = read_time("--since", since), read_time("--until", until)
    if any(not 1 <= len(name) <= NAME_LENGTH_MAX for name in types):
        raise click.UsageError(f"--type has 1 to {NAME_LENGTH_MAX} characters.")

    async def work(service: Service) -> Statistics:
        span = span_of(service.clock.now(), begin, end)
        return await read_statistics(service, span, bucket=bucket, types=types)

    shown = with_service(work)
    if as_json:
        print_json(shown)
    else:
        _show(shown)


def _show(shown: Statistics) -> None:
    say(f"The queue at {shown.queue_counted_at:%Y-%m-%d %H:%M:%S} UTC:")
    _show_queue(shown.queue)
    for backlog in shown.backlogs:
        say(f"Backlog: too many {backlog.type} wait, since {backlog.since:%Y-%m-%d %H:%M:%S} UTC.")
    say(f"From {shown.since:%Y-%m-%d %H:%M} to {shown.until:%Y-%m-%d %H:%M} UTC:")
    _show_types(shown.types)


def _show_queue(depths: list[QueueDepth]) -> None:
    print_table(
        {
            "type": lambda d: d.type,
            "waiting": lambda d: d.waiting,
            "paused": lambda d: d.paused,
            "delayed": lambda d: d.delayed,
            "backoff": lambda d: d.backoff,
            "active": lambda d: d.active,
            "oldest s": lambda d: f"{d.oldest_seconds:.1f}",
        },
        depths,
    )


def _show_types(figures: list[TypeFigures]) -> None:
    print_table(
        {
            "from": lambda f: f.hour,
            "type": lambda f: f.type,
            "queued": lambda f: f.queued,
            "started": lambda f: f.started,
            "backoff": lambda f: f.backoff,
            "stalled": lambda f: f.stalled,
            "completed": lambda f: f.completed,
            "failed": lambda f: f.failed,
            "cancelled": lambda f: f.cancelled,
            "failures": lambda f: " ".join(f"{k}={n}" for k, n in f.failures.items()),
            "wait p50/p95/p99 s": lambda f: _times(f.wait),
            "run p50/p95/p99 s": lambda f: _times(f.run),
        },
        figures,
    )


def _times(times: Times | None) -> str | None:
    if times is None:
        return None
    return f"{times.p50_seconds:.3g}/{times.p95_seconds:.3g}/{times.p99_seconds:.3g}"
