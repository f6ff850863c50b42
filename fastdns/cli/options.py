"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

config_file = click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(readable=False, path_type=Path),  # `load` says it better
    help="Configuration; /etc/fastdns/fastdns.toml when that exists.",
)
listen = click.option(
    "--listen",
    metavar="ADDR:PORT",
    multiple=True,
    help="Address to serve, in place of listen.dns; may be repeated.",
)
upstream = click.option(
    "--upstream",
    metavar="URL",
    multiple=True,
    help="Resolver to ask, in place of upstream.servers; may be repeated.",
)
state = click.option(
    "--state",
    metavar="DIR",
    help="Directory of the daemon, in place of state_dir (DIR) and run_dir (DIR/run).",
)
