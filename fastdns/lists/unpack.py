"""The text of a download: unpacked piece by piece, with a limit, so that nothing can swell."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from ..config.units import spell_size
from .errors import FetchError

PIECE = 1 << 18
GZIP = b"\x1f\x8b"
_ANY = zlib.MAX_WBITS | 32  # gzip or zlib, told by its header
_RAW = -zlib.MAX_WBITS  # what some servers take "deflate" for
ENCODINGS = ("gzip", "x-gzip", "deflate")


def unpacked(pieces: Iterable[bytes], encoding: str, limit: int) -> Iterator[bytes]:
    """Yield the text. FetchError: it is cut off or damaged, or larger than the limit.

    `encoding` is the Content-Encoding. A file that is packed itself (hosts.gz) is unpacked, too.
    """
    if encoding in ENCODINGS:
        pieces = _inflated(pieces)
    elif encoding not in ("", "identity"):
        raise FetchError(f"comes with the unknown Content-Encoding {encoding!r}")
    total = 0
    for piece in _inflated_if_packed(iter(pieces)):
        total += len(piece)
        if total > limit:
            raise FetchError(f"is larger than {spell_size(limit)}")
        yield piece


def _inflated_if_packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    while len(head) < len(GZIP):
        more = next(pieces, None)
        if more is None:
            break
        head += more
    rest = _chained(head, pieces)
    return _inflated(rest) if head.startswith(GZIP) else rest


def _chained(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from pieces


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_ANY)
    is_first = True
    for piece in pieces:
        data = piece
        while data:
            if inflater.eof:  # gzip files may stand one after another
                if not data.startswith(GZIP):
                    return  # padding
                inflater = zlib.decompressobj(_ANY)
            try:
                text = inflater.decompress(data, PIECE)
            except zlib.error:
                if not is_first or data.startswith(GZIP):
                    raise FetchError("is damaged: its compressed data are wrong") from None
                inflater = zlib.decompressobj(_RAW)
                is_first = False
                continue
            is_first = False
            if text:
                yield text
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if not inflater.eof and not is_first:
        raise FetchError("is cut off: its compressed data have no end")
