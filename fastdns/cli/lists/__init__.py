"""`fastdns lists`: shows block lists, fetches them, and finds names in them. A file for each."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options
from ..lazy import LazyGroup


class _ListsCommands(LazyGroup):
    package = __name__
    summaries = {  # noqa: RUF012 - as in LazyGroup
        "update": "Fetch lists now.",
        "test": "Show each line of a list that has a name.",
    }
    hints = {  # noqa: RUF012 - as in LazyGroup
        **dict.fromkeys(("ls", "show", "status"), "fastdns lists alone shows the lists"),
        **dict.fromkeys(
            ("add", "rm", "remove"), "edit block.lists in the configuration, then: fastdns reload"
        ),
    }


@click.group(cls=_ListsCommands, invoke_without_command=True, no_args_is_help=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.config_file
@options.state
@click.pass_context
def lists(ctx: click.Context, *, as_json: bool, path: Path | None, state: str | None) -> None:
    """Show the block lists, fetch them, or find a name in them.

    Without a command: for each list of the configuration its state, how long ago it was known to be
    the newest, how many entries it has, what was left out, how many queries it has blocked
    since the daemon started (hits), what went wrong, and when it is tried again.
    """
    if ctx.invoked_subcommand is None:
        from .show import show  # noqa: PLC0415 - as each other command

        show(path, state, as_json=as_json)
    elif as_json or path or state:
        raise click.UsageError(f"write the options behind {ctx.invoked_subcommand}", ctx)
