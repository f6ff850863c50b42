"""The certificate of TLS and HTTPS listeners: read, checked, and kept current with its files.

The supervisor does this, while it is root for the first time. Another pair is used only if it is
good: a half-written, unreadable or wrong one leaves the former in use, and is reported.
"""

from __future__ import annotations

import grp
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf
from pathlib import Path

from ..config.files import read_octets
from ..config.listen import Listen
from ..config.text import path_text
from ..errors import unreadable
from ..listen.certificate_in_use import InUse, ends_soon, write_in_use
from ..listen.der import remedy
from .certificate_page import PAIR_MAX, CertificatePage, Pair
from .log import States

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
TOLD_TO = " (let that user read it)"


class _Unusable(Exception):
    """Why a pair cannot be used, in a line."""


class ServiceCertificate:
    """The pair in use, and why the files are not, if they are not."""

    def __init__(
        self, clock: Callable[[], float] = time.time, *, is_roots: bool | None = None
    ) -> None:
        """`clock`: tells Unix time. `is_roots`: root starts this daemon (None: look)."""
        self._clock = clock
        self._is_roots = os.geteuid() == 0 if is_roots is None else is_roots
        self.page = CertificatePage()
        self._shown_at: Path | None = None
        self._shown: InUse | None = None
        self.in_use: InUse | None = None
        self.due = inf  # when `look` must be called
        self._files: tuple[Path, Path] | None = None
        self._seen: tuple[object, ...] = ()
        self._seen_by = os.geteuid()
        self._is_doubtful = False  # it was wrong at the last look, and may just be written
        self._problem = ""
        self._brought = ""  # the file of the pair in use that only a root's reload could read
        self._states = States(log, logging.ERROR)

    @property
    def problems(self) -> list[str]:
        """What an owner must know, a line each."""
        lines = [f"{self._problem}; {self._consequence}"] if self._problem else []
        if self._brought and not self._problem and not self._is_roots:
            lines.append(f"{self._brought}; root has brought it, and the next restart loses it")
        return [*lines, *self._end()]

    @property
    def told(self) -> dict[str, object] | None:
        """What `status` shows of it; None: no listener needs one."""
        if self._files is None:
            return None
        one = self.in_use
        return {
            "names": list(one.names) if one is not None else [],
            "not_before": one.not_before if one is not None else None,
            "not_after": one.not_after if one is not None else None,
            "problems": self.problems,
        }

    def show_at(self, path: Path) -> None:
        """Tell commands from now on, by this file, which certificate is in use."""
        self._shown_at = path
        write_in_use(path, self.in_use)
        self._shown = self.in_use

    def use(self, listen: Listen, given: Sequence[bytes] = ()) -> None:
        """Use the files that a configuration names, and follow them.

        `given`: certificate and key, as root has sent them; they count where this process
        cannot read a file.
        """
        self._files = listen.certificate_files
        self._problem, self._is_doubtful = "", False
        if self._files is None:
            self.page.clear()
            self.in_use, self.due, self._brought = None, inf, ""
        else:
            self._seen, self._seen_by = (), os.geteuid()
            self._look_at_files()
            self._take(given)
            self.due = time.monotonic() + LOOK_SECONDS
        self._tell()

    def look(self) -> None:
        """Use the files if they have changed."""
        if time.monotonic() < self.due or self._files is None:
            return
        self.due = time.monotonic() + LOOK_SECONDS
        has_changed = self._look_at_files()
        if has_changed or self._is_doubtful or self._problem:
            # The files of a pair are written one after the other: it has until the next look.
            self._take((), is_patient=has_changed)
        self._tell()

    def _tell(self) -> None:
        self._states.update(self.problems)
        if self._shown_at is not None and self._shown != self.in_use:
            self.show_at(self._shown_at)

    def _look_at_files(self) -> bool:
        """Return whether the files have changed since the last look."""
        assert self._files is not None
        former, self._seen = self._seen, tuple(map(_identity, self._files))
        has_changed = self._seen != former
        if has_changed and os.geteuid() != self._seen_by:
            # Root sees more: a file is not another one because this user cannot look at it.
            has_changed = any(
                one != other and not isinstance(one, int)
                for one, other in zip(self._seen, former, strict=True)
            )
        self._seen_by = os.geteuid()
        return has_changed

    def _take(self, given: Sequence[bytes], *, is_patient: bool = False) -> None:
        """Use the pair that the files have now, if it is good."""
        assert self._files is not None
        try:
            pair, brought = _read(self._files, given)
            if pair == self.page.read() and self.in_use is not None:
                found = self.in_use
            else:
                found = self._judged(pair)
                self.page.write(pair)
                log.info("certificate for %s: in use, until %s", _listed(found), _day(found))
        except _Unusable as error:
            self._is_doubtful = is_patient
            self._problem = "" if is_patient else str(error)
            return
        self.in_use = found
        self._problem, self._brought, self._is_doubtful = "", brought, False

    def _judged(self, pair: Pair) -> InUse:
        """Return what is known of a good pair. _Unusable: it is not, or the former is better."""
        assert self._files is not None
        try:
            from .._certificate import PairError, read_pair  # noqa: PLC0415 - see policy.parts
        except ImportError as error:
            raise _Unusable(f"listen.certificate: {unreadable(error)}") from None
        try:
            known = read_pair(pair.chain, pair.key)
        except PairError as error:
            key, path = (
                ("key", self._files[1]) if error.is_about_key else ("certificate", self._files[0])
            )
            more = remedy(key, path, pair.key if error.is_about_key else pair.chain)
            raise _Unusable(f"listen.{key}: {path_text(path)}: {error}{more}") from None
        found = InUse(tuple(known.names), int(known.not_before), int(known.not_after))
        now = self._clock()
        if not found.holds(now) and self.in_use is not None and self.in_use.holds(now):
            begins = f"begins on {_date(found.not_before)}"
            when = f"ended on {_day(found)}" if found.not_after <= now else begins
            raise _Unusable(f"listen.certificate: {path_text(self._files[0])} {when}")
        return found

    @property
    def _consequence(self) -> str:
        if self.in_use is None:
            return "until that is right, clients cannot use TLS and HTTPS"
        return f"the former certificate, until {_day(self.in_use)}, stays in use"

    def _end(self) -> Iterator[str]:
        """Yield a line if the pair in use ends soon, or is not valid now."""
        one, now = self.in_use, self._clock()
        if one is None:
            return
        what = f"the certificate for {_listed(one)}"
        if now >= one.not_after:
            yield f"{what} ended on {_day(one)}: clients refuse it (renew it)"
        elif now < one.not_before:
            begins = _date(one.not_before)
            yield f"{what} begins on {begins}: until then, clients refuse it (is the clock right?)"
        elif ends_soon(one.not_before, one.not_after, now):
            yield f"{what} ends on {_day(one)} (renew it; the files are watched)"


def read_descriptor(descriptor: int) -> bytes:
    """Return the content of a file that another process has opened. ValueError: it has no use."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a regular file")
        return os.pread(descriptor, PAIR_MAX, 0)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None


def _read(files: tuple[Path, Path], given: Sequence[bytes]) -> tuple[Pair, str]:
    """Return the pair, and why this process had to take a file of it from those given."""
    contents, brought = [], ""
    for number, (key, path) in enumerate(zip(("certificate", "key"), files, strict=True)):
        try:
            contents.append(read_octets(path, regular=True, limit=PAIR_MAX))
        except ValueError as error:
            problem = f"listen.{key}: {path_text(path)}: {_with_remedy(str(error), key)}"
            if number >= len(given):
                raise _Unusable(problem) from None
            brought = problem
            contents.append(given[number])
    if sum(map(len, contents)) > PAIR_MAX:
        raise _Unusable(f"listen.certificate: {path_text(files[0])}: is too large with its key")
    return Pair(*contents), brought


def _with_remedy(problem: str, key: str) -> str:
    """Add, to a problem of permissions, how this process gets the files at each renewal."""
    if not problem.endswith(TOLD_TO):
        return problem
    file = "privkey.pem" if key == "key" else "fullchain.pem"
    copy = f'install -m 0640 -g {_own_group()} "$RENEWED_LINEAGE/{file}" /etc/fastdns/{file}'
    return (
        f"{problem.removesuffix(TOLD_TO)} (give it a copy, at each renewal by a deploy hook of "
        f"certbot: {copy}; docs/encryption.md)"
    )


def _own_group() -> str:
    try:
        return grp.getgrgid(os.getegid()).gr_name
    except KeyError:
        return str(os.getegid())


def _identity(path: Path) -> object:
    """Return what differs when the file has changed, or another one is in its place.

    A number: it cannot be looked at.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _listed(one: InUse) -> str:
    first, *others = one.names or ("no name",)
    return f"{first} and {len(others)} more" if others else first


def _day(one: InUse) -> str:
    return _date(one.not_after)


def _date(moment: int) -> str:
    """Return a day; certificates are not about hours."""
    return time.strftime("%Y-%m-%d", time.gmtime(min(moment, 253402300799)))
