"""Parts of a process: where it listens, and that none outlives another."""

from __future__ import annotations

import asyncio
import socket

import pytest

from service.processes import AddressTaken, listen, run_parts, url_of


def test_a_free_port_is_taken_and_told() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port)):
            pass


def test_a_port_that_is_taken_is_refused_or_passed_over() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(AddressTaken, match=f"127.0.0.1:{port}"):
            listen("127.0.0.1", port)
        with listen("127.0.0.1", port, tries=50) as second:
            assert port < second.getsockname()[1] < port + 50


def test_tries_end_at_the_last_port() -> None:
    with pytest.raises(AddressTaken, match=r"192\.0\.2\.1:65535"):
        listen("192.0.2.1", 65_530, tries=50)


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(AddressTaken, match=r"192\.0\.2\.1"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")],  # noqa: S104
)
def test_the_url_leads_to_this_machine(host: str, url: str) -> None:
    try:
        listener = listen(host, 0)
    except AddressTaken:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert url_of(listener).startswith(url)


async def test_when_a_part_fails_the_others_are_stopped_and_its_error_is_raised() -> None:
    stop, wound_down = asyncio.Event(), []

    async def patient() -> None:
        await stop.wait()
        wound_down.append("patient")

    async def failing() -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await run_parts(stop, patient(), failing())
    assert wound_down == ["patient"]


async def test_errors_in_groups_are_raised_as_they_are() -> None:
    async def failing() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3_600))
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await run_parts(asyncio.Event(), failing())


async def test_parts_that_are_cancelled_end_with_them() -> None:
    ended = asyncio.Event()

    async def patient() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(run_parts(asyncio.Event(), patient()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(ended.wait(), 5)
