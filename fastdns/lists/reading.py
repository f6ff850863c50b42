"""What the update needs of the reader and the compiler of lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from .._block_set import ITSELF, UNDER, BlockSetBuilder
from ..browse.names import spell_name
from ..config.values import AnyList
from .copies import text_of
from .state import Faulty, Figures
from .store import Store


def examine(pieces: Iterable[bytes], one: AnyList) -> Figures:
    """Return what the text of a list has."""
    return _read(b"".join(pieces), BlockSetBuilder(), 0)


def compile_copies(store: Store, lists: Sequence[AnyList], stream: BinaryIO) -> None:
    """Compile the copies of these lists."""
    builder = BlockSetBuilder()
    sources = []
    for number, one in enumerate(lists):
        text = text_of(store.copy(one))
        figures = _read(text, builder, number)
        sources.append({"url": str(one), "taken": figures.taken})
    builder.write_to(stream.write, sources)


def find_lines(pieces: Iterable[bytes], one: AnyList, name: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines that have a name, or a domain above it."""
    parts = spell_name(name).rstrip(".").split(".")
    above = {".".join(parts[n:]).encode() for n in range(len(parts))}
    for number, line in enumerate(b"".join(pieces).splitlines(), 1):
        words = line.split(b"#")[0].split()
        if words and words[-1] in above:
            yield number, line.decode(errors="replace")


def _read(text: bytes, builder: BlockSetBuilder, source: int) -> Figures:
    taken = faulty = 0
    first = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(b"#")[0].split()
        if not words or line.startswith(b"$") or b" SOA " in line:
            continue
        name = words[0] if b" IN " in line else words[-1]
        if b"." not in name or b"<" in line:
            faulty += 1
            first.append(Faulty(number, line.decode(errors="replace")[:80], "is no name"))
            continue
        wire = b"".join(bytes([len(p)]) + p for p in name.rstrip(b".").split(b".")) + b"\0"
        builder.add(wire, source, ITSELF | UNDER)
        taken += 1
    return Figures(taken, {}, faulty, tuple(first[:10]))
