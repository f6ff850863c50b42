"""Watches files and directories on the event loop: libev learns of changes by inotify.

It misses some, of a directory that comes later or is replaced, or behind a link: a look at all
paths every few seconds finds these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..defects import guarded
from .signature import Signature, signature

# Seconds between a change and telling it: a program may write a file in several steps, and of a
# burst of changes one is enough.
REST = 0.2
REST_MAX = 2.0  # of a file that never comes to rest
# libev compares whole seconds: the second change in a second may tell nothing.
AGAIN = 1.1
POLLED = 5.0  # seconds between two looks, whatever the kernel tells


class Watch:
    """Calls `changed` soon after a path has changed, appeared or gone, and once at the start.

    `paths` is asked again after each change. A directory changes when a file in it comes or goes,
    a link also when that changes to which it points.
    """

    def __init__(
        self, loop: Any, paths: Callable[[], Iterable[Path]], changed: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._paths = paths
        self._changed = changed
        self._watchers: dict[Path, Any] = {}
        self._seen: dict[Path, Signature] = {}
        self._rest: Any = None
        self._again: Any = None
        self._since: float | None = None  # the first change that is not told yet
        self._look = loop.timer(POLLED, POLLED)
        self._look.start(guarded(self._look_at_all))
        self._tell()

    def stop(self) -> None:
        """Watch nothing any more."""
        for watcher in self._watchers.values():
            _end(watcher)
        self._watchers.clear()
        for timer in (self._rest, self._again, self._look):
            _end(timer)

    def _touched(self) -> None:
        now = self._loop.now()
        if self._since is None:
            self._since = now
        elif now - self._since > REST_MAX - REST:
            return  # it is told without rest
        _end(self._rest)
        self._rest = self._loop.timer(REST)
        self._rest.start(guarded(self._tell))

    def _tell(self) -> None:
        self._since = None
        self._renew()
        self._changed()
        _end(self._again)
        self._again = self._loop.timer(AGAIN)
        self._again.start(guarded(self._tell_again))

    def _tell_again(self) -> None:
        self._renew()
        self._changed()

    def _look_at_all(self) -> None:
        """Find what the kernel has not told, and watch what is there now in its place."""
        if self._signatures() != self._seen:
            for watcher in self._watchers.values():
                _end(watcher)
            self._watchers.clear()
            self._touched()

    def _renew(self) -> None:
        """Watch the paths that there are now."""
        self._seen = self._signatures()
        # libev does not follow links: what they point to is watched beside them.
        wanted = {*self._seen, *map(_target, self._seen)}
        for path in self._watchers.keys() - wanted:
            _end(self._watchers.pop(path))
        for path in wanted - self._watchers.keys():
            watcher = self._watchers[path] = self._loop.stat(str(path), POLLED)
            watcher.start(guarded(self._touched))

    def _signatures(self) -> dict[Path, Signature]:
        return {path: (signature(path),) for path in self._paths()}


def _target(path: Path) -> Path:
    """Return the path to which links lead; the same if that cannot be watched."""
    target = os.path.realpath(path)
    try:
        target.encode()  # gevent can only watch what is UTF-8
    except UnicodeEncodeError:
        return path
    return Path(target)


def _end(watcher: Any) -> None:
    if watcher is not None:
        watcher.stop()
        watcher.close()
