"""Any history of groups among tasks over HTTP and PostgreSQL, beside the same plain model."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from adapters.clock import DatabaseClock
from domain.errors import DomainError
from domain.task import PRIORITIES, ExpireTask
from service.attempts import Attempts
from service.identifiers import parse_id
from tests.integration.http.api import PRICE, SETUP
from tests.stateful.over_http import (
    DAY_SECONDS,
    LIVE,
    NOW,
    OverHttp,
    numbers,
    picks,
    twice,
)
from tests.stateful.plain_books import ENDED, WAITING, PlainGroup, PlainMember, PlainTask

AHEAD = timedelta(days=10)
"""Past every deadline here."""
AT_WORK = ["processing", "cancelling"]
STANDING = ["processing", "completed", "partial"]
"""A group that is started again with its key, and left as it is."""
keys = st.sampled_from([0, 0, 1, None])
"""Two natural keys an account, and groups without one."""
group_picks = st.integers(0, 3)
steps = st.sampled_from(
    ["complete"] * 4 + ["fail", "fail_for_now", "release", "lapse", "expire", "cancel"]
)
"""What happens to a member at work; mostly it is delivered."""


class Ahead(DatabaseClock):
    """A committer with it finds every run past its deadline."""

    def now(self) -> datetime:
        return super().now() + AHEAD


class GroupsOverHttp(OverHttp):
    """`ahead` is given by the test: verbs whose clock is `Ahead`."""

    ahead: ClassVar[Attempts]

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, PlainGroup] = {}
        self.group_owner: dict[str, int] = {}
        self.key_ids: dict[tuple[int, int], str] = {}
        self.unnamed: list[tuple[PlainGroup, PlainMember]] = []
        """Members with a task of which the test has not seen the id."""

    def chosen_group(self, index: int) -> str | None:
        newest_first = list(self.groups)[::-1]
        return newest_first[index % len(newest_first)] if newest_first else None

    def learn(self) -> None:
        """Read the ids of the tasks that members have got since."""
        unnamed, self.unnamed = self.unnamed, []
        for group_id, plain in self.groups.items():
            new = [member for group, member in unnamed if group is plain]
            if not new:
                continue
            number = self.group_owner[group_id]
            shown = self._read(f"/v1/groups/{group_id}", self.users[number])["members"]
            for member, item in zip(plain.members, shown, strict=True):
                if any(member is one for one in new):
                    assert member.task is not None
                    self.tasks[item["task_id"]] = member.task
                    self.owner[item["task_id"]] = number

    # Users

    @rule(
        number=numbers,
        key=keys,
        members=st.integers(1, 4),
        parallel=st.integers(1, 3),
        priority=st.sampled_from(list(PRIORITIES)),
        again=twice,
    )
    def start_group(
        self,
        number: int,
        key: int | None,
        members: int,
        parallel: int,
        priority: str,
        again: bool,  # noqa: FBT001 - drawn by hypothesis
    ) -> None:
        known_id = None if key is None else self.key_ids.get((number, key))
        known = self.groups[known_id] if known_id else None
        made = [PlainMember(id=uuid4(), frozen=PRICE) for _ in range(members)]
        expected, begun = self._begin(number, known, made, parallel, PRIORITIES[priority])
        body = {
            "kind": "board",
            "key": None if key is None else f"board {key}",
            "members": [{"type": "double", "input": {"n": 1}}] * members,
            "parallel_max": parallel,
            "priority": priority,
        }
        ok = 202 if expected == "ok" else 200
        told = self.ask("/v1/groups", body, self.users[number], expected, again=again, ok=ok)
        if known_id is not None and expected in {"ok", "quiet"}:
            assert told["id"] == known_id
        elif begun is not None:
            self.groups[told["id"]] = begun
            self.group_owner[told["id"]] = number
            if key is not None:
                self.key_ids[number, key] = told["id"]
        self.learn()

    def _begin(
        self,
        number: int,
        known: PlainGroup | None,
        members: list[PlainMember],
        parallel: int,
        priority: int,
    ) -> tuple[str, PlainGroup | None]:
        """What a start should come to; `known` is the group of its key, which may begin anew."""
        if known is not None and known.status in STANDING:
            return "quiet", None
        if known is not None and known.status == "cancelling":
            return "illegal_transition", None
        account, hold_id, count = self.accounts[number], uuid4(), len(members)
        slots = min(parallel, count)
        answer = account.hold(hold_id, PRICE * count, tasks=count, slots=slots, owned=True)
        if answer != "ok":
            return answer, None
        urgency = max(0, priority - account.plan.priority_raise)
        if known is not None:
            known.submit = partial(self._member_task, known, urgency)
            known.start_again(hold_id, parallel, members)
            return answer, known
        begun = PlainGroup(
            account=account,
            submit=lambda member: self._member_task(begun, urgency, member),
            hold_id=hold_id,
            parallel=parallel,
            members=members,
        )
        begun.fill()
        return answer, begun

    def _member_task(self, group: PlainGroup, urgency: int, member: PlainMember) -> PlainTask:
        self.unnamed.append((group, member))
        return PlainTask(
            account=group.account,
            hold_id=group.hold_id,
            credits=member.frozen,
            stalls_max=3,
            attempts_max=3,
            queue_seconds=DAY_SECONDS,
            run_seconds=DAY_SECONDS,
            priority=urgency,
            not_before=None,
            deadline=self.now + timedelta(days=1),
            group=group,
        )

    @rule(index=group_picks, again=twice)
    def cancel_group(self, index: int, again: bool) -> None:  # noqa: FBT001
        if group_id := self.chosen_group(index):
            self._cancel_group(group_id, again=again)

    def _cancel_group(self, group_id: str, *, again: bool) -> None:
        plain, user = self.groups[group_id], self.users[self.group_owner[group_id]]
        expected = plain.cancel()
        ok = 200 if plain.status == "cancelled" else 202
        self.ask(f"/v1/groups/{group_id}/cancel", {}, user, expected, again=again, ok=ok)

    @rule(index=group_picks, again=twice)
    def retry_group(self, index: int, again: bool) -> None:  # noqa: FBT001
        if group_id := self.chosen_group(index):
            plain, user = self.groups[group_id], self.users[self.group_owner[group_id]]
            ids = [uuid4() for _ in plain.members]
            expected = plain.retry(uuid4(), ids, PRICE)
            self.ask(f"/v1/groups/{group_id}/retry", {}, user, expected, again=again)
            self.learn()

    @rule(index=group_picks, verb=st.sampled_from(["cancel", "retry"]))
    def another_account_tries_a_group(self, index: int, verb: str) -> None:
        if group_id := self.chosen_group(index):
            stranger, path = self.users[1 - self.group_owner[group_id]], f"/v1/groups/{group_id}"
            assert self.run(self.api.get(path, stranger)).status_code == 404
            assert self.run(self.api.post(f"{path}/{verb}", {}, stranger)).status_code == 404

    # Workers, and time

    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        self.learn()
        super().claim(limit)

    @rule(pick=picks)
    def expire(self, pick: tuple[bool, int]) -> None:
        """The run of a task, a member or not, is past its deadline."""
        task_id = self.chosen(pick, LIVE)
        if task_id is None:
            return
        plain, account_id = self.tasks[task_id], self.ids[self.owner[task_id]]
        self.clock.now = NOW + AHEAD
        expected = plain.expire(self.now)
        self.clock.now = NOW
        expiring = self.ahead.proceed(
            parse_id("task", task_id), account_id, ExpireTask(), worker="deadlines"
        )
        assert bool(self.run(expiring).events) == (expected == "ok")
        self.learn()

    @rule(index=group_picks, verbs=st.lists(steps, min_size=2, max_size=8))
    def let_a_group_go_on(self, index: int, verbs: list[str]) -> None:
        """What usually follows for its members, so that groups get to their end, and on."""
        group_id = self.chosen_group(index)
        if group_id is None:
            return
        for verb in verbs:
            self.learn()
            self._go_on(self.groups[group_id], verb)

    def _go_on(self, plain: PlainGroup, verb: str) -> None:
        """What `verb` says for the first member at work, or a claim where it comes first."""
        if not (active := plain.those("active")):
            return
        place = next(
            place
            for place, task_id in enumerate(list(self.tasks)[::-1])
            if self.tasks[task_id] is active[0].task
        )
        task = active[0].task
        assert task is not None
        if task.status == "backoff":
            self.come_due((False, place))
        if verb == "expire":
            self.expire((False, place))
        elif verb == "cancel":
            self.cancel((False, place), False)  # noqa: FBT003
        elif task.status in WAITING:
            self.claim(5)
        elif verb == "lapse":
            self.lapse((False, place))
        else:
            self.work((False, place), 0, verb, False)  # noqa: FBT003

    @rule(index=group_picks, verbs=st.lists(steps, min_size=2, max_size=4))
    def cancel_a_group_half_way(self, index: int, verbs: list[str]) -> None:
        self.let_a_group_go_on(index, verbs)
        self.cancel_group(index, False)  # noqa: FBT003
        self.let_a_group_go_on(index, verbs)

    # What must hold

    @invariant()
    def every_user_sees_what_the_model_has(self) -> None:
        self.learn()
        super().every_user_sees_what_the_model_has()
        for number, user in enumerate(self.users):
            items = self._read("/v1/tasks?limit=200", user)["items"]
            assert {item["id"]: item["money"]["verdict"] for item in items} == {
                task_id: _verdict(self.tasks[task_id])
                for task_id, owner in self.owner.items()
                if owner == number
            }

    @invariant()
    def every_user_sees_the_groups_that_the_model_has(self) -> None:
        for number, user in enumerate(self.users):
            mine = {i for i, owner in self.group_owner.items() if owner == number}
            items = self._read("/v1/groups?limit=200", user)["items"]
            assert {item["id"] for item in items} == mine
            for group_id in mine:
                self._check_group(self._read(f"/v1/groups/{group_id}", user))

    def _check_group(self, shown: dict[str, Any]) -> None:
        """With I7: what was frozen is what was captured and what came back."""
        plain = self.groups[shown["id"]]
        frozen = sum(m.frozen for m in plain.members if m.run == plain.run)
        held = frozen if plain.status in AT_WORK else 0
        assert (shown["status"], shown["run"], shown["parallel_max"]) == (
            *(plain.status, plain.run, plain.parallel),
        )
        assert shown["credits"] == {
            "held": held,
            "charged": plain.captured,
            "released": plain.returned,
        }
        assert [_member(item) for item in shown["members"]] == [
            (m.status, m.frozen, m.run, m.task and m.task.status, m.task.charged if m.task else 0)
            for m in plain.members
        ]
        assert shown["progress"]["completed"] == len(plain.those("completed"))
        assert len(plain.those("active")) <= plain.parallel

    def teardown(self) -> None:
        for group_id, number in self.group_owner.items():
            with contextlib.suppress(DomainError):
                one = parse_id("group", group_id), self.ids[number]
                self.run(self.api.service.groups.cancel(*one, reason="", origin=SETUP))
        super().teardown()


def _member(item: dict[str, Any]) -> tuple[object, ...]:
    return item["status"], item["credits"], item["run"], item["task_status"], item["charged"]


def _verdict(task: PlainTask) -> str:
    """A member is settled with its group; one of a run before has another hold than the group."""
    group = task.group
    stands = group is not None and group.status in AT_WORK and group.hold_id == task.hold_id
    if task.status not in ENDED or (stands and task.charged + task.released):
        return "held"
    return "charged" if task.charged else "released"
