"""The frame of operators' commands that change an account: who, why, and maybe once only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any
from uuid import UUID

import msgspec
import rich_click as click

from adapters.decision import Committed, KeyRecord, States
from domain.balance import Balance
from domain.errors import KeyReused, NotFound
from domain.event import NAME_LENGTH_MAX, TEXT_LENGTH_MAX
from domain.ledger import LedgerCommand
from service.bootstrap import Service
from service.cli.account_view import show_account
from service.cli.administration import actor_option, operator, with_service
from service.cli.arguments import text_of
from service.cli.output import json_option, print_fields, print_json, say
from service.command import Once
from service.http.accounts import AccountResource, account_resource
from service.http.grant_resource import HoldResource
from service.http.idempotency import fingerprint_of, scoped
from service.http.ledger_resource import hold_in
from service.identifiers import parse_id, public_id
from service.ledgers import Asked
from tallystick.models import Account

Work = Callable[[Service, Asked], Awaitable[Committed]]
Resource = AccountResource | HoldResource
_OK = 200
account_argument = click.argument("account")
reason_option = click.option(
    "--reason",
    required=True,
    callback=text_of(TEXT_LENGTH_MAX),
    help="Why; stands in the log.",
)
_KEY = click.option(
    "--key",
    callback=text_of(NAME_LENGTH_MAX),
    help="Idempotency key: the same one again changes nothing more, for 7 days.",
)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What every such command is given; `given` is its own, to tell it from others of its `key`."""

    account_id: UUID
    reason: str
    actor: str | None
    as_json: bool
    command: str
    key: str | None = None
    given: dict[str, Any] = {}


def account_change(*, keyed: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """--reason, --actor and --json, with `keyed` also --key, handed on as `change`.

    Takes in ACCOUNT, which is declared apart, by `account_argument`: it stands before all others.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def command(
            *,
            account: str,
            reason: str,
            actor: str | None,
            as_json: bool,
            key: str | None = None,
            **given: object,
        ) -> None:
            change = Change(
                account_id=parse_id("acct", account),
                reason=reason,
                actor=actor,
                as_json=as_json,
                command=function.__name__,
                key=key,
                given=given,
            )
            function(change, **given)

        options = (reason_option, actor_option, *([_KEY] if keyed else ()), json_option)
        decorated: Callable[..., None] = command
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def carry_out(change: Change, work: Work, *, hold_id: UUID | None = None) -> None:
    """Do it, and show the account after it, or its open hold `hold_id`.

    Says so where nothing had to be changed. With a key it is done once, and the first answer is
    shown again. Raises `KeyReused`, and what `work` does.
    """

    def told(states: States) -> Resource:
        ledger = states[change.account_id]
        return account_resource(ledger.balance) if hold_id is None else hold_in(ledger, hold_id)

    async def run(service: Service) -> tuple[bool, Resource]:
        committed = await work(service, _asked(change, told))
        if (first := committed.replayed) is None:
            return bool(committed.events), told(committed.states)
        if first.fingerprint != _fingerprint(change):
            raise KeyReused
        kind: type[Resource] = AccountResource if hold_id is None else HoldResource
        return False, msgspec.json.decode(first.body, type=kind)

    changed, resource = with_service(run)
    if not changed:
        say("It was so before: nothing was changed.")
    print_resource(resource, as_json=change.as_json)


def command_on(change: Change, command: LedgerCommand) -> None:
    """Carry out one command of the account's ledger."""

    async def work(service: Service, asked: Asked) -> Committed:
        return await service.ledgers.carry_out(asked, command)

    carry_out(change, work)


def _asked(change: Change, told: Callable[[States], Resource]) -> Asked:
    origin = operator(change.actor)
    if change.key is None:
        return Asked(account_id=change.account_id, origin=origin)
    where = f"{change.command} {change.account_id}"
    key, fingerprint = scoped(b"cli", "cli", where, change.key), _fingerprint(change)

    def answer(states: States) -> KeyRecord:
        body = msgspec.json.encode(told(states))
        return KeyRecord(key=key, fingerprint=fingerprint, status=_OK, body=body)

    once = Once(key=key, fingerprint=fingerprint, answer=answer)
    return Asked(account_id=change.account_id, origin=origin, once=once)


def _fingerprint(change: Change) -> bytes:
    """Of what is asked for; who asks may be another one."""
    return fingerprint_of(msgspec.json.encode([change.reason, sorted(change.given.items())]))


async def account_of(service: Service, account_id: UUID) -> Balance:
    """As of now: what time has brought since is settled first. Raises `NotFound`."""
    await service.ledgers.settle([account_id])
    account = await service.queries.account(account_id)
    if account is None:
        raise NotFound(f"There is no account {public_id('acct', account_id)}.")
    return account


def print_resource(resource: Resource, *, as_json: bool) -> None:
    if as_json:
        print_json(resource)
    elif isinstance(resource, HoldResource):
        print_fields(msgspec.structs.asdict(resource))
    else:
        show_account(account_shown(resource))


def account_shown(resource: AccountResource) -> Account:
    """As the API's users see it."""
    return msgspec.json.decode(msgspec.json.encode(resource), type=Account)


def print_account(balance: Balance, *, as_json: bool) -> None:
    print_resource(account_resource(balance), as_json=as_json)
