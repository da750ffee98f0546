"""A file named by a URL is fetched over HTTP as a stranger's: guarded, bounded, and told apart."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

import httpx
import msgspec

from adapters.addresses import AddressGuard, UnsafeUrl, refusals
from adapters.retry_after import retry_after
from adapters.scratch_file import CHUNK_BYTES, write_scratch_file
from adapters.uploads import Uploads
from tallystick.handler import FetchedFile, Report, TaskFailure

SIZE_BYTES_MAX = 2 * 1024**3
REDIRECTS_MAX = 5
CONTENT_TYPE_LENGTH_MAX = 255


class DownloadTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds to connect, between two reads, and for the whole of one download."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    total_seconds: float = 300.0


class Downloads:
    """`Fetch`: downloads through the guard, and copies of uploads where they have a folder.

    Nothing larger than `size_bytes_max` is taken, even where a handler would.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        uploads: Uploads | None = None,
        timeouts: DownloadTimeouts | None = None,
        size_bytes_max: int = SIZE_BYTES_MAX,
    ) -> None:
        self._guard = guard
        self._uploads = uploads
        self._size_bytes_max = size_bytes_max
        self._timeouts = timeouts or DownloadTimeouts()

    async def __call__(
        self, url: str, target: Path, *, size_bytes_max: int, report: Report | None = None
    ) -> FetchedFile:
        """Download `url` to `target`. One try: retrying is the task's business.

        Redirects are followed by hand, at most `REDIRECTS_MAX`, each guarded as the first URL
        is. Failures map to types as follows: an unsafe or wrong URL, another 4xx, and a file
        over the limit to param_error; 429 to rate_limited; 408, 5xx, time-outs and broken
        connections to network.
        """
        with _failures():
            async with asyncio.timeout(self._timeouts.total_seconds), self._get(url) as response:
                size_bytes = await write_scratch_file(
                    response.aiter_raw(CHUNK_BYTES),
                    target,
                    size_bytes_max=min(size_bytes_max, self._size_bytes_max),
                    size_bytes_declared=_declared_size(response),
                    report=report,
                )
                return FetchedFile(
                    url=str(response.url),
                    content_type=_content_type(response),
                    size_bytes=size_bytes,
                )

    async def upload(
        self, path: str, target: Path, *, size_bytes_max: int, report: Report | None = None
    ) -> FetchedFile:
        """Copy the upload at the relative `path`; see `Uploads.copy`."""
        if self._uploads is None:
            raise TaskFailure("param_error", "This service takes no uploads.")
        limit = min(size_bytes_max, self._size_bytes_max)
        return await self._uploads.copy(path, target, size_bytes_max=limit, report=report)

    @asynccontextmanager
    async def _get(self, url: str) -> AsyncIterator[httpx.Response]:
        """The answer that `url` leads to: status 200, body unread and not encoded."""
        timeout = httpx.Timeout(self._timeouts.read_seconds, connect=self._timeouts.connect_seconds)
        # A body that inflates on its way in could not be bounded by what the wire carries.
        headers = {"accept-encoding": "identity", "user-agent": "tallystick"}
        self._guard.check_url(url)
        async with self._guard.client(timeout=timeout, headers=headers) as client:
            response = await self._follow(client, client.build_request("GET", url))
            try:
                _refuse_answer(response)
                yield response
            finally:
                await response.aclose()

    async def _follow(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        for _ in range(REDIRECTS_MAX + 1):
            self._guard.check_url(str(request.url))
            response = await client.send(request, stream=True)
            if response.next_request is None:
                return response
            await response.aclose()
            request = response.next_request
        raise TaskFailure("param_error", f"The URL redirects more than {REDIRECTS_MAX} times.")


@contextmanager
def _failures() -> Iterator[None]:
    """Raise everything that can go wrong between here and the remote server as `TaskFailure`."""
    try:
        with refusals():
            yield
    except UnsafeUrl as error:
        raise TaskFailure("param_error", str(error)) from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise TaskFailure("network", "The server did not answer in time.") from error
    except httpx.TransportError as error:
        _raise_transport_failure(error)


def _raise_transport_failure(error: httpx.TransportError) -> NoReturn:
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        message = "The server's certificate is not valid for this URL."
        raise TaskFailure("param_error", message) from error
    message = "The server could not be reached, or broke off."
    raise TaskFailure("network", message) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _refuse_answer(response: httpx.Response) -> None:
    """Raise `TaskFailure` unless the answer is a plain 200."""
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise TaskFailure(
            "rate_limited",
            "The server is limiting requests at the moment.",
            retry_after_seconds=retry_after(response),
        )
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TaskFailure(
            "network",
            f"The server answered with an error ({status}).",
            retry_after_seconds=retry_after(response),
        )
    if status != HTTPStatus.OK:
        raise TaskFailure("param_error", f"The URL leads to no file (status {status}).")
    if response.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
        raise TaskFailure("param_error", "The server sent the file compressed, unasked.")


def _declared_size(response: httpx.Response) -> int | None:
    declared = response.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else None


def _content_type(response: httpx.Response) -> str | None:
    declared: str | None = response.headers.get("content-type")
    return declared[:CONTENT_TYPE_LENGTH_MAX] if declared else None
