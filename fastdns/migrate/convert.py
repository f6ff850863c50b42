"""From the files of another program to our configuration, and what its user has to know."""

from __future__ import annotations

import os
import re
from pathlib import Path

import attrs

from ..config.load import problems_in
from ..config.text import path_text
from ..errors import ConfigErrors
from .dnsmasq_words import is_option
from .draft import Draft
from .files import peek
from .read_dnsmasq import read_dnsmasq
from .read_unbound import is_setting, read_unbound
from .unbound_syntax import CLAUSE_WORDS, INCLUDES
from .write import toml

UNBOUND, DNSMASQ = KINDS = ("unbound", "dnsmasq")

_UNBOUND_LINE = re.compile(r"\s*([a-z][a-z0-9-]*):(?:\s|$|[\"'])")
_DNSMASQ_LINE = re.compile(r"\s*([a-z0-9][A-Za-z0-9-]*)\s*(?:=|$|\s#)")


@attrs.frozen
class Converted:
    """The result: our configuration, and lines for the user."""

    kind: str
    toml: str
    remarks: list[str]
    left_out: int
    files: int


def convert(paths: list[Path], kind: str | None = None) -> Converted:
    """Convert the files of one program; ConfigErrors: unreadable, or of neither."""
    kind = kind or _kind_of(paths)
    draft = Draft(str(paths[0]))
    (read_unbound if kind == UNBOUND else read_dnsmasq)(paths, draft)
    draft.finish()
    text = toml(draft)
    # Values are looked at when they are read; what is left are contradictions between them.
    wrong = [f"correct this in the result: {one}" for one in problems_in(text)]
    remarks = [*wrong, *draft.report.lines()]
    return Converted(kind, text, remarks, draft.report.left_out, draft.files)


def _kind_of(paths: list[Path]) -> str:
    """Return the program that the files belong to, which their settings show, else their names."""
    lines = [line for path in paths for line in peek(path).splitlines()]
    unbound = sum(_is_unbound(line) for line in lines)
    dnsmasq = sum(_is_dnsmasq(line) for line in lines)
    # Another text has lines that look like an option as well: one word, or one before "=".
    settings = sum(bool(line.partition("#")[0].strip()) for line in lines)
    is_either = 2 * max(unbound, dnsmasq) >= settings
    if is_either and unbound != dnsmasq:
        return UNBOUND if unbound > dnsmasq else DNSMASQ
    for kind in KINDS if is_either else ():
        if any(kind in os.path.abspath(path) for path in paths):
            return kind
    raise ConfigErrors(
        [
            f"{path_text(paths[0])}: is neither a configuration of unbound nor of dnsmasq "
            "(--from unbound or --from dnsmasq reads it as one)"
        ]
    )


def _is_unbound(line: str) -> bool:
    match = _UNBOUND_LINE.match(line)
    return match is not None and (match[1] in CLAUSE_WORDS | INCLUDES or is_setting(match[1]))


def _is_dnsmasq(line: str) -> bool:
    match = _DNSMASQ_LINE.match(line)
    return match is not None and is_option(match[1])
