"""The record of changes, in a file that only root can write.

Each change is recorded before it is made, so that an interrupted one can be undone as well.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from ..errors import FastdnsError
from .changes import Change, Content, FileChange, UnitChange, sync_directory, write_synced

RECORD = Path("/etc/fastdns/doctor.json")
VERSION = 1
KINDS: dict[str, type[Change]] = {"file": FileChange, "unit": UnitChange}


class Record:
    """The changes that can be undone, oldest first."""

    def __init__(self, path: Path = RECORD) -> None:
        """Read it. FastdnsError: the file is not a record of ours."""
        self._path = path
        self.changes: list[Change] = _read(path)

    def make(self, change: Change) -> None:
        """Record a change and make it; FastdnsError: it failed, and stays recorded."""
        self.changes.append(change)
        try:
            self._write()
        except FastdnsError:
            self.changes.pop()  # it is not made
            raise
        try:
            change.make()
        except OSError as error:
            raise FastdnsError(f"{change}: {error.strerror}") from None

    def take_back(self, change: Change) -> str:
        """Undo a change and remove it; return what was done. FastdnsError: it stays recorded."""
        try:
            done = change.undo()
        except OSError as error:
            raise FastdnsError(f"{change}: {error.strerror}") from None
        self.changes.remove(change)
        self._write()
        return done

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo the changes of a block that does not reach its end."""
        before = len(self.changes)
        try:
            yield
        except BaseException:  # including Ctrl-C
            for change in reversed(self.changes[before:]):
                with suppress(FastdnsError):  # then it stays recorded
                    self.take_back(change)
            raise

    def _write(self) -> None:
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            if not self.changes:
                self._path.unlink(missing_ok=True)
                with suppress(OSError):  # others have files there
                    self._path.parent.rmdir()
                return
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            write_synced(fresh, json.dumps(_as_data(self.changes), indent=1).encode() + b"\n")
            os.replace(fresh, self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            raise FastdnsError(
                f"{self._path}: cannot be written: {error.strerror}; doctor changes nothing more"
            ) from None


@contextmanager
def only_one(path: Path = RECORD) -> Iterator[Record]:
    """Lock the record; FastdnsError: another process has it."""
    # On /etc: the file is replaced with each change, and its directory is created and removed.
    descriptor = os.open(path.parent.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FastdnsError("another `fastdns doctor` is making changes; wait for it") from None
        yield Record(path)
    finally:
        os.close(descriptor)


def _as_data(changes: list[Change]) -> dict[str, Any]:
    names = {kind: name for name, kind in KINDS.items()}
    return {
        "version": VERSION,
        "changes": [{"kind": names[type(one)], **attrs.asdict(one)} for one in changes],
    }


def _read(path: Path) -> list[Change]:
    try:
        with open(path, "rb") as stream:
            found = os.fstat(stream.fileno())
            # It tells root what to write where, so it must belong to root.
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise FastdnsError(
                    f"{path}: users other than root can write it; check it, then remove it"
                )
            data = json.loads(stream.read())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FastdnsError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        data = None
    try:
        if data["version"] != VERSION:
            raise ValueError
        return [_change(one) for one in data["changes"]]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise FastdnsError(
            f"{path}: is not a record of this version of `fastdns doctor`; "
            "undo by hand what it lists, then remove the file"
        ) from None


def _change(data: dict[str, Any]) -> Change:
    kind = KINDS[data.pop("kind")]
    for key in ("before", "after"):
        if data.get(key) is not None:
            data[key] = Content(**data[key])
    for key in ("made", "served"):
        if key in data:
            data[key] = tuple(data[key])
    return kind(**data)
