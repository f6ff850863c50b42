"""`fastdns cache rm`: a name is forgotten, on disk and in the running daemon."""

from __future__ import annotations

from pathlib import Path

import click

from ..._control import CHANGE_NAME
from ...browse.names import spell_name, spell_type
from ...store.store import Store
from .. import options
from ..output import counted, emit, fail
from . import arguments
from .change import remove
from .get import no_entry
from .site import find_site


@click.command()
@arguments.name
@arguments.qtype
@options.config_file
@options.state
def rm(name: bytes, qtype: int | None, path: Path | None, state: str | None) -> int:
    """Remove exactly this name, all of its types or one TYPE, with every variant.

    Works with the daemon running, hung or stopped. Exit status 1 when there was no such entry.
    """
    site = find_site(path, state)
    if site.daemon is None and site.control is None and not site.path.exists():
        raise site.absent()
    all_taken_in = site.take_in()

    def delete(store: Store) -> int:
        return store.delete(store.keys_of(name, qtype))

    removed = remove(site, delete, CHANGE_NAME, name, qtype or 0)
    if removed:
        of = spell_name(name) + ("" if qtype is None else f" {spell_type(qtype)}")
        emit(f"removed {counted(removed)} of {of}\n")
        return 0
    if all_taken_in and site.daemon is not None:
        return fail(
            f"{no_entry(name, qtype)} on disk; the daemon's memory has forgotten it, if it had it"
        )
    if all_taken_in:
        return fail(no_entry(name, qtype))
    emit(f"{no_entry(name, qtype)} on disk; what is not taken in yet is forgotten, too\n")
    return 0
