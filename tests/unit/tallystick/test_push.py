"""A receiver takes what we sign, and nothing that is changed, stale, or signed by others."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from adapters.clock import DatabaseClock
from adapters.signed_delivery import Message, signed_headers
from adapters.signing_secret import secret_text
from tallystick.push import BODY_BYTES_MAX, DeliveryRefused, completed, verify

SECRET, OTHER = b"s" * 32, b"t" * 32
CLOCK = DatabaseClock()
TASK: dict[str, Any] = {
    "id": "task_1",
    "type": "draw",
    "account_id": "acct_1",
    "input": {"n": 4},
    "token": 3,
    "run": 1,
    "attempt": 2,
    "lease_until": "2026-01-01T00:00:00Z",
    "attempt_seconds_max": 60,
    "path": "/v1/worker/tasks/task_1",
}
BODY = msgspec.json.encode({"type": "task.run", "timestamp": "2026-01-01T00:00:00Z", "data": TASK})


class Numbers(msgspec.Struct):
    n: int


def headers(
    body: bytes = BODY, *secrets: bytes, late: timedelta = timedelta(), at: datetime | None = None
) -> dict[str, str]:
    sent = Message(id="task_1_3", at=(at or CLOCK.now()) + late, body=body)
    return signed_headers(sent, secrets or (SECRET,))


def refused(sent: dict[str, str], body: bytes = BODY) -> str:
    with pytest.raises(DeliveryRefused) as refusal:
        verify(sent, body, secret_text(SECRET))
    return str(refusal.value)


def test_what_was_signed_is_taken_whatever_the_case_of_its_headers() -> None:
    sent = {name.title(): value for name, value in headers().items()}
    task = verify(sent, BODY, secret_text(SECRET))
    assert (task.id, task.token, task.input_as(Numbers)) == ("task_1", 3, Numbers(4))


def test_a_time_zone_makes_no_difference_to_the_signature() -> None:
    now = CLOCK.now()
    elsewhere = now.astimezone(timezone(timedelta(hours=8)))
    assert headers(at=elsewhere) == headers(at=now)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_what_is_older_or_newer_than_five_minutes_is_refused(minutes: int) -> None:
    assert "too" in refused(headers(late=timedelta(minutes=minutes)))
    verify(headers(late=timedelta(minutes=minutes / 2)), BODY, secret_text(SECRET))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed_and_signed(name: str) -> None:
    sent = headers()
    changed = {"webhook-timestamp": str(int(sent["webhook-timestamp"]) + 1)}.get(name, "v1,AAAA")
    assert refused({**sent, name: changed})
    assert refused({key: value for key, value in sent.items() if key != name})


@pytest.mark.parametrize("signature", ["", "v1", "v1,", "v1,!", "v2,AAAA", ",", "v1,a,b", "\xff"])
def test_a_signature_that_cannot_be_read_is_refused(signature: str) -> None:
    assert refused({**headers(), "webhook-signature": signature})


@pytest.mark.parametrize("timestamp", ["", "now", "nan", "inf", "1e99", "-1", "9" * 400])
def test_a_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    assert refused({**headers(), "webhook-timestamp": timestamp})


@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b" ", b"\xff", b"[" * BODY_BYTES_MAX * 2])
def test_a_changed_body_is_refused(body: bytes) -> None:
    assert refused(headers(), body)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"nothing", BODY.replace(b"task.run", b"other")])
def test_a_signed_body_of_another_kind_is_refused(body: bytes) -> None:
    assert "no delivery" in refused(headers(body), body)


def test_over_a_rotation_either_side_may_know_both_secrets() -> None:
    both = headers(BODY, OTHER, SECRET)
    for secret in (SECRET, OTHER):
        verify(both, BODY, secret_text(secret))
    verify(headers(), BODY, [secret_text(OTHER), secret_text(SECRET)])
    assert refused(headers(BODY, OTHER))


@pytest.mark.parametrize("secrets", [[], "", "whsec_", ["whsec_"], ["whsec_AAAA"] * 6])
def test_secrets_that_are_none_are_the_callers_mistake(secrets: list[str] | str) -> None:
    with pytest.raises(Exception, match=r"secret") as mistake:
        verify(headers(), BODY, secrets)
    assert not isinstance(mistake.value, DeliveryRefused)


@pytest.mark.parametrize("name", ["", "a.b", "x" * 256])
def test_an_id_that_would_blur_the_signed_text_is_not_sent(name: str) -> None:
    with pytest.raises(ValueError, match="id of a message"):
        signed_headers(Message(id=name, at=CLOCK.now(), body=BODY), [SECRET])


@pytest.mark.parametrize("secrets", [[], [SECRET] * 6])
def test_a_message_is_signed_by_a_bounded_number_of_secrets(secrets: list[bytes]) -> None:
    with pytest.raises(ValueError, match="secrets"):
        signed_headers(Message(id="a", at=CLOCK.now(), body=BODY), secrets)


def test_the_text_of_a_secret_is_the_standards() -> None:
    assert secret_text(SECRET) == "whsec_" + base64.b64encode(SECRET).decode()


def test_a_result_is_put_as_the_answer_wants_it() -> None:
    assert msgspec.json.decode(completed(Numbers(4))) == {"result": {"n": 4}}
