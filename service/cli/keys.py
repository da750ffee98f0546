"""`tallystick keys …`: API keys, for operators; a key's secret is printed once, when it is made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import get_args
from uuid import UUID

import rich_click as click

from adapters.api_keys import LIST_KEYS_MAX, ApiKey, NewKey, Scope
from service.bootstrap import Service
from service.cli.administration import with_service
from service.cli.output import json_option, print_fields, print_json, print_table, say
from service.identifiers import parse_id, public_id

NAME_LENGTH_MAX = 200
DAYS_MAX = 3_650
OVERLAP_SECONDS_MAX = 30 * 86_400


@click.group()
def keys() -> None:
    """Create, list, revoke and rotate API keys, straight in the database."""


@keys.command()
@click.option(
    "--scope",
    type=click.Choice(get_args(Scope)),
    default="user",
    show_default=True,
    help="What the key may do: a user's verbs on one account, a worker's, or everything.",
)
@click.option("--account", help="The account that a user's key acts for.")
@click.option("--name", default="cli", show_default=True, help="What the key is called.")
@click.option(
    "--expires-days",
    type=click.IntRange(1, DAYS_MAX),
    help="Ends after this many days; without it, never.",
)
@json_option
def create(
    scope: Scope, account: str | None, name: str, expires_days: int | None, as_json: bool
) -> None:
    """Make a key and print it, this once."""
    if (scope == "user") != (account is not None):
        raise click.UsageError("--account goes with --scope user, and with no other.")
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise click.UsageError(f"--name is 1 to {NAME_LENGTH_MAX} characters.")
    account_id = parse_id("acct", account) if account else None

    async def work(service: Service) -> NewKey:
        expires_at = service.clock.now() + timedelta(days=expires_days) if expires_days else None
        made = await service.keys.create(
            scope=scope, name=name, account_id=account_id, expires_at=expires_at
        )
        assert isinstance(made, NewKey), "only a request with an idempotency key is replayed"
        return made

    _show_new(with_service(work), as_json=as_json)


@keys.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List keys, newest first; never their secrets."""

    async def work(service: Service) -> list[ApiKey]:
        found: list[ApiKey] = []
        while page := await service.keys.page(
            before=found[-1].id if found else None, limit=LIST_KEYS_MAX
        ):
            found += page
        return found

    _show_all(with_service(work), as_json=as_json)


@keys.command()
@click.argument("key")
@json_option
def revoke(key: str, as_json: bool) -> None:
    """End a key for good."""
    key_id = parse_id("key", key)
    revoked = with_service(lambda service: service.keys.revoke(key_id))
    if as_json:
        print_json(_document(revoked))
    else:
        print_fields(_document(revoked))


@keys.command()
@click.argument("key")
@click.option(
    "--overlap",
    "overlap_seconds",
    type=click.IntRange(0, OVERLAP_SECONDS_MAX),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="How long the old key goes on working.",
)
@json_option
def rotate(key: str, overlap_seconds: int, as_json: bool) -> None:
    """Make a new key in the place of one, and print it, this once."""
    key_id = parse_id("key", key)
    _show_new(with_service(lambda s: _rotate(s, key_id, overlap_seconds)), as_json=as_json)


async def _rotate(service: Service, key_id: UUID, overlap_seconds: int) -> NewKey:
    made = await service.keys.rotate(key_id, overlap_seconds=overlap_seconds)
    assert isinstance(made, NewKey), "only a request with an idempotency key is replayed"
    return made


def _document(key: ApiKey) -> dict[str, object]:
    fields = {name: getattr(key, name) for name in key.__struct_fields__}
    account = public_id("acct", key.account_id) if key.account_id else None
    return {**fields, "id": public_id("key", key.id), "account_id": account}


def _show_new(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json({**_document(made.key), "secret": made.secret})
        return
    print_fields({**_document(made.key), "secret": made.secret})
    say("The secret is not shown again.")


def _show_all(found: Iterable[ApiKey], *, as_json: bool) -> None:
    if as_json:
        for key in found:
            print_json(_document(key))
        return
    print_table(
        {
            "id": lambda k: public_id("key", k.id),
            "prefix": lambda k: k.prefix,
            "name": lambda k: k.name,
            "scope": lambda k: k.scope,
            "account": lambda k: k.account_id and public_id("acct", k.account_id),
            "created": lambda k: k.created_at,
            "expires": lambda k: k.expires_at,
            "revoked": lambda k: k.revoked_at,
        },
        found,
    )
