"""`fastdns lists test`: which lines of which lists have a name."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from ..._policy import Policy
from ...browse.names import Key, spell_name
from ...config.schema import Config
from ...config.text import path_text
from ...config.types import TYPES
from ...config.values import AnyList
from ...lists.copies import pieces_of
from ...lists.errors import FetchError
from ...lists.reading import find_lines, patterns_for
from ...machine.priority import run_when_idle
from ...policy.blocking import About, lists_of_view, with_blocking
from ...policy.blocking_now import blocking_now
from ...policy.compile import compile_domains
from .. import options
from ..cache import arguments
from ..output import emit, warn
from ..owner import become_owner
from ..why.filtering import paused
from .site import ListsSite, check_readable, find_lists, number_of_view


@click.command()
@arguments.name
@click.option("--view", metavar="NAME", help="Decide for clients of this view.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.config_file
@options.state
def test(
    name: bytes, *, view: str | None, as_json: bool, path: Path | None, state: str | None
) -> None:
    """Show each list and line that has NAME or a domain above it, and what is decided.

    The good copies of the lists are read, as they are now. `fastdns why` tells what the daemon
    answers, with everything else that may decide.
    """
    site = find_lists(path, state)
    number = number_of_view(site.config, view)
    become_owner(site.places.state_dir)
    check_readable(site)
    run_when_idle()
    found = list(_found(site, name))
    decided = verdict(site, name, number)
    if as_json:
        told = [{"list": str(one), "line": line, "text": text} for one, line, text in found]
        emit(
            json.dumps({"name": spell_name(name), "view": view, "found": told, "verdict": decided})
            + "\n"
        )
        return
    for one, line, text in found:
        emit(f"{path_text(one)}, line {line}: {path_text(text)}\n")
    if not found:
        emit(f"no list has {spell_name(name)}\n")
    for one in dict.fromkeys(one for one, _, _ in found):
        if only := _only_in(site.config, one):
            emit(f"only clients of {only} use {path_text(one)}\n")
    whom = f" for clients of view {view}" if view else " for clients in no view"
    emit(f"verdict{whom if site.config.view else ''}: {decided}\n")


def _only_in(config: Config, one: AnyList) -> str:
    """Return which views use a list that clients in no view do not; "": these do."""
    if any(one in lists for lists in lists_of_view(config, None)):
        return ""
    names = [
        view.name
        for view in config.view
        if any(one in lists for lists in lists_of_view(config, view))
    ]
    return f"view{'s' if len(names) > 1 else ''} {', '.join(names)}"


def verdict(site: ListsSite, name: bytes, view: int) -> str:
    """Return what is decided for the addresses of a name and clients of a view, 0 for none."""
    config, now = site.config, time.time()
    blocking = blocking_now(config, now, warn)
    policy = compile_domains(config).policy(None, blocking)
    key = Key(name, TYPES["A"], group=view).join()
    about = blocking.about
    if isinstance(about, About) and about.is_paused:
        resumed = with_blocking(policy, blocking_now(config, now, ignores_pause=True))
        otherwise = _decided(resumed, key)
        return f"not blocked: {paused(about.paused_until, now)}; otherwise {otherwise}"
    return _decided(policy, key)


def _decided(policy: Policy, key: bytes) -> str:
    decided, about = policy.decide(key), policy.blocking.about
    if decided.verdict == "special":
        return "not blocked: a special name, which fastdns answers itself"
    if decided.reason == "safe_search":
        return "not blocked: safe search gives it the address of the safe host"
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
