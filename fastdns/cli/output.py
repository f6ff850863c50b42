"""What all commands do with standard output and standard error."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

import click

from ..errors import FastdnsError

NARROWEST = 20  # columns of a text
WIDEST = 100  # a longer line is hard to read


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


def wrapped(text: str, indent: int = 0) -> str:
    """Break a text that begins after so many columns for a terminal, at words; not for a pipe."""
    if not sys.stdout.isatty():
        return text
    width = max(min(shutil.get_terminal_size().columns, WIDEST) - indent, NARROWEST)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return f"\n{'':{indent}}".join(lines)


def counted(number: int, one: str = "entry", more: str = "entries") -> str:
    """Return "1 entry" or "2 entries"."""
    return f"{number} {one if number == 1 else more}"
