"""Whatever bytes come, the answer is a refusal by name, never a fault of ours."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping

import pytest

from service.http import body as bodies
from tests.integration.http.api import CREDITS, PRICE, Api

TEMPLATE = b'{"type":"double","input":{"n":1,"note":%s}}'
DEEP = 100_000


def _with(note: bytes) -> bytes:
    return TEMPLATE % note


BODIES: Mapping[str, tuple[bytes, str]] = {
    "no UTF-8": (_with(b'"\xff\xfe"'), "malformed_request"),
    "UTF-8 cut short": (_with(b'"\xe4\xb8"'), "malformed_request"),
    "surrogate as UTF-8": (_with(b'"\xed\xa0\x80"'), "malformed_request"),
    "overlong NUL": (_with(b'"\xc0\x80"'), "malformed_request"),
    "UTF-16": (_with(b'"x"').decode().encode("utf-16"), "malformed_request"),
    "byte order mark": (b"\xef\xbb\xbf" + _with(b'"x"'), "malformed_request"),
    "NUL": (_with(b'"\x00"'), "malformed_request"),
    "escaped NUL": (_with(rb'"\u0000"'), "malformed_request"),
    "NUL in a name": (rb'{"type":"double","input":{"n":1,"a\u0000":1}}', "malformed_request"),
    "high surrogate": (_with(rb'"\ud800"'), "malformed_request"),
    "low surrogate": (_with(rb'"\uDFFF"'), "malformed_request"),
    "surrogates the wrong way": (_with(rb'"\ude00\ud83d"'), "malformed_request"),
    "2^63": (b'{"type":"double","input":{"n":9223372036854775808}}', "malformed_request"),
    "-2^63": (b'{"type":"double","input":{"n":-9223372036854775808}}', "malformed_request"),
    "2^63 where none looks": (_with(b'"x","y":9223372036854775808'), "malformed_request"),
    "a million digits": (_with(b"9" * 900_000), "malformed_request"),
    "1e999": (_with(b"1e999"), "malformed_request"),
    "NaN": (_with(b"NaN"), "malformed_request"),
    "Infinity": (_with(b"-Infinity"), "malformed_request"),
    "deep arrays": (b"[" * DEEP, "malformed_request"),
    "deep arrays, closed": (_with(b"[" * DEEP + b"]" * DEEP), "malformed_request"),
    "deep objects": (_with(b'{"a":' * DEEP + b"1" + b"}" * DEEP), "malformed_request"),
    "deep in what is skipped": (
        b'{"type":"double","input":{"n":1,"z":' + b"[" * 2_000 + b"]" * 2_000 + b"}}",
        "malformed_request",
    ),
    "quotes without end": (b"[" * 40 + b'"' + b'\\"' * 400_000, "malformed_request"),
    "control character": (_with(b'"\n"'), "malformed_request"),
    "bad escape": (_with(rb'"\q"'), "malformed_request"),
    "single quotes": (b"{'type':'double'}", "malformed_request"),
    "trailing comma": (b'{"type":"double",}', "malformed_request"),
    "more after the end": (_with(b'"x"') + b"{}", "malformed_request"),
    "cut short": (_with(b'"x"')[:-1], "malformed_request"),
    "nothing": (b"", "malformed_request"),
    "white space": (b" \n", "malformed_request"),
    "too large": (_with(b'"' + b"x" * 2**20 + b'"'), "body_too_large"),
    "number as text": (b'{"type":"double","input":{"n":"1"}}', "invalid_input"),
}
TAKEN: Mapping[str, bytes] = {
    "2^63 - 1": b'{"type":"double","input":{"n":9223372036854775807}}',
    "pair of surrogates": _with(rb'"\ud83d\ude00"'),
    "text that looks like an escape": _with(rb'"\\u0000 \\ud800"'),
    "brackets in text": _with(b'"' + b"[{" * 5_000 + b'"'),
    "digits in text": _with(b'"' + b"9" * 100 + b'"'),
    "as deep as allowed": (b'{"type":"double","input":{"n":1,"z":' + b"[" * 30 + b"]" * 30 + b"}}"),
}
MEDIA: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "text": {"content-type": "text/plain"},
    "form": {"content-type": "application/x-www-form-urlencoded"},
    "other JSON": {"content-type": "application/problem+json"},
    "wrong charset": {"content-type": "application/json; charset=utf-16"},
    "latin charset": {"content-type": 'application/json;charset="iso-8859-1"'},
    "two types": {"content-type": "application/json, text/plain"},
    "gzip": {"content-type": "application/json", "content-encoding": "gzip"},
    "bad gzip": {"content-type": "application/json", "content-encoding": "GZIP, identity"},
}


async def _send(api: Api, body: bytes, path: str = "/v1/tasks", **headers: str) -> tuple[int, str]:
    sent = {"content-type": "application/json", **headers}
    sent["authorization"] = f"Bearer {api.secrets['user']}"
    answer = await api.client.post(path, content=body, headers=sent)
    return answer.status_code, answer.json().get("code", "")


async def test_bad_bytes_are_refused_by_name_and_hold_nothing(api: Api) -> None:
    statuses = {"malformed_request": 400, "invalid_input": 400, "body_too_large": 413}
    for name, (body, code) in BODIES.items():
        assert (name, await _send(api, body)) == (name, (statuses[code], code))
    assert await api.balance() == (CREDITS, 0, 0)


async def test_what_only_looks_bad_is_taken(api: Api) -> None:
    for name, body in TAKEN.items():
        assert (name, await _send(api, body)) == (name, (202, ""))
    assert await api.balance() == (CREDITS - len(TAKEN) * PRICE, len(TAKEN) * PRICE, 0)


async def test_of_equal_names_the_last_counts(api: Api) -> None:
    status, _ = await _send(api, b'{"type":"nope","type":"double","input":{"n":1,"n":2}}')

    assert status == 202
    [claimed] = await api.claim()
    assert claimed["input"] == {"n": 2}


async def test_bodies_of_another_media_type_are_refused(api: Api) -> None:
    packed = gzip.compress(_with(b'"x"'))
    for name, headers in MEDIA.items():
        answer = await api.client.post(
            "/v1/tasks",
            content=packed if "gzip" in name else _with(b'"x"'),
            headers={"authorization": f"Bearer {api.secrets['user']}", **headers},
        )
        found = (answer.status_code, answer.json()["code"])
        assert (name, found) == (name, (415, "unsupported_media_type"))


async def test_ways_of_saying_json_in_utf8_are_taken(api: Api) -> None:
    for media in (
        "application/json",
        "Application/JSON;charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/json; profile=x",
    ):
        assert (await _send(api, _with(b'"x"'), **{"content-type": media}))[0] == 202


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused_unread(api: Api, *, chunked: bool) -> None:
    """Only a first part of it is ever sent."""
    size = b"transfer-encoding: chunked" if chunked else b"content-length: 99999999999"
    part = b"x" * (api.service.settings.http_body_bytes_max + 1)
    sent = b"%x\r\n%s\r\n" % (len(part), part) if chunked else b""

    answer = await api.raw(_head(api, size) + sent)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"


async def test_a_body_that_comes_too_slowly_is_given_up(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "READ_SECONDS_MAX", 0.2)

    answer = await api.raw(_head(api, b"content-length: 100") + b'{"type":')

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"


async def test_a_client_that_hangs_up_within_its_body_does_no_harm(api: Api) -> None:
    reader, writer = await _connected(api)
    writer.write(_head(api, b"content-length: 100") + b'{"type":')
    writer.close()
    await reader.read()

    assert await api.balance() == (CREDITS, 0, 0)
    assert (await _send(api, _with(b'"x"')))[0] == 202


async def test_what_is_no_http_is_refused(api: Api) -> None:
    for data in (
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /v1/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    ):
        reader, writer = await _connected(api)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        assert answer.startswith((b"HTTP/1.1 4", b"")), data
        assert b" 500 " not in answer.split(b"\r\n", maxsplit=1)[0], data


async def test_strange_paths_and_headers_are_refused(api: Api) -> None:
    key = api.secrets["user"].encode()
    for target, headers, status in (
        (b"/v1/tasks/%00", b"", b"404"),
        (b"/v1/tasks/%ff%fe", b"", b"404"),
        (b"/v1/tasks/task_%EF%BC%91", b"", b"404"),
        (b"//v1//tasks", b"", b"200"),
        (b"/v1/tasks/../accounts", b"", b"404"),
        (b"/v1/tasks?cursor=%00", b"", b"400"),
        (b"/v1/tasks", b"traceparent: \xff\xff\r\n", b"200"),
        (b"/v1/tasks", b"prefer: \xff\r\n", b"200"),
    ):
        answer = await api.raw(
            b"GET %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n%s\r\n"
            % (target, key, headers)
        )
        assert answer.split(b" ")[1] == status, (target, headers, answer)
    bad = await api.raw(b"GET /v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\r\n\r\n")
    assert bad.startswith(b"HTTP/1.1 401 ")


def _head(api: Api, size: bytes) -> bytes:
    key = api.secrets["user"].encode()
    return (
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %s\r\n%s\r\n\r\n" % (key, size)
    )


async def _connected(api: Api) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", api.port)
