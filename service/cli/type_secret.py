"""`tallystick types secret`: what signs a push type's deliveries, for operators."""

from __future__ import annotations

import rich_click as click

from adapters.signing_secret import SigningSecret, secret_text
from domain.errors import InvalidInput
from service.bootstrap import Service
from service.cli.administration import with_service
from service.cli.output import json_option, print_fields, print_json
from service.push import secret_name

OVERLAP_SECONDS = 86_400
OVERLAP_SECONDS_MAX = 30 * 86_400


@click.command()
@click.argument("name")
@click.option("--rotate", is_flag=True, help="Put a new secret in its place.")
@click.option(
    "--overlap",
    "overlap_seconds",
    type=click.IntRange(0, OVERLAP_SECONDS_MAX),
    default=OVERLAP_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long deliveries are signed with the old secret as well.",
)
@json_option
def secret(name: str, rotate: bool, overlap_seconds: int, as_json: bool) -> None:
    """Show the secret that signs what is sent to a push type's endpoint, from the database."""
    found = with_service(lambda s: _secret(s, name, overlap_seconds if rotate else None))
    document = {
        "type": name,
        "secret": secret_text(found.current),
        "previous_secret": secret_text(found.previous) if found.previous else None,
        "previous_until": found.previous_until,
    }
    if as_json:
        print_json(document)
    else:
        print_fields(document)


async def _secret(service: Service, name: str, overlap_seconds: int | None) -> SigningSecret:
    if service.types.named(name).endpoint is None:
        raise InvalidInput(f"{name} has no endpoint: it is not pushed, so nothing is signed.")
    if overlap_seconds is None:
        return await service.signing_secrets.get(secret_name(name))
    return await service.signing_secrets.rotate(secret_name(name), overlap_seconds)
