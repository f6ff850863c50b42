"""/etc/resolv.conf: the resolver of this machine's programs, and the program that writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..upstream.sources import RESOLV_CONF, STUB_RESOLV_CONF
from ..upstream.system import STUBS

__all__ = ["RESOLV_CONF", "UPLINK_RESOLV_CONF", "manager", "names_stub", "nameservers", "pointed"]

UPLINK_RESOLV_CONF = STUB_RESOLV_CONF  # the real ones, behind the stub
RESOLVED = "systemd-resolved"
# Words in the path that the file links to, or in its comments.
_MANAGERS = {
    "/systemd/resolve": RESOLVED,
    "systemd-resolved": RESOLVED,
    "NetworkManager": "NetworkManager",
    "resolvconf": "resolvconf",
    "connman": "connman",
    "dhcpcd": "dhcpcd",
    "dhclient": "dhclient",
}


def nameservers(path: Path = RESOLV_CONF) -> list[str]:
    """Return the addresses in the file, as written there."""
    lines = (line.split() for line in _text(path).splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def names_stub(path: Path = RESOLV_CONF) -> bool:
    """Return True if the file names systemd-resolved's stub."""
    return not STUBS.isdisjoint(nameservers(path))


def manager(path: Path = RESOLV_CONF) -> str | None:
    """Return which program writes the file; None: the administrator."""
    target = os.path.realpath(path)
    comments = "\n".join(re.findall(r"^\s*[#;].*", _text(path), re.M))
    for where in (target if path.is_symlink() else "", comments):
        for mark, name in _MANAGERS.items():
            if mark.lower() in where.lower():
                return name
    if path.is_symlink():
        return f"the program that writes {target}"
    if names_stub(path):
        return RESOLVED
    return _dhcp_client()


def pointed(text: str, host: str, others: Sequence[str]) -> str:
    """Return the text with these nameservers instead of its own."""
    lines = text.splitlines()
    kept = [line for line in lines if line.split()[:1] != ["nameserver"]]
    at = next((n for n, line in enumerate(lines) if line not in kept), len(kept))
    named = [f"nameserver {one}" for one in (host, *others)]
    return "".join(f"{line}\n" for line in [*kept[:at], *named, *kept[at:]])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _dhcp_client() -> str | None:
    """Return a running DHCP client that writes the file without a comment in it."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        name = _text(Path(entry.path, "comm")).strip()
        if name in ("dhclient", "dhcpcd", "udhcpc") and _is_of_this_network(entry.path):
            return name
    return None


def _is_of_this_network(process: str) -> bool:
    try:
        return os.readlink(f"{process}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:
        return True
