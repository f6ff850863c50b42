"""Standard output and standard error of all commands."""

from __future__ import annotations

import os
import sys

import click

from ..errors import FastdnsError


def emit(text: str) -> None:
    """Write to standard output; BrokenPipeError if the reader is gone, FastdnsError if it fails."""
    if sys.stdout is None:  # closed before we started; not every version of click checks that
        raise FastdnsError("standard output is closed")
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        # The buffered rest must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise FastdnsError(f"cannot write to standard output: {error.strerror}") from None


def warn(text: str) -> None:
    """Print one line that does not change the exit status."""
    click.echo(f"warning: {text}", err=True)


def fail(text: str) -> int:
    """Print in one line why there is no result; return the exit status."""
    click.echo(f"fastdns: {text}", err=True)
    return 1


def counted(number: int, one: str = "entry", more: str = "entries") -> str:
    """Return "1 entry" or "2 entries"."""
    return f"{number} {one if number == 1 else more}"
