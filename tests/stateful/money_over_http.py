"""Any history of tasks and of all that is done with accounts' credits, over HTTP and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, LiteralString, NamedTuple
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from adapters.mapper import EventMapper
from adapters.pool import fetch
from adapters.queue import wake_delayed
from service.identifiers import public_id
from tests.stateful.ledger_checks import check_postings, check_tellings
from tests.stateful.over_http import LIVE, OverHttp, numbers, twice
from tests.stateful.plain_credits import PlainPlan
from tests.stateful.plain_ledger import PlainLedger
from tests.stateful.shifted_time import shift

PLANS_TOML = """
version = "whole"
[plans.standard]
active_tasks_max = 10
trial_tasks = 1
overdraft_max = 7
low_credits = 3
[plans.enterprise]
active_tasks_max = 10_000
priority_raise = 1
[plans.generous]
active_tasks_max = 4
trial_tasks = 2
overdraft_max = 3
"""
OVERDRAFT_MAX = 7
HOUR = timedelta(hours=1)
HALF = timedelta(minutes=30)
"""Things begin and end at half hours of the history's clock, which is set on by whole ones."""
_FACTS: LiteralString = (
    "SELECT topic, state FROM tallystick_events WHERE originator_id = %(id)s"
    " ORDER BY originator_version"
)
SOME = 1_000
"""More than there is of anything."""
Document = dict[str, Any]

kinds = st.sampled_from(["trial", "promotional", "adjustment", "paid"])
refs = st.sampled_from(["a", "b", "c", "d", "e", "f"])
ahead = st.none() | st.integers(0, 4)
"""Hours until something begins or ends."""
indexes = st.integers(0, 3)
plan_names = st.sampled_from(["standard", "enterprise", "generous"])
verbs = st.sampled_from(["complete"] * 4 + ["fail", "cancel", "expire"])


class Moment(NamedTuple):
    """What an account came to at a version of it."""

    version: int
    at: str
    figures: Document


class Finished(NamedTuple):
    """An account at the end of its history."""

    id: UUID
    user: str
    plain: PlainLedger
    moments: list[Moment]


class MoneyOverHttp(OverHttp):
    """The database's time is shifted. `finished` has the accounts of all histories."""

    finished: ClassVar[list[Finished]]
    PLAIN_PLANS: ClassVar[Mapping[str, PlainPlan]] = {
        "standard": PlainPlan(10, 1_000, trials_max=1, overdraft_max=7, low=3),
        "enterprise": PlainPlan(10_000, 1_000, priority_raise=1),
        "generous": PlainPlan(4, 1_000, trials_max=2, overdraft_max=3),
    }
    FIRST_PLANS = ("standard", "enterprise")

    def __init__(self) -> None:
        super().__init__()
        self.clock.now = self.api.service.clock.now()
        self.touched: set[int] = {0, 1}
        self.set_aside: dict[str, tuple[int, UUID]] = {}
        """Holds of nobody's task, by their public id: whose, and the plain one."""
        self.moments: dict[int, list[Moment]] = {0: [], 1: []}
        self.mapper = EventMapper()

    def ask(self, path: str, body: object, as_: str, expected: str, **more: Any) -> Document:
        self.touched |= {0, 1} if as_ == "worker" else self._concerned(path, as_)
        return super().ask(path, body, as_, expected, **more)

    def _concerned(self, path: str, as_: str) -> set[int]:
        if as_ in self.users:
            return {self.users.index(as_)}
        return {n for n, one in enumerate(self.ids) if public_id("acct", one) in path}

    def order(
        self,
        number: int,
        verb: str,
        expected: str,
        *,
        again: bool = False,
        ok: int = 200,
        **body: object,
    ) -> Document:
        """What an operator does with an account."""
        path = f"/v1/accounts/{public_id('acct', self.ids[number])}/{verb}"
        reason = {"reason": "of the test"}
        return self.ask(path, reason | body, "admin", expected, again=again, ok=ok)

    def in_time(self, hours: int | None) -> datetime | None:
        return None if hours is None else self.now + hours * HOUR + HALF

    # What comes in, and what is taken back

    @rule(
        number=numbers,
        kind=kinds,
        amount=st.integers(1, 12),
        priority=st.sampled_from([50, 100]),
        ref=refs,
        hours=st.tuples(ahead, ahead),
        follows=st.none() | indexes,
        again=twice,
    )
    def grant_for_a_time(
        self,
        number: int,
        kind: str,
        amount: int,
        priority: int,
        ref: str,
        hours: tuple[int | None, int | None],
        follows: int | None,
        again: bool,  # noqa: FBT001 - drawn by hypothesis
    ) -> None:
        """From an hour on, and until another one."""
        known = None if follows is None else self.known_grant(number, follows)
        dates = (self.in_time(hours[0]), self.in_time(hours[1]))
        expected = self.accounts[number].grant(
            *(uuid4(), kind, amount, priority, ref),
            dates=dates,
            follows=None if known is None else known[1],
            carried_max=3,
        )
        body: Document = {"kind": kind, "amount": amount, "priority": priority, "source_ref": ref}
        body |= {"effective_at": dates[0], "expires_at": dates[1]}
        if known is not None:
            body |= {"rolls_over": known[0], "rollover_max": 3}
        self.order(number, "grants", expected, again=again, **body)

    def known_grant(self, number: int, index: int) -> tuple[str, UUID] | None:
        """One with credits left: its public id, and the plain one's."""
        self.accounts[number].see_to_it()
        shown = self._read("/v1/account/grants", self.users[number])["items"]
        live = self.live_grants(number)
        assert len(shown) == len(live)
        return (shown[index % len(live)]["id"], live[index % len(live)].id) if live else None

    def live_grants(self, number: int) -> list[Any]:
        return [g for g in self.accounts[number].in_burn_order() if g.free or g.held]

    @rule(number=numbers, index=indexes, again=twice)
    def void(self, number: int, index: int, again: bool) -> None:  # noqa: FBT001
        if known := self.known_grant(number, index):
            expected = self.accounts[number].void(known[1])
            self.order(number, f"grants/{known[0]}/void", expected, again=again)

    @rule(number=numbers, amount=st.integers(-12, 8), ref=refs, again=twice)
    def adjust(self, number: int, amount: int, ref: str, again: bool) -> None:  # noqa: FBT001
        expected = self.accounts[number].adjust(uuid4(), amount, ref)
        body: Document = {"amount": amount, "source_ref": ref}
        self.order(number, "adjustments", expected, again=again, **body)

    # Holds of nobody's task

    @rule(number=numbers, amount=st.integers(1, 12), ends=ahead, again=twice)
    def hold(self, number: int, amount: int, ends: int | None, again: bool) -> None:  # noqa: FBT001
        hold_id, until = uuid4(), self.in_time(ends)
        expected = self.accounts[number].hold(hold_id, amount, ends=until)
        body: Document = {"amount": amount, "expires_at": until}
        told = self.order(number, "holds", expected, again=again, ok=201, **body)
        if expected == "ok":
            self.set_aside[told["id"]] = number, hold_id

    def chosen_hold(self, index: int) -> tuple[str, int, UUID] | None:
        newest_first = list(self.set_aside)[::-1]
        if not newest_first:
            return None
        chosen = newest_first[index % len(newest_first)]
        return chosen, *self.set_aside[chosen]

    @rule(index=indexes, added=st.integers(0, 6), ends=ahead, again=twice)
    def extend(self, index: int, added: int, ends: int | None, again: bool) -> None:  # noqa: FBT001
        if chosen := self.chosen_hold(index):
            public, number, hold_id = chosen
            until = self.in_time(ends)
            expected = self.accounts[number].extend(hold_id, added, until, outside=True)
            body: Document = {"added": added, "expires_at": until}
            self.order(number, f"holds/{public}/extend", _told(expected), again=again, **body)

    @rule(index=indexes, amount=st.integers(0, 12), again=twice)
    def capture(self, index: int, amount: int, again: bool) -> None:  # noqa: FBT001
        if chosen := self.chosen_hold(index):
            public, number, hold_id = chosen
            expected = self.accounts[number].settle(hold_id, amount, outside=True)
            verb = f"holds/{public}/capture"
            self.order(number, verb, _told(expected), again=again, amount=amount)

    @rule(index=indexes, again=twice)
    def release(self, index: int, again: bool) -> None:  # noqa: FBT001
        if chosen := self.chosen_hold(index):
            public, number, hold_id = chosen
            expected = self.accounts[number].release(hold_id, outside=True)
            self.order(number, f"holds/{public}/release", _told(expected), again=again)

    @rule(index=indexes, amount=st.none() | st.integers(1, 6), again=twice)
    def refund(self, index: int, amount: int | None, again: bool) -> None:  # noqa: FBT001
        """Of a task's charge, or of another one's, the last first."""
        charged = self.charged()
        if charged:
            self._refund(*charged[index % len(charged)], amount, again=again)

    def charged(self) -> list[tuple[int, UUID, Document]]:
        """Whose, the plain hold, and how a request names it."""
        named = {
            plain.hold_id: (self.owner[i], {"task_id": i}) for i, plain in self.tasks.items()
        } | {hold_id: (number, {"hold_id": i}) for i, (number, hold_id) in self.set_aside.items()}
        charges = [hold_id for account in self.accounts for hold_id in account.charges]
        return [(named[i][0], i, named[i][1]) for i in charges[::-1] if i in named]

    def _refund(
        self, number: int, hold_id: UUID, names: Document, amount: int | None, *, again: bool
    ) -> None:
        account = self.accounts[number]
        left = len(account.charges[hold_id].credits)
        expected = account.refund(hold_id, max(1, left) if amount is None else amount)
        body = names if amount is None else names | {"amount": amount}
        self.order(number, "refunds", expected, again=again, **body)

    # Accounts

    @rule(number=numbers, chance=st.integers(0, 5), again=twice)
    def freeze(self, number: int, chance: int, again: bool) -> None:  # noqa: FBT001
        """Seldom where it is possible: little can be held meanwhile."""
        if chance == 5 or self.accounts[number].status != "open":
            self.order(number, "freeze", self.accounts[number].freeze(), again=again)

    @rule(number=numbers, again=twice)
    def unfreeze(self, number: int, again: bool) -> None:  # noqa: FBT001
        self.order(number, "unfreeze", self.accounts[number].unfreeze(), again=again)

    @rule(number=numbers, chance=st.integers(0, 9))
    def close(self, number: int, chance: int) -> None:
        """Seldom where it is possible: little can happen afterwards."""
        account = self.accounts[number]
        if chance == 9 or account.copied().close() != "ok":
            self.order(number, "close", account.close())

    @rule(number=numbers, plan=plan_names, again=twice)
    def change_plan(self, number: int, plan: str, again: bool) -> None:  # noqa: FBT001
        expected = self.accounts[number].change_plan(self.PLAIN_PLANS[plan])
        self.order(number, "plan", expected, again=again, plan=plan)

    @rule(number=numbers, period=st.sampled_from(["2024-11", "2024-12"]), again=twice)
    def close_the_books(self, number: int, period: str, again: bool) -> None:  # noqa: FBT001
        expected = self.accounts[number].close_books(period)
        self.order(number, "books", expected, again=again, period=period)

    # Time

    @rule(hours=st.integers(1, 5) | st.just(24))
    def time_passes(self, hours: int) -> None:
        """Workers keep their leases; what failed for now may be tried again."""
        service, by = self.api.service, hours * HOUR
        shift(service.dsn, service.clock, by)
        self.clock.now += by
        self.run(wake_delayed(service.pool, SOME))
        self.due |= {i for i, plain in self.tasks.items() if plain.status == "backoff"}
        self.touched = {0, 1}

    @rule()
    def expire(self) -> None:
        """Whatever is past its deadline ends."""
        before = [len(account.postings) for account in self.accounts]
        self.run(self.api.service.bus.expire(SOME))
        for plain in self.tasks.values():
            plain.expire(self.now)
        for account, count in zip(self.accounts, before, strict=True):
            account.as_one(count)
        self.touched = {0, 1}

    @rule()
    def sweep(self) -> None:
        """What is due is entered, before anybody reads it."""
        self.run(self.api.service.ledgers.settle_due(SOME))
        for account in self.accounts:
            account.see_to_it()
        self.touched = {0, 1}

    @rule(
        number=numbers,
        amount=st.integers(1, 9),
        meanwhile=st.sampled_from(["ends", "ends", "void", "freeze", "plan", "lasts"]),
        plan=plan_names,
        verb=verbs,
        refunds=st.lists(st.none() | st.integers(1, 3), max_size=2),
    )
    def a_task_outlives_its_grant(
        self,
        number: int,
        amount: int,
        meanwhile: str,
        plan: str,
        verb: str,
        refunds: list[int | None],
    ) -> None:
        """A task is paid out of a grant that burns first; what comes back may come too late."""
        ref = f"own {len(self.accounts[number].grants)}"
        no = False
        if self.accounts[number].status == "frozen":
            self.unfreeze(number, no)
        self.grant_for_a_time(number, "trial", amount, 0, ref, (None, 1), None, no)
        self._submit(number, "critical", again=no)
        self.claim(5)
        match meanwhile:
            case "ends":
                self.time_passes(2)
            case "void":
                self.void(number, 0, no)
            case "freeze":
                self.freeze(number, 5, no)
            case "plan":
                self.change_plan(number, plan, no)
        if verb == "cancel":
            self.cancel((True, 0), no)
        elif verb == "expire":
            self.time_passes(24)
            self.expire()
        else:
            self.work((True, 0), 0, verb, no)
        for part in refunds:
            self.refund(0, part, no)

    def claim(self, limit: int) -> None:
        self.touched = {0, 1}
        super().claim(limit)

    def lapse(self, pick: tuple[bool, int]) -> None:
        self.touched = {0, 1}
        super().lapse(pick)

    # What must hold

    def to_be_read(self) -> Sequence[int]:
        touched, self.touched = self.touched, set()
        for number in touched:
            self.look_at(number)
        return sorted(touched & set(range(len(self.users))))

    def look_at(self, number: int) -> None:
        """An account as of now is what the plain one is, grant by grant."""
        if number >= len(self.users):
            return
        account, user = self.accounts[number], self.users[number]
        account.see_to_it()
        seen = self._read("/v1/account", user)
        figures = _figures(account)
        shown = {name: seen[name] for name in figures}
        assert shown == figures, f"{shown} instead of {figures}"
        assert self.PLAIN_PLANS[seen["plan"]] is account.plan
        ends = ("captured", "expired", "voided")
        there = seen["pending"] + seen["available"] + seen["held"]
        assert seen["granted"] == there + sum(seen[name] for name in ends)
        assert seen["available"] >= -OVERDRAFT_MAX
        self.moments[number].append(Moment(seen["version"], seen["updated_at"], figures))
        items = self._read("/v1/account/grants?limit=200", user)["items"]
        assert [_grant(item) for item in items] == [
            (g.kind, g.priority, g.free, g.held, g.waiting, g.void)
            for g in self.live_grants(number)
        ]

    def teardown(self) -> None:
        """And nothing that time alone would end."""
        for number in range(len(self.users)):
            self.look_back(number)
        super().teardown()
        for task_id, plain in self.tasks.items():
            if plain.status in LIVE:
                plain.cancel()
            if plain.status == "cancelling":
                assert plain.release(plain.token) == "ok"
                stopped = self.run(self.api.work(task_id, "release", plain.token))
                assert stopped.status_code == 200, stopped.text
        for number, user in enumerate(self.users):
            account_id, account = self.ids[number], self.accounts[number]
            self.finished.append(Finished(account_id, user, account, self.moments[number]))
            self.check_facts(account_id, account)

    def check_facts(self, account_id: UUID, plain: PlainLedger) -> None:
        """Each posting to the books, and each notice to the owner, is the plain one's."""
        rows = self.run(fetch(self.api.service.pool, _FACTS, {"id": account_id}))
        log = [self.mapper.decode(topic, state) for topic, state in rows]
        check_postings(log, plain)
        check_tellings(log, plain)

    def look_back(self, number: int) -> None:
        """I9: the account as of a version, and as of a time, is what it was then."""
        moments = self.moments[number]
        for moment in (*moments[:1], *moments[len(moments) // 2 :][:1]):
            for at in (moment.version, moment.at.replace("+", "%2B")):
                past = self._read(f"/v1/account?at={at}", self.users[number])
                assert past["version"] >= moment.version
                if past["version"] == moment.version:
                    assert {name: past[name] for name in moment.figures} == moment.figures


def _told(expected: str) -> str:
    """The service knows of every hold that it has ended."""
    return "hold_settled" if expected == "hold_not_found" else expected


def _figures(account: PlainLedger) -> Document:
    names = ("granted", "pending", "available", "held", "captured", "expired", "voided")
    more = ("refunded", "trials", "active", "status")
    return {name: getattr(account, name) for name in (*names, *more)}


def _grant(item: Document) -> tuple[object, ...]:
    names = ("kind", "priority", "remaining", "held", "pending", "voided")
    return tuple(item[name] for name in names)
