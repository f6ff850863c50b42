"""The lists of [block] and [[view]]: "https://…", "file:" before a path, or a zone.

A zone is transferred from a name server: "axfr://192.0.2.1/rpz.example". Behind "?key=" stands the
file with the TSIG key, as BIND or NSD write it.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from .domains import parse_domain
from .files import absolute_path
from .servers import parse_server
from .text import describe
from .values import AnyList, Domain, ListFile, ListUrl, ListZone, Server

SCHEMES = ("https", "http")
AXFR = "axfr://"


def parse_list(text: str) -> AnyList:
    """Return the list that the text names. ValueError with one phrase."""
    if text.startswith("file:"):
        return ListFile(absolute_path(text.removeprefix("file:")))
    if text.startswith(AXFR):
        return _parse_zone(text)
    try:
        parts = urlsplit(text)
        has_place = parts.scheme in SCHEMES and bool(parts.hostname)
    except ValueError:
        has_place = False
    if text.startswith("/"):
        raise ValueError(f'{describe(text)} is a path (write "file:{text}")')
    if not has_place or not text.isprintable() or " " in text:
        example = 'try "https://lists.example/hosts" or "file:/etc/fastdns/block"'
        raise ValueError(f"{describe(text)} is not a list ({example})")
    try:
        has_port = parts.port != 0
    except ValueError:
        has_port = False
    if not has_port:
        raise ValueError(f"{describe(text)} has no valid port (1 to 65535 are possible)")
    if parts.username or parts.password:
        raise ValueError(f"{describe(text)} has a password (a list has to be public)")
    return ListUrl(text)


def _parse_zone(text: str) -> ListZone:
    place, _, options = text.removeprefix(AXFR).partition("?")
    host, slash, zone = place.partition("/")
    if not (slash and zone) or "/" in zone or not text.isprintable() or " " in text:
        raise ValueError(f'{describe(text)} names no zone (try "{AXFR}192.0.2.1/rpz.example")')
    try:
        server = parse_server(f"tcp://{host}")
    except ValueError:
        raise ValueError(
            f'{describe(text)} has no IP address (try "{AXFR}192.0.2.1/{zone}")'
        ) from None
    domain = parse_domain(zone)
    if not isinstance(server, Server) or not isinstance(domain, Domain) or domain.text == ".":
        raise ValueError(f'{describe(text)} names no zone (try "{AXFR}192.0.2.1/rpz.example")')
    name, _, path = options.partition("=")
    if options and (name != "key" or not path):
        example = f"{AXFR}{place}?key=file:/etc/fastdns/tsig.key"
        raise ValueError(f'{describe(text)} has an unknown option (try "{example}")')
    key = absolute_path(unquote(path).removeprefix("file:")) if path else None
    return ListZone(text, server.address, domain.text, key)
