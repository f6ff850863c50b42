"""The entries of [access]: from text to schema."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network
from typing import get_args

from .text import describe, nearest
from .values import Clients, KnownClients, Network

_WORDS: tuple[KnownClients, ...] = get_args(KnownClients)
_EVERYBODY = {"all", "any", "everybody"}  # words of other servers
_WORD = re.compile(r"[A-Za-z][A-Za-z_-]*")
_PREFIX = re.compile(r"([^/]*)(?:/([0-9]{1,3}))?")
_EXAMPLE = 'try "192.168.0.0/16"'


def parse_clients(text: str) -> Clients:
    """Return the clients that the text names: a word, an address or a prefix.

    ValueError with one phrase. IPv6 forms of IPv4 addresses become IPv4, because such clients are.
    """
    for word in _WORDS:
        if text == word:
            return word
    if _WORD.fullmatch(text):
        raise ValueError(f"{describe(text)} is not {_known(text)}")
    return parse_prefix(text)


def parse_prefix(text: str, example: str = _EXAMPLE) -> Network:
    """Return the address or prefix that the text names; ValueError with one phrase."""
    match = _PREFIX.fullmatch(text)
    try:
        address = ip_address(match[1] if match else "")
    except ValueError:
        raise ValueError(f"{describe(text)} is not an address or a prefix ({example})") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError(f'{describe(text)}: a prefix cannot have an interface (try "fe80::/10")')
    length = int(match[2]) if match and match[2] else address.max_prefixlen
    if length > address.max_prefixlen:
        raise ValueError(
            f"{describe(text)} is too long for a prefix (use /0 to /{address.max_prefixlen})"
        )
    network = ip_network((address, length), strict=False)
    if network.network_address != address:
        raise ValueError(f'{describe(text)} has bits beyond its prefix length (try "{network}")')
    return _plain(network)


def _known(text: str) -> str:
    if text.lower() in _EVERYBODY:
        return 'a prefix ("0.0.0.0/0" and "::/0" mean everybody, also strangers)'
    near = nearest(text.lower(), _WORDS, likeness=0.5)
    known = ", ".join(f'"{word}"' for word in _WORDS)
    remedy = f' (did you mean "{near}"?)' if near else f" ({_EXAMPLE})"
    return f"one of {known}, an address or a prefix{remedy}"


def _plain(network: Network) -> Network:
    if isinstance(network, IPv4Network):
        return network
    mapped = network.network_address.ipv4_mapped
    if mapped is None or network.prefixlen < 96:
        return network
    return IPv4Network((mapped, network.prefixlen - 96))
