"""`fastdns reload`: the running daemon reads its configuration again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer

import click

from ..config.load import certificate_files_of_root, load, load_places
from ..config.places import Places, decide, which_one
from ..config.text import path_text
from ..doctor.running import daemons, meant
from ..errors import ConfigErrors, FastdnsError
from ..machine.control_socket import OK, WARNING, WRONG, ask
from ..machine.state_lock import holder
from . import options
from .output import emit, fail, warn
from .owner import become_owner
from .running import NotRunning

SILENCE_SECONDS = 5.0
RELOAD_SECONDS = 300.0  # with many workers, each of which may wait for an upstream's last answer


@click.command()
@options.config_file
@options.state
def reload(path: Path | None, state: str | None) -> int:
    """Reload the configuration without losing a query.

    The daemon reads its configuration file again and keeps the options of `serve`. Exit status 2:
    the configuration is not valid. Exit status 1: a change needs a restart, or no daemon runs. In
    both cases nothing changes. A list or file that cannot be read is a warning.
    """
    places = _places(path, state)
    pid = holder(places.lock)
    if pid is None:
        other = meant(daemons(), path) if state is None else None
        if other is not None and other.state_dir not in (None, places.state_dir):
            return fail(
                f"{other} runs with state_dir {other.state_dir}, which cannot change to "
                f"{places.state_dir} while it runs; restart it"
            )
        raise NotRunning(f"no daemon runs with state_dir {places.state_dir} {which_one(places)}")
    try:
        with ExitStack() as opened:
            pair = _opened_pair(path, opened)  # while this is root
            become_owner(places.state_dir)
            with _told_to_wait(pid):
                answer = ask(places.supervisor, "reload", RELOAD_SECONDS, pair)
    except PermissionError:
        raise FastdnsError(
            f"{places.supervisor}: Permission denied; reload as the daemon's user, or as root"
        ) from None
    except OSError as error:
        raise FastdnsError(
            f"the running daemon does not answer at {places.supervisor}: {error.strerror or error}"
        ) from None
    answer = [(word, path_text(text)) for word, text in answer]  # what a terminal can show
    wrong = [text for word, text in answer if word == WRONG]
    if wrong:
        for line in wrong:
            click.echo(line, err=True)
        return 2
    refused = [text for word, text in answer if word not in (OK, WARNING)]
    if refused:
        return fail("; ".join(refused))
    emit("".join(f"{text}\n" for word, text in answer if word == OK))
    for word, text in answer:
        if word == WARNING:
            warn(text)
    return 0


def _opened_pair(path: Path | None, opened: ExitStack) -> list[int]:
    """As root, open certificate and key for a daemon that may not be able to read them.

    Nothing if one of them cannot be opened: the daemon reports that.
    """
    files = certificate_files_of_root(path) if os.geteuid() == 0 else None
    descriptors: list[int] = []
    try:
        for file in files or ():
            descriptors.append(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            opened.callback(os.close, descriptors[-1])
    except OSError:
        return []
    return descriptors


def _places(path: Path | None, state: str | None) -> Places:
    """Return the directories of the daemon; ConfigErrors: the file is wrong, and no daemon runs.

    The daemon is also told of a wrong configuration: it logs why it does not use it.
    """
    try:
        return load_places(path, state=state)
    except ConfigErrors:
        running = _running(path, state)
        if running is None:
            load(path, state=state)
            raise
        return running


def _running(path: Path | None, state: str | None) -> Places | None:
    if state is not None:
        places = decide(flag=Path(os.path.abspath(state)))
        return places if state and holder(places.lock) is not None else None
    one = meant(daemons(), path)
    if one is None or one.state_dir is None or one.run_dir is None:
        return None
    return Places(one.state_dir, one.run_dir)


@contextmanager
def _told_to_wait(pid: int) -> Iterator[None]:
    """Report after a while that the daemon is slow, or hangs."""
    said = Timer(
        SILENCE_SECONDS, warn, [f"the daemon (pid {pid}) has not answered yet; it may hang"]
    )
    said.daemon = True
    said.start()
    try:
        yield
    finally:
        said.cancel()
