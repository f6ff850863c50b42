"""`fastdns cache rm`: removes a name, on disk and in the running daemon."""

from __future__ import annotations

from pathlib import Path

import click

from ..._control import CHANGE_NAME
from ...browse.items import Wanted
from ...browse.names import spell_name, spell_type
from ...config.text import path_text
from ...store.store import Store
from .. import options
from ..output import counted, emit, fail
from . import arguments
from .change import Change, remove, remove_found
from .get import no_entry
from .site import Site, find_site


@click.command()
@click.argument("name", callback=arguments.name_or_pattern)
@arguments.qtype
@arguments.state_option
@arguments.rcode_option
@arguments.negative_option
@options.config_file
@options.state
def rm(
    *,
    name: bytes | str,
    qtype: int | None,
    state_is: str | None,
    rcode: int | None,
    negative: bool,
    path: Path | None,
    state: str | None,
) -> int:
    """Remove exactly this name: all of its types, or one TYPE.

    NAME may be a pattern (*, ?, [a-z]), as for ls. Works with the daemon running, hung or stopped.
    Exit status 1: there was no such entry.
    """
    everything = isinstance(name, str) and not name.strip("*")
    if everything and (qtype, state_is, rcode, negative) == (None, None, None, False):
        raise click.UsageError("this would remove every entry: run fastdns cache flush")
    site = find_site(path, state)
    if site.daemon is None and site.control is None and not site.path.exists():
        raise site.absent()
    if isinstance(name, bytes) and (state_is, rcode, negative) == (None, None, False):
        return _remove_name(site, name, qtype)
    pattern = name if isinstance(name, str) else spell_name(name)
    wanted = Wanted(pattern=pattern, qtype=qtype, state=state_is, rcode=rcode, negative=negative)
    removed = remove_found(site, wanted)
    if not removed:
        return fail(f"no entry matches {path_text(pattern)}")
    emit(f"removed {counted(removed)}\n")
    return 0


def _remove_name(site: Site, name: bytes, qtype: int | None) -> int:
    all_taken_in = site.take_in()

    def delete(store: Store) -> int:
        return store.delete(store.keys_of(name, qtype))

    removed = remove(site, delete, Change(CHANGE_NAME, name, qtype or 0))
    if removed:
        of = spell_name(name) + ("" if qtype is None else f" {spell_type(qtype)}")
        emit(f"removed {counted(removed)} of {of}\n")
        return 0
    if all_taken_in and site.daemon is not None:
        return fail(f"{no_entry(name, qtype)} on disk; the daemon has removed any copy from memory")
    if all_taken_in:
        return fail(no_entry(name, qtype))
    emit(f"{no_entry(name, qtype)} on disk; copies that were not written yet are removed as well\n")
    return 0
