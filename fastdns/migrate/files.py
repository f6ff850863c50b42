"""The files of another program's configuration, with those that they include."""

from __future__ import annotations

import glob
import os
import socket
from pathlib import Path

import attrs

from ..config.files import read_octets
from ..errors import ConfigErrors
from ..machine.netlink import read_network
from .report import Origin, Report

OCTETS_MAX = 64 << 20
FILES_MAX = 1000


@attrs.define
class Files:
    """Reads each file once, so that files which include each other end."""

    report: Report
    seen: set[str] = attrs.Factory(set)
    read: int = 0

    def main(self, path: Path) -> str:
        """Return the text of a file that the user has named; ConfigErrors if it cannot be read."""
        self.seen.add(os.path.realpath(path))
        try:
            return self._text(path, regular=False)
        except ValueError as error:
            raise ConfigErrors([f"{path}: {error}"]) from None

    def included(self, path: str, setting: str, origin: Origin) -> str | None:
        """Return the text of an included file; None: it is told why there is none."""
        real = os.path.realpath(path)
        if real in self.seen:
            self.report.not_needed(origin, setting, f"{path} is read already")
            return None
        if len(self.seen) >= FILES_MAX:
            self.report.leave_out(origin, setting, f"there are more than {FILES_MAX} files")
            return None
        self.seen.add(real)
        try:
            return self._text(Path(path), regular=True)
        except ValueError as error:
            self.report.leave_out(origin, setting, f"{path} {error}")
            return None

    def _text(self, path: Path, *, regular: bool) -> str:
        if "\0" in str(path):
            raise ValueError("contains a NUL byte")
        content = read_octets(path, regular=regular, limit=OCTETS_MAX)
        self.read += 1
        return content.decode("utf-8-sig", "replace")


def beside(file: str, path: str) -> str:
    """Return a path that stands in a file: a relative one is relative to the file."""
    return os.path.join(os.path.dirname(os.path.abspath(file)), path)


def matching(file: str, pattern: str) -> list[str]:
    """Return the files that a pattern stands for, in order; a plain path stands for itself."""
    path = beside(file, pattern)
    return sorted(glob.glob(path)) if glob.has_magic(path) else [path]


def addresses_of(interface: str) -> list[str]:
    """Return the addresses that an interface has now, without link-local ones."""
    try:
        link = socket.if_nametoindex(interface)
        addresses = [one.local for one in read_network().addresses if one.link == link]
    except (OSError, ValueError):  # ValueError: a NUL byte in its name
        return []
    return [str(one) for one in addresses if not one.is_link_local]


def peek(path: Path) -> str:
    """Return the text of a file that is read again later, "" for a pipe; errors as in `main`."""
    if not path.is_file() and path.exists():
        return ""
    return Files(Report()).main(path)
