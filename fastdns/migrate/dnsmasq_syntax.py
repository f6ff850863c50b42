"""dnsmasq.conf as its options: one a line, `option` or `option=value`; included files in place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import attrs

from .files import Files, beside
from .report import Origin

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "e": "\x1b"}
_PIECE = re.compile(r'"((?:[^"\\]|\\.)*)"?|(\s+#.*)|([^"\s]+|\s+)', re.DOTALL)
_COMMA = "\ue000"  # stands for one in quotes, which separates nothing


@attrs.frozen
class Option:
    """One line of dnsmasq.conf."""

    word: str
    value: str
    origin: Origin

    def __str__(self) -> str:
        value = self.value.replace(_COMMA, ",")
        return f"{self.word}={value}" if value else self.word

    @property
    def fields(self) -> list[str]:
        """The value, split at its commas."""
        parts = self.value.split(",") if self.value else []
        return [one.strip().replace(_COMMA, ",") for one in parts]


def options(text: str, file: str, files: Files) -> Iterator[Option]:
    """Yield all options in their order."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line[0] == "#":
            continue
        word, _, value = (_plain(line) if '"' in line or "#" in line else line).partition("=")
        word = word.strip().removeprefix("--")
        if not word:
            continue
        option = Option(word, value.strip(), Origin(file, number))
        if word in ("conf-file", "servers-file") and option.value:
            yield from _included([beside(file, option.value)], option, files)
        elif word == "conf-dir" and option.value:
            yield from _included(_in_directory(option, files), option, files)
        else:
            yield option


def _included(paths: list[str], option: Option, files: Files) -> Iterator[Option]:
    for path in paths:
        text = files.included(path, str(option), option.origin)
        if text is not None:
            yield from options(text, path, files)


def _in_directory(option: Option, files: Files) -> list[str]:
    """Return the files of a conf-dir: those with a suffix after "*", else all without a suffix."""
    directory, *suffixes = option.fields
    directory = beside(option.origin.file, directory)
    wanted = tuple(one[1:] for one in suffixes if one.startswith("*"))
    unwanted = tuple(one for one in suffixes if one and not one.startswith("*"))
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        files.report.leave_out(option.origin, str(option), f"{directory}: {error.strerror}")
        return []
    paths = [
        os.path.join(directory, name)
        for name in names
        if not name.endswith("~")
        and not name.startswith(".")
        and not (name.startswith("#") and name.endswith("#"))
        and (not wanted or name.endswith(wanted))
        and not (unwanted and name.endswith(unwanted))
    ]
    return [path for path in paths if os.path.isfile(path)]


def _plain(line: str) -> str:
    """Return a line without its comment and its quotes."""
    parts = []
    at = 0
    if line.lstrip().startswith("#"):
        return ""
    while match := _PIECE.match(line, at):
        if match[2] is not None:
            break
        if match[1] is not None:
            text = re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[1]), match[1])
            parts.append(text.replace(",", _COMMA))
        else:
            parts.append(match[3])
        at = match.end()
    return "".join(parts)
