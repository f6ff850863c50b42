"""`fastdns lists update`: fetches lists now, with a daemon or without one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from ...config.load import load
from ...config.servers import parse_listen
from ...config.text import path_text
from ...config.values import Address, AnyList
from ...errors import FastdnsError
from ...lists.lookup import Lookup, servers_of
from ...lists.report import lines_of_failure, lines_of_success
from ...lists.update import Outcome, Steps, Wish
from ...lists.update import update as update_lists
from ...machine import preload
from ...machine.accounts import become
from ...machine.directories import prepare
from ...machine.priority import run_when_idle
from ...machine.state_lock import holder
from ...policy.block_lists.named import lists_named
from ...policy.compile import compile_domains
from ...upstream.sources import Sources, forward_sources
from .. import options
from ..cache.progress import import_all, on_terminal, progress
from ..output import counted, emit, fail
from ..owner import become_owner
from ..running import told_by_supervisor
from .site import ListsSite, chosen_of, find_lists

PARTS = 100  # of the bar, for each list


def _lists(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    with suppress(FastdnsError):
        found = lists_named(load(ctx.params.get("path"), state=ctx.params.get("state")))
        return [CompletionItem(str(one)) for one in found if str(one).startswith(incomplete)]
    return []


@click.command()
@click.argument("names", metavar="[LIST]...", nargs=-1, shell_complete=_lists)
@click.option(
    "--accept-smaller",
    is_flag=True,
    help="Take a list that has lost more than half of its entries.",
)
@options.upstream
@options.config_file
@options.state
def update(
    names: tuple[str, ...],
    *,
    accept_smaller: bool,
    upstream: tuple[str, ...],
    path: Path | None,
    state: str | None,
) -> int:
    """Fetch all lists now, or those that are named.

    LIST is a list as the configuration has it, or a part of it. A list whose download fails or is
    damaged keeps its last good copy. A running daemon uses the new lists without a reload. Exit
    status 1: a list could not be renewed.
    """
    site = find_lists(path, state)
    chosen = chosen_of(site.lists, names) or list(site.lists)
    config = load(path, state=state, upstream=upstream)
    sources, forward = Sources(config), forward_sources(config)
    servers = servers_of(compile_domains(config), sources, forward)
    preload.import_for_lists()
    if on_terminal():
        import_all()
    _become_owner(site)
    run_when_idle()  # queries come first
    lookup = Lookup(_daemon(site), servers)
    wish = Wish(
        site.lists, site.config.block.update, lookup, chosen=chosen, accepts_smaller=accept_smaller
    )
    try:
        site.store.prepare()
        with site.store.locked(_tell_to_wait), _drawn(len(chosen)) as steps:
            outcome = update_lists(site.store, wish, steps)
    except OSError as error:
        place = error.filename or site.places.lists
        raise FastdnsError(f"{path_text(place)}: {error.strerror}") from None
    return _tell(outcome)


def _become_owner(site: ListsSite) -> None:
    if site.places.state_dir.exists():
        become_owner(site.places.state_dir)
        return
    account = prepare(site.places)
    if account is not None:
        become(account)


def _daemon(site: ListsSite) -> list[Address]:
    """Return where a running daemon answers DNS."""
    try:
        if holder(site.places.lock) is None:
            return []
    except FastdnsError:
        return []
    told, _ = told_by_supervisor(site.places)
    found = []
    for text in told.get("addresses", ()):
        with suppress(ValueError):
            found.append(parse_listen(text))
    return found or list(site.config.listen.dns)


def _tell_to_wait() -> None:
    click.echo("waiting for another update to end", err=True)


@contextmanager
def _drawn(count: int) -> Iterator[Steps]:
    with progress("lists", (count + 1) * PARTS) as advance:
        shown = 0.0  # parts of the current list

        def part(more: float) -> None:
            nonlocal shown
            before = int(shown)
            shown = min(shown + more * PARTS, PARTS - 1.0)
            if int(shown) > before:
                advance(int(shown) - before)

        def done(_one: AnyList | None) -> None:
            nonlocal shown
            advance(PARTS - int(shown))
            shown = 0.0

        yield Steps(part=part, done=done)


def _tell(outcome: Outcome) -> int:
    emit("".join(f"{line}\n" for line in lines_of_success(outcome)))
    if outcome.unchanged:
        emit(f"{counted(len(outcome.unchanged), 'list has', 'lists have')} not changed\n")
    status = 0
    for line in lines_of_failure(outcome, time.time()):
        status = fail(line)
    return status
