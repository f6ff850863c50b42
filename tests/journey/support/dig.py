"""dig and kdig as clients, and their output read back."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field

from .client import Place


@dataclass
class Shown:
    """What the program printed: status, flags, sections as sorted lines without TTL, the text."""

    text: str
    status: str
    flags: set[str]
    sections: dict[str, list[str]] = field(default_factory=dict)
    ttls: list[int] = field(default_factory=list)


def dig(server: Place, *arguments: str, program: str = "dig") -> Shown:
    """Run dig (or kdig) against server; arguments are as on its command line, after @ and -p."""
    path = shutil.which(program)
    assert path, f"{program} is not installed"
    tail = ["+norrcomments", "+nosplit"] if program == "dig" else ["+noidn"]
    done = subprocess.run(
        [path, f"@{server.host}", "-p", str(server.port), *tail, *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return read_output(done.stdout)


def read_output(text: str) -> Shown:
    status = re.search(r"status: (\w+)", text)
    flags = re.search(r"^;; [Ff]lags: ([a-z ]*);", text, re.M)
    assert status, text
    assert flags, text
    shown = Shown(text, status[1], set(flags[1].split()))
    section = ""
    for line in text.splitlines():
        if title := re.match(r";; (\w+) SECTION:", line):
            section = title[1]
        elif section and line and not line.startswith(";"):
            name, ttl, *rest = line.split()
            shown.ttls.append(int(ttl))
            shown.sections.setdefault(section, []).append(" ".join([name.lower(), *rest]))
    for lines in shown.sections.values():
        lines.sort()
    return shown
