"""The keys of TLS session tickets: shared by all workers, kept over a restart, renewed in time.

Clients resume a session with a ticket that any worker has given them. Who has these keys can read
what such clients sent: the file is in run_dir, which is memory, and no key lasts a day.
"""

from __future__ import annotations

import logging
import mmap
import os
from pathlib import Path

from .._ticket_keys import TicketKeys
from ..replaced import replaced

log = logging.getLogger(__name__)

ROTATE_SECONDS = 8 * 3600.0  # three keys: a ticket is good for 16 hours at least
FILE_MAX = 4096
READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class TicketFile:
    """Keeps the keys in a page and in a file, whose time says since when the newest is used."""

    def __init__(self, path: Path, page: mmap.mmap, now: float) -> None:
        """Put the keys of the file into the page, or new ones. `now`: Unix time."""
        self._path = path
        self._keys = TicketKeys(page)
        self._has_complained = False
        self._since = now
        if self._read():
            self.look(now)
        else:
            self._renew(now)

    def look(self, now: float) -> None:
        """Make a new key if the newest is old enough."""
        if abs(now - self._since) >= ROTATE_SECONDS:
            self._renew(now)

    def _renew(self, now: float) -> None:
        self._keys.rotate()
        self._since = now
        try:
            with replaced(self._path, 0o600) as stream:
                stream.write(self._keys.saved())
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                log.warning(
                    "%s cannot be written (%s): after a restart, TLS clients need new sessions",
                    self._path,
                    error.strerror,
                )

    def _read(self) -> bool:
        """Return whether the file has had keys; without them, clients only need new sessions."""
        try:
            descriptor = os.open(self._path, READ_FLAGS)
        except OSError:
            return False
        try:
            self._keys.restore(os.read(descriptor, FILE_MAX))
            self._since = os.fstat(descriptor).st_mtime
        except (OSError, ValueError):
            return False
        finally:
            os.close(descriptor)
        return True
