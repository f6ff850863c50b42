"""`fastdns cache`: shows and changes every entry on disk. A file for each command."""

from __future__ import annotations

from typing import Any

import click

from ...machine.priority import lower_priority, run_when_idle
from ..lazy import LazyGroup
from .isolation import go_on_in_child

_LONG = {"ls", "stats", "verify", "export"}
# The words of unbound-control.
UNBOUND: dict[str, tuple[str, ...]] = {
    "lookup": ("get",),
    "flush_type": ("rm",),
    "flush_zone": ("flush", "--zone"),
    "flush_negative": ("flush", "--negative"),
    "dump": ("export", "-"),
    "dump_cache": ("export", "-"),
    "load": ("import", "-"),
    "load_cache": ("import", "-"),
}
HINTS = {
    "dump_requestlist": "fastdns keeps no list of waiting questions; fastdns stats counts them "
    "(in_flight)",
}


class _CacheCommands(LazyGroup):
    package = __name__
    summaries = {  # noqa: RUF012 - as in LazyGroup
        "ls": "List entries.",
        "get": "Show the records of a name and the details of each entry.",
        "rm": "Remove a name.",
        "refresh": "Ask upstream for a name again.",
        "flush": "Remove a domain and all names under it, or everything.",
        "stats": "Count entries and sizes.",
        "verify": "Check every entry and list the damaged ones.",
        "export": "Write all entries as JSON lines.",
        "import": "Read a file of export, or of unbound's dump_cache.",
    }

    aliases = UNBOUND
    hints = HINTS

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Now: importing these commands takes a tenth of a second.
        command = self.aliases.get(args[0], (args[0],))[0]
        if command in _LONG:
            run_when_idle()
        elif command in self.summaries:
            lower_priority()
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        go_on_in_child()
        return super().invoke(ctx)


@click.group(cls=_CacheCommands, no_args_is_help=False)
def cache() -> None:
    """Show and change the cache on disk, whether the daemon runs, hangs or is stopped."""
