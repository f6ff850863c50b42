"""The name of the service, `listen.name`: a host name that clients check certificates against."""

from __future__ import annotations

import re
from ipaddress import ip_address

from .names import parse_name
from .text import describe

_EXAMPLE = '(try "dns.example.net")'
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


def parse_service_name(text: str) -> str:
    """Return the name in lower case and without its final dot. ValueError with one phrase."""
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        pass
    else:
        raise ValueError(f"{describe(text)} is an address; clients look for a name {_EXAMPLE}")
    parse_name(text)
    name = text.removesuffix(".").lower()
    if not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError(f"{describe(text)} is not the name of a host {_EXAMPLE}")
    if "." not in name:
        raise ValueError(f"{describe(text)} has no domain, and no certificate is for it {_EXAMPLE}")
    return name
