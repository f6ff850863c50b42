"""The commands that the doctor names, about the same daemon that it was asked about."""

from __future__ import annotations

import shlex
from pathlib import Path

import attrs

from ..config.text import path_text


@attrs.frozen
class Commands:
    """Spells `fastdns` commands with the options by which the doctor was told what to look at."""

    options: str = ""  # "": the usual configuration and its directories

    @classmethod
    def of(cls, path: Path | None, state: str | None) -> Commands:
        given = [*(("-c", str(path)) if path else ()), *(("--state", state) if state else ())]
        return cls(path_text(shlex.join(given)))

    def line(self, words: str) -> str:
        """Return `fastdns WORDS` as it is to be typed."""
        return f"fastdns {words} {self.options}".rstrip()

    def as_root(self, words: str) -> str:
        """Return the same for somebody who is not root."""
        return f"sudo {self.line(words)}"


USUAL = Commands()  # about the daemon of the usual configuration
