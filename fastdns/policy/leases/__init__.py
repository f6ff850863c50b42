"""Leases of DHCP servers: a module for each format, and where their files usually are."""

from __future__ import annotations

from pathlib import Path

from . import dnsmasq, isc, kea, libvirt, networkd, odhcpd
from .lease import Lease, WrongLine

# In this order the content of a file is compared with them: the strictest first.
FORMATS = {
    "kea": kea,
    "networkd": networkd,
    "libvirt": libvirt,
    "isc": isc,
    "dnsmasq": dnsmasq,
    "odhcpd": odhcpd,
}
PLACES = {
    "dnsmasq": (
        "var/lib/misc/dnsmasq.leases",
        "var/lib/dnsmasq/dnsmasq.leases",
        "var/lib/NetworkManager/dnsmasq-*.leases",
        "etc/pihole/dhcp.leases",
    ),
    "kea": ("var/lib/kea/kea-leases4.csv", "var/lib/kea/kea-leases6.csv"),
    "isc": (
        "var/lib/dhcp/dhcpd.leases",
        "var/lib/dhcp/dhcpd6.leases",
        "var/lib/dhcpd/dhcpd.leases",
        "var/lib/dhcpd/dhcpd6.leases",
    ),
    "networkd": ("var/lib/systemd/network/dhcp-server-lease/*",),
    "libvirt": ("var/lib/libvirt/dnsmasq/*.status",),
}
# OpenWrt keeps them in /tmp, where elsewhere everybody can write.
OPENWRT = "etc/openwrt_release"
OPENWRT_PLACES = {
    "dnsmasq": ("tmp/dhcp.leases",),
    "odhcpd": ("tmp/odhcpd.leases", "tmp/hosts/odhcpd", "tmp/hosts/odhcpd.hosts.*"),
}


def usual_places(root: Path = Path("/")) -> list[tuple[Path, str]]:
    """Return where leases usually are, each with its format; the last part may be a pattern."""
    tables = [PLACES]
    if (root / OPENWRT).exists():
        tables.append(OPENWRT_PLACES)
    return [
        (root / place, name)
        for table in tables
        for name, places in table.items()
        for place in places
    ]


def format_of(text: str) -> str:
    """Return the format of a file of leases; "": it has none of ours."""
    return next((name for name, module in FORMATS.items() if module.is_it(text)), "")


def files_beside(path: Path, name: str) -> tuple[Path, ...]:
    """Return the files that belong to one of this format."""
    if name == "kea":
        return kea.beside(path)
    return libvirt.beside(path) if name == "libvirt" else ()


def read_leases(name: str, text: str, beside: list[str]) -> list[Lease | WrongLine]:
    """Return the leases in a file of this format, and those beside it. ValueError: it is cut off.

    Beside them: lines that are none, where the format can tell.

    A client that tells no name, or has lost its address for another reason than time, has none.
    """
    if name == "libvirt":
        return list(libvirt.leases(text, *beside))
    if name == "kea":
        return list(kea.leases("".join([*beside, text])))
    return list(FORMATS[name].leases(text))
