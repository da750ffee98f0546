"""Whose a task, a group or an account is: what is another account's is not there."""

from __future__ import annotations

from uuid import UUID

from adapters.decision import States
from domain.errors import NotFound, VersionMismatch
from domain.group import Group
from domain.ledger import CreditLedger
from domain.task import Task


def account_in(states: States, account_id: UUID) -> CreditLedger:
    """Raises `NotFound`."""
    account: CreditLedger | None = states[account_id]
    if account is None:
        raise NotFound("There is no such account.")
    return account


def own_task(states: States, task_id: UUID, account_id: UUID, expected_version: int | None) -> Task:
    """The task if it is this account's. Raises `NotFound`, then `VersionMismatch`."""
    current: Task | None = states[task_id]
    if current is None or current.account_id != account_id:
        raise NotFound("There is no such task.")
    _guard_version(current.version, expected_version)
    return current


def own_group(
    states: States, group_id: UUID, account_id: UUID, expected_version: int | None
) -> Group:
    """The group if it is this account's. Raises `NotFound`, then `VersionMismatch`."""
    current: Group | None = states[group_id]
    if current is None or current.account_id != account_id:
        raise NotFound("There is no such group.")
    _guard_version(current.version, expected_version)
    return current


def _guard_version(version: int, expected: int | None) -> None:
    if expected is not None and expected != version:
        raise VersionMismatch(expected, version)
