"""The plain ledger: what one caller after the other would see, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from detangle.lin import Model, Operation

Said = tuple[Any, ...]
"""What a caller is told: a word or a refusal's code, then the totals as they are after it."""


class Plain(NamedTuple):
    """One account. `holds` are the open ones; `captures` what each charged and gave back since."""

    available: int
    captured: int = 0
    references: frozenset[int] = frozenset()
    holds: frozenset[tuple[int, int]] = frozenset()
    captures: frozenset[tuple[int, int, int]] = frozenset()
    period: int = 0

    @property
    def totals(self) -> tuple[int, int, int]:
        return self.available, sum(amount for _, amount in self.holds), self.captured


class LedgerModel(Model):
    """Sequential specification; an operation whose outcome is unknown may have had any answer."""

    name = "ledger"

    def __init__(self, credits_first: int) -> None:
        self._first = Plain(credits_first)

    def init(self) -> Plain:
        return self._first

    def step(self, state: Plain, op: Operation) -> tuple[bool, Plain]:
        after, said = _STEPS[op.f](state, *op.arg)
        return op.status != "ok" or tuple(op.output) == said, after


def _done(after: Plain, word: str = "ok") -> tuple[Plain, Said]:
    return after, (word, *after.totals)


def _grant(state: Plain, reference: int, amount: int) -> tuple[Plain, Said]:
    if reference in state.references:
        return _done(state, "quiet")
    references = state.references | {reference}
    return _done(state._replace(available=state.available + amount, references=references))


def _adjust(state: Plain, reference: int, amount: int) -> tuple[Plain, Said]:
    """Down by `amount`."""
    if reference in state.references:
        return _done(state, "quiet")
    if amount > state.available:
        return state, ("insufficient_credits", state.available)
    references = state.references | {reference}
    return _done(state._replace(available=state.available - amount, references=references))


def _hold(state: Plain, number: int, amount: int) -> tuple[Plain, Said]:
    if dict(state.holds).get(number) == amount:
        return _done(state, "quiet")
    if amount > state.available:
        return state, ("insufficient_credits", state.available)
    holds = state.holds | {(number, amount)}
    return _done(state._replace(available=state.available - amount, holds=holds))


def _capture(state: Plain, number: int, amount: int) -> tuple[Plain, Said]:
    held = dict(state.holds).get(number)
    if held is None:
        return state, ("hold_not_found",)
    if amount > held:
        return state, ("capture_exceeds_hold",)
    after = state._replace(
        available=state.available + held - amount,
        captured=state.captured + amount,
        holds=state.holds - {(number, held)},
        captures=state.captures | {(number, amount, 0)},
    )
    return _done(after)


def _release(state: Plain, number: int) -> tuple[Plain, Said]:
    held = dict(state.holds).get(number)
    if held is None:
        return state, ("hold_not_found",)
    holds = state.holds - {(number, held)}
    return _done(state._replace(available=state.available + held, holds=holds))


def _refund(state: Plain, number: int, amount: int) -> tuple[Plain, Said]:
    """Of a capture that was seen, so it is there."""
    captured, refunded = {n: (c, r) for n, c, r in state.captures}.get(number, (0, 0))
    left = captured - refunded
    if refunded and not left:
        return state, ("illegal_transition",)
    if amount > left:
        return state, ("refund_exceeds_capture",)
    captures = state.captures - {(number, captured, refunded)}
    after = state._replace(
        available=state.available + amount,
        captured=state.captured - amount,
        captures=captures | {(number, captured, refunded + amount)},
    )
    return _done(after)


def _close(state: Plain, period: int) -> tuple[Plain, Said]:
    if period <= state.period:
        return _done(state, "quiet")
    return _done(state._replace(period=period))


def _read(state: Plain) -> tuple[Plain, Said]:
    return _done(state)


_STEPS: Mapping[str, Callable[..., tuple[Plain, Said]]] = MappingProxyType(
    {
        "grant": _grant,
        "adjust": _adjust,
        "hold": _hold,
        "capture": _capture,
        "release": _release,
        "refund": _refund,
        "close": _close,
        "read": _read,
    }
)
