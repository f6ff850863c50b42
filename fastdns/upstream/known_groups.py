"""The groups of a daemon, for commands: a file in run_dir says their names, numbers and origins.

Their numbers stand in keys on disk. The default group has the number 0 and is not among them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import attrs

from .origin import fingerprint
from .sources import ForwardSources

log = logging.getLogger(__name__)

FILE_OCTETS_MAX = 16 << 20
Groups = Mapping[int, "KnownGroup"]  # by their numbers


@attrs.frozen
class KnownGroup:
    """A group of upstreams. `origin`: of the answers that count now; 0: not known."""

    name: str
    origin: int = 0


def groups_of(forward: Iterable[ForwardSources]) -> Groups:
    """Return the groups with what they ask now."""
    return {
        one.group.number: KnownGroup(one.group.name, fingerprint(one.group, one.sources.servers))
        for one in forward
    }


def write_groups(path: Path, groups: Groups) -> None:
    """Replace the file; without groups there is none. A daemon serves without it as well."""
    text = json.dumps(
        [
            {"name": one.name, "number": number, "origin": f"{one.origin:016x}"}
            for number, one in groups.items()
        ]
    )
    new = path.with_name(f"{path.name}.new")
    try:
        if not groups:
            path.unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            new.unlink()
        new.write_text(text, encoding="ascii")
        os.replace(new, path)
    except OSError as error:
        log.warning("%s: %s; commands do not know the groups", path, error.strerror)


def read_groups(path: Path) -> Groups:
    """Return what the file says; nothing when there is none, or another program wrote it."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(FILE_OCTETS_MAX))
        return {
            int(one["number"]): KnownGroup(str(one["name"]), int(one["origin"], 16)) for one in told
        }
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return {}
