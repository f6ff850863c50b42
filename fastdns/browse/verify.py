"""Reads all entries and reports the damaged ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .._answer import Reading
from .._entry import DiskEntry
from .._key import cache_key
from .names import Key, spell_name, spell_type
from .reader import Reader


def find_damage(reader: Reader, seen: Callable[[str, int], None]) -> Iterator[str]:
    """Yield a line for each damaged entry; `seen` is called with the progress."""
    reading = Reading()
    previous = b""
    count = 0
    for batch in reader.batches():
        for disk_key, value in batch:
            count += 1
            if disk_key <= previous:
                yield f"{_spelled(disk_key)}: is in the wrong place"
            previous = disk_key
            if fault := _fault(disk_key, value, reading):
                yield f"{_spelled(disk_key)}: {fault}"
        seen(_spelled(previous), len(batch))
    expected = reader.facts().entries
    # Others may write meanwhile: only a gap is reported that writing cannot explain.
    if count < expected // 2:
        yield f"only {count} of {expected} entries can be reached"


def _fault(disk_key: bytes, value: bytes, reading: Reading) -> str | None:
    try:
        key = cache_key(disk_key)
        entry = DiskEntry.parse(value)
    except ValueError as error:
        return str(error).removeprefix("damaged entry: ")
    message = entry.message
    query_id = int.from_bytes(message[:2], "big")
    if not reading.read(message, query_id, key) or not reading.is_whole:
        return "its message does not answer its question"
    return None


def _spelled(disk_key: bytes) -> str:
    try:
        key = Key.split(cache_key(disk_key))
    except ValueError:
        return f"key {disk_key.hex()}"
    return f"{spell_name(key.name)} {spell_type(key.qtype)}"
