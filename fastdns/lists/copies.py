"""The text of a list on disk: packed, with a digest that tells whether another one is the same."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from .errors import DamagedCopy
from .store import private

PIECE = 1 << 18
LEVEL = 6


@attrs.frozen
class Written:
    """A text that is on disk."""

    path: Path
    digest: str
    octets: int
    head: bytes  # its beginning


def write_copy(path: Path, text: Iterable[bytes]) -> Written:
    """Write a text. OSError: the disk is full, or the like."""
    digest, octets, head = hashlib.sha256(), 0, b""
    with open(path, "wb", opener=private) as raw:
        with gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as stream:
            for piece in text:
                digest.update(piece)
                octets += len(piece)
                head = head if len(head) >= PIECE else head + piece
                stream.write(piece)
        raw.flush()
        os.fsync(raw.fileno())
    return Written(path, digest.hexdigest(), octets, head[:PIECE])


def pieces_of(path: Path) -> Iterator[bytes]:
    """Yield the text of a copy in pieces. DamagedCopy: it is damaged, or gone."""
    try:
        with gzip.open(path, "rb") as stream:
            while piece := stream.read(PIECE):
                yield piece
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        raise DamagedCopy(f"has a damaged copy ({error})") from None
