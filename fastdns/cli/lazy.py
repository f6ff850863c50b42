"""Groups of commands that import a command only when it is asked for: `serve` loads no rich."""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Mapping

import click
from click.shell_completion import CompletionItem

from ..config.text import nearest


class LazyGroup(click.Group):
    """Commands by name: each is in the module of its name, under its name."""

    package: str
    summaries: Mapping[str, str]
    # Words of other resolvers' users: the command that they mean, or what to type instead.
    aliases: Mapping[str, tuple[str, ...]] = {}
    hints: Mapping[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.summaries:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"{self.package}.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.hints:
            raise click.UsageError(self.hints[args[0]], ctx)
        known = {*self.summaries, *self.aliases, *self.hints}
        if args[0] not in known and (near := nearest(args[0], known)):
            raise click.UsageError(f'no command "{args[0]}"; did you mean {near}?', ctx)
        return super().resolve_command(ctx, [*self.aliases.get(args[0], args[:1]), *args[1:]])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [  # from the list as well: the user waits after a key press
            CompletionItem(name, help=summary)
            for name, summary in self.summaries.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # from the list: help imports no command
            formatter.write_dl(list(self.summaries.items()))
