"""Inline: every task as it is now, also the queue. The aggregate's own fold makes the row."""

from __future__ import annotations

from typing import get_args

from domain import task
from domain.task import Task
from domain.task_events import TaskEvent
from projections.projection import Projection

NAME = "tasks"
VERSION = 1
TASKS = Projection(
    name=NAME,
    version=VERSION,
    row=Task,
    events=frozenset(get_args(TaskEvent)),
    evolve=task.evolve,
)
