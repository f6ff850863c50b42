"""`fastdns serve`: the daemon, in the foreground."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from ..config.load import load
from ..server import supervisor
from . import options


@click.command()
@options.config_file
@options.listen
@options.upstream
@options.state
@click.option("--workers", metavar="N", type=int, help="Processes that answer queries.")
@click.option("--takeover", is_flag=True, help="Come in the place of the instance that runs.")
def serve(
    path: Path | None,
    listen: tuple[str, ...],
    upstream: tuple[str, ...],
    state: str | None,
    *,
    workers: int | None,
    takeover: bool,
) -> int:
    """Answer queries until told to stop (SIGTERM, Ctrl-C). Logs to standard error."""
    given = partial(load, path, listen=listen, upstream=upstream, state=state, workers=workers)
    notes: list[str] = []  # there is no log yet
    config = given(say=notes.append)
    reread = partial(given, again=True, say=supervisor.log.info)
    return supervisor.run(config, reread, take_over=takeover, notes=notes)
