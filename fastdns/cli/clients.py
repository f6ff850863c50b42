"""`fastdns clients`: who has asked the daemon, from the tables of its workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from .._seen_clients import Seen, hash_of_view, read_seen
from ..config.load import load
from ..config.places import Places, which_one
from ..config.schema import Config
from ..config.text import describe, escape, path_text
from ..errors import FastdnsError
from ..policy.local import LocalSources
from ..policy.views import narrow, spell_mac
from . import options
from .cache.isolation import go_on_in_child
from .cache.site import Site, find_site
from .client_names import ClientNames
from .figures import in_days
from .output import emit, fail, warn
from .owner import become_owner

NAMES = ("client", "address", "hardware address", "view")
FIGURES = ("queries", "blocked", "over limit", "seen")
COLUMNS = (*NAMES, *FIGURES)
UNKNOWN = "-"


@attrs.define
class Client:
    """A machine that has asked, by all its addresses. Times are of CLOCK_BOOTTIME."""

    rows: list[Seen]
    mac: bytes | None
    names: list[str]

    @property
    def addresses(self) -> list[str]:
        """Its addresses, the one that has asked last first."""
        rows = sorted(self.rows, key=lambda one: (-one.last_seen, one.address))
        return list(dict.fromkeys(str(narrow(one.address)) for one in rows))

    @property
    def view(self) -> int:
        """The view, by hash_of_view, in which it was last; 0: in none."""
        return max(self.rows, key=lambda one: one.last_seen).view

    @property
    def last_seen(self) -> int:
        return max(one.last_seen for one in self.rows)

    @property
    def first_seen(self) -> int:
        return min(one.first_seen for one in self.rows)

    @property
    def queries(self) -> int:
        return sum(one.queries for one in self.rows)

    @property
    def blocked(self) -> int:
        return sum(one.blocked for one in self.rows)

    @property
    def limited(self) -> int:
        return sum(one.limited for one in self.rows)


@click.command()
@click.option("--view", "wanted", metavar="NAME", help="Only the clients of this view.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each client.")
@options.config_file
@options.state
def clients(wanted: str | None, as_json: bool, path: Path | None, state: str | None) -> int:
    """Show who has asked the daemon since its start, the busiest first.

    All addresses of a machine on the LAN are one client. Each worker remembers 4,096 addresses.
    "over limit" counts its queries above access.rate_limit, which rate_dry_run answers.
    Exit status 1: there is no client.
    """
    config = load(path, state=state)
    views: dict[int, str] = {hash_of_view(one.name): one.name for one in config.view}
    if wanted is not None and wanted not in views.values():
        known = ", ".join(views.values()) or "there is none"
        raise click.BadParameter(f"{describe(wanted)} is not a view ({known})", param_hint="--view")
    go_on_in_child()
    try:
        site = find_site(path, state, shows_records=True)
    except FastdnsError:
        site = None  # only names of files are known
    places = Places(config.state_dir, config.run_dir)
    become_owner(places.state_dir)
    found = sorted(
        _clients(config, list(_rows(places)), site),
        key=lambda one: (-one.queries, one.addresses),
    )
    if wanted is not None:
        found = [one for one in found if one.view and views.get(one.view) == wanted]
    if not found:
        return fail("no client" + (f" of the view {wanted}" if wanted else "") + " has asked")
    if as_json:
        emit("".join(json.dumps(_as_json(one, views)) + "\n" for one in found))
    else:
        emit("".join(f"{line}\n" for line in _lines(found, views)))
    return 0


def _rows(places: Places) -> Iterator[Seen]:
    """Yield the rows of all workers. FastdnsError: they cannot be read."""
    paths = sorted(one for one in places.run_dir.glob("clients.*") if one.suffix[1:].isdigit())
    if not paths:
        raise FastdnsError(
            f"no daemon has noted clients in {path_text(places.run_dir)} {which_one(places)}"
        )
    for path in paths:
        try:
            yield from read_seen(path)
        except OSError as error:
            raise FastdnsError(
                f"cannot read the clients {path_text(path)}: {error.strerror}"
            ) from None
        except ValueError as error:
            warn(str(error))


def _clients(config: Config, rows: list[Seen], site: Site | None) -> Iterator[Client]:
    """Yield the machines whose addresses these are."""
    about = ClientNames(config, LocalSources(config.local).names)
    if site is not None:
        about.look_in_cache(list(dict.fromkeys(one.address for one in rows)), site)
    macs = {(one.address, one.link): one.mac for one in rows if one.mac is not None}
    machines: dict[object, Client] = {}
    for row in rows:
        place = row.address, row.link
        mac = macs.get(place) or about.mac(*place)
        client = machines.setdefault(mac or place, Client([], mac, []))
        client.rows.append(row)
        client.names += [one for one in about.names(row.address) if one not in client.names]
    yield from machines.values()


def _as_json(client: Client, views: dict[int, str]) -> dict[str, Any]:
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return {
        "name": client.names[0] if client.names else None,
        "names": client.names,
        "addresses": client.addresses,
        "mac": None if client.mac is None else spell_mac(client.mac),
        "view": views.get(client.view),
        "queries": client.queries,
        "blocked": client.blocked,
        "limited": client.limited,
        "first_seen": round(booted + client.first_seen),
        "last_seen": round(booted + client.last_seen),
    }


def _lines(found: Iterable[Client], views: dict[int, str]) -> list[str]:
    """Return a table: a line for each address, the first with all else."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    cells = [list(COLUMNS)]
    for one in found:
        first, *others = one.addresses
        cells.append(
            [
                escape(one.names[0]) if one.names else UNKNOWN,
                first,
                UNKNOWN if one.mac is None else spell_mac(one.mac),
                views.get(one.view, UNKNOWN),
                *(f"{number:,}" for number in (one.queries, one.blocked, one.limited)),
                f"{in_days(now - one.last_seen)} ago",
            ]
        )
        cells += [["", other, *[""] * (len(COLUMNS) - 2)] for other in others]
    widths = [max(len(row[number]) for row in cells) for number in range(len(COLUMNS))]
    return [
        "  ".join(
            f"{cell:>{width}}" if title in FIGURES else f"{cell:<{width}}"
            for cell, width, title in zip(row, widths, COLUMNS, strict=True)
        ).rstrip()
        for row in cells
    ]
