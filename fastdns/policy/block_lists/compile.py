"""Compiles block lists into one file, in little memory: no list is in memory as a whole."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..._block_set import BlockSetBuilder
from ..._list_reader import ListReader
from ...replaced import replaced
from .pattern_check import PatternCheck

PART = 1 << 18  # bytes that are read at once


class ListSource(NamedTuple):
    """A list and how its text is opened: plain, or through gzip."""

    url: str
    open: Callable[[], IO[bytes]]
    zone: bytes | None = None  # the apex, in wire form, of a zone file that may not name it
    notes: dict[str, Any] = {}  # what else the compiled file tells of it  # noqa: RUF012


class SourceFigures(NamedTuple):
    """What was read from a list."""

    url: str
    lines: int
    taken: int
    left_out: dict[str, int]  # by reason
    faulty: int
    first_faulty: list[tuple[int, str, str]]  # line, text, what is wrong with it
    problem: str | None  # why it could not be read to its end

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def compile_sources(
    sources: Sequence[ListSource],
    write_to: Path,
    progress: Callable[[int, int], None] = lambda source, octets: None,
) -> list[SourceFigures]:
    """Compile the lists into a file that replaces a former one in one step; return their figures.

    `progress` is called with the number of a source and how much of its text was read. A list
    that cannot be read to its end counts as far as it was read. OSError: the file cannot be
    written; then the former one stays.
    """
    builder = BlockSetBuilder()
    check = PatternCheck()
    figures = []
    for number, source in enumerate(sources):
        figures.append(_read(builder, number, source, check, progress))
    told = [{**source.notes, **one.to_json()} for source, one in zip(sources, figures, strict=True)]
    with replaced(write_to, 0o600) as file:
        builder.write_to(file.write, told)
    return figures


def _read(
    builder: BlockSetBuilder,
    number: int,
    source: ListSource,
    check: PatternCheck,
    progress: Callable[[int, int], None],
) -> SourceFigures:
    reader = ListReader(builder, number, check_pattern=check, zone=source.zone)
    problem = None
    octets = 0
    try:
        with source.open() as stream:
            while part := stream.read(PART):
                reader.feed(part)
                octets += len(part)
                progress(number, octets)
    except (OSError, EOFError, zlib.error) as error:  # the last two: of a damaged copy
        problem = str(error)
    reader.finish()
    return SourceFigures(
        source.url,
        reader.lines,
        reader.taken,
        reader.left_out,
        reader.faulty,
        reader.first_faulty,
        problem,
    )
