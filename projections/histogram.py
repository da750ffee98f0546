"""Times as counts in buckets: sums of integers, so that any order and grouping gives the same.

A bucket is an eighth of an octave: below 16 µs each microsecond has its own, above that a bucket is
at most an eighth as wide as its lowest time. What is read from one is its highest time, which is
never below the true one and less than 12.5 % above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

PARTS_BITS = 3
PARTS = 1 << PARTS_BITS
"""Buckets of one octave."""
TIME_US_MAX = 1 << 60
"""Longer times count as this one: 36,000 years, more than two datetimes can be apart."""


def bucket_of(time_us: int) -> int:
    """The bucket that a time (microseconds, not negative) lies in; a longer time, a higher one."""
    time_us = min(time_us, TIME_US_MAX)
    shift = max(0, time_us.bit_length() - PARTS_BITS - 1)
    return PARTS * shift + (time_us >> shift)


BUCKET_MAX = bucket_of(TIME_US_MAX)


def lowest_us(bucket: int) -> int:
    """The shortest time of a bucket."""
    shift = max(0, bucket // PARTS - 1)
    return bucket - PARTS * shift << shift


def highest_us(bucket: int) -> int:
    """The longest time of a bucket."""
    return lowest_us(bucket + 1) - 1


class Histogram(msgspec.Struct, frozen=True):
    """How many times lie in each bucket, and the exact sum of them all, in microseconds."""

    counts: Mapping[int, int] = {}
    total_us: int = 0

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def quantile_us(self, permille: int) -> int | None:
        """The time that so many of a thousand do not exceed (nearest rank); None without any.

        Never too short, and too long by less than an eighth. 1,000 asks for the longest.
        """
        rank = -(-permille * self.count // 1_000)
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return highest_us(bucket)
        return None


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    counts: dict[int, int] = {}
    total_us = 0
    for histogram in histograms:
        total_us += histogram.total_us
        for bucket, number in histogram.counts.items():
            counts[bucket] = counts.get(bucket, 0) + number
    return Histogram(counts, total_us)
