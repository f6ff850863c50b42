"""Files of leases in the configuration: "auto", or a path, maybe with its format before it."""

from __future__ import annotations

from pathlib import Path

from .files import absolute_path
from .text import describe, nearest
from .values import LEASE_FORMATS, AnyLeases, LeaseFile


def parse_leases(text: str) -> AnyLeases:
    """Return where leases are. ValueError with one phrase."""
    if text == "auto":
        return "auto"
    word, colon, path = text.partition(":")
    if text.startswith("/") or not colon:
        if not text.startswith("/") and text.lower() in LEASE_FORMATS:
            raise ValueError(
                f'{describe(text)} lacks its file (try "{text.lower()}:/PATH" or "auto")'
            )
        return LeaseFile(_path(text))
    if word == "file":
        return LeaseFile(_path(path))
    if word not in LEASE_FORMATS:
        near = nearest(word, LEASE_FORMATS)
        hint = f'did you mean "{near}"?' if near else "leave it out: the content of the file tells"
        known = ", ".join(f'"{one}"' for one in LEASE_FORMATS)
        raise ValueError(f"{describe(word)} is not one of {known} ({hint})")
    return LeaseFile(_path(path), word)


def _path(text: str) -> Path:
    path = absolute_path(text)
    if any(one in part for part in path.parts[:-1] for one in "*?["):
        raise ValueError(f"{describe(text)}: only the last part of a path may be a pattern")
    return path
