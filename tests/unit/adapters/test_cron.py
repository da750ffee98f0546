"""The times of cron expressions: clocks that change, leap days, far futures, and none at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cron import MISSED_MAX, cron_times
from domain.errors import InvalidInput

BERLIN = "Europe/Berlin"
YEAR = timedelta(days=366)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + "Z")


def local(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The times as the clocks of the zone show them, with their offset."""
    times = cron_times(cron, zone).next_times(at(after), count)
    return [time.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes") for time in times]


def test_a_time_that_the_clocks_skip_comes_as_soon_as_they_have() -> None:
    assert local("30 2 * * *", BERLIN, "2026-03-28T00:00", 3) == [
        "2026-03-28T02:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_a_time_that_the_clocks_show_twice_comes_the_first_time() -> None:
    assert local("30 2 * * *", BERLIN, "2026-10-24T00:00", 3) == [
        "2026-10-24T02:30+02:00",
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_asked_within_the_doubled_hour_it_does_not_come_again(minute: int) -> None:
    """At 01:xx UTC the clocks show 02:xx for the second time; 02:30 has been."""
    assert local("30 2 * * *", BERLIN, f"2026-10-25T01:{minute:02}", 1) == [
        "2026-10-26T02:30+01:00"
    ]


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Beirut"])
@pytest.mark.parametrize("hour", range(4))
def test_a_daily_time_comes_once_on_every_day_of_the_year(zone: str, hour: int) -> None:
    times = cron_times(f"30 {hour} * * *", zone).next_times(at("2026-01-01T12:00"), 365)
    days = [time.astimezone(ZoneInfo(zone)).date() for time in times]
    assert len(set(days)) == 365
    assert days == sorted(days)
    assert (days[-1] - days[0]).days == 364


def test_every_hour_means_every_hour_that_passes_whatever_the_clocks_show() -> None:
    for day in ("2026-03-28", "2026-10-24"):
        times = cron_times("0 * * * *", BERLIN).next_times(at(f"{day}T12:00"), 30)
        steps = {later - sooner for sooner, later in pairwise(times)}
        assert steps == {timedelta(hours=1)}


def test_a_leap_day_comes_in_leap_years_alone() -> None:
    times = cron_times("0 12 29 2 *", "UTC").next_times(at("2026-01-01T00:00"), 20)
    years = [2028 + 4 * n for n in range(18)] + [2104, 2108]
    assert [(t.year, t.month, t.day) for t in times] == [(year, 2, 29) for year in years]


def test_the_end_of_a_month_is_where_it_is() -> None:
    last = cron_times("0 0 L * *", "UTC").next_times(at("2028-01-15T00:00"), 4)
    assert [(t.month, t.day) for t in last] == [(1, 31), (2, 29), (3, 31), (4, 30)]
    long_months = cron_times("0 0 31 * *", "UTC").next_times(at("2026-01-31T00:00"), 3)
    assert [t.month for t in long_months] == [3, 5, 7]


def test_the_calendar_ends() -> None:
    yearly = cron_times("0 0 1 1 *", BERLIN)
    assert yearly.after(at("9997-06-01T00:00")) == at("9997-12-31T23:00")
    assert yearly.after(at("9999-06-01T00:00")) is None
    assert yearly.after(datetime.max.replace(tzinfo=UTC)) is None
    assert cron_times("0 0 * 2 MON#5", "UTC").after(at("2026-01-01T00:00")) == at(
        "2044-02-29T00:00"
    )


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"], ids="_".join)
def test_a_date_that_no_year_has_is_refused(cron: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        cron_times(cron, "UTC")
    assert refusal.value.errors[0][0] == "/cron"


def test_what_parses_and_never_comes_has_no_next_time() -> None:
    assert cron_times("0 0 */3 2 MON#5", "UTC").after(at("2026-01-01T00:00")) is None


@pytest.mark.parametrize(
    "cron",
    ["* * * *", "0 * * * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *",
     "* * * * 8", "*/0 * * * *", "5-1 * * * *", "a b c d e", "٣ * * * *", "* * * * MON#6",
     "1,,2 * * * *", "*\n* * * *", "1-999999999999 * * * *", "* * * * 1#2/3", "* * L/2-3 * *"],
)  # fmt: skip
def test_an_expression_that_is_none_is_refused(cron: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        cron_times(cron, "UTC")
    assert refusal.value.errors[0][0] == "/cron"


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "europe/berlin", "../UTC", "/etc/localtime", "America", "\0", "+1"]
)
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        cron_times("0 0 * * *", zone)
    assert refusal.value.errors[0][0] == "/zone"


@given(st.text("0123456789*/,-#LWMONJA ", min_size=1, max_size=40))
def test_whatever_is_written_is_times_or_a_refusal(cron: str) -> None:
    try:
        times = cron_times(cron, BERLIN)
    except InvalidInput:
        return
    now = at("2026-03-29T00:59")
    found = times.next_times(now, 5)
    assert found == sorted(set(found))
    assert all(time > now and (time.second, time.microsecond) == (0, 0) for time in found)


CRONS = ["*/5 * * * *", "30 2 * * *", "0 */3 * * *", "15,45 1-3 * * *", "0 12 * * 1", "0 0 1 * *"]


@given(
    st.sampled_from(CRONS),
    st.sampled_from(["UTC", BERLIN, "America/Havana"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001 - made aware below
    st.timedeltas(timedelta(0), YEAR),
)
def test_what_is_fired_is_the_latest_time_and_the_missed_are_counted(
    cron: str, zone: str, begin: datetime, down: timedelta
) -> None:
    times = cron_times(cron, zone)
    first = times.after(begin.replace(tzinfo=UTC))
    assert first is not None
    now = first + down
    passed = [first]
    while (following := times.after(passed[-1])) is not None and following <= now:
        passed.append(following)
        if len(passed) > 3 * MISSED_MAX:
            return
    firing = times.firing(first, now)
    assert firing.due_at == passed[-1]
    assert firing.next_at == following
    assert firing.missed == min(len(passed) - 1, MISSED_MAX)


def test_a_time_has_come_at_its_very_moment() -> None:
    firing = cron_times("*/5 * * * *", "UTC").firing(at("2026-01-01T00:00"), at("2026-01-01T00:10"))
    assert (firing.due_at, firing.missed) == (at("2026-01-01T00:10"), 2)


def test_after_years_of_silence_the_latest_time_is_found_at_once() -> None:
    minutely = cron_times("* * * * *", BERLIN)
    firing = minutely.firing(at("2020-01-01T00:00"), at("2026-11-22T10:20") + timedelta(seconds=30))
    assert (firing.due_at, firing.next_at) == (at("2026-11-22T10:20"), at("2026-11-22T10:21"))
    dense = cron_times("* * 1 1 *", "UTC")
    firing = dense.firing(at("2020-01-01T00:00"), at("2026-11-22T10:20"))
    assert (firing.due_at, firing.next_at) == (at("2026-01-01T23:59"), at("2027-01-01T00:00"))
    assert firing.missed == MISSED_MAX
