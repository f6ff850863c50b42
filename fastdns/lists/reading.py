"""What an update and `fastdns lists test` need of the reader and the compiler of lists."""

from __future__ import annotations

import gzip
import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, cast

from .._block_set import BlockSet
from .._list_reader import LineFinder, ListReader
from ..browse.names import spell_name
from ..config.names import parse_name
from ..config.values import AnyList, ListZone
from ..policy.block_lists.compile import ListSource, compile_sources
from ..policy.block_lists.pattern_check import PatternCheck
from ..policy.block_lists.patterns import compile_pattern
from .state import Faulty, Figures
from .store import Store

LINES_MAX = 1000  # of one list with one name


def examine(pieces: Iterable[bytes], one: AnyList) -> Figures:
    """Return what the text of a list has."""
    reader = ListReader(check_pattern=PatternCheck(), zone=_zone(one))
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    faulty = tuple(Faulty(*each) for each in reader.first_faulty)
    return Figures(reader.taken, dict(reader.left_out), reader.faulty, faulty)


def compile_copies(
    store: Store, lists: Sequence[AnyList], advance: Callable[[int], None]
) -> list[AnyList]:
    """Compile the copies of these lists; return those that are damaged. OSError: impossible.

    `advance` is told the number of the list that is read.
    """
    sources = [ListSource(str(one), partial(_opened, store.copy(one)), _zone(one)) for one in lists]
    figures = compile_sources(sources, store.compiled, lambda number, octets: advance(number))
    return [one for one, found in zip(lists, figures, strict=True) if found.problem is not None]


def is_sound(store: Store) -> bool:
    """Whether the compiled file is as it was written."""
    block_set = _compiled(store)
    return block_set is not None and block_set.is_whole()


def find_lines(
    pieces: Callable[[], Iterable[bytes]], one: AnyList, name: bytes, patterns: Iterable[str]
) -> Iterator[tuple[int, str]]:
    """Yield the lines that concern a name in wire form, those with one of these patterns too."""
    finders = [LineFinder(name=name, most=LINES_MAX, zone=_zone(one))]
    check = PatternCheck()
    finders += [LineFinder(pattern=each, check_pattern=check, zone=_zone(one)) for each in patterns]
    for finder in finders:
        for piece in pieces():
            finder.feed(piece)
        finder.finish()
        yield from ((line.number, line.text) for line in finder.found)


def patterns_for(store: Store, one: AnyList, name: bytes) -> list[str]:
    """Return the regular expressions of a list, as it is compiled, that match a name."""
    block_set = _compiled(store)
    if block_set is None:
        return []
    urls = [each["url"] for each in block_set.sources]
    text = spell_name(name).rstrip(".").lower()
    return [
        each.text
        for each in block_set.patterns
        if urls[each.source] == str(one) and compile_pattern(each.text).search(text)
    ]


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb"))


def _compiled(store: Store) -> BlockSet | None:
    try:
        with open(store.compiled, "rb") as stream:
            return BlockSet(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None


def _zone(one: AnyList) -> bytes | None:
    return parse_name(one.zone) if isinstance(one, ListZone) else None
