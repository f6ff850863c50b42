"""Lists of domains: each file is read once, and its domains stay when it is gone at a reload."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from .._domain_lists import read_domains
from .._domains import DomainHashes
from ..config.files import read_octets
from ..config.text import describe, path_text, quote

LIST_OCTETS_MAX = 256 << 20
# What others write, and what is meant by it: a domain covers all names under it.
_WILDCARD = re.compile(r"\*\.([\w.-]+)")
_FILTER = re.compile(r"\|\|([\w.-]+)\^?(?:\$.*)?")
_HOSTS = re.compile(r"[0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*\s+[\w.-]+(?:\s.*)?")
_ADDRESS_OF_PAGE = re.compile(r"https?://([\w.-]+)(?:[:/].*)?")
PROBLEMS_MAX = 10  # lines told about one list; the first few say what is wrong with it


class DomainLists:
    """The lists of a configuration. `key`: of the sets that they are for; `former`: of one before.

    A list that cannot be read, and a line that is not a domain, are left out and told; of a list
    that could be read before its domains stay.
    """

    def __init__(self, key: bytes, former: Mapping[Path, DomainHashes]) -> None:
        self._key = key
        self._former = former
        self.read: dict[Path, DomainHashes] = {}

    def load(self, path: Path) -> Iterator[str]:
        """Read a list unless that was done; yield a line for each thing that is wrong with it."""
        if path in self.read:
            return
        where = path_text(path)
        try:
            text = read_octets(path, regular=True, limit=LIST_OCTETS_MAX)
        except ValueError as error:
            former = self._former.get(path)
            kept = "" if former is None else f"; its former {len(former):,} domains stay in use"
            yield f"{where}: {error}{kept}"
            if former is not None:
                self.read[path] = former
            return
        domains, wrong, first = read_domains(text, self._key, PROBLEMS_MAX)
        self.read[path] = domains
        for line, part, problem in first:
            yield f"{where}:{line}: {describe(part)} {problem}{_remedy(part)}"
        if wrong > len(first):
            yield f"{where}: {wrong - len(first)} more lines are not domains"
        if not len(domains):
            yield f"{where}: contains no domain (write one per line)"


def _remedy(part: str) -> str:
    """Return what to write in place of a line in a form that others read; "": it is none."""
    if _HOSTS.fullmatch(part):
        return " (a hosts file belongs to local.hosts)"
    for form in (_WILDCARD, _FILTER, _ADDRESS_OF_PAGE):
        if match := form.fullmatch(part):
            return f" (write {quote(match[1])}, which covers all names under it)"
    return ""
