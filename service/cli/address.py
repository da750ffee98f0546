"""Which service the commands talk to: options, else the environment, else the local profile."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import rich_click as click

from service.cli.output import json_option
from service.profile import read_profile
from service.settings import load_settings
from tallystick.client import Client

Function = TypeVar("Function", bound=Callable[..., Any])
_MISSING = (
    "No service to talk to. Run `tallystick dev` in this folder, or set TALLYSTICK_URL and"
    " TALLYSTICK_API_KEY (or give --url and --api-key)."
)


def client_options(function: Function) -> Function:
    """`--url` and `--api-key`, handed on as `url` and `api_key`."""
    url: Callable[[Function], Function] = click.option(
        "--url", help="Address of the service [TALLYSTICK_URL, else the local profile]."
    )
    api_key: Callable[[Function], Function] = click.option(
        "--api-key", help="API key [TALLYSTICK_API_KEY, else the local profile]."
    )
    return url(api_key(function))


def api_command(function: Callable[..., None]) -> Callable[..., None]:
    """The frame of a command on the HTTP API: its first argument is a client, closed after it.

    Adds `--json` (handed on as `as_json`), `--url` and `--api-key`.
    """

    @wraps(function)
    def command(*, url: str | None, api_key: str | None, **given: object) -> None:
        with client(url, api_key) as service:
            function(service, **given)

    return json_option(client_options(command))


def client(url: str | None, api_key: str | None) -> Client:
    """A client of that service. Raises `UsageError` when it is not known."""
    url = url or os.environ.get("TALLYSTICK_URL")
    api_key = api_key or os.environ.get("TALLYSTICK_API_KEY")
    if not url or not api_key:
        profile = read_profile(load_settings().data_folder)
        if profile is None:
            raise click.UsageError(_MISSING)
        # A key is only sent where it belongs.
        if url and url.rstrip("/") != profile.url:
            raise click.UsageError(f"No API key for {url}: set TALLYSTICK_API_KEY.")
        url, api_key = profile.url, api_key or profile.api_key
    return Client(url, api_key)
