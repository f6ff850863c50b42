"""The daemon's parts: its run_dir, its workers, and the keeper, which saves answers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..config.places import Places
from ..config.schema import Config
from ..config.text import path_text
from ..counters import Pages, Silent, is_of_another_version
from ..machine.control_socket import ask
from ..machine.keeper_requests import wake_workers
from . import units
from .findings import Finding, hint, wrong
from .running import Daemon

ABOUT = "daemon"
LIFE_SECONDS = 3.0  # a worker reports once a second, however busy it is
PAUSE_SECONDS = 0.1
SUPERVISOR_SECONDS = 3.0
KEEPER_SECONDS = 2.0  # it may be writing
TRIES = 2


def look(config: Config, running: Daemon) -> Iterator[Finding]:
    """Say which parts are missing or hang, as far as visible."""
    if running.run_dir is None:
        return  # not ours to see
    if running.run_dir != config.run_dir:
        yield hint(
            ABOUT,
            f"{running} has {path_text(running.run_dir)} as its run_dir, and the configuration "
            f"says {path_text(config.run_dir)}, so commands cannot find it",
            restart(running),
        )
    places = Places(config.state_dir, running.run_dir)
    gone = _missing(places)
    if gone is not None:
        yield wrong(
            ABOUT,
            f"{path_text(gone)} is gone: commands cannot reach fastdns, and its newest answers "
            "are lost when it stops",
            restart(running),
        )
    with ThreadPoolExecutor(3) as pool:  # each takes its seconds only when something hangs
        keeper = pool.submit(_keeper_hangs, places)
        workers = pool.submit(_silent_workers, places, running)
        supervisor = pool.submit(_supervisor_hangs, places)
    if gone is None and keeper.result():
        yield _silent_keeper(running)
    yield from map(_silent_worker, workers.result())
    if gone is None and supervisor.result():
        yield _silent_supervisor(running)
    if is_of_another_version(places.counters):
        text = (
            f"{running} is another version: this version's stats and top cannot read its counters"
        )
        yield hint(ABOUT, text, restart(running))


def _missing(places: Places) -> Path | None:
    """Return what is missing: the directory, or one of its files."""
    if not os.path.lexists(places.run_dir):
        return places.run_dir
    wanted = (places.counters, places.control, places.supervisor, places.keeper)
    return next((one for one in wanted if not os.path.lexists(one)), None)


def _supervisor_hangs(places: Places) -> bool:
    """Return whether it does, as far as we may ask."""
    if not os.access(places.supervisor, os.W_OK):
        return False
    try:
        ask(places.supervisor, "status", SUPERVISOR_SECONDS)
    except OSError:
        return True
    return False


def _silent_supervisor(running: Daemon) -> Finding:
    return wrong(
        ABOUT,
        f"the supervisor (pid {running.pid}) hangs: queries are still answered, but it cannot "
        "reload or replace a worker that dies",
        restart(running),
    )


def _keeper_hangs(places: Places) -> bool:
    """Return whether it does, as far as we may ask."""
    return os.access(places.keeper, os.W_OK) and not any(
        wake_workers(places.keeper, KEEPER_SECONDS) for _ in range(TRIES)
    )


def _silent_workers(places: Places, running: Daemon) -> list[Silent]:
    """Return those that do not respond while they are watched."""
    try:
        pages = Pages.attach(places.counters)
    except (OSError, ValueError):
        return []  # another check reports that
    if running.pid and pages.pid != running.pid:
        return []
    begun = time.monotonic()
    while True:
        silent = [one for one in pages.silent(begun) if one.name == "worker"]
        if not silent or time.monotonic() > begun + LIFE_SECONDS:
            return silent
        time.sleep(PAUSE_SECONDS)


def _silent_worker(one: Silent) -> Finding:
    return wrong(
        ABOUT,
        f"the worker (pid {one.pid}) hangs: it has not responded for {one.seconds:.0f} s, "
        "and its queries wait",
        f"kill -9 {one.pid} (another one takes over and answers them)",
    )


def _silent_keeper(running: Daemon) -> Finding:
    keeper = running.keeper
    if keeper is None:
        text = "no keeper runs at the moment: new answers are not saved to disk"
        return wrong(ABOUT, text, f"see its log: journalctl -u {units.FASTDNS} -n 20")
    return wrong(
        ABOUT,
        f"the keeper (pid {keeper}) hangs: queries are still answered, but new answers are not "
        "saved to disk",
        f"kill -9 {keeper} (another one takes over and loses nothing)",
    )


def restart(running: Daemon) -> str:
    """Return the command that restarts this daemon."""
    if running.unit is not None and running.unit.endswith(".service"):
        return f"systemctl restart {running.unit}"
    return "restart it"
