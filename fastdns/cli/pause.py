"""`fastdns pause`: blocks nothing for a while."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ..policy.overrides import Overrides
from . import options
from .output import emit
from .overrides import (
    change_overrides,
    configuration,
    for_how_long,
    parse_time,
    rounded,
    tell_workers,
    warn_of_damage,
)


@click.command()
@click.argument("seconds", metavar="[TIME]", required=False, callback=parse_time)
@click.option(
    "--for",
    "same",
    metavar="TIME",
    callback=parse_time,
    help="End after TIME (1h), as without --for.",
)
@options.config_file
@options.state
def pause(
    *, seconds: float | None, same: float | None, path: Path | None, state: str | None
) -> int:
    """Block nothing for a while: for TIME (5m), or until fastdns resume.

    All workers stop blocking at once: names of lists, of the configuration and of rules made at run
    time are answered as if there were none. The pause is kept over restarts. Exit status 1: a
    worker still blocks.
    """
    if seconds is not None and same is not None:
        raise click.UsageError("--for repeats TIME (leave one out)")
    seconds = same if seconds is None else seconds
    places = configuration(path, state, None)
    now = time.time()
    until = rounded(now, seconds)

    def edit(overrides: Overrides) -> Overrides:
        return overrides.paused(until)

    done = change_overrides(places, edit, now, is_named=path is not None or state is not None)
    warn_of_damage(places, done)
    emit(f"blocking is paused{for_how_long(until, now) or ' until you run fastdns resume'}\n")
    return tell_workers(places)
