"""The files that [listen] names: the certificate of the service, and its key."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs

from .._certificate import Certificate, PairError, read_pair
from ..config.files import read_octets
from ..config.listen import Listen
from ..config.text import path_text, quote
from ..errors import FastdnsError
from .certificate_in_use import ends_soon
from .der import remedy

OCTETS_MAX = 128 << 10  # of a file; a chain of four certificates has 8 KiB
DAY = 86400  # seconds
RENEW = "renew it; a hook of certbot can give it to fastdns (docs/encryption.md)"
SET_CLOCK = "set the clock of this machine (timedatectl shows it), if it is wrong; else wait"


@attrs.frozen
class Pair:
    """A certificate with those that lead to its authority, and its key, both as PEM."""

    chain: bytes = attrs.field(repr=False)
    key: bytes = attrs.field(repr=False)
    certificate: Certificate


@attrs.frozen
class Problem:
    """Why clients refuse a certificate now (`is_fatal`), or may do so, or soon will."""

    text: str
    is_fatal: bool = False
    do: str = ""
    is_of_time: bool = False  # it is not valid now


def read_files(chain: Path, key: Path) -> Pair:
    """Return what is in the files. FastdnsError: they are no pair, or cannot be read."""
    octets = []
    for name, path in (("certificate", chain), ("key", key)):
        try:
            octets.append(read_octets(path, regular=True, limit=OCTETS_MAX))
        except ValueError as error:
            raise FastdnsError(f"listen.{name}: {path_text(path)} {error}") from None
    try:
        return Pair(octets[0], octets[1], read_pair(octets[0], octets[1]))
    except PairError as error:
        files = f"{path_text(chain)} with {path_text(key)}"
        name, path = ("key", key) if error.is_about_key else ("certificate", chain)
        more = remedy(name, path, octets[error.is_about_key])
        raise FastdnsError(f"listen.certificate: {files}: {error}{more}") from None


def open_key(key: Path) -> str:
    """Return a line if every user of this machine may read the key; "": not so."""
    try:
        mode = key.stat().st_mode
    except OSError:
        return ""
    if not mode & stat.S_IROTH:
        return ""
    shown = path_text(key)
    return f"listen.key: every user may read {shown}, mode {mode & 0o7777:04o} (chmod o= {shown})"


def days_left(certificate: Certificate, now: float) -> int:
    """Return for how many whole days it is still valid; less than 0: it has ended."""
    return int((certificate.not_after - now) // DAY)


def problems(found: Certificate, listen: Listen, now: float) -> Iterator[Problem]:
    """Yield what is wrong with a valid pair of files."""
    if found.not_after < now:
        text = f"the certificate ended on {day_of(found.not_after)}: clients refuse it"
        yield Problem(text, is_fatal=True, do=RENEW, is_of_time=True)
    elif found.not_before > now:
        text = (
            f"the certificate begins on {day_of(found.not_before)}, and the clock here says "
            f"{day_of(now)}: until then, clients refuse it"
        )
        yield Problem(text, is_fatal=True, do=SET_CLOCK, is_of_time=True)
    elif ends_soon(found.not_before, found.not_after, now):
        ends = day_of(found.not_after)
        left = in_days(days_left(found, now))
        yield Problem(f"the certificate ends on {ends}, in {left}", do=RENEW)
    if listen.name and not found.covers(listen.name):
        names = ", ".join(found.names) or "no name"
        wanted = quote(listen.name)
        text = f"listen.name is {wanted}, and the certificate is for {names}"
        yield Problem(
            text, is_fatal=True, do=f"change listen.name, or get a certificate for {wanted}"
        )
    if found.is_self_signed:
        yield Problem("the certificate is self-signed: clients refuse it unless told to trust it")


def in_days(count: int) -> str:
    return f"{count:,} day{'s' * (count != 1)}"


def day_of(moment: float) -> str:
    """Return the day, as ISO 8601 has it."""
    return datetime.fromtimestamp(moment, tz=UTC).date().isoformat()
