"""The guard refuses by the URL alone whatever names a place that is not public."""

# ruff: noqa: RUF001 - that they look alike is the point

from __future__ import annotations

import pytest

from adapters.addresses import PORTS, AddressGuard, UnsafeUrl
from tests.integration.hostile_addresses import AUTHORITIES, SCHEMES, SPELLINGS

# These are refused when they are resolved: only the resolver knows that they are addresses.
LEFT_TO_THE_RESOLVER = {
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.0x0.0x0.0x1",
    "0x7f.1",
    "127.0x1",
    "0xa9fea9fe",
}
PUBLIC = (
    "http://public.example/video.mp4",
    "https://public.example/video.mp4?token=a%20b#t=1",
    "HTTPS://PUBLIC.EXAMPLE/",
    "http://public.example.:8080/",
    "http://bücher.example/",
    "http://8.8.8.8/",
    "http://[2606:4700:4700::1111]:8443/",
    "http://[::ffff:8.8.8.8]/",
    "http://[64:ff9b::8.8.8.8]/",
)


@pytest.mark.parametrize("url", PUBLIC)
def test_public_urls_pass(url: str) -> None:
    AddressGuard().check_url(url)


@pytest.mark.parametrize("host", sorted(set(SPELLINGS) - LEFT_TO_THE_RESOLVER))
def test_a_host_that_is_not_public_is_refused_unresolved(host: str) -> None:
    with pytest.raises(UnsafeUrl):
        AddressGuard().check_url(f"http://{host}/video.mp4")


@pytest.mark.parametrize("authority", AUTHORITIES)
def test_credentials_disguises_and_closed_ports_are_refused(authority: str) -> None:
    with pytest.raises(UnsafeUrl):
        AddressGuard().check_url(f"http://{authority}/video.mp4")


@pytest.mark.parametrize("url", SCHEMES)
def test_other_schemes_and_malformed_urls_are_refused(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        AddressGuard().check_url(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.255.0.9", "[::1]", "[0:0:0:0:0:0:0:1]", "localhost"]
)
def test_development_may_reach_loopback(host: str) -> None:
    AddressGuard(allow_loopback=True).check_url(f"http://{host}:8000/")


LOOPBACK = {
    "[::1]evil",  # some parsers read it as ::1
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.254",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127．0．0．1",
    "１２７.0.0.1",
}


@pytest.mark.parametrize("host", sorted(set(SPELLINGS) - LEFT_TO_THE_RESOLVER - LOOPBACK))
def test_development_may_reach_nothing_but_loopback(host: str) -> None:
    with pytest.raises(UnsafeUrl):
        AddressGuard(allow_loopback=True).check_url(f"http://{host}/")


def test_refusals_quote_neither_the_url_nor_the_network() -> None:
    for host in ("10.0.0.7", "user:secret@public.example", "public.example:25"):
        with pytest.raises(UnsafeUrl) as refusal:
            AddressGuard().check_url(f"http://{host}/?token=hidden")
        assert not {"10.0.0.7", "secret", "hidden", "RFC"} & set(str(refusal.value).split())
        assert len(str(refusal.value)) < 200


def test_web_ports_are_open_and_services_are_not() -> None:
    assert {80, 443, 8000, 8080, 8443} <= PORTS
    assert not {0, 21, 22, 25, 53, 110, 143, 389, 3306, 5432, 6379, 11211, 27017} & PORTS
