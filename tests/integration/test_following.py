"""What the command line shows of a task: live, or by asking again."""

from __future__ import annotations

import pytest

from service.cli.following import follow
from tallystick import Client
from tallystick.errors import NotFound
from tallystick.exchange import RetryPolicy
from tests.integration.scripted_service import Answer, scripted_service
from tests.integration.test_client import TASK_ID, problem, task
from tests.integration.test_client_streams import LIFE

QUICK = RetryPolicy(pause_seconds=0.001, pause_seconds_max=0.002)


def shown(*answers: Answer) -> tuple[list[str], list[str]]:
    """States that were shown, and what was asked for."""
    with (
        scripted_service(*answers) as service,
        Client(service.url, "tsk_secret", retries=QUICK) as client,
    ):
        states: list[str] = [one.status for one in follow(client, TASK_ID, 30)]
    return states, [asked.path.rpartition("/")[2] for asked in service.asked]


def test_a_stream_is_shown_and_its_task_read_whole_at_the_end() -> None:
    stream = Answer(200, LIFE.after(0), {"Content-Type": "text/event-stream"})
    states, asked = shown(stream, Answer(200, task("completed", result={"a": 1})))
    assert states == ["queued", "running", "running", "running", "completed", "completed"]
    assert asked == ["events", TASK_ID]


@pytest.mark.parametrize(
    "refusal", [problem(404, "not_found"), problem(429, "too_many_streams"), Answer(200, b"<html>")]
)
def test_without_a_stream_the_task_is_asked_for_until_it_ends(refusal: Answer) -> None:
    states, asked = shown(refusal, Answer(200, task("running")), Answer(200, task("completed")))
    assert states == ["running", "completed"]
    assert asked == ["events", TASK_ID, TASK_ID]


def test_a_task_that_is_not_there_is_told() -> None:
    with pytest.raises(NotFound):
        shown(problem(404, "not_found"))
