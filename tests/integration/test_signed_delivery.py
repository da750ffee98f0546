"""A signed POST over real sockets: its form, its bounds, and what comes of every kind of answer.

The addresses that it refuses are tried with the downloads' trap in `test_delivery_addresses.py`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from adapters.addresses import AddressGuard
from adapters.clock import DatabaseClock
from adapters.signed_delivery import (
    Answered,
    DeliveryLimits,
    Message,
    SignedDelivery,
    Unanswered,
)
from tests.integration.hostile_addresses import ResolverAnswer
from tests.integration.media_server import ANSWERS, always
from tests.integration.push_receiver import Receiver, receiving

SECRET = b"0123456789abcdef0123456789abcdef"
LIMITS = DeliveryLimits(connect_seconds=5, total_seconds=10, answer_bytes_max=1_000)
BRIEF = DeliveryLimits(connect_seconds=1, total_seconds=0.3, answer_bytes_max=1_000)
MESSAGE = Message(id="msg_1", at=DatabaseClock().now(), body='{"word":"grün"}'.encode())


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as server:
        yield server


async def deliver(
    receiver: Receiver, *, limits: DeliveryLimits = LIMITS, path: str = "/hook"
) -> Answered | Unanswered:
    send = SignedDelivery(AddressGuard(allow_loopback=True))
    return await send(receiver.url(path), MESSAGE, [SECRET], limits=limits)


async def answered(receiver: Receiver, limits: DeliveryLimits = LIMITS) -> Answered:
    answer = await deliver(receiver, limits=limits)
    assert isinstance(answer, Answered)
    return answer


async def test_the_form_is_standard_webhooks(receiver: Receiver) -> None:
    """Computed here by hand, as the standard says it."""
    receiver.script.append(always("200 OK", b"fine"))
    answer = await answered(receiver)
    assert (answer.status, answer.body, answer.whole, answer.accepted) == (200, b"fine", True, True)
    [sent] = receiver.headers
    at = str(int(MESSAGE.at.timestamp()))
    assert (sent["webhook-id"], sent["webhook-timestamp"]) == ("msg_1", at)
    signed = hmac.digest(SECRET, f"msg_1.{at}.".encode() + MESSAGE.body, hashlib.sha256)
    assert sent["webhook-signature"] == "v1," + base64.b64encode(signed).decode()
    assert sent["content-type"] == "application/json"
    assert receiver.bodies == [MESSAGE.body]
    assert receiver.lines == ["POST /hook HTTP/1.1"]
    assert "traceparent" not in sent


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        ("200 OK", True),
        ("202 Accepted", True),
        ("204 No Content", True),
        ("302 Found", False),
        ("400 Bad Request", False),
        ("410 Gone", False),
        ("500 Oops", False),
    ],
)
async def test_every_status_is_an_answer_and_no_redirect_is_followed(
    status: str, receiver: Receiver, *, accepted: bool
) -> None:
    receiver.script.append(always(status, location="/elsewhere"))
    answer = await answered(receiver)
    assert (answer.status, answer.accepted) == (int(status[:3]), accepted)
    assert len(receiver.lines) == 1


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("/429", 12), ("/503", 7), ("/429-date", 90), ("/429-junk", None), ("/429-never", 3600)],
)
async def test_a_wish_to_wait_is_told(name: str, seconds: int | None, receiver: Receiver) -> None:
    receiver.script.append(ANSWERS[name])
    assert (await answered(receiver)).retry_after_seconds == seconds


@pytest.mark.parametrize("size", [1_000, 1_001])
async def test_an_answer_is_read_up_to_its_limit(size: int, receiver: Receiver) -> None:
    receiver.script.append(always("200 OK", b"x" * size))
    answer = await answered(receiver)
    assert (answer.body, answer.whole) == (b"x" * 1_000, size == 1_000)


async def test_an_endless_answer_is_left_at_its_limit(receiver: Receiver) -> None:
    receiver.script.append(ANSWERS["/endless"])
    answer = await answered(receiver)
    assert (len(answer.body), answer.whole) == (1_000, False)


@pytest.mark.parametrize("name", ["/stall", "/stall-body"])
async def test_a_silent_endpoint_is_given_up(name: str, receiver: Receiver) -> None:
    receiver.script.append(ANSWERS[name])
    wide = DeliveryLimits(total_seconds=0.3, answer_bytes_max=10**9)
    answer = await deliver(receiver, limits=wide)
    assert isinstance(answer, Unanswered)
    assert answer.reason == "timeout"


async def test_a_trickle_does_not_outlast_the_whole_time(receiver: Receiver) -> None:
    """Each read is in time; together they are not."""

    async def trickle(writer: asyncio.StreamWriter, server: object) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not receiver.released.is_set():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    receiver.script.append(trickle)
    answer = await deliver(receiver, limits=BRIEF)
    assert isinstance(answer, Unanswered)
    assert answer.reason == "timeout"


@pytest.mark.parametrize("name", ["/hang-up", "/reset", "/garbage", "/huge-headers", "/short"])
async def test_a_broken_answer_is_told_apart(name: str, receiver: Receiver) -> None:
    receiver.script.append(ANSWERS[name])
    answer = await deliver(receiver, limits=DeliveryLimits(answer_bytes_max=10**9))
    assert isinstance(answer, Unanswered)
    assert answer.reason == "broken"


async def test_a_closed_port_is_broken() -> None:
    async with receiving() as gone:
        pass
    answer = await deliver(gone)
    assert isinstance(answer, Unanswered)
    assert answer.reason == "broken"


async def test_cancelling_ends_the_exchange(receiver: Receiver) -> None:
    receiver.script.append(ANSWERS["/endless"])
    sending = asyncio.create_task(deliver(receiver, limits=DeliveryLimits(answer_bytes_max=10**12)))
    async with asyncio.timeout(10):
        await receiver.arrived.get()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await receiver.hung_up.wait()


# TLS


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this process trusts."""
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return trusted


def tls_for(name: str, authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def resolve_to_loopback(_host: str, port: int, *_: object) -> list[ResolverAnswer]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


async def deliver_to(url: str) -> Answered | Unanswered:
    guard = AddressGuard(allow_loopback=True, resolver=resolve_to_loopback)
    return await SignedDelivery(guard)(url, MESSAGE, [SECRET], limits=LIMITS)


async def test_https_is_held_to_the_urls_host_though_the_address_is_pinned(
    authority: trustme.CA,
) -> None:
    async with receiving(tls_for("hooks.example", authority)) as receiver:
        receiver.script.append(always("204 No Content"))
        answer = await deliver_to(receiver.url("/hook", host="hooks.example"))
        assert isinstance(answer, Answered)
        assert receiver.headers[0]["host"] == f"hooks.example:{receiver.port}"


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_for_somebody_else_gets_nothing(
    authority: trustme.CA, *, trusted: bool
) -> None:
    tls = tls_for("other.example", authority) if trusted else tls_for("hooks.example", trustme.CA())
    async with receiving(tls) as receiver:
        answer = await deliver_to(receiver.url("/hook", host="hooks.example"))
        assert isinstance(answer, Unanswered)
        assert answer.reason == "certificate"
        assert receiver.lines == []
