"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def of_kind(kind: str) -> Completion:
    """Return the kind of names that a shell completes: files ("file") or directories ("dir")."""
    return lambda ctx, param, incomplete: [CompletionItem(incomplete, type=kind)]


config_file = click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(readable=False, path_type=Path),  # `load` has a better message
    help="Configuration file (default: /etc/fastdns/fastdns.toml, if it exists).",
)
listen = click.option(
    "--listen",
    metavar="ADDR:PORT",
    multiple=True,
    help="Address to listen on instead of listen.dns (tls://ADDR, https://ADDR: instead of "
    "listen.tls, listen.https); may be repeated.",
)
upstream = click.option(
    "--upstream",
    metavar="URL",
    multiple=True,
    help="Upstream to ask instead of upstream.servers; may be repeated.",
)
view = click.option(
    "--view",
    metavar="VIEW",
    help="Only for the clients of this [[view]] of the configuration.",
)
state = click.option(
    "--state",
    metavar="DIR",
    shell_complete=of_kind("dir"),
    help="Directory of the daemon: state_dir is DIR, run_dir is DIR/run.",
)
