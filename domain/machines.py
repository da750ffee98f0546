"""Every state machine there is; the docs and the console draw this list, the tests go over it."""

from __future__ import annotations

from domain.group_state import GROUP
from domain.ledger import ACCOUNT, HOLD
from domain.lifecycle import Lifecycle
from domain.pause import PAUSE
from domain.schedule import SCHEDULE
from domain.task import TASK

MACHINES: tuple[Lifecycle, ...] = (TASK, GROUP, SCHEDULE, ACCOUNT, HOLD, PAUSE)
