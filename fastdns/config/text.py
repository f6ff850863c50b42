"""Values in messages: on one line and bounded, whatever they contain."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module

MAX_SHOWN = 80  # characters of a value in a message; fewer are enough to see a typing error

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def escape(text: str) -> str:
    """Return the text with everything escaped that breaks a line, a terminal or a TOML string."""
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def quote(text: str) -> str:
    """Return the whole text as a TOML basic string."""
    return f'"{escape(text)}"'


def describe(value: object) -> str:
    """Return a TOML value as messages show it: scalars short, tables and lists by kind."""
    if isinstance(value, str):
        return quote(shorten(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number this large"  # Python refuses to print the largest
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    return str(value)


def shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def key_text(key: str) -> str:
    """Return a key as in TOML: bare if possible, else quoted."""
    return key if _BARE_KEY.fullmatch(key) and len(key) <= MAX_SHOWN else quote(shorten(key))


def path_text(path: object) -> str:
    """Return a path as the user gave it, without what would break the line."""
    return "".join(c if c.isprintable() else _escaped(c) for c in str(path))


def nearest(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the known word that was probably meant; None: there is none.

    difflib is loaded only for this, so that a daemon does not keep it; a daemon that has dropped
    root may not be able to load it any more.
    """
    try:
        matches = import_module("difflib").get_close_matches(word, known, n=1, cutoff=likeness)
    except ImportError:
        return None
    return next(iter(matches), None)
