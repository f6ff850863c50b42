"""The certificate in use, for commands: a file in run_dir says its names and its time."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import attrs

from ..replaced import replaced

log = logging.getLogger(__name__)

FILE_OCTETS_MAX = 1 << 20
DAY = 86400
WARN_DAYS = 14  # certbot renews 30 days before the end
WARN_SHARE = 10  # of a short life, the last tenth: some live a week
SHORT_DAYS = 60


@attrs.frozen
class InUse:
    """What is known of a certificate; times are Unix's."""

    names: tuple[str, ...]
    not_before: int
    not_after: int

    def holds(self, now: float) -> bool:
        """Whether clients accept it now, as far as the clock tells."""
        return self.not_before <= now < self.not_after

    def days_left(self, now: float) -> int:
        """Return for how many whole days it holds; less than 0: it has ended."""
        return int((self.not_after - now) // DAY)


def ends_soon(not_before: float, not_after: float, now: float) -> bool:
    """Whether an owner must be told that a certificate ends."""
    life = not_after - not_before
    return now >= not_after - (life / WARN_SHARE if life < SHORT_DAYS * DAY else WARN_DAYS * DAY)


def write_in_use(path: Path, one: InUse | None) -> None:
    """Replace the file; without a certificate there is none. A daemon serves without it as well."""
    try:
        if one is None:
            path.unlink(missing_ok=True)
            return
        with replaced(path) as stream:
            stream.write(json.dumps(attrs.asdict(one)).encode())
    except OSError as error:
        log.warning("%s: %s; commands do not know the certificate", path, error.strerror)


def read_in_use(path: Path) -> InUse | None:
    """Return what the file says; None: there is none, or another program wrote it."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(FILE_OCTETS_MAX))
        names = tuple(map(str, told["names"]))
        return InUse(names, int(told["not_before"]), int(told["not_after"]))
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
