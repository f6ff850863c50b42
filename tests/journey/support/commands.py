"""`fastdns cache` run as its users run it, into a pipe or on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from . import eager, forks

FASTDNS = [sys.executable, eager.__file__]
COMMANDS = [
    ["ls"],
    ["get", "www.example"],
    ["rm", "www.example"],
    ["flush", "--yes"],
    ["stats"],
    ["verify"],
    ["export", "-"],
]
# Of an entry as JSON, in their order.
FIELDS = [
    *("name", "type", "class", "do", "cd", "view", "group", "rcode", "ttl", "age"),
    "stored_at",
    *("expires_at", "hits", "size", "upstream", "rtt_ms", "state", "records"),
]


def fastdns(*arguments: str | Path, text_in: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, which must end without a traceback."""
    done = forks.run(*arguments, text_in=text_in)
    assert "Traceback" not in done.stderr
    return done


def cache(
    state: Path | None, *arguments: str | Path, text_in: str = "", status: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command, which must end with this status (None: any) and without a traceback."""
    where = [] if state is None else ["--state", str(state)]
    done = forks.run("cache", *arguments, *where, text_in=text_in)
    assert "Traceback" not in done.stderr
    assert status is None or done.returncode == status, done.stderr + done.stdout
    return done


def on_terminal(state: Path, *arguments: str, typed: str = "") -> tuple[int, str]:
    """Run a command on a terminal of 80 columns; return its status and all that is seen there."""
    child, ours = pty.fork()
    if child == 0:
        os.environ.update(COLUMNS="80", TERM="xterm")
        os.execv(sys.executable, [*FASTDNS, "cache", *arguments, "--state", str(state)])
    os.write(ours, typed.encode())
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        seen += part
    os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def listed(state: Path, *arguments: str) -> list[tuple[str, str]]:
    """Names and types of what `ls` lists, in its order."""
    lines = cache(state, "ls", "--json", *arguments).stdout.splitlines()
    return [(found["name"], found["type"]) for found in map(json.loads, lines)]


def names(state: Path, *arguments: str) -> list[str]:
    return [name for name, _ in listed(state, *arguments)]
