"""`fastdns resume`: ends a pause."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ..policy.overrides import Overrides
from . import options
from .output import emit
from .overrides import change_overrides, configuration, tell_workers, warn_of_damage


@click.command()
@options.config_file
@options.state
def resume(*, path: Path | None, state: str | None) -> int:
    """Block again after fastdns pause.

    Exit status 1: a worker does not block yet.
    """
    places = configuration(path, state, None)
    now = time.time()
    done = change_overrides(
        places, Overrides.resumed, now, is_named=path is not None or state is not None
    )
    warn_of_damage(places, done)
    emit("blocking is on again\n" if done.before.is_paused else "blocking was not paused\n")
    return tell_workers(places)
