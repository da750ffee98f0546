"""Outbound requests reach public addresses only, whatever a URL, a redirect or a name server says.

`ssrfguard` does the work: a name is resolved once, every answer is checked against the IANA
registries, and the connection goes to an address that was checked, with the URL's own host in TLS
and `Host`. What is decided here is which addresses and ports count as public.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property, lru_cache
from ipaddress import ip_network
from urllib.parse import urlsplit

import httpx
from ssrfguard import (
    DEFAULT_DENIED,
    AddressTable,
    Block,
    BlockedAddressError,
    Policy,
    Reach,
    Resolver,
    SSRFGuardError,
)
from ssrfguard.httpx import AsyncClient

from domain.errors import InvalidInput

URL_LENGTH_MAX = 2048
AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that name whom to trust instead of the authorities that come with httpx."""
LOOPBACK = ("127.0.0.0/8", "::1/128")
WEB_PORTS = frozenset({80, 443})
# Ports from 1024 up where no web server is met: what browsers refuse to speak HTTP to, and the
# databases, caches and control planes that answer strangers.
SERVICE_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668}
    | {6669, 6679, 6697, 10080}
    | {1433, 1521, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5900, 5984, 6379, 6443, 9042, 9200}
    | {9300, 10250, 11211, 27017, 27018}
)
PORTS = WEB_PORTS | frozenset(range(1024, 65536)) - SERVICE_PORTS


def _block(network: str, name: str, rfc: str, reach: Reach = Reach.DENIED) -> Block:
    return Block(ip_network(network), name, rfc, reach)


# Beyond the registries: IPv6 is closed except for global unicast, tunnels that carry an IPv4
# address are closed rather than looked into (NAT64 and IPv4-mapped are looked into: behind DNS64
# they are how public hosts are reached), and one cloud's metadata lives on a public address.
_STRICTER = (
    _block("::/0", "Outside global unicast", "RFC4291"),
    _block("2000::/3", "Global unicast", "RFC4291", Reach.PERMITTED),
    _block("2002::/16", "6to4", "RFC3056"),
    _block("2001::/32", "Teredo", "RFC4380"),
    _block("::/96", "IPv4-compatible", "RFC4291"),
    _block("168.63.129.16/32", "Cloud metadata (Azure)", "RFC1918"),
)


def _public_addresses() -> AddressTable:
    replaced = {block.network for block in _STRICTER}
    kept = (block for block in DEFAULT_DENIED.blocks if block.network not in replaced)
    return AddressTable((*kept, *_STRICTER))


PUBLIC_ADDRESSES = _public_addresses()


class UnsafeUrl(InvalidInput):
    """The URL may not be requested; the text is fit for users and tells nothing of the network."""


class AddressGuard:
    """Decides which URLs may be requested, and hands out clients that can reach no others.

    `allow_loopback` lets 127.0.0.0/8 and ::1 through, for development, and nothing else.
    `resolver` stands in for `socket.getaddrinfo`; its answers are checked like any other.
    """

    def __init__(self, *, allow_loopback: bool = False, resolver: Resolver | None = None) -> None:
        self._policy = _policy(allow_loopback=allow_loopback)
        self._resolver = resolver

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when first needed, as trust is then."""
        return _trusting(*(os.environ.get(name) for name in AUTHORITIES))

    def check_url(self, url: str) -> None:
        """Refuse what can be refused without the network. Raises `UnsafeUrl`."""
        with refusals():
            _check_port(url)
            self._policy.check_url(url)

    def client(self, *, timeout: httpx.Timeout, headers: dict[str, str]) -> httpx.AsyncClient:
        """A client that connects to checked addresses only, follows no redirect, uses no proxy.

        It holds cookies and connections: make one per exchange and close it. What it refuses
        raises ssrfguard's errors; `refusals` turns them into `UnsafeUrl`.
        """
        return AsyncClient(
            policy=self._policy,
            resolver=self._resolver,
            verify=self._tls,
            trust_env=False,
            follow_redirects=False,
            timeout=timeout,
            headers=headers,
        )


@cache
def _policy(*, allow_loopback: bool) -> Policy:
    """Made once a process: it looks at each of 64,000 ports."""
    return Policy(
        denied_networks=PUBLIC_ADDRESSES,
        allowed_networks=LOOPBACK if allow_loopback else (),  # type: ignore[arg-type]
        allowed_ports=PORTS,
        max_url_length=URL_LENGTH_MAX,
    )


@lru_cache(maxsize=1)
def _trusting(*_authorities: str | None) -> ssl.SSLContext:
    """Made once a process for the authorities it is told of: reading them takes 20 ms."""
    return httpx.create_ssl_context()


@contextmanager
def refusals() -> Iterator[None]:
    """Raise refusals of the guard, and URLs nobody can parse, as `UnsafeUrl`."""
    try:
        yield
    except BlockedAddressError as error:
        raise UnsafeUrl("The host of this URL does not lead to a public address.") from error
    except (SSRFGuardError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        message = (
            "Only public http and https URLs can be requested, with a plain host name, "
            "a usual port, and no user name or password."
        )
        raise UnsafeUrl(message) from error


def _check_port(url: str) -> None:
    """Refuse a closed port before the policy does: its refusal would list every open one."""
    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise UnsafeUrl("This is not a URL.") from error
    if port is not None and port not in PORTS:
        message = f"Port {port} cannot be requested."
        raise UnsafeUrl(message)
