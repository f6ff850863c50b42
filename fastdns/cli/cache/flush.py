"""`fastdns cache flush`: removes a domain, or everything."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..._control import CHANGE_ALL, CHANGE_UNDER
from ..._key import cache_key, is_under, range_of
from ...browse.items import Wanted
from ...browse.names import spell_name
from ...config.names import parse_name
from ...config.text import path_text
from ...store.store import Store
from .. import options
from ..output import counted, emit, fail
from . import arguments
from .change import Change, remove, remove_found
from .site import Site, find_site

ROOT = b"\0"  # all names lie under it


@click.command()
@click.argument("name", required=False)
@arguments.under
@arguments.qtype_option
@arguments.state_option
@arguments.rcode_option
@arguments.negative_option
@click.option("--zone", "is_zone", is_flag=True, hidden=True)  # NAME is that of --under
@click.option("--yes", is_flag=True, help="Remove everything without asking.")
@options.config_file
@options.state
def flush(
    *,
    name: str | None,
    under: bytes | None,
    qtype: int | None,
    state_is: str | None,
    rcode: int | None,
    negative: bool,
    is_zone: bool,
    yes: bool,
    path: Path | None,
    state: str | None,
) -> int:
    """Remove a domain and all names under it, or everything without --under.

    The other options select entries. Works with the daemon running, hung or stopped. Asks before it
    removes everything; without a terminal it needs --yes.
    """
    if is_zone and under is None:
        under = _zone(name)
    elif name is not None:
        shown = path_text(name)
        raise click.UsageError(
            f"to remove one name: fastdns cache rm {shown}; "
            f"with all names under it: fastdns cache flush --under {shown}"
        )
    wanted = Wanted(under=under, qtype=qtype, state=state_is, rcode=rcode, negative=negative)
    is_filtered = (qtype, state_is, rcode, negative) != (None, None, None, False)
    everything = under in (None, ROOT) and not is_filtered
    if everything and not yes and not _may_ask():
        raise click.UsageError("this would remove every entry: add --yes, or --under DOMAIN")
    site = find_site(path, state)
    if site.daemon is None and site.control is None and not site.path.exists():
        raise site.absent()
    if is_filtered:
        emit(f"removed {counted(remove_found(site, wanted))}\n")
        return 0
    site.take_in()
    if everything and not (yes or click.confirm(f"Remove all of {site.path}?", err=True)):
        return fail("nothing was removed")
    removed = _remove(site, under)
    where = "" if under is None else f" under {spell_name(under)}"
    memory = ""
    if not removed and site.daemon is not None:
        memory = " on disk; the daemon has removed its copies from memory"
    emit(f"removed {counted(removed)}{where}{memory}\n")
    return 0


def _zone(name: str | None) -> bytes:
    """Return the domain that flush_zone, a word of unbound-control, has as its argument."""
    try:
        return parse_name(name or "")
    except ValueError as error:
        raise click.UsageError(f"the domain {error}" if not name else str(error)) from None


def _may_ask() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _remove(site: Site, under: bytes | None) -> int:
    if under is None or under == ROOT:
        return remove(site, Store.clear, Change(CHANGE_ALL))

    def is_wanted(disk_key: bytes) -> bool:
        try:
            return is_under(cache_key(disk_key), under)
        except ValueError:
            return False

    def delete(store: Store) -> int:
        return store.delete_range(range_of(under), is_wanted)

    return remove(site, delete, Change(CHANGE_UNDER, under))
