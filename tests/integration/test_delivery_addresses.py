"""QUALITY 14 for what is sent: no spelling of a private place is connected to, or told anything.

The trap is that of the downloads: it sees, below every library, where this process connects.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from adapters.addresses import AddressGuard
from adapters.clock import DatabaseClock
from adapters.signed_delivery import DeliveryLimits, Message, SignedDelivery, Unanswered
from tests.integration.connect_trap import PUBLIC, PUBLIC_V6, Connects, armed, resolved_by
from tests.integration.hostile_addresses import (
    ANSWERS,
    AUTHORITIES,
    SCHEMES,
    SPELLINGS,
    ResolverAnswer,
)

MESSAGE = Message(id="msg_1", at=DatabaseClock().now(), body=b"{}")
LIMITS = DeliveryLimits(connect_seconds=2, total_seconds=5)


@pytest.fixture(autouse=True)
def connects() -> Iterator[Connects]:
    """The connections tried during the test."""
    with armed() as tried:
        yield tried


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the name server answers."""
    answers = {"public.example": [PUBLIC]}
    resolved_by(answers, monkeypatch)
    return answers


async def reason_of(guard: AddressGuard, url: str) -> str:
    outcome = await SignedDelivery(guard)(url, MESSAGE, [b"s" * 32], limits=LIMITS)
    assert isinstance(outcome, Unanswered)
    return outcome.reason


async def test_the_trap_sees_deliveries_to_public_addresses(connects: Connects) -> None:
    """The other tests could not fail if it did not."""
    assert await reason_of(AddressGuard(), "https://public.example/hook") == "broken"
    assert connects == [(PUBLIC, 443)]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", [*SPELLINGS, *AUTHORITIES])
async def test_a_private_place_in_the_url_is_refused(
    scheme: str, host: str, connects: Connects
) -> None:
    assert await reason_of(AddressGuard(), f"{scheme}://{host}/hook") == "refused"
    assert connects == []


@pytest.mark.parametrize("url", SCHEMES)
async def test_other_schemes_are_refused(url: str, connects: Connects) -> None:
    assert await reason_of(AddressGuard(), url) == "refused"
    assert connects == []


@pytest.mark.parametrize("address", ANSWERS)
@pytest.mark.parametrize("mixed", [[], [PUBLIC, PUBLIC_V6]])
async def test_a_name_with_a_private_answer_is_refused(
    address: str, mixed: list[str], names: dict[str, list[str]], connects: Connects
) -> None:
    names["rebound.example"] = [*mixed, address]
    assert await reason_of(AddressGuard(), "https://rebound.example/hook") == "refused"
    assert connects == []


@pytest.mark.parametrize("address", ANSWERS)
async def test_a_name_that_changes_its_answer_is_resolved_once_and_pinned(
    address: str, connects: Connects
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    later = (family, socket.SOCK_STREAM, 6, "", (address, 443))
    asked: list[str] = []

    def rebinding(host: str, port: int, *_: object) -> list[ResolverAnswer]:
        asked.append(host)
        now = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, port))
        return [now] if len(asked) == 1 else [later]

    guard = AddressGuard(resolver=rebinding)
    assert await reason_of(guard, "https://rebind.example/hook") == "broken"
    assert asked == ["rebind.example"]
    assert connects == [(PUBLIC, 443)]
