"""`fastdns deny`: blocks a domain at run time."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .overrides import add_rules, parse_time


@click.command()
@click.argument("name", nargs=-1, required=True)
@options.view
@click.option("--for", "seconds", metavar="TIME", callback=parse_time, help="End after TIME (1h).")
@options.config_file
@options.state
def deny(
    *,
    name: tuple[str, ...],
    view: str | None,
    seconds: float | None,
    path: Path | None,
    state: str | None,
) -> int:
    """Block a domain and all names under it, whatever the lists say.

    All workers use the rule at once. It is kept over restarts, until its TIME is over or you remove
    it (fastdns rules rm). It replaces a rule of allow for the same NAME. Exit status 1: a worker
    does not use it yet.
    """
    return add_rules(name, allows=False, view=view, seconds=seconds, path=path, state=state)
