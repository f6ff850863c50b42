"""The files that local names come from: found, read again when they have changed, kept when not.

A file that cannot be read any more keeps what it had. One that was only found by a pattern, or at a
usual place, may come and go.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

from ..config.files import read_octets
from ..config.records import Problem, read_records
from ..config.schema import Local
from ..config.text import describe, path_text
from ..config.values import LeaseFile, Record, RecordFile
from .leases import files_beside, format_of, read_leases, usual_places
from .leases.lease import Lease, WrongLine
from .problems import shortened
from .signature import Signature, signature

Kind = Literal["records", "hosts", "leases"]

HOSTS_OCTETS_MAX = 64 << 20
OCTETS_MAX = 16 << 20
FOUND_MAX = 100  # files that match one pattern


@attrs.frozen
class Place:
    """Where a file is expected. `format`: of leases. An optional one need not be there."""

    kind: Kind
    path: Path
    format: str = ""
    is_optional: bool = False


@attrs.frozen
class Content:
    """What a file has; of these three the one that its kind says."""

    hosts: bytes = b""
    records: tuple[tuple[int, Record], ...] = ()
    leases: tuple[Lease, ...] = ()


@attrs.define
class LocalFile:
    """A file, with what was in it when it was read last."""

    place: Place
    content: Content = Content()
    problems: tuple[str, ...] = ()  # lines that name the file
    format: str = ""
    is_read: bool = False
    _seen: Signature | None = None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return path_text(self.place.path)

    def refresh(self) -> bool:
        """Read it if it has changed; return True if something is different now."""
        seen = self._signature()
        if seen == self._seen:
            return False
        # Before it is read: should it change meanwhile, it is read once more.
        self._seen = seen
        try:
            content, problems = self._read()
        except ValueError as error:
            kept = "; its former names stay in use" if self.is_read else ""
            problems = (f"{self.name}: {error}{kept}",)
            is_told = problems == self.problems
            self.problems = problems
            return not is_told
        self.is_read = True
        is_same = (content, problems) == (self.content, self.problems)
        self.content, self.problems = content, problems
        return not is_same

    def _signature(self) -> Signature:
        paths = (self.place.path, *files_beside(self.place.path, self.format))
        return tuple(signature(one) for one in paths)

    def _read(self) -> tuple[Content, tuple[str, ...]]:
        path = self.place.path
        if self.place.kind == "hosts":
            return Content(hosts=read_octets(path, regular=True, limit=HOSTS_OCTETS_MAX)), ()
        text = _text(path)
        if self.place.kind == "records":
            return _read_records(text.removeprefix("\ufeff"), self.name)
        self.format = self.place.format or format_of(text) or self.format
        if not self.format:
            if not text.strip():
                return Content(), ()
            raise ValueError('has leases in no known format (try "dnsmasq:/PATH")')
        beside = [_text(one) for one in files_beside(path, self.format) if one.exists()]
        try:
            found = read_leases(self.format, text, beside)
        except (ValueError, RecursionError):
            raise ValueError(f"is not a whole file of {self.format}") from None
        wrong = [
            f"{self.name}:{one.line}: {describe(one.text)} is not a lease of {self.format}"
            for one in found
            if isinstance(one, WrongLine)
        ]
        return (
            Content(leases=tuple(one for one in found if isinstance(one, Lease))),
            tuple(shortened(wrong, self.name, len(wrong))),
        )


def _text(path: Path) -> str:
    return read_octets(path, regular=True, limit=OCTETS_MAX).decode("utf-8", "replace")


def _read_records(text: str, name: str) -> tuple[Content, tuple[str, ...]]:
    records: list[tuple[int, Record]] = []
    problems: list[str] = []
    for one in read_records(text):
        if isinstance(one, Problem):
            problems.append(f"{name}:{one.line}: {one.reason}")
        else:
            records.append(one)
    return Content(records=tuple(records)), tuple(shortened(problems, name, len(problems)))


def configured(section: Local, root: Path) -> Iterator[Place]:
    """Yield where files are expected, in the order in which their names count."""
    for record in section.records:
        if isinstance(record, RecordFile):
            yield Place("records", record.path)
    for hosts in section.hosts:
        yield Place("hosts", hosts)
    for source in section.leases:
        if isinstance(source, LeaseFile):
            yield Place("leases", source.path, source.format, is_pattern(source.path))
    if "auto" in section.leases:
        yield from usual(root)


def usual(root: Path) -> Iterator[Place]:
    """Yield where leases usually are."""
    for path, name in usual_places(root):
        yield Place("leases", path, name, is_optional=True)


def is_pattern(path: Path) -> bool:
    """Whether the last part of a path is a pattern."""
    return any(one in path.name for one in "*?[")


def found(places: Iterator[Place]) -> Iterator[Place]:
    """Yield the places of files that are there, or have to be; each path once for each kind."""
    known: set[tuple[Kind, Path]] = set()
    for place in places:
        for one in _matches(place) if place.is_optional else (place,):
            if (one.kind, one.path) not in known:
                known.add((one.kind, one.path))
                yield one


def _matches(place: Place) -> Iterator[Place]:
    above = glob.escape(str(place.path.parent))
    paths = glob.glob(f"{above}/{place.path.name}") if is_pattern(place.path) else [place.path]
    for path in sorted(map(Path, paths))[:FOUND_MAX]:
        try:
            str(path).encode()  # gevent can only watch what is UTF-8
            is_file = stat.S_ISREG(os.stat(path).st_mode)
        except (OSError, UnicodeEncodeError):
            continue
        if is_file:
            yield attrs.evolve(place, path=path)
