"""`tallystick health`: whether a service answers and is ready."""

from __future__ import annotations

import os

import rich_click as click

from service.cli.output import json_option, print_fields, print_json
from service.profile import read_profile
from service.settings import load_settings
from tallystick.health import read_health


@click.command()
@click.option("--url", help="Address of the service [TALLYSTICK_URL, else the local profile].")
@json_option
def health(url: str | None, as_json: bool) -> None:
    """Ask a service whether it is ready; exits with 4 when it is not."""
    settings = load_settings()
    profile = read_profile(settings.data_folder)
    default = f"http://{settings.http_host}:{settings.http_port}"
    url = url or os.environ.get("TALLYSTICK_URL") or (profile.url if profile else default)
    document = read_health(url)
    if as_json:
        print_json(document)
    else:
        print_fields(document)
