"""`?at=` shows an account as it was, by version or by time."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import quote

import pytest

from service.identifiers import new_id, public_id
from tests.integration.http.api import CREDITS, PRICE, Api


async def test_a_version_of_an_account_is_exact_and_has_its_holds(api: Api) -> None:
    await api.submit()
    await api.submit()
    for path, as_ in (("/v1/account", "user"), (f"/v1/accounts/{api.account_id}", "admin")):
        for version, held in ((1, 0), (2, 0), (3, PRICE), (4, 2 * PRICE)):
            found = (await api.get(f"{path}?at={version}", as_)).json()
            as_of = found["as_of"]
            assert (found["version"], as_of["version"]) == (version, version)
            assert (found["held"], found["granted"]) == (held, CREDITS if version > 1 else 0)
            assert sum(hold["amount"] for hold in as_of["holds"]) == held
            assert [grant["remaining"] for grant in as_of["grants"]] == (
                [CREDITS - held] if version > 1 else []
            )
        assert "as_of" not in (await api.get(path, as_)).json()
    own = (await api.get("/v1/account?at=3")).json()
    assert own["limits"]["active_tasks"] == {"maximum": 10, "used": 1}
    assert own["limits"]["daily_tasks"] == {"maximum": 1_000, "used": 1}


async def test_a_time_shows_what_was_and_what_was_due(api: Api) -> None:
    ends = api.service.clock.now() + timedelta(milliseconds=150)
    given = {
        "amount": 50,
        "kind": "promotional",
        "source_ref": "spring",
        "reason": "r",
        "expires_at": ends.isoformat(),
    }
    path = f"/v1/accounts/{api.account_id}"
    granted = await api.post(f"{path}/grants", given, "admin")
    assert granted.status_code == 200, granted.text
    at = datetime.fromisoformat(granted.json()["updated_at"])
    while api.service.clock.now() <= ends:
        await api.get(path, "admin")
    for moment, available, settled in (
        (at - timedelta(microseconds=1), CREDITS, []),
        (at, CREDITS + 50, []),
        (ends - timedelta(microseconds=1), CREDITS + 50, []),
        (ends, CREDITS, [{"type": "credits.expired", "amount": 50}]),
    ):
        answer = await api.get(f"{path}?at={quote(moment.isoformat())}", "admin")
        found = answer.json()
        assert (found["available"], found["as_of"]["settled"]) == (available, settled)


@pytest.mark.parametrize(
    "at", ["0", "-1", "soon", "9" * 19, "2026-01-01T00:00:00", "2999-01-01T00:00:00Z", "9" * 41]
)
async def test_what_is_no_version_and_no_time_of_before_is_refused(api: Api, at: str) -> None:
    for path, as_ in (("/v1/account", "user"), (f"/v1/accounts/{api.account_id}", "admin")):
        answer = await api.get(f"{path}?at={at}", as_)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
        [wrong] = answer.json()["errors"]
        assert wrong["parameter"] == "at", "it is named as what it is: there is no body"


async def test_before_it_was_there_an_account_is_not_found(api: Api) -> None:
    for path in (
        f"/v1/accounts/{api.account_id}?at=99",
        f"/v1/accounts/{api.account_id}?at=2020-01-01T00:00:00Z",
        f"/v1/accounts/{public_id('acct', new_id())}?at=1",
    ):
        assert (await api.get(path, "admin")).status_code == 404
