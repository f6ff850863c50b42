"""Addresses of answers in the configuration: one, a network, or "file:" before a list of them.

A list has one a line, or is as dnsmasq has it (`bogus-nxdomain=192.0.2.1`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .clients import parse_prefix
from .files import absolute_path
from .text import describe
from .values import Addresses, AddressFile, Network

_DNSMASQ = re.compile(r"\s*(?:bogus-nxdomain|ignore-address)\s*=")


def parse_addresses(text: str) -> Addresses | AddressFile:
    """Return the address or network, or the file of them. ValueError with one phrase."""
    if text.startswith("file:"):
        return AddressFile(absolute_path(text.removeprefix("file:")))
    network = parse_prefix(text, 'try "192.0.2.1"')
    if not network.prefixlen:
        raise ValueError(
            f"{describe(text)} has every address, so no reply could be used (name those that only "
            "forged replies have)"
        )
    return Addresses(network)


def read_addresses(text: str) -> Iterator[tuple[int, Network | str]]:
    """Yield what each line of a list names, with its number: a network, or what is wrong."""
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        words = _DNSMASQ.sub("", line.partition("#")[0], count=1).replace(",", " ").split()
        for word in words:
            try:
                found = parse_addresses(word) if not word.startswith("file:") else None
            except ValueError as error:
                yield number, str(error)
                continue
            if isinstance(found, Addresses):
                yield number, found.network
            else:
                yield number, f"{describe(word)} is not an address"
