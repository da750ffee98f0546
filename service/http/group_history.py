"""The history of a group: its facts and those of its money, as they stand in the log."""

from __future__ import annotations

from service.http.answer import Answer
from service.http.call import Call
from service.http.groups import visible_group
from service.http.history import HistoryEntry, history_page
from service.http.pages import Page, Paging
from service.http.route import USER_OR_ADMIN, route


@route(
    "GET",
    "/v1/groups/{id}/history",
    scopes=USER_OR_ADMIN,
    given=Paging,
    answers={200: Page[HistoryEntry]},
    refusals=("not_found", "invalid_cursor", "event_unreadable"),
)
async def get_group_history(call: Call, query: Paging) -> Answer:
    """What happened to a group and to its credits, oldest first; members' tasks have their own.

    `limit` counts the group's own facts; each movement of credits comes right after its cause.
    """
    return await history_page(call, query, await visible_group(call))


ROUTES = (get_group_history,)
