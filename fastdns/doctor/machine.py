"""The machine: fastdns's directory, the kernel's buffers, the clock."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .._clock import PLAUSIBLE_MS
from ..config.schema import Config
from ..config.text import path_text
from ..config.units import in_octets
from ..config.values import MIB
from ..machine.receive_buffer import RECEIVE_BUFFER
from .findings import Finding, hint, ok, wrong

ABOUT = "machine"
RMEM_MAX = Path("/proc/sys/net/core/rmem_max")
RMEM_WANTED = 8 * MIB
ROOM_MIN = 16 * MIB
ELSEWHERE = "choose another state_dir"


def look(config: Config) -> Iterator[Finding]:
    """Check that there is room, also for bursts, and that the clock is plausible."""
    yield _directory(config)
    granted = _rmem_max()
    if granted is not None and granted < RECEIVE_BUFFER:
        yield hint(
            ABOUT,
            f"net.core.rmem_max is {in_octets(granted)}: a burst of queries may be lost",
            f"sysctl -w net.core.rmem_max={RMEM_WANTED} (permanently: in /etc/sysctl.d)",
        )
    if time.time() * 1000 < PLAUSIBLE_MS:
        now = time.strftime("%Y-%m-%d", time.gmtime())
        text = f"the clock says {now}: older cache entries count as stale"
        yield wrong(ABOUT, text, "set it: timedatectl set-ntp true")


def _directory(config: Config) -> Finding:
    place = config.state_dir
    where = path_text(place)
    try:
        if not _is_there(place):
            above = next(one for one in place.parents if one.exists())
            if os.statvfs(above).f_flag & os.ST_RDONLY:
                return wrong(ABOUT, f"{where} cannot be created: {above} is read-only", ELSEWHERE)
            return ok(ABOUT, f"{where} does not exist yet; fastdns creates it")
        found = place.stat()
        room = os.statvfs(place)
    except OSError as error:
        return wrong(ABOUT, f"{where}: {error.strerror}", ELSEWHERE)
    if not stat.S_ISDIR(found.st_mode):
        return wrong(ABOUT, f"{where} is not a directory", ELSEWHERE)
    if found.st_mode & 0o300 != 0o300:
        return wrong(ABOUT, f"{where}: its owner has no write permission", f"chmod u+rwx {where}")
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
        return wrong(ABOUT, f"{where} is read-only: new answers are lost at a restart", do)
    if config.cache.disk and free < ROOM_MIN:
        do = "free some space, or lower cache.disk"
        return wrong(ABOUT, f"{where}: its disk has only {in_octets(free)} free", do)
    return ok(ABOUT, f"{where} is writable, {in_octets(free)} free")


def _rmem_max() -> int | None:
    """Return the bytes that a socket may have without privileges; None: this kernel hides it."""
    try:
        return int(RMEM_MAX.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
