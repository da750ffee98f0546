"""Generated interleavings of two workers on one task: one end a run, exact money, stale refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings

from tests.stateful.database_world import Buses, DatabaseWorld, open_buses
from tests.stateful.pure_world import PureWorld
from tests.stateful.two_workers import Step, courses, play

pytestmark = pytest.mark.stateful
EXAMPLES = settings().max_examples
Course = Sequence[tuple[Step, ...]]


@pytest.mark.timeout(max(120, EXAMPLES // 2))
@settings(max_examples=2 * EXAMPLES)
@given(course=courses)
def test_any_course_on_the_domain(course: Course) -> None:
    asyncio.run(play(PureWorld(), course))


@pytest.mark.timeout(max(120, EXAMPLES // 2))
def test_any_course_on_the_database(database: str) -> None:
    """Two deeds at once go through two committers, whose caches are behind each other."""
    with asyncio.Runner() as runner:
        context = open_buses(database)
        buses = runner.run(context.__aenter__())

        @settings(max_examples=EXAMPLES // 2)
        @given(course=courses)
        def any_course(course: Course) -> None:
            runner.run(_played(buses, course))

        try:
            any_course()
        finally:
            runner.run(context.__aexit__(None, None, None))


async def _played(buses: Buses, course: Course) -> None:
    world = DatabaseWorld(buses)
    await world.begin()
    try:
        await play(world, course)
    finally:
        await world.end()
