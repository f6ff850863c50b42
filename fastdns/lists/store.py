"""The good copies of lists in state_dir: each with its state, written so that a crash spoils none.

A file gets its name only when its content is on disk. A full disk leaves the former one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from ..config.places import Places
from ..config.values import AnyList
from ..policy.block_lists.named import compiled_path
from ..replaced import replaced, sync_directory
from .state import State, from_json, key_of, to_json

NEW = ".new"
COPY, STATE = ".gz", ".json"


def states_in(places: Places) -> list[State]:
    """Return what is known of each list that is kept, by its name; nothing that is unreadable."""
    found = []
    with suppress(OSError):
        for path in places.lists.glob(f"*{STATE}"):
            with suppress(OSError, ValueError, TypeError, KeyError):
                text = path.read_text(encoding="utf-8", errors="replace")
                url = json.loads(text)["url"]
                state = from_json(text, url)
                if not path.with_suffix(COPY).exists():
                    state = attrs.evolve(state, digest="")
                found.append(state)
    return sorted(found, key=lambda state: state.url)


class Store:
    """The directory of the copies."""

    def __init__(self, places: Places) -> None:
        self._directory = places.lists
        self.compiled = compiled_path(places)

    def prepare(self) -> None:
        """Create the directory. OSError: impossible."""
        self._directory.mkdir(mode=0o700, exist_ok=True)

    @property
    def exists(self) -> bool:
        """Whether any list was ever kept here."""
        return self._directory.exists()

    def remove(self) -> None:
        """Remove everything: no list is configured any more."""
        self.keep_only(())
        for name in (self.compiled.name, self._made_of.name, "lock"):
            with suppress(OSError):
                (self._directory / name).unlink()
        with suppress(OSError):
            self._directory.rmdir()

    def copy(self, one: AnyList) -> Path:
        """Return where the copy is: the text of the list, packed by gzip."""
        return self._directory / f"{key_of(one)}{COPY}"

    def state(self, one: AnyList) -> State:
        """Return what is known of a list."""
        try:
            text = self._path(one, STATE).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return State(str(one))
        state = from_json(text, str(one))
        if state.digest and not self.copy(one).exists():
            return State(state.url, error=state.error)
        return state

    def note(self, one: AnyList, state: State) -> None:
        """Keep what is known of a list. OSError: impossible."""
        with replaced(self._path(one, STATE), 0o600) as stream:
            stream.write(to_json(state).encode(errors="replace"))

    def draft(self, one: AnyList) -> Path:
        """Return where the next copy is written."""
        return self._path(one, COPY + NEW)

    def discard(self, one: AnyList) -> None:
        """Remove what was written and not taken."""
        with suppress(OSError):
            self.draft(one).unlink()

    def take(self, one: AnyList) -> None:
        """Let what was written be the copy from now on."""
        os.replace(self.draft(one), self.copy(one))
        sync_directory(self._directory)

    def forget(self, one: AnyList) -> None:
        """Remove a copy that is damaged: it is fetched again."""
        for suffix in (COPY, STATE):
            with suppress(FileNotFoundError):
                self._path(one, suffix).unlink()

    def keep_only(self, lists: Iterable[AnyList]) -> None:
        """Remove the copies of all other lists, and what a crash left."""
        kept = {self.compiled.name, "lock", self._made_of.name}
        kept |= {key_of(one) + suffix for one in lists for suffix in (COPY, STATE)}
        for entry in os.scandir(self._directory):
            if entry.name not in kept and not entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    os.unlink(entry.path)

    # The compiled file

    @property
    def made_of(self) -> object:
        """What the compiled file was made of, as `note_compiled` was told; None: unknown."""
        try:
            found: dict[str, Any] = json.loads(self._made_of.read_text(encoding="utf-8"))
            status = self.compiled.stat()
        except (OSError, ValueError):
            return None
        is_of_it = found.get("file") == [status.st_size, status.st_mtime_ns]
        return found.get("made_of") if is_of_it else None

    def note_compiled(self, made_of: list[list[str]]) -> None:
        """Keep what the compiled file, which is there now, was made of. OSError: impossible."""
        status = self.compiled.stat()
        told = {"file": [status.st_size, status.st_mtime_ns], "made_of": made_of}
        with replaced(self._made_of, 0o600) as stream:
            stream.write(json.dumps(told).encode())

    @property
    def _made_of(self) -> Path:
        return self._directory / "compiled.json"

    # One update at a time

    @contextmanager
    def locked(self, waits: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of updates. `waits` is called once if another one runs; None: fail then.

        OSError: the lock cannot be had.
        """
        descriptor = os.open(
            self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waits is None:
                    raise
                waits()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, one: AnyList, suffix: str) -> Path:
        return self._directory / f"{key_of(one)}{suffix}"


def private(path: str, flags: int) -> int:
    """Open a file that only its owner may read."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
