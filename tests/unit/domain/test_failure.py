"""A failure can always be stored, whatever the exception said, and users see no internals."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.event import DETAIL_LENGTH_MAX, NAME_LENGTH_MAX, TEXT_LENGTH_MAX
from domain.failure import RETRYABLE, Failure, FailureType, failure

TYPES: tuple[FailureType, ...] = get_args(FailureType)
wild = st.text(st.characters(), max_size=50) | st.sampled_from(["\x00", "\ud800", "x" * 9_000])


@given(st.sampled_from(TYPES), wild, wild, st.none() | wild)
def test_any_text_becomes_a_failure_that_can_be_stored(
    type_: FailureType, message: str, detail: str, stage: str | None
) -> None:
    made = failure(type_, message=message, detail=detail, stage=stage)
    stored = msgspec.json.encode(made)
    assert msgspec.json.decode(stored, type=Failure) == made
    assert b"\\u0000" not in stored
    assert made.message


@pytest.mark.parametrize("type_", TYPES)
def test_each_type_has_its_message_and_says_whether_a_retry_can_help(type_: FailureType) -> None:
    made = failure(type_)
    assert made.message.endswith(".")
    assert made.retryable is (type_ in RETRYABLE)
    assert failure(type_, retryable=not made.retryable).retryable is not made.retryable


def test_messages_differ_by_type() -> None:
    assert len({failure(type_).message for type_ in TYPES}) == len(TYPES)


def test_what_is_given_is_kept_up_to_its_bounds() -> None:
    made = failure("network", message="m" * 9_000, detail="d" * 9_000, stage="s" * 9_000)
    assert made.type == "network"
    assert made.message == "m" * TEXT_LENGTH_MAX
    assert made.detail == "d" * DETAIL_LENGTH_MAX
    assert made.stage == "s" * NAME_LENGTH_MAX


def test_an_empty_stage_is_none() -> None:
    assert failure("network", stage="\x00").stage is None
