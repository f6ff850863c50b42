"""Which answers on their way to the disk are outdated by a change that a command has made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from .._control import CHANGE_ALL, CHANGE_NAME, CHANGE_UNDER, Control, change_covers
from .._key import name_of


class Changes:
    """The changes since an epoch, sorted by name, to compare many answers with many of them."""

    def __init__(self, control: Control, since: int) -> None:
        self.newest = control.epoch
        found = control.since(since) if since < self.newest else []
        self._of_all = (
            0 if found is not None else self.newest
        )  # an overrun: any entry may be affected
        self._by_name: dict[bytes, list[tuple[int, int, bytes, int]]] = defaultdict(list)
        for change in found or ():
            kind, _, name, counter = change
            if kind == CHANGE_ALL:
                self._of_all = max(self._of_all, counter)
            elif kind in (CHANGE_NAME, CHANGE_UNDER):
                self._by_name[name].append(change)

    def overtook(self, key: bytes, epoch: int) -> bool:
        """Return True when an answer for this key, asked for at this epoch, must not be kept."""
        if epoch >= self.newest:
            return False
        if epoch < self._of_all:
            return True
        return any(
            epoch < counter and change_covers(kind, qtype, name, key)
            for parent in _names_above(name_of(key))
            for kind, qtype, name, counter in self._by_name.get(parent, ())
        )


def _names_above(name: bytes) -> Iterator[bytes]:
    """Yield a name in wire form and its parents, up to the root."""
    at = 0
    while at < len(name):
        yield name[at:]
        at += name[at] + 1
