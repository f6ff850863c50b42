"""Counts the answers in a ring whose daemon has ended, without taking them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from .._ring import RECORD_ANSWER, RING_OCTETS

_MAGIC = b"fastdnsR"
_WORDS = struct.Struct("=Q56xQ")  # head and tail, a cache line each
_WORDS_AT = 64
_DATA_AT = 4096
_RECORD = struct.Struct("=IBBH")  # bytes, kind, marks, bytes of the key
_DONE = 2  # of the marks: it is on disk, or must not be
_ALIGNMENT = 8


def count_pending(path: Path) -> int:
    """Return the number of unread answers in a ring; 0 if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            content = file.read(_DATA_AT + 2 * RING_OCTETS)
    except OSError:
        return 0
    return _count(content)


def _count(content: bytes) -> int:
    capacity = len(content) - _DATA_AT
    if capacity <= 0 or not content.startswith(_MAGIC):
        return 0
    head, tail = _WORDS.unpack_from(content, _WORDS_AT)
    answers = 0
    while 0 < head - tail <= capacity:
        at = _DATA_AT + tail % capacity
        if at + _RECORD.size > len(content):
            break
        octets, kind, marks, _ = _RECORD.unpack_from(content, at)
        answers += kind == RECORD_ANSWER and not marks & _DONE
        tail += max(-octets // _ALIGNMENT * -_ALIGNMENT, _ALIGNMENT)
    return answers
