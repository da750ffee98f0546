"""Pauses between attempts grow up to a cap, are spread by chance, and obey the provider."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.retry import ATTEMPTS_MAX, RETRY_AFTER_SECONDS_MAX, RetryPolicy

policies = st.builds(
    RetryPolicy,
    first_seconds=st.floats(1e-3, 86_400),
    factor=st.floats(1, 10),
    seconds_max=st.floats(1e-3, 86_400),
    jitter=st.floats(0, 1),
)
failures = st.integers(1, 1_000_000)
chances = st.floats(0, 1, exclude_max=True)
asked = st.floats(0, RETRY_AFTER_SECONDS_MAX)


@pytest.mark.parametrize(
    ("number", "chance", "pause"),
    [(1, 0, 5), (2, 0, 10), (3, 0, 20), (6, 0, 160), (7, 0, 300), (99, 0, 300), (1, 0.5, 3.75)],
)
def test_the_standard_pauses_double_from_five_seconds_to_five_minutes(
    number: int, chance: float, pause: float
) -> None:
    assert RetryPolicy().pause_seconds(number, chance) == pytest.approx(pause)


def test_three_attempts_are_made_where_nothing_else_is_said() -> None:
    assert ATTEMPTS_MAX == 3


@given(policies, failures, chances)
def test_a_pause_is_within_the_jitter_below_its_full_length_and_never_above_the_cap(
    policy: RetryPolicy, number: int, chance: float
) -> None:
    full = policy.pause_seconds(number, 0)
    pause = policy.pause_seconds(number, chance)
    assert 0 <= full * (1 - policy.jitter) <= pause * (1 + 1e-12)
    assert pause <= full <= policy.seconds_max
    assert math.isfinite(pause)


@given(policies, st.integers(1, 50))
def test_a_pause_is_the_last_one_times_the_factor_until_the_cap(
    policy: RetryPolicy, number: int
) -> None:
    before, after = (policy.pause_seconds(n, 0) for n in (number, number + 1))
    assert after == pytest.approx(min(before * policy.factor, policy.seconds_max))
    assert after >= before


@given(policies, failures, chances, chances)
def test_more_chance_is_a_shorter_pause(
    policy: RetryPolicy, number: int, one: float, other: float
) -> None:
    low, high = sorted([one, other])
    assert policy.pause_seconds(number, high) <= policy.pause_seconds(number, low)


@given(policies, failures)
def test_without_jitter_chance_changes_nothing(policy: RetryPolicy, number: int) -> None:
    steady = replace(policy, jitter=0.0)
    assert steady.pause_seconds(number, 0.999) == steady.pause_seconds(number, 0)


@given(policies, failures, chances, asked)
def test_the_providers_pause_is_never_cut_short_and_only_it_lengthens_ours(
    policy: RetryPolicy, number: int, chance: float, seconds: float
) -> None:
    own = policy.pause_seconds(number, chance)
    assert policy.pause_seconds(number, chance, seconds) == max(own, seconds)


@given(policies, failures, chances, st.sampled_from([3_600.5, 86_400.0, 1e300, math.inf]))
def test_the_providers_pause_is_capped(
    policy: RetryPolicy, number: int, chance: float, seconds: float
) -> None:
    pause = policy.pause_seconds(number, chance, seconds)
    assert pause == max(policy.pause_seconds(number, chance), RETRY_AFTER_SECONDS_MAX)


@given(policies, failures, chances, st.sampled_from([0.0, -1.0, -math.inf, math.nan]))
def test_a_pause_that_makes_no_sense_is_as_none_asked_for(
    policy: RetryPolicy, number: int, chance: float, seconds: float
) -> None:
    own = policy.pause_seconds(number, chance)
    assert policy.pause_seconds(number, chance, seconds) == own


@pytest.mark.parametrize(
    "broken",
    [
        {"first_seconds": 0},
        {"first_seconds": 86_401},
        {"factor": 0.9},
        {"factor": 11},
        {"seconds_max": 0},
        {"seconds_max": 86_401},
        {"jitter": -0.1},
        {"jitter": 1.1},
    ],
    ids=str,
)
def test_a_policy_has_bounds(broken: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(broken, RetryPolicy)
