"""Buckets cover every time once, in order and narrowly; histograms add up in any way."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.histogram import (
    BUCKET_MAX,
    TIME_US_MAX,
    Histogram,
    bucket_of,
    highest_us,
    lowest_us,
    merged,
)

TIMES = st.one_of(st.integers(0, 10_000), st.integers(0, TIME_US_MAX))
SAMPLES = st.lists(TIMES, max_size=60)


def of(times: list[int]) -> Histogram:
    return Histogram(dict(Counter(map(bucket_of, times))), sum(times))


@given(TIMES)
def test_a_time_lies_within_its_bucket(time_us: int) -> None:
    assert lowest_us(bucket_of(time_us)) <= time_us <= highest_us(bucket_of(time_us))


def test_buckets_follow_each_other_without_a_gap_and_are_narrow() -> None:
    assert lowest_us(0) == 0
    for bucket in range(BUCKET_MAX + 1):
        lowest, highest = lowest_us(bucket), highest_us(bucket)
        assert lowest <= highest < lowest + max(1, lowest / 8)
        assert bucket_of(lowest) == bucket_of(highest) == bucket
        assert lowest_us(bucket + 1) == highest + 1


def test_the_longest_time_there_can_be_has_a_bucket_that_fits_its_column() -> None:
    longest = datetime.max.replace(tzinfo=UTC) - datetime.min.replace(tzinfo=UTC)
    assert longest // timedelta(microseconds=1) < TIME_US_MAX
    assert bucket_of(10**30) == bucket_of(TIME_US_MAX) == BUCKET_MAX < 2**15


@given(SAMPLES.filter(bool), st.integers(1, 1_000))
def test_a_quantile_is_never_too_short_and_too_long_by_less_than_an_eighth(
    times: list[int], permille: int
) -> None:
    exact = sorted(times)[math.ceil(permille * len(times) / 1_000) - 1]
    found = of(times).quantile_us(permille)
    assert found is not None
    assert exact <= found < exact + max(1, exact / 8)


@given(SAMPLES.filter(bool))
def test_quantiles_do_not_fall(times: list[int]) -> None:
    histogram = of(times)
    found = [histogram.quantile_us(permille) or 0 for permille in range(1, 1_001, 37)]
    assert found == sorted(found)


def test_no_times_have_no_quantile() -> None:
    assert Histogram().quantile_us(500) is None


@pytest.mark.parametrize(
    ("permille", "longest"), [(500, 5), (501, 6), (900, 9), (901, 10), (1_000, 10)]
)
def test_a_quantile_is_that_of_the_nearest_rank(permille: int, longest: int) -> None:
    assert of(list(range(1, 11))).quantile_us(permille) == longest


@given(SAMPLES, SAMPLES, SAMPLES)
def test_histograms_merge_in_any_grouping_to_that_of_all_times(
    one: list[int], two: list[int], three: list[int]
) -> None:
    whole = of([*one, *two, *three])
    assert merged([of(one), of(two), of(three)]) == whole
    assert merged([merged([of(three), of(one)]), of(two)]) == whole
    assert (whole.count, whole.total_us) == (len(one + two + three), sum(one + two + three))
