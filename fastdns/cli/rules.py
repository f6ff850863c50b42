"""`fastdns rules`: shows the rules for single domains, and removes those made at run time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..config.load import load, load_places
from ..config.places import Places
from ..config.schema import Config
from ..config.text import describe, escape
from ..errors import ConfigErrors, FastdnsError
from ..policy.override_file import read
from ..policy.overrides import Override, Overrides
from . import options
from .figures import in_days
from .output import emit, warn
from .overrides import (
    change_overrides,
    config_rules,
    configuration,
    domain_of,
    for_how_long,
    tell_workers,
    told,
    warn_of_damage,
)
from .owner import become_owner

NONE = "there are no rules (fastdns deny NAME and fastdns allow NAME make some)\n"
HEADINGS = ("no.", "rule", "domain", "view", "left", "from")
RUN_TIME = "run time"


@click.command()
@click.argument(
    "action",
    metavar="[rm]",
    required=False,
    shell_complete=lambda *_: [CompletionItem("rm", help="Remove rules made at run time.")],
)
@click.argument("which", metavar="[RULE...]", nargs=-1)
@options.view
@options.config_file
@options.state
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rules(
    *,
    action: str | None,
    which: tuple[str, ...],
    view: str | None,
    path: Path | None,
    state: str | None,
    as_json: bool,
) -> int:
    """Show the rules of allow and deny, made at run time or in the configuration.

    `fastdns rules rm` removes rules made at run time, by number or by name, in all workers at once.
    Rules of the configuration have a key in place of a number: edit the file to remove them.
    Exit status 1: there is no such rule, or a worker still uses it.
    """
    if action is None:
        return _show(path, state, view, as_json=as_json)
    if action != "rm":
        shown = describe(action)
        raise click.UsageError(f"{shown} is not known (try fastdns rules, or fastdns rules rm)")
    if not which:
        raise click.UsageError("name the rules to remove: fastdns rules rm NUMBER, or NAME")
    if as_json:
        raise click.UsageError("--json is for showing rules, not for removing them")
    return _remove(which, view, path, state)


# ---- showing


def _show(path: Path | None, state: str | None, view: str | None, *, as_json: bool) -> int:
    config: Config | None = None
    try:
        config = load(path, state=state)
        places = Places(config.state_dir, config.run_dir)
    except ConfigErrors as errors:
        places = load_places(path, state=state)
        warn(f"{errors.lines[0]} (rules of the configuration are not shown)")
    if view is not None:
        configuration(path, state, view)
    become_owner(places.state_dir)
    now = time.time()
    found = read(places.overrides).at(now)
    for line in found.problems:
        warn(line)
    rows = [row for row in _rows(found, config, now) if view is None or row["view"] in (None, view)]
    if as_json:
        pause = {"paused": found.is_paused, "paused_until": found.paused_until}
        emit(json.dumps(pause | {"rules": rows}) + "\n")
        return 0
    if found.is_paused:
        end = for_how_long(found.paused_until, now) or " until you run fastdns resume"
        emit(f"blocking is paused{end}\n" + ("\n" if rows else ""))
    views: set[str] | None = None if config is None else {one.name for one in config.view}
    emit(_table([_cells(row, views) for row in rows]) if rows else NONE)
    return 0


def _rows(found: Overrides, config: Config | None, now: float) -> list[dict[str, Any]]:
    """Return all rules, those made at run time first; the same for people and as JSON."""
    rows: list[dict[str, Any]] = [
        {
            "number": number,
            "rule": one.word,
            "domain": one.text,
            "view": one.view,
            "until": one.until,
            "seconds_left": None if one.until is None else round(one.until - now, 3),
            "key": None,
        }
        for number, one in enumerate(found.rules, 1)
    ]
    for rule in config_rules(config) if config is not None else ():
        rows.append(
            {
                "number": None,
                "rule": "allow" if rule.allows else "deny",
                "domain": rule.domain.text,
                "view": rule.view,
                "until": None,
                "seconds_left": None,
                "key": rule.key,
            }
        )
    return rows


def _cells(row: dict[str, Any], views: set[str] | None) -> tuple[str, ...]:
    left = row["seconds_left"]
    view = row["view"] or "all"
    if row["view"] and views is not None and row["view"] not in views:
        view += " (not configured)"
    return (
        str(row["number"] or "-"),
        row["rule"],
        escape(row["domain"]),
        view,
        "no end" if left is None else in_days(left),
        row["key"] or RUN_TIME,
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [HEADINGS, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


# ---- removing


def _remove(which: tuple[str, ...], view: str | None, path: Path | None, state: str | None) -> int:
    wanted = [int(one) if one.isascii() and one.isdigit() else domain_of(one) for one in which]
    places = load_places(path, state=state)
    removed: dict[Override, None] = {}

    def edit(overrides: Overrides) -> Overrides:
        removed.clear()
        for one in wanted:
            if isinstance(one, int):
                found = list(overrides.rules[one - 1 : one]) if one else []
                missing = f"there is no rule {one} made at run time (fastdns rules shows them)"
            else:
                found = [rule for rule in overrides.rules if rule.domain == one.wire]
                missing = f"there is no rule made at run time for {escape(one.text)}"
                missing += _in_file(one.wire, path, state)
            found = [rule for rule in found if view is None or rule.view == view]
            if not found:
                raise FastdnsError(missing + ("" if view is None else f" in view {escape(view)}"))
            removed.update(dict.fromkeys(found))
        return overrides.without(*removed)

    now = time.time()
    done = change_overrides(places, edit, now, is_named=path is not None or state is not None)
    warn_of_damage(places, done)
    for rule in removed:
        line = told(rule).replace(" are ", " were ")
        emit(f"1 rule removed: {line}\n")
    return tell_workers(places)


def _in_file(domain: bytes, path: Path | None, state: str | None) -> str:
    """Return where the configuration has a rule for this domain; "": it has none."""
    try:
        found = list(config_rules(load(path, state=state)))
    except FastdnsError:
        return ""
    keys = [one.key for one in found if one.domain.wire == domain]
    return f": {keys[0]} of the configuration has it (edit the file)" if keys else ""
