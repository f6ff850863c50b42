"""`fastdns serve`: the daemon, in the foreground; usually server.command starts it."""

from __future__ import annotations

from typing import Any

import click

from ..server import command
from . import options


@click.command()
@options.config_file
@options.listen
@options.upstream
@options.state
@click.option("--workers", metavar="N", type=int, help="Number of processes that answer queries.")
@click.option("--takeover", is_flag=True, help="Take over from the running instance.")
def serve(**arguments: Any) -> int:
    """Answer queries until stopped (SIGTERM, Ctrl-C). Logs to standard error."""
    return command.serve(**arguments)
