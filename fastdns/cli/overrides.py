"""What the commands for rules made at run time share: the change, telling the daemon, the words."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from .._key import make_key
from .._special_names import special_answer
from ..config.domains import parse_domain
from ..config.filters import Block, View
from ..config.load import load, load_places
from ..config.names import parse_name
from ..config.places import Places, decide, which_one
from ..config.schema import Config
from ..config.text import describe, escape, nearest, path_text, quote
from ..config.types import TYPES
from ..config.units import parse_duration, spell_duration
from ..config.values import Domain
from ..counters import Pages, wait_until_taken
from ..errors import FastdnsError
from ..machine import accounts, directories, keeper_requests
from ..machine.state_lock import holder
from ..policy.override_file import Change, change, version_of
from ..policy.overrides import RULES_MAX, Override, Overrides
from .figures import in_clock, in_days
from .output import emit, fail, warn
from .owner import become_owner
from .running import NotRunning, pages_of_running

TAKEN_SECONDS = 2.0
WAKE_SECONDS = 0.2
START_PAUSE_SECONDS = 0.02
LONGEST = 10 * 365 * 86400.0


# ---- arguments


def parse_time(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> float | None:
    """Return the seconds of --for or of `pause`; None: for ever."""
    if text is None:
        return None
    try:
        if re.fullmatch(r"[0-9]{1,20}", text):  # of minutes, most probably
            raise ValueError(f'{describe(text)} has no unit (try "{text}m")')
        seconds = parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
    if not 1 <= seconds <= LONGEST:
        most = spell_duration(LONGEST)
        raise click.BadParameter(
            f"{describe(text)} is not from 1s to {most} (leave it out for no end)",
            context,
            parameter,
        )
    return seconds


def domain_of(text: str) -> Domain:
    """Return the domain that an argument names. UsageError: it names none."""
    try:
        domain = parse_domain(text)
        if not isinstance(domain, Domain):
            raise ValueError(
                f"{describe(text)} is a file; files are set in the configuration (block.lists, "
                "block.allow_lists)"
            )
        if parse_name(domain.text) != domain.wire:
            raise ValueError(f"{describe(text)} cannot be kept (leave its final dot out)")
    except ValueError as error:
        raise click.UsageError(f"NAME {error}" if not text else str(error)) from None
    return domain


def configuration(path: Path | None, state: str | None, view: str | None) -> Places:
    """Return the directories of the daemon. UsageError: its configuration has no such view.

    Without a view the rest of the configuration may be faulty: it may just be edited.
    """
    if view is None:
        return load_places(path, state=state)
    config = load(path, state=state)
    known = [one.name for one in config.view]
    if view not in known:
        near = nearest(view, known)
        remedy = f"; did you mean {near}?" if near else ""
        if not known:
            remedy = "; it has no [[view]] table"
        raise click.UsageError(f"no view {describe(view)} in the configuration{remedy}")
    return Places(config.state_dir, config.run_dir)


class ConfigRule(NamedTuple):
    """A rule of the configuration, and the key that has it."""

    key: str
    domain: Domain
    allows: bool
    view: str | None


def config_rules(config: Config) -> Iterator[ConfigRule]:
    """Yield the rules for single domains that the configuration has."""
    tables: list[tuple[str, Block | View, str | None]] = [("block", config.block, None)]
    tables += [(f"view[{number}]", one, one.name) for number, one in enumerate(config.view)]
    for name, table, view in tables:
        for word, domains in (("allow", table.allow), ("deny", table.deny)):
            for number, domain in enumerate(domains):
                yield ConfigRule(f"{name}.{word}[{number}]", domain, word == "allow", view)


# ---- changes


def change_overrides(
    places: Places, edit: Callable[[Overrides], Overrides], now: float, *, is_named: bool
) -> Change:
    """Change the rules on disk, as the owner of state_dir; `is_named`: the user has chosen that."""
    directory = places.state_dir
    if not directory.exists():
        if os.geteuid() != 0 and not is_named:
            raise FastdnsError(f"no daemon has run with state_dir {directory} {which_one(places)}")
        directories.prepare(Places(directory, directory))
    become_owner(directory)
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        owner = accounts.name_of(directory.stat().st_uid)
        raise FastdnsError(
            f"{path_text(directory)} cannot be changed by this user: it belongs to user {owner}; "
            "try as root"
        )
    try:
        return change(places.overrides, edit, now)
    except OverflowError:
        raise FastdnsError(
            f"there are {RULES_MAX:,} rules made at run time, which is the most (fastdns rules rm "
            "removes some; a list in block.lists may have millions)"
        ) from None


def warn_of_damage(places: Places, change: Change) -> None:
    """Name what was wrong with the file, and where that is kept."""
    for line in change.before.problems:
        warn(line)
    if change.before.problems:
        warn(f"the faulty file is kept as {path_text(places.overrides)}.damaged")


def tell_workers(places: Places) -> int:
    """Wait until all workers use the rules that are on disk now; return the exit status."""
    try:
        pages = _pages(places)
    except NotRunning:
        hint = f" {which_one(places)}" if places == decide() and os.geteuid() != 0 else ""
        emit(
            f"no daemon runs with state_dir {path_text(places.state_dir)}{hint}: this takes effect "
            "when it starts\n"
        )
        return 0
    except FastdnsError as error:
        return fail(f"{error}; the change is on disk, but the daemon may not use it yet")
    keeper_requests.wake_workers(places.keeper, WAKE_SECONDS)
    late = wait_until_taken(pages, lambda: version_of(places.overrides), TAKEN_SECONDS)
    if late:
        pids = ", ".join(map(str, late))
        one = "worker does" if len(late) == 1 else "workers do"
        return fail(
            f"the change is on disk, but {len(late)} {one} not use it after "
            f"{TAKEN_SECONDS:.0f} s (pid {pids}): fastdns doctor looks for the reason"
        )
    return 0


def _pages(places: Places) -> Pages:
    """Return the pages of the daemon; a moment after its start it has none yet."""
    until = time.monotonic() + TAKEN_SECONDS
    while True:
        try:
            return pages_of_running(places)
        except NotRunning:
            raise
        except FastdnsError:
            if holder(places.lock) is None or time.monotonic() >= until:
                raise
        time.sleep(START_PAUSE_SECONDS)


# ---- words


def rounded(now: float, seconds: float | None) -> float | None:
    """Return when so many seconds are over, as a whole second; None: never."""
    return None if seconds is None else float(math.ceil(now + seconds))


def for_how_long(until: float | None, now: float) -> str:
    """Return " for 1 h (until 14:05)"; "" without an end."""
    if until is None:
        return ""
    return f" for {in_days(until - now)} (until {in_clock(until, now)})"


def paused(overrides: Overrides, now: float) -> Iterator[str]:
    """Yield a line if blocking is paused at the moment."""
    found = overrides.at(now)
    if found.is_paused:
        end = found.paused_until
        until = "" if end is None else f" until {in_clock(end, now)}"
        yield f"blocking is paused{until} (fastdns resume ends the pause)"


def told(rule: Override) -> str:
    """Return what a rule means: "ads.example and all names under it are blocked"."""
    whom = "" if rule.view is None else f" in view {rule.view}"
    state = "allowed" if rule.allows else "blocked"
    if len(rule.domain) == 1:
        return f"all names are {state}{whom}"
    return f"{escape(rule.text)} and all names under it are {state}{whom}"


def lines_of(overrides: Overrides, now: float) -> list[str]:
    """Return what is in force of the rules made at run time, in lines for `check`."""
    found = overrides.at(now)
    lines = ["made at run time, in force beside these settings (fastdns rules):"]
    if found.is_paused:
        lines.append(f"blocking is paused{for_how_long(found.paused_until, now)}")
    lines += [f"{told(rule)}{for_how_long(rule.until, now)}" for rule in found.rules]
    return lines if len(lines) > 1 else []


# ---- allow and deny


def add_rules(
    names: tuple[str, ...],
    *,
    allows: bool,
    view: str | None,
    seconds: float | None,
    path: Path | None,
    state: str | None,
) -> int:
    """Do what `fastdns allow` and `deny` promise; return the exit status."""
    domains = list(dict.fromkeys(map(domain_of, names)))
    if view is None and any(len(one.wire) == 1 for one in domains):
        remedy = (
            "to block nothing for a while: fastdns pause"
            if allows
            else "with --view VIEW it blocks all names for some clients"
        )
        raise click.UsageError(f'"." has all names under it ({remedy})')
    places = configuration(path, state, view)
    now = time.time()
    until = rounded(now, seconds)
    rules = [Override(one.wire, one.text, allows, view, until) for one in domains]

    def edit(overrides: Overrides) -> Overrides:
        for rule in rules:
            overrides = overrides.with_rule(rule)
        return overrides

    done = change_overrides(places, edit, now, is_named=path is not None or state is not None)
    warn_of_damage(places, done)
    for rule in rules:
        former = done.before.find(*rule.place)
        emit(f"{_effect(rule, former)}: {told(rule)}{for_how_long(until, now)}\n")
        _warn_of_many(rule)
        _warn_of_special(rule)
    if not allows:
        for line in paused(done.after, now):
            warn(line)
    if not allows and _blocks_nothing(path, state, view):
        warn(f"view {view} has block = false: nothing is blocked in it, and this rule waits")
    return tell_workers(places)


def _blocks_nothing(path: Path | None, state: str | None, view: str | None) -> bool:
    """Return whether the configuration turns blocking off in a view."""
    if view is None:
        return False
    return any(one.name == view and not one.block for one in load(path, state=state).view)


def _effect(rule: Override, former: Override | None) -> str:
    if former is None:
        return "1 rule added"
    if former == rule:
        return "no rule changed"
    return "1 rule renewed" if former.allows == rule.allows else "1 rule replaced"


def _warn_of_special(rule: Override) -> None:
    if rule.domain != b"\0" and special_answer(make_key(rule.domain, TYPES["A"])) is not None:
        warn(
            f"{quote(rule.text)} is a special name, which fastdns itself answers: the rule changes "
            f"nothing unless [[forward]] has the name (see fastdns why {path_text(rule.text)})"
        )


def _warn_of_many(rule: Override) -> None:
    if rule.domain[1 + rule.domain[0] :] == b"\0" and rule.domain != b"\0":
        state = "allows" if rule.allows else "blocks"
        warn(f"{quote(rule.text)} is a whole top-level domain: the rule {state} every name in it")
