"""The doctor's findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs

from .record import Record

State = Literal["ok", "hint", "wrong"]


@attrs.frozen
class Remedy:
    """What `--fix` can do about a finding."""

    asks: str  # what will be done, and its consequences
    apply: Callable[[Record], str]  # returns what was done; FastdnsError: it did not work


@attrs.frozen
class Finding:
    """Something that is in order (ok), could be better (hint) or keeps fastdns from working
    (wrong).
    """

    about: str
    state: State
    text: str
    do: str = ""  # a command or a setting that fixes it
    remedy: Remedy | None = None


def ok(about: str, text: str) -> Finding:
    return Finding(about, "ok", text)


def hint(about: str, text: str, do: str = "") -> Finding:
    return Finding(about, "hint", text, do)


def wrong(about: str, text: str, do: str = "", remedy: Remedy | None = None) -> Finding:
    return Finding(about, "wrong", text, do, remedy)
