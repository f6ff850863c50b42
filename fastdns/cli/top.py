"""`fastdns top`: the daemon live, drawn each second, from its pages and its keeper."""

from __future__ import annotations

import math
import os
import struct
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import attrs
import click

from ..browse.names import Key, spell_class, spell_name, spell_type
from ..config.load import load_places
from ..config.places import Places
from ..errors import FastdnsError
from ..machine import keeper_requests
from . import options
from .output import emit
from .owner import become_owner
from .running import NotRunning, await_newest, pages_of_running, told_by_supervisor
from .top_picture import Block, Busiest, History, Picture, Reading, UpstreamRates, picture
from .top_screen import Screen, Wake

BUSIEST = 50  # names asked for: a name counts once for each kind of client that asks it
KEEPER_SECONDS = 0.1
RESTART_SECONDS = 3.0  # in which an ended daemon may come back
RESTART_LOOK_SECONDS = 0.1
CLASS_IN = 1
NO_TERMINAL = ("", "dumb", "unknown")


class _Seconds(click.FloatRange):
    """A number in a range; not a number is in none."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return number


@click.command()
@options.config_file
@options.state
@click.option(
    "--interval",
    type=_Seconds(0.1, 60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two screens; rates are averages over that time.",
)
def top(path: Path | None, state: str | None, interval: float) -> int:
    """Show rates, latencies, the busiest names and the upstreams, until q or Ctrl-C.

    In a pipe: one interval, as plain text. Exit status 1: no daemon runs, or it
    has ended.
    """
    places = load_places(path, state=state)
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM", "") not in NO_TERMINAL
    become_owner(places.state_dir)
    watch = Watch(places, is_exact=not on_terminal)
    if on_terminal:
        return _show(watch, interval)
    watch.look()
    time.sleep(interval)
    emit(_plain(watch.look()))
    return 0


class Watch:
    """Looks at a daemon repeatedly, and waits while it restarts."""

    def __init__(self, places: Places, *, is_exact: bool = False) -> None:
        """`is_exact`: upstreams also show only what happened between two looks."""
        self._places = places
        self._is_exact = is_exact
        self._last: Reading | None = None
        self._picture: Picture | None = None
        self._upstream_rates = UpstreamRates()
        self._history = History()
        self._limits: dict[str, int] = {}
        self._limits_of = 0  # the pid of the daemon that has told them
        self._gone_at: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Return True while there is no daemon."""
        return self._gone_at is not None

    def look(self) -> Picture:
        """Return what happened since the last look; FastdnsError: the daemon has ended."""
        at = time.monotonic()
        try:
            pages = pages_of_running(self._places)
            if self._is_exact:
                await_newest(pages, self._places)
                at = time.monotonic()
            self._ask_limits(pages.pid)
            reading = Reading.of(pages.at_one_moment(), time.time(), at, self._limits)
        except FastdnsError as error:
            return self._wait_for_restart(error, at)
        self._gone_at = None
        before = self._last if self._last and reading.follows(self._last) else None
        if before is None:
            self._upstream_rates, self._history = UpstreamRates(), History()
        self._last = reading
        rates = self._upstream_rates.after(reading)
        busiest = _busiest(self._places)
        self._picture = picture(before, reading, rates, busiest, self._history)
        return self._picture

    def _ask_limits(self, pid: int) -> None:
        """Ask each daemon once how large its caches may be."""
        if pid != self._limits_of:
            told, _ = told_by_supervisor(self._places)
            self._limits_of = pid
            self._limits = {
                tier: told.get(f"{name}_limit_bytes", 0)
                for tier, name in (("cache", "memory"), ("disk", "disk"))
            }

    def _wait_for_restart(self, error: FastdnsError, at: float) -> Picture:
        if self._last is None or self._picture is None:
            raise error
        if self._gone_at is None:
            self._gone_at = at
        gone = f"the daemon (pid {self._last.pid}) has ended"
        if at - self._gone_at >= RESTART_SECONDS:
            raise FastdnsError(gone) if isinstance(error, NotRunning) else error
        return attrs.evolve(self._picture, notice=f"{gone}; waiting for another one")


def _show(watch: Watch, interval: float) -> int:
    shown = watch.look()  # before we use the terminal: there may be nothing to show
    try:
        with Screen() as screen:
            due = time.monotonic()
            while True:
                screen.draw(shown)
                due += RESTART_LOOK_SECONDS if watch.is_waiting else interval
                due = max(due, time.monotonic())
                while (wake := screen.wait(due)) is Wake.CHANGED:
                    screen.draw(shown)
                if wake is Wake.LEAVE:
                    return screen.status
                shown = watch.look()
    except OSError as error:  # the terminal has gone, perhaps before its signal came
        # The buffered rest must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise FastdnsError(f"cannot draw on the terminal: {error.strerror}") from None


def _busiest(places: Places) -> Busiest:
    """Ask the keeper; it may hang, or be about to be replaced."""
    rates: defaultdict[tuple[str, str], float] = defaultdict(float)
    try:
        for key, rate in keeper_requests.busiest(places.keeper, BUSIEST, KEEPER_SECONDS):
            rates[_spelled(key)] += rate
    except (ValueError, struct.error):  # it is of another version
        rates.clear()
    in_order = sorted(rates.items(), key=lambda item: (-item[1], item[0]))
    return Busiest(
        [(name, qtype, rate) for (name, qtype), rate in in_order],
        problem=""
        if rates
        else "none: no cached name was asked for lately, or the keeper does not answer",
    )


def _spelled(key: bytes) -> tuple[str, str]:
    """Return name and type of a key; the class as well where it is not IN."""
    parts = Key.split(key)
    qtype = spell_type(parts.qtype)
    if parts.qclass != CLASS_IN:
        qtype = f"{spell_class(parts.qclass)} {qtype}"
    return spell_name(parts.name), qtype


def _plain(shown: Picture) -> str:
    about = f"{shown.about}\n{shown.details}\n"
    return "\n".join([about, *(_plain_block(block) for block in shown.blocks)])


def _plain_block(block: Block) -> str:
    rows = [block.headings, *block.aligned]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if number < block.words else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "".join(f"{line}\n" for line in [*lines, *filter(None, [block.note])])
