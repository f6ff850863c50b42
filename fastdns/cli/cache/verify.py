"""`fastdns cache verify`: checks everything on disk."""

from __future__ import annotations

from pathlib import Path

import click

from ...browse.verify import find_damage
from .. import options
from ..output import counted, emit, fail
from .isolation import leave_note
from .progress import progress
from .site import find_site

SHOWN = 100  # damaged entries that are listed


@click.command()
@options.config_file
@options.state
def verify(path: Path | None, state: str | None) -> int:
    """Check every entry and list the damaged ones. Exit status 1: there are some.

    The daemon treats a damaged entry as a miss, asks upstream and replaces it. `rm` removes one
    entry, `flush` all.
    """
    site = find_site(path, state)
    read = 0

    def seen(last: str, count: int) -> None:
        nonlocal read
        read += count
        leave_note(f" behind {last}")
        advance(count)

    damaged = 0
    with site.reading() as reader, progress("reading", reader.facts().entries) as advance:
        for line in find_damage(reader, seen):
            damaged += 1
            if damaged <= SHOWN:
                click.echo(line, err=True)
    if damaged:
        return fail(f"{damaged} of {read} entries of {site.path} are damaged")
    emit(f"{counted(read)}, none damaged\n")
    return 0
