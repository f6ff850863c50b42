"""The clients of a [[view]]: addresses, prefixes, hardware addresses, names, what they ask for."""

from __future__ import annotations

import re

from .clients import parse_prefix
from .text import describe
from .values import AnyViewClient, ClientName, Identity, Mac

_MAC = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}", re.IGNORECASE)
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
_ADDRESS = re.compile(r"[0-9.]+(?:/.*)?|.*[:/].*")
_WORD = re.compile(r"[a-z0-9_.-]{1,63}", re.IGNORECASE)
_EXAMPLE = 'try "192.168.1.20", "192.168.20.0/24", "aa:bb:cc:dd:ee:ff" or "tablet"'


def parse_view_client(text: str) -> AnyViewClient:
    """Return the client, or the clients, that the text names. ValueError with one phrase."""
    kind, colon, rest = text.partition(":")
    if colon and kind.lower() == "tls":
        if not _NAME.fullmatch(rest):
            raise ValueError(f'{describe(text)} names no server (try "tls:kids.dns.example")')
        return Identity("tls", rest.lower())
    if colon and kind.lower() == "doh":
        if not _WORD.fullmatch(rest):
            raise ValueError(
                f"{describe(text)} is not a word of a path: at most 63 of letters, digits, "
                '"-", "_" and "." (try "doh:kids" for /dns-query/kids)'
            )
        return Identity("doh", rest.lower())
    if _MAC.fullmatch(text):
        return Mac(text.lower().replace("-", ":"))
    if _ADDRESS.fullmatch(text):
        return parse_prefix(text, _EXAMPLE)
    if _NAME.fullmatch(text.removesuffix(".")):
        return ClientName(text.lower().removesuffix("."))
    raise ValueError(f"{describe(text)} is not an address, a prefix or a name ({_EXAMPLE})")
