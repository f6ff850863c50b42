"""The answers that wait in rings for the keeper: counted, or read, without taking them.

A ring may be in use meanwhile: what is read while it changes has a wrong checksum, and is left out.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .._entry import newer
from .._ring import RECORD_ANSWER, RECORD_REMOVAL, RING_OCTETS

_MAGIC = b"fastdnsR"
_WORDS = struct.Struct("=Q56xQ")  # head and tail, a cache line each
_WORDS_AT = 64
_DATA_AT = 4096
_RECORD = struct.Struct("=IBBH")  # bytes, kind, marks, bytes of the key
_EPOCH = struct.Struct("=Q")  # follows, but in padding
_DONE = 2  # of the marks: it is on disk, or must not be
_ALIGNMENT = 8


class Pending(NamedTuple):
    """An answer in a ring. `key`: that of the cache, with the group in place of a view.

    `epoch`: which changes of the cache it knows of. A removal ends what the disk has under its key.
    """

    key: bytes
    value: bytes
    epoch: int
    is_removal: bool


def count_pending(path: Path) -> int:
    """Return the number of unread answers in a ring; 0 if it cannot be read."""
    return sum(not one.is_removal for one in _records(_content(path)))


def newest_pending(paths: Iterable[Path], key: bytes) -> Pending | None:
    """Return the newest answer or removal under a key that waits in any of these rings."""
    newest: Pending | None = None
    for path in paths:
        for one in _records(_content(path)):
            if one.key == key and (newest is None or _is_newer(one.value, newest.value)):
                newest = one
    return newest


def _is_newer(value: bytes, other: bytes) -> bool:
    try:
        return newer(value, other)
    except ValueError:
        return False


def _content(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            return file.read(_DATA_AT + 2 * RING_OCTETS)
    except OSError:
        return b""


def _records(content: bytes) -> Iterator[Pending]:
    """Yield the unread answers and removals, oldest first."""
    capacity = len(content) - _DATA_AT
    if capacity <= 0 or not content.startswith(_MAGIC):
        return
    head, tail = _WORDS.unpack_from(content, _WORDS_AT)
    while 0 < head - tail <= capacity:
        at = _DATA_AT + tail % capacity
        if at + _RECORD.size > len(content):
            break
        octets, kind, marks, key_length = _RECORD.unpack_from(content, at)
        if kind in (RECORD_ANSWER, RECORD_REMOVAL) and not marks & _DONE:
            record = content[at + _RECORD.size : at + octets]
            if len(record) < _EPOCH.size + key_length:
                break
            value_at = _EPOCH.size + key_length
            yield Pending(
                record[_EPOCH.size : value_at],
                record[value_at:],
                _EPOCH.unpack_from(record)[0],
                kind == RECORD_REMOVAL,
            )
        tail += max(-octets // _ALIGNMENT * -_ALIGNMENT, _ALIGNMENT)
