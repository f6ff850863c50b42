"""`fastdns serve`: the daemon, in the foreground."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from ..config.load import load
from ..config.schema import Address
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
    greet = partial(_greet, [] if state is None else ["--state", state])
    return supervisor.run(config, reread, take_over=takeover, notes=notes, greet=greet)


def _greet(where: Sequence[str], addresses: Sequence[Address]) -> None:
    """Say how to ask it and how to look at it, to somebody who has started it on a terminal."""
    if not sys.stderr.isatty():
        return
    # "python -m fastdns" is no command that can be told.
    program = "fastdns" if sys.argv[0].endswith(".py") else sys.argv[0]
    address = addresses[0]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    port = [] if address.port == 53 else ["-p", str(address.port)]
    with suppress(OSError):  # the terminal is gone
        for word, command in (
            ("Try:", ["dig", f"@{host}", *port, "example.com"]),
            ("And:", [program, "cache", "ls", *where]),
            ("    ", [program, "top", *where]),
        ):
            print(word, shlex.join(command), file=sys.stderr, flush=True)
