"""What `tallystick dev` and the demo need to be of use at once: an account, credits, and keys."""

from __future__ import annotations

from uuid import UUID

import msgspec

from adapters.api_keys import NewKey, Scope
from service.bootstrap import Service
from service.command import Origin
from service.identifiers import new_id, parse_id, public_id
from service.profile import Profile, read_profile, write_profile

ACCOUNT_NAME = "local"
CREDITS = 1_000
CREDITS_LOW = 200
"""Below this the account is granted `CREDITS` more: it is there to try things out."""
_ORIGIN = Origin(actor="local")
_REASON = "to try things out"


async def introduce(service: Service, url: str, *, lasting: bool = True) -> Profile:
    """The profile of a service at `url`, written to its data folder.

    Its account and keys are made where they are missing. The address of one that is not `lasting`
    is noted only where there is none yet: another one may be running here. Raises the errors of
    the bus and of the keys, and `OSError`.
    """
    known = read_profile(service.settings.data_folder)
    profile = await _renewed(service, known, url) if known else None
    profile = profile or await _made(service, url)
    await _top_up(service, parse_id("acct", profile.account_id))
    noted = url if lasting or known is None else known.url
    write_profile(service.settings.data_folder, msgspec.structs.replace(profile, url=noted))
    return profile


async def _renewed(service: Service, known: Profile, url: str) -> Profile | None:
    """None when its keys are not known here: the database is another one now."""
    user = await service.keys.check(known.api_key)
    admin = await service.keys.check(known.admin_key)
    if user is None or user.account_id is None or admin is None:
        return None
    return Profile(
        url=url,
        account_id=public_id("acct", user.account_id),
        api_key=known.api_key,
        admin_key=known.admin_key,
    )


async def _made(service: Service, url: str) -> Profile:
    account_id = new_id()
    await service.bus.open_account(
        account_id, plan="standard", name=ACCOUNT_NAME, reason=_REASON, origin=_ORIGIN
    )
    return Profile(
        url=url,
        account_id=public_id("acct", account_id),
        api_key=await _key(service, "user", account_id),
        admin_key=await _key(service, "admin", None),
    )


async def _key(service: Service, scope: Scope, account_id: UUID | None) -> str:
    made = await service.keys.create(scope=scope, name=ACCOUNT_NAME, account_id=account_id)
    assert isinstance(made, NewKey), "only a request with an idempotency key is replayed"
    return made.secret


async def _top_up(service: Service, account_id: UUID) -> None:
    account = await service.queries.account(account_id)
    if account is not None and account.available < CREDITS_LOW:
        await service.bus.grant(
            account_id,
            amount=CREDITS,
            kind="promotional",
            source_ref=f"local-{new_id().hex}",
            reason=_REASON,
            origin=_ORIGIN,
        )
