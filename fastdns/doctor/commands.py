"""The commands that the doctor suggests, for the daemon that it was asked about."""

from __future__ import annotations

import shlex
from pathlib import Path

import attrs

from ..config.text import path_text


@attrs.frozen
class Commands:
    """Writes `fastdns` commands with the options that the doctor was given."""

    options: str = ""  # "": the usual configuration and its directories

    @classmethod
    def of(cls, path: Path | None, state: str | None) -> Commands:
        given = [*(("-c", str(path)) if path else ()), *(("--state", state) if state else ())]
        return cls(path_text(shlex.join(given)))

    def line(self, words: str) -> str:
        """Return `fastdns WORDS` as a user types it."""
        return f"fastdns {words} {self.options}".rstrip()

    def as_root(self, words: str) -> str:
        """Return the same for a user other than root."""
        return f"sudo {self.line(words)}"


USUAL = Commands()  # about the daemon of the usual configuration
