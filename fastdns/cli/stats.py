"""`fastdns stats`: the counters, read from the daemon's shared pages without its help."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from .._shared import COUNTERS, Pages
from ..config.load import load_places
from ..config.places import Places
from ..errors import FastdnsError
from . import options
from .output import emit
from .owner import become_owner


@click.command()
@options.config_file
@options.state
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(path: Path | None, state: str | None, as_json: bool) -> None:
    """Print the counters of the running daemon, totals since its start; exit 1 when none runs."""
    places = load_places(path, state=state)
    become_owner(places.state_dir)
    pages = _pages_of_running(places)
    totals = pages.totals()
    if as_json:
        about = {"pid": pages.pid, "start_time_seconds": pages.started_at}
        emit(json.dumps(about | totals) + "\n")
    elif sys.stdout.isatty():
        _print_table(pages, totals)
    else:
        width = max(map(len, totals))
        emit("".join(f"{name:<{width}} {value}\n" for name, value in totals.items()))


def _pages_of_running(places: Places) -> Pages:
    if not _is_held(places.lock):
        raise FastdnsError(
            f"no daemon runs with state_dir {places.state_dir} (say which one with -c or --state)"
        )
    try:
        return Pages.attach(places.counters)
    except OSError as error:
        raise FastdnsError(
            f"cannot read the counters {places.counters}: {error.strerror}"
        ) from None
    except ValueError as error:
        raise FastdnsError(str(error)) from None


def _is_held(lock: Path) -> bool:
    """Return True when a process holds the lock; creates nothing and only asks."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise FastdnsError(f"cannot read {lock}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _print_table(pages: Pages, totals: dict[str, int]) -> None:
    up = time.time() - pages.started_at
    table = Table(title=f"fastdns, pid {pages.pid}, up {up:.0f} s")
    table.add_column("counter")
    table.add_column("value", justify="right")
    table.add_column("meaning")
    meanings = dict(COUNTERS)
    for name, value in totals.items():
        table.add_row(name, f"{value:,}", meanings[name])
    # Plain text only: emoji would be imported now, when we may no longer read where rich lies.
    Console(emoji=False, markup=False, highlight=False).print(table)
