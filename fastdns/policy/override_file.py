"""The file of the rules made at run time, state_dir/overrides.toml: read, and written by commands.

Each change replaces the whole file: a reader sees the old one or the new one.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from ..config.domains import parse_domain
from ..config.files import own_name
from ..config.groups import GROUP_NAME
from ..config.text import describe, path_text, quote
from ..config.units import spell_size
from ..config.values import Domain
from ..errors import FastdnsError
from ..replaced import replaced
from .overrides import RULES_MAX, Override, Overrides
from .problems import PROBLEMS_MAX, shortened

OCTETS_MAX = 8 << 20  # more than the most rules have
VERSION_MASK = (1 << 53) - 1  # a number of JSON is exact below that
LOCK_SECONDS = 5.0
LOCK_PAUSE_SECONDS = 0.01
# Some filesystems keep a time in steps of so much.
COARSEST_TIME_NS = 2_000_000_000
HEADER = "# Rules made at run time. Change them with fastdns allow, deny, rules and pause.\n"
SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_PLACE = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)")


# ---- reading


def read(path: Path) -> Overrides:
    """Return what the file has; its faulty parts, or that it cannot be read, are `problems`."""
    try:
        return load(path)
    except ValueError as error:
        return Overrides(problems=(f"{path_text(path)}: {error}",))


def load(path: Path) -> Overrides:
    """Return what the file has, nothing without a file; its faulty parts are `problems`.

    ValueError with one phrase: it cannot be read, or may be a file that another user put there.
    """
    try:
        octets, version = _octets(path)
    except (FileNotFoundError, NotADirectoryError):
        return Overrides()
    except OSError as error:
        raise ValueError(_unreadable(path, error)) from None
    text = octets.decode("utf-8-sig", "replace")
    return attrs.evolve(_Tables(path_text(path), text).read(), version=version)


def _octets(path: Path) -> tuple[bytes, int]:
    """Return content and version. OSError, ValueError: there is none, or none to be used."""
    with open(os.open(path, os.O_RDONLY | SAFELY), "rb") as stream:
        status = os.fstat(stream.fileno())
        _check(path, status)
        octets = stream.read(OCTETS_MAX + 1)
    if len(octets) > OCTETS_MAX:
        raise ValueError(f"is larger than {spell_size(OCTETS_MAX)}")
    return octets, _version(status)


def version_of(path: Path) -> int:
    """Return the version of the file that is there now; 0: there is none."""
    try:
        return _version(os.lstat(path))
    except OSError:
        return 0


def _version(status: os.stat_result) -> int:
    return status.st_mtime_ns & VERSION_MASK or 1


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):  # before it is looked at: that may not be allowed either
        return f"cannot be read by user {own_name()}: {error.strerror}"
    if path.is_symlink():
        return "is a symbolic link, which is not followed (remove it)"
    return f"cannot be read: {error.strerror}"


def _check(path: Path, status: os.stat_result) -> None:
    """Raise ValueError if another user put the file there: the directory may be open to all."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file (remove it)")
    if status.st_uid not in (0, os.geteuid(), os.stat(path.parent).st_uid):
        raise ValueError(f"belongs to another user (uid {status.st_uid}); remove it")


class _Tables:
    """Reads a file table by table, so that a faulty one does not spoil the others."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._lines = text.replace("\r\n", "\n").split("\n")
        self._problems: list[str] = []  # the first ones
        self._wrong = 0
        self._rules: dict[tuple[bytes, str | None], Override] = {}
        self._found = Overrides()

    def read(self) -> Overrides:
        starts = [number for number, line in enumerate(self._lines) if line.startswith("[")]
        for start, end in zip([0, *starts], [*starts, len(self._lines)], strict=True):
            self._table(start, self._lines[start:end])
        rules = tuple(self._rules.values())
        problems = shortened(self._problems, self._name, self._wrong, "tables are wrong")
        if len(rules) > RULES_MAX:
            problems.append(
                f"{self._name}: has {len(rules):,} rules; only the first {RULES_MAX:,} are used"
            )
        return attrs.evolve(self._found, rules=rules[:RULES_MAX], problems=tuple(problems))

    def _table(self, start: int, lines: list[str]) -> None:
        try:
            data = tomllib.loads("\n".join(lines))
        except (ValueError, RecursionError) as error:
            place = _PLACE.search(str(error))
            last = max((at for at, line in enumerate(lines, 1) if line.strip()), default=1)
            at = int(place[1]) if place and place[1] else last
            reason = path_text(_PLACE.sub("", str(error)))
            self._complain(start + at, f"is not valid TOML: {reason}")
            return
        for key, value in data.items():
            try:
                self._part(key, value)
            except _Wrong as wrong:
                named = wrong.key if wrong.key in ("", key) else f"{key}.{wrong.key}"
                at = _line_of(wrong.key, lines)
                self._complain(start + at, f"{path_text(named) or key}: {wrong.problem}")

    def _part(self, key: str, value: Any) -> None:
        if key == "rule" and isinstance(value, list):
            for one in value:
                rule = _rule(one)
                self._rules[rule.place] = rule
        elif key == "pause" and isinstance(value, dict):
            _no_other_key(value, "until")
            self._found = self._found.paused(_until(value))
        else:
            raise _Wrong(key, "is not a part of this file")

    def _complain(self, line: int, problem: str) -> None:
        self._wrong += 1
        if self._wrong <= PROBLEMS_MAX:
            self._problems.append(f"{self._name}:{line}: {problem} (this table is ignored)")


class _Wrong(ValueError):
    """A key with a faulty value."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key
        self.problem = problem


def _line_of(key: str, lines: list[str]) -> int:
    """Return the number of the line that sets the key, from 1; else the first one."""
    pattern = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
    return next((at for at, line in enumerate(lines, 1) if key and pattern.match(line)), 1)


def _rule(table: Any) -> Override:
    if not isinstance(table, dict):
        raise _Wrong("", "is not a table")
    words = [word for word in ("allow", "deny") if word in table]
    if len(words) != 1:
        raise _Wrong("", "needs either allow or deny")
    [word] = words
    _no_other_key(table, word, "view", "until")
    if not isinstance(table[word], str):
        raise _Wrong(word, f"{describe(table[word])} is not a string")
    try:
        domain = parse_domain(table[word])
    except ValueError as error:
        raise _Wrong(word, str(error)) from None
    if not isinstance(domain, Domain):
        raise _Wrong(word, f"{describe(table[word])} is not a domain")
    view = table.get("view")
    if view is not None and not (isinstance(view, str) and GROUP_NAME.fullmatch(view)):
        raise _Wrong("view", f"{describe(view)} is not the name of a view")
    return Override(domain.wire, domain.text, word == "allow", view, _until(table))


def _until(table: dict[str, Any]) -> float | None:
    until = table.get("until")
    if until is None:
        return None
    with suppress(OverflowError, ValueError, OSError):
        if isinstance(until, datetime):
            return until.timestamp()  # one without an offset is in this machine's time
    raise _Wrong("until", f"{describe(until)} is not a time (try 2030-12-31T18:00:00Z)")


def _no_other_key(table: dict[str, Any], *known: str) -> None:
    for key in table:
        if key not in known:
            raise _Wrong(key, "is not a part of this table")


# ---- writing


class Change(NamedTuple):
    """What the file had, without what had ended, and what it has now."""

    before: Overrides
    after: Overrides


def change(path: Path, edit: Callable[[Overrides], Overrides], now: float) -> Change:
    """Replace the rules in force by those that `edit` makes of them; what has ended is dropped.

    Nothing is lost when two processes do so at once. Faulty parts of the file are kept beside it,
    as overrides.toml.damaged. FastdnsError: the file cannot be read or written, and is as before.
    """
    with _lock(path):
        try:
            found = load(path)
        except ValueError as error:
            raise FastdnsError(f"{path_text(path)}: {error}") from None
        before = found.at(now)
        after = edit(before)
        if after == found and not found.problems:
            return Change(before, found)
        if found.problems:
            _keep(path)
        return Change(before, attrs.evolve(after, version=write(path, after), problems=()))


def write(path: Path, overrides: Overrides) -> int:
    """Replace the file by one with these, and return its version, which is another one than before.

    It belongs to the owner of its directory. FastdnsError: it could not be written, and is as
    before. Use `change` to change what is there.
    """
    try:
        return _put(path, _text_of(overrides).encode(), version_of(path))
    except OSError as error:
        raise FastdnsError(
            f"cannot write {path_text(path)}: {error.strerror}; nothing has changed"
        ) from None


def _put(path: Path, octets: bytes, former: int) -> int:
    """Replace the file by one with this content and another version than the former; return it."""
    with replaced(path) as stream:
        stream.write(octets)
        stream.flush()
        _hand_over(stream.fileno(), path.parent, 0o644)
        return _date(stream.fileno(), former)


def _text_of(overrides: Overrides) -> str:
    parts = [HEADER]
    if overrides.is_paused:
        parts.append(f"\n[pause]\n{_line_of_end(overrides.paused_until)}")
    for one in overrides.rules:
        view = "" if one.view is None else f"view = {quote(one.view)}\n"
        end = _line_of_end(one.until)
        parts.append(f"\n[[rule]]\n{one.word} = {quote(one.text)}\n{view}{end}")
    return "".join(parts)


def _line_of_end(until: float | None) -> str:
    if until is None:
        return ""
    return f"until = {datetime.fromtimestamp(until, UTC).isoformat().replace('+00:00', 'Z')}\n"


def _hand_over(descriptor: int, directory: Path, mode: int) -> None:
    """Make the owner of the directory the file's, and its mode this one whatever the umask is."""
    owner = os.stat(directory)
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    os.fchmod(descriptor, mode)


def _date(descriptor: int, former: int) -> int:
    """Give the file a time that makes its version another one than the former; return it."""
    at = time.time_ns()
    os.utime(descriptor, ns=(at, at))
    if _version(os.fstat(descriptor)) == former:
        at += COARSEST_TIME_NS
        os.utime(descriptor, ns=(at, at))
    return _version(os.fstat(descriptor))


def _keep(path: Path) -> None:
    """Keep a copy of the file beside it, under another name; what it replaces there is older."""
    kept = path.with_name(f"{path.name}.damaged")
    try:
        _put(kept, _octets(path)[0], 0)
    except (OSError, ValueError) as error:
        raise FastdnsError(
            f"cannot keep the faulty {path_text(path)} as {kept.name}: "
            f"{getattr(error, 'strerror', error)} (repair or remove it)"
        ) from None


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of all who change the file; FastdnsError: it was not free in time."""
    place = path.with_name("overrides.lock")
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | SAFELY, 0o600)
    except OSError as error:
        raise FastdnsError(
            f"cannot change {path_text(path)}: {path_text(place)}: {error.strerror}"
        ) from None
    try:
        found = os.fstat(descriptor)
        # The owner of the directory may have put anything there, and we may still be root.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise FastdnsError(f"{path_text(place)} is not a file of fastdns; remove it")
        _hand_over(descriptor, path.parent, 0o600)
        until = time.monotonic() + LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() >= until:
                raise FastdnsError(
                    f"another command has been changing {path_text(path)} for "
                    f"{LOCK_SECONDS:.0f} s (stopped?)"
                )
            time.sleep(LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
