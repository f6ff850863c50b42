"""`fastdns serve`, and how it starts without click.

A daemon would keep modules that it never uses again in memory for as long as it runs. So this
module reads the usual command lines; the command in cli does help, completion and mistakes.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypedDict

from ..config.load import load
from ..config.values import Address
from ..errors import ConfigErrors, FastdnsError
from . import supervisor

SHORT = {"-c": "--config"}
INTERRUPTED = 130  # as a shell reports SIGINT


class Arguments(TypedDict):
    """The options of `serve`."""

    path: Path | None
    listen: tuple[str, ...]
    upstream: tuple[str, ...]
    state: str | None
    workers: int | None
    takeover: bool


class _Unusual(Exception):
    """A command line for the command in cli."""


def main(words: Sequence[str]) -> int | None:
    """Serve, and return the exit status; None: the command in cli must read these words."""
    try:
        arguments = read(words)
    except _Unusual:
        return None
    try:
        return serve(**arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ConfigErrors as errors:
        _complain(errors.lines)
        return 2
    except FastdnsError as error:
        _complain([f"fastdns: {error}"])
        return 1


def serve(
    path: Path | None,
    listen: tuple[str, ...],
    upstream: tuple[str, ...],
    state: str | None,
    *,
    workers: int | None,
    takeover: bool,
) -> int:
    """Serve until told to stop; return the exit status."""
    given = partial(load, path, listen=listen, upstream=upstream, state=state, workers=workers)
    notes: list[str] = []  # the log does not exist yet
    config = given(say=notes.append)
    reread = partial(given, again=True, say=supervisor.log.info)
    announce = partial(_announce, [] if state is None else ["--state", state])
    return supervisor.run(config, reread, take_over=takeover, notes=notes, announce=announce)


def _announce(where: Sequence[str], addresses: Sequence[Address]) -> None:
    """Tell a user who started it on a terminal how to ask it and how to look at it."""
    if not sys.stderr.isatty():
        return
    # "python -m fastdns" is not a command that can be shown.
    program = "fastdns" if sys.argv[0].endswith(".py") else sys.argv[0]
    address = addresses[0]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    port = [] if address.port == 53 else ["-p", str(address.port)]
    with suppress(OSError):  # the terminal is closed
        for word, command in (
            ("Try:", ["dig", f"@{host}", *port, "example.com"]),
            ("And:", [program, "status", *where]),
            ("    ", [program, "top", *where]),
        ):
            print(word, shlex.join(command), file=sys.stderr, flush=True)


def read(words: Sequence[str]) -> Arguments:
    """Return the options in these words. _Unusual: leave them to click."""
    found = Arguments(path=None, listen=(), upstream=(), state=None, workers=None, takeover=False)
    for option, value in _options(iter(words)):
        match option:
            case "--takeover":
                found["takeover"] = True
            case "--config":
                found["path"] = Path(value)
            case "--listen":
                found["listen"] += (value,)
            case "--upstream":
                found["upstream"] += (value,)
            case "--state":
                found["state"] = value
            case "--workers" if value.isascii() and value.isdecimal() and len(value) < 10:
                found["workers"] = int(value)
            case _:
                raise _Unusual
    return found


def _options(words: Iterator[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        option, is_joined, value = word.partition("=")
        option = SHORT.get(option, option)
        if option == "--takeover":
            if is_joined:
                raise _Unusual
        elif not is_joined:
            try:
                value = next(words)
            except StopIteration:
                raise _Unusual from None
        elif word.startswith("-c"):
            raise _Unusual  # click takes that for a file named "=…"
        yield option, value


def _complain(lines: Sequence[str]) -> None:
    if sys.stderr is not None:  # None: it was closed before we started
        with suppress(OSError):
            print(*lines, sep="\n", file=sys.stderr)
