"""`fastdns serve`: the daemon, in the foreground; started in the usual way, server.command is."""

from __future__ import annotations

from pathlib import Path

import click

from ..server import command
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
    return command.serve(path, listen, upstream, state, workers=workers, takeover=takeover)
