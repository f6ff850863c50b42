"""The kinds of changes that the doctor makes. Each knows the former state, and how to restore it.

Types are checked, because changes are read from a file that tells root what to write.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import deep_iterable, instance_of, optional

from ..config.text import path_text
from ..errors import FastdnsError
from . import units

READ_MAX = 1 << 20
FILE_MODE = 0o644


@attrs.frozen
class Content:
    """The content of a path: a file's text, or the target of a symbolic link."""

    text: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    link: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    mode: int = attrs.field(default=FILE_MODE, eq=False, validator=instance_of(int))


@attrs.frozen
class FileChange:
    """A file gets other content, or is created. The unit that reads it is restarted if it runs."""

    path: str = attrs.field(validator=instance_of(str))
    # None: there was nothing
    before: Content | None = attrs.field(validator=optional(instance_of(Content)))
    after: Content = attrs.field(validator=instance_of(Content))
    # Directories that were created, outermost first
    made: tuple[str, ...] = attrs.field(default=(), validator=deep_iterable(instance_of(str)))
    reader: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    # Whether its reader takes the port again once this is undone
    needs_port: bool = attrs.field(default=False, validator=instance_of(bool))

    @classmethod
    def of(cls, path: Path, after: Content, **more: Any) -> FileChange:
        """Return the change for the path as it is now."""
        missing = [str(one) for one in reversed(path.parents) if not one.exists()]
        return cls(str(path), look(path), after, tuple(missing), **more)

    def __str__(self) -> str:
        return path_text(self.path)

    def make(self) -> None:
        """Write it; FastdnsError: impossible, or its reader does not start again."""
        for directory in self.made:
            with suppress(FileExistsError):
                os.mkdir(directory, 0o755)
        put(Path(self.path), self.after)
        self._tell_reader()

    def wants_port(self) -> bool:
        """Return True if undoing it makes another server take the port again."""
        try:
            return self.needs_port and look(Path(self.path)) == self.after
        except FastdnsError:
            return False

    def undo(self) -> str:
        """Restore the former state, unless it was changed since; return what was done."""
        now = look(Path(self.path))
        if now == self.before:
            done = f"{self} is as before"
        elif now != self.after:
            return f"did not touch {self}: it was changed since"
        elif self.before is None:
            os.unlink(self.path)
            done = f"removed {self}"
        else:
            put(Path(self.path), self.before)
            done = f"restored {self}"
        for directory in reversed(self.made):
            with suppress(OSError):  # it has other files now
                os.rmdir(directory)
        self._tell_reader()
        return done

    def _tell_reader(self) -> None:
        if self.reader is not None and units.systemd_runs():
            units.reset_failed(self.reader)
            if units.is_active(self.reader) or units.is_enabled(self.reader):
                units.change("restart", self.reader)


@attrs.frozen
class UnitChange:
    """A unit is stopped and no longer starts with the system."""

    unit: str = attrs.field(validator=instance_of(str))
    enabled: bool = attrs.field(validator=instance_of(bool))
    active: bool = attrs.field(validator=instance_of(bool))
    needs_port: bool = attrs.field(default=True, validator=instance_of(bool))
    # The addresses at which it served, as text
    served: tuple[str, ...] = attrs.field(default=(), validator=deep_iterable(instance_of(str)))

    @classmethod
    def of(cls, unit: str, served: Iterable[object] = ()) -> UnitChange:
        """Return the change for the unit as it is now."""
        enabled, active = units.is_enabled(unit), units.is_active(unit)
        return cls(unit, enabled, active, served=tuple(map(str, served)))

    def __str__(self) -> str:
        return self.unit

    def make(self) -> None:
        """Stop it for good."""
        units.change("disable", "--now", self.unit)

    def wants_port(self) -> bool:
        """Return True if undoing it makes another server take the port again."""
        return self.needs_port and (not units.systemd_runs() or units.is_known(self.unit))

    def undo(self) -> str:
        """Start it again as before; return what was done."""
        if not units.systemd_runs():
            return f"left {self.unit} stopped, because systemd does not run here: {self._by_hand()}"
        if not units.is_known(self.unit):
            return f"did not touch {self.unit}: it was removed or masked since"
        if units.is_enabled(self.unit) and self.enabled and units.is_active(self.unit):
            return f"{self.unit} runs as it did before"
        if self.enabled:
            units.change("enable", self.unit)
        if self.active:
            units.change("start", self.unit)
        return f"{self.unit} runs again" if self.active else f"{self.unit} is enabled again"

    def _by_hand(self) -> str:
        if not self.enabled:
            return f"systemctl start {self.unit}"
        return f"systemctl enable {'--now ' if self.active else ''}{self.unit}"


Change = FileChange | UnitChange


def look(path: Path) -> Content | None:
    """Return the content of a path; FastdnsError if it is neither a text of 1 MiB nor a link."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return Content(link=os.readlink(path))
        if not stat.S_ISREG(found.st_mode) or found.st_size > READ_MAX:
            raise FastdnsError(f"{path_text(path)}: is not a small file; it was not touched")
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FastdnsError(f"{path_text(path)}: {error.strerror}") from None
    return Content(text=text, mode=stat.S_IMODE(found.st_mode))


def put(path: Path, content: Content) -> None:
    """Replace the content, atomically; FastdnsError: impossible."""
    fresh = path.with_name(f".{path.name}.fastdns")
    try:
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        if content.link is not None:
            os.symlink(content.link, fresh)
        else:
            write_synced(fresh, (content.text or "").encode("utf-8", "surrogateescape"))
            os.chmod(fresh, content.mode)
        os.replace(fresh, path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            os.unlink(fresh)
        raise FastdnsError(f"{path_text(path)}: cannot be changed: {error.strerror}") from None


def write_synced(path: Path, content: bytes) -> None:
    """Write and sync a new file that belongs to root."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_directory(path: Path) -> None:
    """Sync the directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
