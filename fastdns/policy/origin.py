"""Where something is written: a key of the configuration, or a line of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

Spell = Callable[[str], str]


@attrs.frozen
class Origin:
    """Where something is written: a key of the configuration, or a line of a file.

    `shown`: the key for people, if that differs.
    """

    where: str
    line: int | None = None
    shown: str = attrs.field(default="", eq=False)

    def __str__(self) -> str:
        return (self.shown or self.where) if self.line is None else f"{self.where}:{self.line}"

    def spelled(self, spell: Spell) -> Origin:
        """Return it with the key for people."""
        is_key = self.line is None and not self.where.startswith("/")
        return attrs.evolve(self, shown=spell(self.where)) if is_key else self


def suffix(name: bytes, labels: int) -> bytes:
    """Return the last labels of a name in wire form, at most as many as it has."""
    places = list(starts(name))
    return name[places[max(len(places) - 1 - labels, 0)] :]


def starts(name: bytes) -> Iterator[int]:
    """Yield the positions of all labels, and of the root."""
    at = 0
    while name[at]:
        yield at
        at += name[at] + 1
    yield at
