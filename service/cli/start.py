"""What the commands that run a process have in common: options, settings, logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import rich_click as click

from service.logs import LEVELS, configure_logs
from service.settings import Settings, load_settings

host_option = click.option("--host", help="Address to listen on [TALLYSTICK_HTTP_HOST].")
port_option = click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port to listen on [TALLYSTICK_HTTP_PORT]."
)


def log_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--log`, handed to the command as `level`."""
    return click.option(
        "--log",
        "level",
        type=click.Choice(list(LEVELS)),
        default=default,
        show_default=True,
        help="Least important log lines to print on stderr.",
    )


def start(level: str, *, host: str | None = None, port: int | None = None) -> Settings:
    """Settings of this process, with its options in them, and its logs set up."""
    settings = load_settings()
    changes = {"http_host": host, "http_port": port}
    settings = msgspec.structs.replace(
        settings, **{name: value for name, value in changes.items() if value is not None}
    )
    configure_logs(level, readable=None if settings.log_json is None else not settings.log_json)
    return settings
