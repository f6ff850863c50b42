"""The clients of a [[view]]: addresses, prefixes, hardware addresses and names."""

from __future__ import annotations

import re

from .clients import parse_prefix
from .text import describe
from .values import AnyViewClient, ClientName, Mac

_MAC = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}", re.IGNORECASE)
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
_ADDRESS = re.compile(r"[0-9.]+(?:/.*)?|.*[:/].*")
_EXAMPLE = 'try "192.168.1.20", "192.168.20.0/24", "aa:bb:cc:dd:ee:ff" or "tablet"'


def parse_view_client(text: str) -> AnyViewClient:
    """Return the client, or the clients, that the text names. ValueError with one phrase."""
    if _MAC.fullmatch(text):
        return Mac(text.lower().replace("-", ":"))
    if _ADDRESS.fullmatch(text):
        return parse_prefix(text, _EXAMPLE)
    if _NAME.fullmatch(text.removesuffix(".")):
        return ClientName(text.lower().removesuffix("."))
    raise ValueError(f"{describe(text)} is not an address, a prefix or a name ({_EXAMPLE})")
