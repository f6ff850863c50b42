"""`fastdns cache get`: the records of a name as in dig, and the details of each entry."""

from __future__ import annotations

import json
import time
from itertools import groupby
from pathlib import Path

import click

from ...browse.items import Item, Judge, read_item
from ...browse.names import spell_class, spell_name, spell_rcode, spell_type
from ...browse.reader import Reader
from .. import options
from ..figures import in_time
from ..output import emit, fail, warn
from . import arguments
from .obstacles import obstacle, policy_for, why_never
from .site import Site, find_site


@click.command()
@arguments.name
@arguments.qtype
@arguments.as_json
@options.config_file
@options.state
def get(name: bytes, qtype: int | None, as_json: bool, path: Path | None, state: str | None) -> int:
    """Show all entries of exactly this name, of one TYPE or of all types.

    Records look as in dig, with the remaining TTL. \\DDD stands for any byte of a name. Exit status
    1: there is no entry.
    """
    site = find_site(path, state, shows_records=True)
    with site.reading() as reader:
        items = read_all(reader, name, qtype, site.judge())
    if not items:
        return fail(not_on_disk(site, name, qtype))
    if as_json:
        emit("".join(json.dumps(item.as_json()) + "\n" for item in items))
    else:
        policy = policy_for(site)
        emit("\n".join(_details(one, obstacle(one, policy) if policy else "") for one in items))
    return 0


def read_all(reader: Reader, name: bytes, qtype: int | None, judge: Judge) -> list[Item]:
    """Return all entries of a name; a damaged one is left out with a warning."""
    items = []
    for batch in reader.values(reader.keys_of(name, qtype)):
        for disk_key, value in batch:
            try:
                items.append(read_item(disk_key, value, judge))
            except ValueError as error:
                warn(f"{spell_name(name)}: {error} (see fastdns cache verify)")
    return items


def no_entry(name: bytes, qtype: int | None) -> str:
    """Say that there is no entry."""
    return f"no entry for {spell_name(name)}" + ("" if qtype is None else f" {spell_type(qtype)}")


def not_on_disk(site: Site, name: bytes, qtype: int | None) -> str:
    """Say that the disk has none: an answer that nobody asked for again may not be written."""
    told = no_entry(name, qtype)
    if never := why_never(site, name, qtype):
        return f"{told}: {never}"
    return told if site.daemon is None else f"{told} on disk; the daemon may have it in memory"


def _details(item: Item, problem: str) -> str:
    key, entry = item.key, item.entry
    variant = f"DO {int(key.do)}, CD {int(key.cd)}"
    if key.group:
        variant += f", group {item.group or f'number {key.group}'}"
    came_from = entry.upstream or "unknown"
    if entry.rtt_us:
        came_from += f", round trip {in_time(entry.rtt_us / 1e6)}"
    lines = [
        f";; {item.name} {spell_class(key.qclass)} {spell_type(key.qtype)}, {variant}",
        f";; {spell_rcode(entry.rcode)}, {_life(item, is_served=not problem)}",
        f";; stored {_clock(item.stored_at)}, hits {entry.hits}, size {entry.size} bytes",
        f";; upstream {came_from}",
    ]
    if item.is_of_no_group:
        lines.append(";; not served: the daemon has no such group of upstreams")
    elif item.is_foreign:
        lines.append(
            ";; not served while an upstream answers: it came from other upstreams"
            " than the daemon has now (or with another trust_ad, or under another rule)"
        )
    elif problem and item.state != "expired":
        lines.append(f";; not served: {problem} (see fastdns why)")
    for section, records in groupby(item.records(), key=lambda record: record.section):
        lines.append(f";; {section}")
        lines += (
            f"{one.name}\t{one.ttl}\t{one.record_class}\t{one.type}\t{one.data}" for one in records
        )
    return "\n".join(lines) + "\n"


def _life(item: Item, *, is_served: bool) -> str:
    age, ttl = item.age, item.entry.ttl
    state = item.state if is_served or item.state != "fresh" else "fresh, but not served"
    if age is None:
        return f"{state}: TTL {ttl} s, age unknown (the clock was set)"
    left = item.until_expiry
    lasts = f"{left} s left" if item.state == "fresh" else f"expired {-left} s ago"
    return f"{state}: TTL {ttl} s, {lasts}, age {int(age)} s"


def _clock(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # a broken clock may have set this
        return f"{seconds:g} s after 1970"
