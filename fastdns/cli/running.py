"""The pages of the running daemon, for the commands that only read."""

from __future__ import annotations

import errno
import json
import time
from typing import Any

from ..config.places import Places, which_one
from ..config.text import path_text
from ..counters import AnotherVersion, Pages
from ..errors import FastdnsError
from ..machine import keeper_requests
from ..machine.control_socket import OK, ask
from ..machine.state_lock import holder

ANSWER_SECONDS = 1.0
SHOW_SECONDS = 0.2
PAUSE_SECONDS = 0.005


class NotRunning(FastdnsError):
    """No daemon runs."""


def pages_of_running(places: Places) -> Pages:
    """Return the pages of this daemon; NotRunning, or FastdnsError: not readable."""
    pid = holder(places.lock)
    if pid is None:
        raise NotRunning(f"no daemon runs with state_dir {places.state_dir} {which_one(places)}")
    try:
        pages = Pages.attach(places.counters)
    except OSError as error:
        gone = f"; restart the daemon (pid {pid})" if error.errno == errno.ENOENT and pid else ""
        raise FastdnsError(
            f"cannot read the counters {places.counters}: {error.strerror}{gone}"
        ) from None
    except AnotherVersion as error:
        raise FastdnsError(
            f"{error}: restart the daemon, or use the commands of its version"
        ) from None
    except ValueError as error:
        raise FastdnsError(str(error)) from None
    if pid and pid != pages.pid:
        raise FastdnsError(
            f"{places.counters} does not belong to the running daemon (pid {pid}): "
            "it has just started, or its disk was full when it started"
        )
    return pages


def newest_pages(places: Places) -> Pages:
    """Return the current pages as of one moment: their figures agree with each other."""
    pages = pages_of_running(places)
    await_newest(pages, places)
    return pages.at_one_moment()


def told_by_supervisor(places: Places) -> tuple[dict[str, Any], str]:
    """Return the supervisor's own data, and the problems; nothing if it does not answer."""
    try:
        [(word, text)] = ask(places.supervisor, "status", ANSWER_SECONDS)
        told: dict[str, Any] = json.loads(text) if word == OK else {}
    except (OSError, ValueError) as error:
        return {}, f"the supervisor does not answer at {places.supervisor} ({error})"
    problem = told.get("reload_problem")
    return told, f"not reloaded: {path_text(problem)}" if problem else ""


def await_newest(pages: Pages, places: Places) -> None:
    """Make workers publish the state of their upstreams now, and wait a moment for that.

    They do so about once a second anyway; a worker that hangs, or may not be asked, is not waited
    for long.
    """
    begun = time.monotonic()
    if not keeper_requests.wake_workers(places.keeper, SHOW_SECONDS):
        return
    while time.monotonic() < begun + SHOW_SECONDS:
        if all(at >= begun for at, _ in pages.upstream_tables() if at):
            return
        time.sleep(PAUSE_SECONDS)
