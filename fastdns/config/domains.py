"""Domains and names in the configuration: "corp.example", or "file:" before the path of a list."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from .files import absolute_path
from .names import parse_name
from .text import describe, quote
from .values import Domain, DomainFile, NamePattern


def parse_domain(text: str) -> Domain | DomainFile:
    """Return the domain, or the file of domains, that is named. ValueError with one phrase."""
    if text.startswith("file:"):
        return DomainFile(absolute_path(text.removeprefix("file:")))
    if text.startswith(("*.", ".")) and text != ".":
        plain = text.lstrip("*").lstrip(".")
        raise ValueError(
            f'{describe(text)}: a domain covers all names under it anyway (write "{plain}")'
        )
    _no_other(text)
    wire = parse_name(text)
    return Domain(text.lower().rstrip(".") or ".", wire)


def parse_pattern(text: str) -> NamePattern | DomainFile:
    """Return the name, all names under one ("*.example"), or the file of domains.

    ValueError with one phrase.
    """
    if text.startswith("file:"):
        return DomainFile(absolute_path(text.removeprefix("file:")))
    if text.startswith(".") and text != ".":
        raise ValueError(f'{describe(text)} is not a name (try "*{text}")')
    is_wildcard = text == "*" or text.startswith("*.")
    below = text[2:] or "." if is_wildcard else text
    if "*" in below:
        raise ValueError(f'{describe(text)}: "*" is only possible as the first label')
    _no_other(below)
    wire = parse_name(below)
    plain = below.lower().rstrip(".")
    if is_wildcard:
        return NamePattern(f"*.{plain}" if plain else "*", wire, is_wildcard=True)
    return NamePattern(plain or ".", wire, is_wildcard=False)


def check_no_url(text: str) -> None:
    """Check that a name is not written as a URL. ValueError with one phrase: it is."""
    if "://" in text:
        host = re.split(r"[/:?#]", text.partition("://")[2])[0]
        raise ValueError(f"{describe(text)} is a URL, not a name{_instead(host)}")


def _no_other(text: str) -> None:
    """Raise ValueError if the text is something else than one domain: it would match nothing."""
    check_no_url(text)
    if text.startswith(("|", "@@")) or text.endswith("^") or "^$" in text:
        domain = text.lstrip("@|").partition("^")[0]
        raise ValueError(
            f"{describe(text)} is a filter rule{_instead(domain, ', or put it into a list')}"
        )
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        raise ValueError(
            f"{describe(text)} is a regular expression, not a name (only block lists can have one)"
        )
    if re.search(r"(?<!\\)\s", text):
        raise ValueError(
            f"{describe(text)} has a space, so it is not one domain (put each domain in quotes)"
        )
    try:
        zones = reverse_domains(ip_network(text, strict=False))
    except ValueError:
        if port := re.fullmatch(r"([^:]+):[0-9]+", text):
            raise ValueError(f"{describe(text)} has a port{_instead(port[1])}") from None
        return
    more = f" and {len(zones) - 1} more for the rest" if len(zones) > 1 else ""
    raise ValueError(
        f"{describe(text)} has addresses, not names (for their reverse names write "
        f"{quote(zones[0])}{more})"
    )


def _instead(host: str, otherwise: str = "") -> str:
    """Return the remedy that names the domain in another text; "" if it has none."""
    try:
        is_name = parse_name(host) != b"\0"
    except ValueError:
        is_name = False
    return f" (write {quote(host)}{otherwise})" if is_name and "*" not in host else ""


def reverse_domains(network: IPv4Network | IPv6Network) -> list[str]:
    """Return the domains that together have the names of all addresses of a network."""
    step = 8 if network.version == 4 else 4
    length = -(-network.prefixlen // step) * step or step
    labels = length // step
    every = network.max_prefixlen // step
    return [
        one.network_address.reverse_pointer.split(".", every - labels)[-1]
        for one in network.subnets(new_prefix=length)
    ]
