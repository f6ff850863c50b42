"""The lists of [block] and [[view]]: "https://…", or "file:" before a path."""

from __future__ import annotations

from urllib.parse import urlsplit

from .files import absolute_path
from .text import describe
from .values import AnyList, ListFile, ListUrl

SCHEMES = ("https", "http")


def parse_list(text: str) -> AnyList:
    """Return the list that the text names. ValueError with one phrase."""
    if text.startswith("file:"):
        return ListFile(absolute_path(text.removeprefix("file:")))
    try:
        parts = urlsplit(text)
        has_place = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        has_place = False
    if text.startswith("/"):
        raise ValueError(f'{describe(text)} is a path (write "file:{text}")')
    if not has_place or not text.isprintable() or " " in text:
        example = 'try "https://lists.example/hosts" or "file:/etc/fastdns/block"'
        raise ValueError(f"{describe(text)} is not a list ({example})")
    if parts.username or parts.password:
        raise ValueError(f"{describe(text)} has a password (a list has to be public)")
    return ListUrl(text)
