"""`fastdns lists test`: which lines of which lists have a name."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from ...browse.names import Key, spell_name
from ...config.text import path_text
from ...config.types import TYPES
from ...config.values import AnyList
from ...lists.copies import pieces_of
from ...lists.errors import FetchError
from ...lists.reading import find_lines, patterns_for
from ...machine.priority import run_when_idle
from ...policy.blocking import About
from ...policy.blocking_now import blocking_now
from ...policy.compile import compile_domains
from .. import options
from ..cache import arguments
from ..output import emit, warn
from ..owner import become_owner
from .site import ListsSite, check_readable, find_lists


@click.command()
@arguments.name
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.config_file
@options.state
def test(name: bytes, *, as_json: bool, path: Path | None, state: str | None) -> None:
    """Show each list and line that has NAME or a domain above it, and what is decided.

    The good copies of the lists are read, as they are now. `fastdns why` tells what the daemon
    answers, with everything else that may decide.
    """
    site = find_lists(path, state)
    become_owner(site.places.state_dir)
    check_readable(site)
    run_when_idle()
    found = list(_found(site, name))
    decided = verdict(site, name)
    if as_json:
        told = [{"list": str(one), "line": line, "text": text} for one, line, text in found]
        emit(json.dumps({"name": spell_name(name), "found": told, "verdict": decided}) + "\n")
        return
    for one, line, text in found:
        emit(f"{path_text(one)}, line {line}: {path_text(text)}\n")
    if not found:
        emit(f"no list has {spell_name(name)}\n")
    emit(f"verdict: {decided}\n")


def verdict(site: ListsSite, name: bytes) -> str:
    """Return what is decided for the addresses of a name and clients in no view."""
    config = site.config
    blocking = blocking_now(config, time.time(), warn)
    decided = compile_domains(config).policy(None, blocking).decide(Key(name, TYPES["A"]).join())
    about = blocking.about
    if decided.verdict == "special":
        return "not blocked: a special name, which fastdns answers itself"
    if not decided.reason or not isinstance(about, About):
        return "not blocked"
    word = "allowed" if decided.reason.startswith("allowed") else "blocked"
    if decided.reason.endswith("rule"):
        return f"{word} by a rule (fastdns rules shows them)"
    return f"{word} by {about.sources[decided.source - 1]}"


def _found(site: ListsSite, name: bytes) -> Iterator[tuple[AnyList, int, str]]:
    for one in site.lists:
        if not site.store.state(one).digest:
            warn(f"there is no copy of {path_text(one)} yet (fastdns lists update fetches it)")
            continue
        try:
            pieces = partial(pieces_of, site.store.copy(one))
            patterns = patterns_for(site.store, one, name)
            for line, text in find_lines(pieces, one, name, patterns):
                yield one, line, text
        except FetchError as error:
            warn(f"{path_text(one)} {error}")
