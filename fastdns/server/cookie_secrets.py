"""The secrets of DNS cookies: kept over restarts in a file of state_dir, renewed once a day."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from .._clock import PLAUSIBLE_MS
from .._cookies import Cookies
from ..replaced import replaced

log = logging.getLogger(__name__)

SECRET_OCTETS = 16
RENEW_SECONDS = 86400.0  # RFC 7873 section 7.1: within 26 hours
FORM = re.compile(rb"([0-9a-f]{32})\n([0-9a-f]{32})\n")
READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class CookieSecrets:
    """Two secrets: the current one makes cookies, the former one still proves them.

    The file has both, in hexadecimal, the current one first. Its time says since when.
    """

    def __init__(self, path: Path, cookies: Cookies, now: float) -> None:
        """Have these cookies use the secrets of the file, or new ones. `now`: Unix time."""
        self._path = path
        self._cookies = cookies
        self._has_complained = False
        self._since = 0.0
        self._current = os.urandom(SECRET_OCTETS)
        self._former = os.urandom(SECRET_OCTETS)
        if self._read():
            cookies.use(self._current, self._former)
            self.look(now)
        else:
            cookies.use(self._current, self._former)
            self._write(now)

    def look(self, now: float) -> None:
        """Renew the current secret if it is old enough."""
        # A clock that was never set, or was wrong for a while, must not cost the former secret.
        if abs(now - self._since) < RENEW_SECONDS or now * 1000 < PLAUSIBLE_MS:
            return
        self._former, self._current = self._current, os.urandom(SECRET_OCTETS)
        self._cookies.use(self._current, self._former)
        self._write(now)

    def _read(self) -> bool:
        try:
            descriptor = os.open(self._path, READ_FLAGS)
            try:
                found = FORM.fullmatch(os.read(descriptor, 256))
                self._since = os.fstat(descriptor).st_mtime
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            log.info("%s: new secrets for DNS cookies", self._path)
            return False
        except OSError as error:
            log.warning(
                "%s cannot be read (%s): clients get new DNS cookies", self._path, error.strerror
            )
            return False
        if found is None:
            log.warning(
                "%s is damaged: it is replaced, and clients get new DNS cookies", self._path
            )
            return False
        self._current, self._former = (bytes.fromhex(one.decode()) for one in found.groups())
        return True

    def _write(self, now: float) -> None:
        """Replace the file as a whole. Without it, these secrets end with this daemon."""
        self._since = now
        try:
            with replaced(self._path, 0o600) as stream:
                stream.write(f"{self._current.hex()}\n{self._former.hex()}\n".encode())
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                log.warning(
                    "%s cannot be written (%s): DNS cookies do not outlive a restart",
                    self._path,
                    error.strerror,
                )
