"""The configuration as written: the main file, joined with those that it includes.

It remembers which file sets a key, so that messages can name it.
"""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs

from ..errors import ConfigErrors
from .files import own_name, read_text
from .lines import doubles, key_lines
from .text import describe, key_text, path_text
from .values import LEASE_FORMATS

FILES_MAX = 1000
_MAGIC = "*?["
_BOOLEANS = dict.fromkeys(("yes", "on", "true"), "true") | dict.fromkeys(
    ("no", "off", "false"), "false"
)
# A first line of a setting in files of other programs, neither of which is TOML.
_UNBOUND = re.compile(r"\s*[a-z-]+:")
_DNSMASQ = re.compile(r"\s*(?:[a-z-]+=(?![\s\"'\[{]|\d+$|true$|false$)|[a-z-]+\s*$)")


@attrs.frozen
class Place:
    """A key in a file; line 0: unknown. `path`: of a table in a list, as in that file."""

    file: str
    line: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@attrs.define
class Documents:
    """The data of all files. `source`: the main one's name in messages; None: there is none."""

    source: str | None = None
    data: dict[str, Any] = attrs.Factory(dict)
    files: list[str] = attrs.Factory(list)  # the included ones, in their order
    notes: list[str] = attrs.Factory(list)  # keys of one file that replace those of another
    problems: list[str] = attrs.Factory(list)  # of files that could not be included
    _places: dict[str, Place] = attrs.Factory(dict)

    def place_of(self, key: str) -> tuple[str | None, str]:
        """Return which file sets a key, or the table around it, and its name there.

        The main file sets all others. The name differs in a list of tables to which several files
        add theirs.
        """
        around = key
        while around:
            if place := self._places.get(around):
                return place.file, (place.path or around) + key[len(around) :]
            around = around.rpartition("[" if around.endswith("]") else ".")[0]
        return self.source, key

    def spell(self, key: str) -> str:
        """Return a key for people: with its file, and as it is there, if files are included."""
        if not self.files:
            return key
        source, there = self.place_of(key)
        return f"{source}: {there}"

    def add(self, data: dict[str, Any], text: str, file: str) -> None:
        """Add the data of another file; existing keys win."""
        lines = {line.path: line.number for line in key_lines(text)}
        self._join(self.data, data, "", file, lines)

    def _join(
        self,
        into: dict[str, Any],
        data: dict[str, Any],
        prefix: str,
        file: str,
        lines: dict[str, int],
    ) -> None:
        for key, value in data.items():
            path = prefix + key_text(key)
            place = Place(file, lines.get(path, 0))
            both = isinstance(value, dict) and isinstance(into.get(key), dict)
            if _are_tables(value) and _are_tables(into.get(key)):
                self._append(into[key], value, path, file)
                continue
            if key in into and not both:
                self.notes.append(f"{path}: {place} replaces {self._places[path]}")
            if _are_tables(value):
                into[key] = []
                self._append(into[key], value, path, file)
            elif isinstance(value, dict):
                into[key] = into[key] if both else {}
                self._join(into[key], value, f"{path}.", file, lines)
            else:
                into[key] = value
            self._places[path] = place

    def _append(self, into: list[Any], tables: list[Any], path: str, file: str) -> None:
        """Add the tables of another file behind those that are there."""
        for number, table in enumerate(tables):
            self._places[f"{path}[{len(into)}]"] = Place(file, path=f"{path}[{number}]")
            into.append(table)


def _are_tables(value: object) -> bool:
    return bool(value) and isinstance(value, list) and all(isinstance(one, dict) for one in value)


def read_documents(path: Path, *, regular: bool) -> Documents:
    """Return the data of the file and of its includes; ConfigErrors: the file cannot be read."""
    source = path_text(path)
    data, text = _read(path, regular=regular)
    documents = Documents(source)
    patterns = data.get("include")
    if isinstance(patterns, list) and all(isinstance(one, str) for one in patterns):
        data["include"] = patterns = [_absolute(one, path) for one in patterns]
    else:
        patterns = []  # its errors are reported with all the others
    documents.add(_with_whole_paths(data, path), text, source)
    problems = documents.problems
    for file in _included(patterns, path, problems):
        try:
            more, text = _read(file, regular=True)
        except ConfigErrors as errors:
            problems += errors.lines
            continue
        name = path_text(file)
        documents.files.append(name)
        if "include" in more:
            problems.append(f"{name}: include: only {source} may have it (name the files there)")
            continue
        documents.add(_with_whole_paths(more, file), text, name)
    return documents


def _with_whole_paths(data: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return the data with each path relative to its file made absolute, as in `include`."""
    here = os.path.abspath(file.parent)

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: whole(one) for key, one in value.items()}
        if isinstance(value, list):
            return [whole(one) for one in value]
        if isinstance(value, str) and value.startswith("file:"):
            return "file:" + _joined(here, value.removeprefix("file:"))
        return value

    data = whole(data)
    if isinstance(listen := data.get("listen"), dict):
        for key in ("certificate", "key"):
            if isinstance(path := listen.get(key), str):
                listen[key] = _joined(here, path)
    if isinstance(local := data.get("local"), dict):
        for key, join in (("hosts", _joined), ("leases", _joined_leases)):
            if isinstance(values := local.get(key), list):
                local[key] = [join(here, one) if isinstance(one, str) else one for one in values]
    return data


def _joined(directory: str, path: str) -> str:
    return (
        path
        if path[:1] in ("", "/", "~") or path.startswith("file:")
        else os.path.join(directory, path)
    )


def _joined_leases(directory: str, text: str) -> str:
    """The same for a file of leases, which may have its format before it, or be "auto"."""
    word, colon, path = text.partition(":")
    if colon and word in LEASE_FORMATS:
        return f"{word}:{_joined(glob.escape(directory), path)}"
    is_path = not colon and ("/" in text or "." in text)  # not a word, maybe misspelled
    return _joined(glob.escape(directory), text) if is_path else text


def _read(path: Path, *, regular: bool) -> tuple[dict[str, Any], str]:
    source = path_text(path)
    try:
        text = read_text(path, regular=regular)
    except ValueError as error:
        raise ConfigErrors([f"{source}: {error}"]) from None
    try:
        return tomllib.loads(text), text
    except RecursionError:
        problem = "too deeply nested"
    except ValueError as error:  # TOMLDecodeError, and the error of int() for thousands of digits
        problem = path_text(error)
        if any(word in problem for word in ("overwrite", "declare", "Duplicate")):
            twice = next((path_text(one) for one in doubles(text)), "")
            if twice:
                raise ConfigErrors([f"{source}: {twice}"]) from None
    remedy = _other_program(text) or _remedy(problem, text)
    raise ConfigErrors([f"{source}: is not valid TOML: {problem}{remedy}"])


def _remedy(problem: str, text: str) -> str:
    """Return a remedy for a value without quotes."""
    place = re.fullmatch(r"Invalid value \(at line ([0-9]+), column ([0-9]+)\)", problem)
    if not place:
        return ""
    line = text.replace("\r\n", "\n").split("\n")[int(place[1]) - 1]
    word = re.split(r"[\s,\]#]", line[int(place[2]) - 1 :], maxsplit=1)[0]
    if word.lower() in _BOOLEANS:
        return f" (write {_BOOLEANS[word.lower()]})"
    return f" (try {describe(word)})" if re.fullmatch(r"[A-Za-z/][^\"']*", word) else ""


def _other_program(text: str) -> str:
    """Return a remedy if the first setting shows that the file belongs to another program."""
    settings = (line for line in text.splitlines() if line.split("#")[0].strip())
    first = next(settings, "")
    if _UNBOUND.match(first):
        return " (this looks like unbound.conf: fastdns import-config converts it)"
    if _DNSMASQ.match(first):
        return " (this looks like dnsmasq.conf: fastdns import-config converts it)"
    return ""


def _absolute(pattern: str, main: Path) -> str:
    if not pattern or pattern.startswith("/"):
        return pattern
    return os.path.join(glob.escape(os.path.abspath(main.parent)), pattern)


def _included(patterns: list[str], main: Path, problems: list[str]) -> list[Path]:
    """Return the files, sorted for each pattern; one that two patterns match comes last."""
    found: dict[str, None] = {}
    for pattern in patterns:
        try:
            matches = list(_matches(pattern))
        except ValueError as error:
            problems.append(f"{path_text(main)}: include: {error}")
            continue
        for one in matches:
            found.pop(one, None)
            found[one] = None
    if len(found) > FILES_MAX:
        problems.append(f"{path_text(main)}: include: names more than {FILES_MAX} files")
        return []
    return [Path(one) for one in found if not _is_same(one, main)]


def _matches(pattern: str) -> Iterator[str]:
    """Yield the files; ValueError with one phrase if a directory cannot be read."""
    shown = describe(pattern)
    if not pattern or "\0" in pattern or pattern.endswith("/"):
        raise ValueError(f'{shown} names no file (try "conf.d/*.toml")')
    if not any(one in pattern for one in _MAGIC):
        yield pattern  # it must exist
        return
    above, _, wanted = pattern.rpartition("/")
    for directory in sorted(glob.glob(above or "/")):
        try:
            names = sorted(os.listdir(directory))
        except NotADirectoryError:
            continue
        except OSError as error:
            raise ValueError(
                f"{path_text(directory)} cannot be read by user {own_name()}: {error.strerror}"
            ) from None
        for name in names:
            if fnmatchcase(name, wanted) and (wanted[0] == "." or name[0] != "."):
                yield os.path.join(directory, name)


def _is_same(path: str, main: Path) -> bool:
    try:
        return os.path.samefile(path, main)
    except OSError:
        return False
