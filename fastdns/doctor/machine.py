"""What fastdns stands on: its directory, the kernel's buffers, the clock."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .._clock import PLAUSIBLE_MS
from ..config.schema import MIB, Config
from ..config.text import path_text
from ..config.units import in_octets
from ..machine.receive_buffer import RECEIVE_BUFFER
from .findings import Finding, hint, ok, wrong

ABOUT = "machine"
RMEM_MAX = Path("/proc/sys/net/core/rmem_max")
RMEM_WANTED = 8 * MIB
ROOM_MIN = 16 * MIB
ELSEWHERE = "choose another state_dir"


def look(config: Config) -> Iterator[Finding]:
    """Say whether there is room, for bursts as well, and whether it is a plausible time."""
    yield _directory(config)
    granted = _rmem_max()
    if granted is not None and granted < RECEIVE_BUFFER:
        yield hint(
            ABOUT,
            f"net.core.rmem_max is {in_octets(granted)}: a burst of queries may be lost",
            f"sysctl -w net.core.rmem_max={RMEM_WANTED} (to stay: in /etc/sysctl.d)",
        )
    if time.time() * 1000 < PLAUSIBLE_MS:
        now = time.strftime("%Y-%m-%d", time.gmtime())
        text = f"the clock says {now}: what was cached before counts as stale"
        yield wrong(ABOUT, text, "set it: timedatectl set-ntp true")


def _directory(config: Config) -> Finding:
    place = config.state_dir
    where = path_text(place)
    try:
        if not _is_there(place):
            above = next(one for one in place.parents if one.exists())
            if os.statvfs(above).f_flag & os.ST_RDONLY:
                return wrong(ABOUT, f"{where} cannot be made: {above} is read-only", ELSEWHERE)
            return ok(ABOUT, f"{where} is not there yet; fastdns makes it")
        found = place.stat()
        room = os.statvfs(place)
    except OSError as error:
        return wrong(ABOUT, f"{where}: {error.strerror}", ELSEWHERE)
    if not stat.S_ISDIR(found.st_mode):
        return wrong(ABOUT, f"{where} is no directory", ELSEWHERE)
    if found.st_mode & 0o300 != 0o300:
        return wrong(ABOUT, f"{where}: its owner may not write there", f"chmod u+rwx {where}")
    return _room(where, room, config)


def _is_there(place: Path) -> bool:
    """Return whether anything is; OSError: that cannot be seen."""
    try:
        os.lstat(place)
    except FileNotFoundError:
        return False
    return True


def _room(where: str, room: os.statvfs_result, config: Config) -> Finding:
    free = room.f_bavail * room.f_frsize
    if room.f_flag & os.ST_RDONLY:
        do = f"mount -o remount,rw the file system of {where}"
        return wrong(ABOUT, f"{where} is read-only: what is learned is lost at a restart", do)
    if config.cache.disk and free < ROOM_MIN:
        do = "make room, or lower cache.disk"
        return wrong(ABOUT, f"{where}: only {in_octets(free)} are free on its disk", do)
    return ok(ABOUT, f"{where} can be written, {in_octets(free)} are free")


def _rmem_max() -> int | None:
    """Return the octets that a socket may have without privileges; None: this kernel hides it."""
    try:
        return int(RMEM_MAX.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
