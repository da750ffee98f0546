"""Each refusal of each verb of a ledger over HTTP: its problem and its status, and nothing changed.

Where two reasons hold at once, the documented first one is told: what is wrong with the form, then
no such account, a stale version, the account's state, and last the reasons of the verb's own.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import pytest
from msgspec import Raw
from msgspec.structs import replace

from adapters.mapper import EventMapper
from adapters.verification import compare_inline
from domain import ledger, ledger_book, ledger_grants, ledger_holds
from domain.event import CREDITS_MAX
from domain.ledger import HoldCredits
from domain.plan import Plan, Plans
from service.group_kinds import MemberSubmission
from service.groups import GroupSubmission
from service.http import accounts, ledgers
from service.identifiers import new_id, public_id
from service.ledgers import Asked
from tests.integration.http.api import SETUP, Api

Document = dict[str, Any]
CREDITS = 50
LONG_AGO = "2020-01-01T00:00:00Z"
LATER, LATER_STILL = "2999-01-01T00:00:00Z", "2999-01-02T00:00:00Z"
SMALL = Plan(name="standard", active_tasks_max=3, daily_tasks_max=4, overdraft_max=5)
NOBODYS = UUID(int=77)
_HOLD = "{hold}"


class Row(NamedTuple):
    """`given` names what happened before; {hold}, {grant} and {task} are the account's own."""

    told: str
    verb: str
    body: Document
    given: tuple[str, ...] = ()
    if_match: str | None = None


HOLD_VERBS = ("holds/{hold}/extend", "holds/{hold}/capture", "holds/{hold}/release")
GRANT: Document = {"amount": 1, "kind": "paid", "source_ref": "new"}
ADJUST: Document = {"amount": -1, "source_ref": "new"}
VERBS: dict[str, Document] = {
    "plan": {"plan": "standard"},
    "freeze": {},
    "unfreeze": {},
    "close": {},
    "grants": GRANT,
    "grants/{grant}/void": {},
    "adjustments": ADJUST,
    "holds": {"amount": 1},
    **{verb: {} for verb in HOLD_VERBS},
    "refunds": {"hold_id": _HOLD},
    "books": {"period": "2020-01"},
}
NO_GRANT = "grant_" + 32 * "0"
QUIET_WHEN_CLOSED = {"close"}
FIND_NO_HOLD_FIRST = {"refunds"}
"""What was charged is looked for before the account's state is asked."""
ROWS = [
    *(Row("404 not_found", verb, body, ("nobody",)) for verb, body in VERBS.items()),
    *(
        Row("409 illegal_transition", verb, body, ("closed",))
        for verb, body in VERBS.items()
        if verb not in QUIET_WHEN_CLOSED | FIND_NO_HOLD_FIRST
    ),
    *(
        Row("409 illegal_transition", verb, VERBS[verb], ("frozen",))
        for verb in ("plan", "holds", "holds/{hold}/extend")
    ),
    *(
        Row("412 version_mismatch", verb, VERBS[verb], ("closed",), '"v1"')
        for verb in ("plan", "freeze", "unfreeze", "close")
    ),
    Row("404 not_found", "plan", VERBS["plan"], ("nobody",), '"v1"'),
    Row("400 invalid_input /plan", "plan", {"plan": "golden"}, ("closed",)),
    Row("409 account_unsettled", "close", {}, ("held",)),
    Row("409 account_unsettled", "close", {}, ("owing",)),
    # Grants and adjustments.
    Row("400 invalid_input /amount", "grants", GRANT | {"amount": 0}, ("closed",)),
    Row("400 invalid_input /priority", "grants", GRANT | {"priority": -1}, ("nobody",)),
    Row("400 invalid_input /rollover_max", "grants", GRANT | {"rollover_max": -1}),
    Row("400 invalid_input /expires_at", "grants", GRANT | {"expires_at": LONG_AGO}, ("full",)),
    Row("400 invalid_input /amount", "grants", GRANT | {"amount": CREDITS_MAX}, ("full",)),
    Row("429 limit_reached grants_max", "grants",
        GRANT | {"rolls_over": NO_GRANT}, ("full",)),
    Row("400 invalid_input /rolls_over", "grants", GRANT | {"rolls_over": NO_GRANT}),
    Row("409 reference_reused /amount", "grants", GRANT | {"source_ref": "old"}, ("full",)),
    Row("400 invalid_input /amount", "grants", GRANT | {"source_ref": "old", "amount": 0}),
    Row("404 not_found", "grants/{grant}/void", {}, ("spent", "full")),
    Row("429 limit_reached voided_max", "grants/{grant}/void", {}, ("full",)),
    Row("400 invalid_input /amount", "adjustments", ADJUST | {"amount": 0}, ("full",)),
    Row("400 invalid_input /amount", "adjustments", ADJUST | {"amount": CREDITS_MAX}, ("full",)),
    Row("429 limit_reached grants_max", "adjustments", ADJUST | {"amount": 1}, ("full",)),
    Row("409 reference_reused /kind /amount", "adjustments",
        {"amount": -CREDITS - 1, "source_ref": "old"}, ("full",)),
    Row("402 insufficient_credits", "adjustments", ADJUST | {"amount": -CREDITS - 1}),
    # Holds.
    Row("400 invalid_input /amount", "holds", {"amount": 0}, ("closed",)),
    Row("400 invalid_input /expires_at", "holds",
        {"amount": 99, "expires_at": LONG_AGO}, ("busy",)),
    Row("429 limit_reached active_tasks_max", "holds", {"amount": 99}, ("busy",)),
    Row("429 limit_reached daily_tasks_max", "holds", {"amount": 99}, ("spent day",)),
    Row("402 insufficient_credits", "holds", {"amount": CREDITS + 6}),
    *(Row("404 not_found", verb, {}, ()) for verb in HOLD_VERBS),
    *(
        Row(f"409 hold_settled {state}", verb, {}, (state,))
        for verb in HOLD_VERBS
        for state in ("released", "captured", "refunded")
    ),
    *(
        Row("409 hold_not_yours", verb, {}, (whose,))
        for verb in HOLD_VERBS
        for whose in ("a task's", "a group's")
    ),
    Row("409 hold_not_yours", "holds/{hold}/extend", {"added": 99}, ("a task's",)),
    Row("409 hold_not_yours", "holds/{hold}/capture", {"amount": 99}, ("a task's",)),
    Row("400 invalid_input /added", "holds/{hold}/extend", {"added": -1}, ("nobody",)),
    Row("400 invalid_input /expires_at", "holds/{hold}/extend",
        {"added": 99, "expires_at": LONG_AGO}, ("held",)),
    Row("400 invalid_input /expires_at", "holds/{hold}/extend",
        {"added": 99, "expires_at": LATER}, ("held until later",)),
    Row("402 insufficient_credits", "holds/{hold}/extend", {"added": 99}, ("held", "full")),
    Row("429 limit_reached hold_slices_max", "holds/{hold}/extend", {"added": 1}, ("held", "full")),
    Row("409 capture_exceeds_hold", "holds/{hold}/capture", {"amount": 8}, ("held",)),
    # Refunds and books.
    Row("409 illegal_transition", "refunds", VERBS["refunds"], ("captured", "closed")),
    Row("400 invalid_input ", "refunds", {}, ("nobody",)),
    Row("400 invalid_input ", "refunds", {"hold_id": _HOLD, "task_id": "{task}"}, ("nobody",)),
    Row("400 invalid_input /amount", "refunds", {"hold_id": _HOLD, "amount": 0}, ("refunded",)),
    Row("400 invalid_input /hold_id", "refunds",
        {"hold_id": _HOLD, "amount": 99}, ("refunded", "long ago")),
    Row("404 not_found", "refunds", {"hold_id": _HOLD}),
    Row("404 not_found", "refunds", {"task_id": "{task}"}),
    Row("409 illegal_transition", "refunds", {"hold_id": _HOLD, "amount": 99}, ("held",)),
    Row("409 hold_settled released", "refunds", {"hold_id": _HOLD, "amount": 99}, ("released",)),
    Row("409 illegal_transition", "refunds", {"hold_id": _HOLD, "amount": 99}, ("refunded",)),
    Row("409 refund_exceeds_capture", "refunds", {"hold_id": _HOLD, "amount": 8},
        ("captured", "full")),
    Row("429 limit_reached refunds_max", "refunds", {"hold_id": _HOLD}, ("captured", "full")),
    Row("409 member_of_group", "refunds", {"task_id": "{task}"}, ("a member",)),
    Row("400 invalid_input /period", "books", {"period": "2020-13"}, ("nobody",)),
    Row("400 invalid_input /period", "books", {"period": "9999-12"}, ("closed",)),
]  # fmt: skip


@pytest.fixture
def before(api: Api, monkeypatch: pytest.MonkeyPatch) -> Before:
    api.service.bus.plans = Plans("tests", [SMALL])
    return Before(api, monkeypatch)


class Before:
    """What may have happened to an account before a verb is refused."""

    def __init__(self, api: Api, patch: pytest.MonkeyPatch) -> None:
        self.api = api
        self.patch = patch
        self.holds, self.ledgers = api.service.holds, api.service.ledgers
        self.account = NOBODYS
        self.task = NOBODYS

    async def happens(self, row: Row) -> dict[str, str]:
        """To a new account; the names of its own."""
        self.account, self.task = new_id(), NOBODYS
        if row.given != ("nobody",):
            await self.api.open_account(self.account, funds=0)
            granted = {"kind": "paid", "amount": CREDITS, "source_ref": "old"}
            await self._do(ledger.GrantCredits(grant_id=self._own("grant"), **granted))  # type: ignore[arg-type]
            for name in row.given:
                await STEPS[name](self)
        return {
            "grant": public_id("grant", self._own("grant")),
            "hold": public_id("hold", self._own("hold")),
            "task": public_id("task", self.task),
        }

    def _own(self, name: str) -> UUID:
        return uuid5(self.account, name)

    async def _do(self, command: ledger.LedgerCommand) -> None:
        await self.ledgers.carry_out(self._asked, command)

    @property
    def _asked(self) -> Asked:
        return Asked(account_id=self.account, origin=SETUP)

    async def held(self, amount: int = 7, **fields: Any) -> None:
        hold = HoldCredits(hold_id=self._own("hold"), amount=amount, plan=SMALL)
        await self._do(replace(hold, **fields))

    async def captured(self, amount: int = 7) -> None:
        await self.held(amount)
        await self._do(ledger.CaptureHold(hold_id=self._own("hold"), amount=amount))

    async def refunded(self) -> None:
        await self.captured()
        await self.holds.refund(self._asked, self._own("hold"), amount=None, reason="r")

    async def released(self) -> None:
        await self.held()
        await self._do(ledger.ReleaseHold(hold_id=self._own("hold")))

    async def until_later(self) -> None:
        await self.held(expires_at=datetime.fromisoformat(LATER_STILL))

    async def closed(self) -> None:
        await self._do(ledger.CloseAccount(reason="left"))

    async def frozen(self) -> None:
        await self._do(ledger.FreezeAccount(reason="disputed"))

    async def busy(self) -> None:
        for _ in range(SMALL.active_tasks_max):
            await self.held(0, hold_id=new_id())

    async def spent_day(self) -> None:
        for number in range(SMALL.daily_tasks_max):
            hold_id = self._own(f"hold {number}")
            await self.held(0, hold_id=hold_id)
            await self._do(ledger.ReleaseHold(hold_id=hold_id))

    async def full(self) -> None:
        self.patch.setattr(ledger_grants, "GRANTS_MAX", 1)
        self.patch.setattr(ledger_grants, "VOIDED_MAX", 0)
        self.patch.setattr(ledger_holds, "REFUNDS_MAX", 0)
        self.patch.setattr(ledger_book, "SLICES_MAX", 1)

    async def long_ago(self) -> None:
        self.patch.setattr(ledger_holds, "REFUND_DAYS_MAX", -1)

    async def a_member(self) -> None:
        submission = GroupSubmission(
            group_id=new_id(),
            hold_id=new_id(),
            account_id=self.account,
            kind="k",
            members=(MemberSubmission(type="double", input=Raw(b'{"n":1}')),),
        )
        started = await self.api.service.groups.start(submission, origin=SETUP)
        self.task = started.states[submission.group_id].members[0].task_id


STEPS: dict[str, Callable[[Before], Awaitable[None]]] = {
    "held": Before.held,
    "held until later": Before.until_later,
    "a task's": lambda before: before.held(task_id=NOBODYS),
    "a group's": lambda before: before.held(group_id=NOBODYS),
    "a member": Before.a_member,
    "captured": Before.captured,
    "owing": lambda before: before.captured(CREDITS + 5),
    "spent": lambda before: before.captured(CREDITS),
    "refunded": Before.refunded,
    "released": Before.released,
    "closed": Before.closed,
    "frozen": Before.frozen,
    "busy": Before.busy,
    "spent day": Before.spent_day,
    "full": Before.full,
    "long ago": Before.long_ago,
}


async def _told(before: Before, row: Row) -> str:
    """Status, code, and what the problem says beyond them; and whether anything was written."""
    names = await before.happens(row)
    head = await before.api.service.log.head()
    body = {k: v.format(**names) if isinstance(v, str) else v for k, v in row.body.items()}
    path = f"/v1/accounts/{public_id('acct', before.account)}/{row.verb.format(**names)}"
    headers = {} if row.if_match is None else {"if_match": row.if_match}
    answer = await before.api.post(path, {"reason": "r"} | body, "admin", **headers)
    problem = answer.json()
    said = [str(answer.status_code), problem.get("code", "")]
    said += [error["pointer"] for error in problem.get("errors", ())]
    said += [problem[name] for name in ("limit",) if name in problem]
    said += [problem["state"]] if problem.get("code") == "hold_settled" else []
    said += [] if await before.api.service.log.head() == head else ["and written"]
    return " ".join(said)


async def test_each_refusal_is_told_in_its_order_and_changes_nothing(before: Before) -> None:
    told = {}
    for row in ROWS:
        with before.patch.context() as patch:
            before.patch = patch
            told[str(row)] = (await _told(before, row)).rstrip()
    assert told == {str(row): row.told.rstrip() for row in ROWS}
    comparison = await compare_inline(before.api.service.dsn, EventMapper())
    assert (comparison.complete, comparison.differences) == (True, ())


def test_each_refusal_of_each_verb_has_its_row() -> None:
    routes = (accounts.grant_credits, *ledgers.ROUTES)
    documented = {
        (_plain(route.path.partition("{id}/")[2]), code)
        for route in routes
        for code in route.refusals
    }
    assert documented <= {(_plain(row.verb), row.told.split()[1]) for row in ROWS}


def _plain(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)
