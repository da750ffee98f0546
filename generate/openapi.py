"""`docs/openapi.json`: the API's document, so that a change of it shows in a review."""

from __future__ import annotations

from service.http.openapi import openapi_bytes

PATH = "docs/openapi.json"


def openapi() -> dict[str, str]:
    """The file by its path."""
    return {PATH: openapi_bytes().decode()}
