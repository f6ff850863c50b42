"""The command fastdns. A file a command, imported when it is asked for: `serve` loads no rich."""

from __future__ import annotations

import importlib

import click

from .. import __version__
from ..errors import ConfigErrors, FastdnsError
from .output import fail

COMMANDS = {
    "serve": "Answer queries until told to stop.",
    "check": "Judge a configuration and print what it comes to.",
    "stats": "Print the counters of the running daemon.",
    "demo": "Show what the cache does, without network or root.",
}


class _Commands(click.Group):
    """The commands by name; the command stands in the module of its name, under its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # from the list above: help imports no command
            formatter.write_dl(list(COMMANDS.items()))


# Without a command it is bad use, whatever click's version makes of that.
@click.group(
    cls=_Commands,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="fastdns %(version)s")
def _fastdns() -> None:
    """A caching DNS forwarder."""


def main() -> int:
    """Run the command line; return 2 for bad use or configuration, 1 for what failed, else 0.

    A reader that leaves early (`| head -1`) is click's to notice: the end is silent, status 1.
    """
    try:
        status = _fastdns.main(prog_name="fastdns", standalone_mode=False)
    except click.Abort:  # what click makes of Ctrl-C
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigErrors as errors:
        for line in errors.lines:
            click.echo(line, err=True)
        return 2
    except FastdnsError as error:
        return fail(str(error))
    return status or 0
