"""The documents: valid, complete, served with everything they need, and kept in the repository."""

from __future__ import annotations

import re
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from service.http.openapi import openapi_bytes, openapi_document
from service.http.routes import ROUTES
from service.problems import PROBLEMS
from tests.integration.http.api import Api

TOP = Path(__file__).parents[3]


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(openapi_document()).validate()


def test_the_documents_in_the_repository_are_those_generated() -> None:
    assert (TOP / "docs/openapi.json").read_bytes().rstrip() == openapi_bytes().rstrip()


def test_every_operation_says_what_it_is_who_may_and_how_it_fails() -> None:
    for operations in openapi_document()["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert "500" in operation["responses"]
            if operation["security"]:
                assert {"401", "403"} <= set(operation["responses"])
            if operation.get("requestBody"):
                assert {"400", "408", "413", "415"} <= set(operation["responses"])
                content = operation["requestBody"]["content"]["application/json"]
                assert {"example", "examples"} & content.keys(), "one, or several by their names"


def test_every_post_that_creates_or_moves_money_takes_an_idempotency_key() -> None:
    """A claim has its lease, a tick its queue; a quote writes nothing.

    The others change nothing the second time.
    """
    without = {r.path for r in ROUTES if r.method == "POST" and not r.idempotent}

    assert without == {
        "/v1/worker/claim",
        "/v1/worker/tick",
        "/v1/worker/tasks/{id}/heartbeat",
        "/v1/worker/tasks/{id}/progress",
        "/v1/keys/{id}/revoke",
        "/v1/quotes",
    }


async def test_the_viewer_loads_from_here_alone(api: Api) -> None:
    page = await api.get("/docs", None)

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources == ["data:,", "/docs/viewer.css", "/docs/viewer.js", "/docs/start.js"]
    for source in sources[1:]:
        asset = await api.get(source, None)
        assert asset.status_code == 200
        assert len(asset.content) > 100
    assert '"/openapi.json"' in (await api.get("/docs/start.js", None)).text
    assert (await api.get("/openapi.json", None)).content == openapi_bytes()
    assert (await api.get("/docs/other.js", None)).status_code == 404


async def test_every_problem_type_resolves(api: Api) -> None:
    for code, entry in PROBLEMS.items():
        page = await api.get(f"/problems/{code}", None)
        assert page.status_code == 200
        assert entry.title in page.text
    assert (await api.get("/problems/nothing", None)).status_code == 404
