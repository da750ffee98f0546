"""All routes of the API, in the order of the documents."""

from __future__ import annotations

from service.http import (
    account_history,
    accounts,
    attempts,
    books,
    claims,
    documents,
    events,
    group_history,
    groups,
    history,
    keys,
    ledger_resource,
    ledgers,
    pauses,
    quotes,
    retries,
    schedules,
    statements,
    statistics,
    task_types,
    tasks,
    tick,
    vital_signs,
)
from service.http.route import Route

GROUPS: dict[str, tuple[Route, ...]] = {
    "Tasks": (
        *tasks.ROUTES,
        *retries.ROUTES,
        *history.ROUTES,
        *events.ROUTES,
        *task_types.ROUTES,
        *quotes.ROUTES,
    ),
    "Groups": (*groups.ROUTES, *group_history.ROUTES),
    "Schedules": schedules.ROUTES,
    "Accounts": (
        *accounts.ROUTES,
        *statements.ROUTES,
        *account_history.ROUTES,
        *ledger_resource.ROUTES,
        *ledgers.ROUTES,
    ),
    "Workers": (*claims.ROUTES, *attempts.ROUTES, *tick.ROUTES),
    "Administration": (*keys.ROUTES, *pauses.ROUTES, *statistics.ROUTES, *books.ROUTES),
    "Operation": (*vital_signs.ROUTES, *documents.ROUTES),
}
ROUTES: tuple[Route, ...] = tuple(route for group in GROUPS.values() for route in group)
