"""What all commands do with standard output and standard error."""

from __future__ import annotations

import os
import sys

import click

from ..errors import FastdnsError


def emit(text: str) -> None:
    """Write to standard output; BrokenPipeError when nobody reads, FastdnsError when it fails."""
    if sys.stdout is None:  # closed before we started; not every version of click looks
        raise FastdnsError("standard output is closed")
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise FastdnsError(f"cannot write to standard output: {error.strerror}") from None


def warn(text: str) -> None:
    """Say one line that does not change the exit status."""
    click.echo(f"warning: {text}", err=True)


def fail(text: str) -> int:
    """Say in one line why there is no result; returns the exit status."""
    click.echo(f"fastdns: {text}", err=True)
    return 1


def counted(number: int, one: str = "entry", more: str = "entries") -> str:
    """Return "1 entry" or "2 entries"."""
    return f"{number} {one if number == 1 else more}"
