"""What the service sends to endpoints of others, as OpenAPI's `webhooks`: signed, and by no key."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]
_HEADERS = {
    "webhook-id": "The same whenever the same attempt is sent.",
    "webhook-timestamp": "Seconds since 1970; refuse what is older than five minutes.",
    "webhook-signature": "For each secret `v1,` and base64 HMAC-SHA256 of `id.timestamp.body`.",
}
_RESULT: Document = {
    "type": "object",
    "properties": {
        "result": {"type": "object", "description": "Of the form of the type's output."}
    },
}


def webhooks(delivery: Document) -> Document:
    """The section; `delivery` is the schema of the body of a pushed task."""
    return {
        "task.run": {
            "post": {
                "operationId": "run_pushed_task",
                "summary": "Carry out one attempt of a task of a push type.",
                "description": "Signed in the form of Standard Webhooks 1.0. Whoever accepts ends"
                " the attempt by the worker verbs under `path`, with `token`.",
                "parameters": [
                    {
                        "name": name,
                        "in": "header",
                        "required": True,
                        "description": description,
                        "schema": {"type": "string"},
                    }
                    for name, description in _HEADERS.items()
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": delivery}},
                },
                "responses": {
                    "200": {
                        "description": "Done, with the result; accepted, where there is none.",
                        "content": {"application/json": {"schema": _RESULT}},
                    },
                    "202": {"description": "Accepted."},
                    "429": {"description": "Not now: sent again, not before `Retry-After`."},
                    "default": {"description": "Another 2xx accepts; all else fails the attempt."},
                },
                "security": [],
            }
        }
    }
