"""Programs on port 53: which they are, and how each one frees it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from pathlib import Path

import attrs

from ..config.values import Address
from ..errors import FastdnsError
from ..machine.port_owners import Port, Process, read_process
from . import units
from .changes import Content, FileChange, UnitChange
from .commands import USUAL, Commands
from .findings import Remedy
from .other_machines import SERVE_ALL, uncovered
from .record import Record
from .resolv import RESOLV_CONF, UPLINK_RESOLV_CONF, names_stub

RESOLVED = "systemd-resolved.service"
RESOLVED_NAME = "systemd-resolve"  # as far as the kernel keeps it
DNSMASQ = "dnsmasq.service"
RESOLVED_DROP_IN = Path("/etc/systemd/resolved.conf.d/fastdns.conf")
DNSMASQ_DROP_IN = Path("/etc/dnsmasq.d/fastdns.conf")
DNSMASQ_FILES = (Path("/etc/dnsmasq.conf"), Path("/etc/dnsmasq.d"))
DHCP_PORTS = (67, 547)
ELSEWHERE = "or name other addresses in listen.dns"
MARK = "# Written by `fastdns doctor --fix`; `fastdns doctor --undo` removes it.\n"
# Resolvers and servers that only do DNS, by their units in Debian.
STOPPABLE = re.compile(
    r"(named|bind9|unbound|pdns-recursor|pdns|dnsdist|kresd@\w+|knot-resolver|smartdns"
    r"|nsd|knot|stubby)\.service"
)
_AUTHORITATIVE = re.compile(r"(named|bind9|pdns|nsd|knot)\.service")
_CONVERTED = (DNSMASQ, "unbound.service")
_DHCP = re.compile(r"^\s*(dhcp-range|enable-ra|enable-tftp|pxe-service|dhcp-host)\b", re.M)
_DNS_OPTION = re.compile(r"^\s*dhcp-option\S*=\S*(option:dns-server|(?<![:\w.])6,)", re.M)


@attrs.frozen
class Way:
    """How a program frees the port."""

    do: str
    remedy: Remedy | None = None


def way_out(
    process: Process,
    addresses: Sequence[Address],
    wanted: Collection[Address],
    served: Sequence[Address] = (),
    commands: Commands = USUAL,
) -> Way:
    """Return how the process frees the addresses that we want.

    `served` has all its addresses: other machines may use them.
    """
    lost = uncovered(served, wanted)
    if process.name.startswith(RESOLVED_NAME):
        return _resolved(addresses, lost)
    if process.name == "dnsmasq":
        return _dnsmasq_of_others(process) or _dnsmasq(process, wanted, lost, commands)
    return _any(process, lost)


def _any(process: Process, lost: Sequence[Address] = ()) -> Way:
    unit = process.unit or ""
    is_service = unit.endswith(".service") and not unit.startswith("user@")
    disable = f"systemctl disable --now {unit}"
    if process.pid == 1:
        return Way("systemctl list-sockets shows which unit has systemd hold it; disable that one")
    if process.name == "docker-proxy":
        return Way(f"docker ps --filter publish=53 shows the container: stop it, {ELSEWHERE}")
    if process.name.startswith("fastdns") or "fastdns serve" in process.command:
        how = disable if is_service else f"kill {process.pid}"
        return Way(f"another fastdns, with another state_dir: {how}, {ELSEWHERE}")
    if is_service:
        remedy = _stop_for_good(unit, lost) if STOPPABLE.fullmatch(unit) else None
        return Way(f"{disable}, {ELSEWHERE}", remedy)
    return Way(f"kill {process.pid}, {ELSEWHERE}")


def _cut_off(lost: Sequence[Address]) -> str:
    """Return the warning about other machines, "" if there are none; before and after."""
    if not lost:
        return ""
    where = " and ".join(map(str, lost))
    return (
        f"; OTHER MACHINES that use it at {where} then have no DNS, because fastdns does not "
        f"listen there (to serve them: {SERVE_ALL} in the configuration)"
    )


def _stop_for_good(unit: str, lost: Sequence[Address]) -> Remedy | None:
    if not units.systemd_runs():
        return None

    def apply(record: Record) -> str:
        record.make(UnitChange.of(unit, lost))
        return f"stopped {unit}, which no longer starts with the system{_cut_off(lost)}"

    asks = f"stop {unit} and keep it from starting with the system"
    its_own = "zones" if _AUTHORITATIVE.fullmatch(unit) else "local names, rules for domains, lists"
    if unit in _CONVERTED:
        its_own += "; fastdns import-config converts its configuration"
    asks += f" (it no longer answers itself: {its_own}){_cut_off(lost)}"
    return Remedy(asks, apply)


# systemd-resolved


def _resolved(addresses: Sequence[Address], lost: Sequence[Address]) -> Way:
    extra = any(not one.host.startswith("127.0.0.5") for one in addresses)
    settings = "DNSStubListener=no" + ("\nDNSStubListenerExtra=" if extra else "")
    shown = settings.replace("\n", " and ")
    do = f"{shown} under [Resolve] in {RESOLVED_DROP_IN}, then systemctl restart {RESOLVED}"
    if not units.systemd_runs():
        return Way(do)

    def apply(record: Record) -> str:
        after = Content(f"{MARK}[Resolve]\n{settings}\n")
        with record.all_or_nothing():
            record.make(FileChange.of(RESOLVED_DROP_IN, after, reader=RESOLVED, needs_port=True))
            if not _has_left(addresses):
                raise FastdnsError(
                    "systemd-resolved keeps the port, so that was undone; another file overrides "
                    "it: systemd-analyze cat-config systemd/resolved.conf"
                )
            if names_stub(RESOLV_CONF):
                link = Content(link=str(UPLINK_RESOLV_CONF))
                record.make(FileChange.of(RESOLV_CONF, link))
        return f"systemd-resolved has freed the port; the rest of it still works{_cut_off(lost)}"

    asks = f"make systemd-resolved free the port ({shown}) and restart it{_cut_off(lost)}"
    return Way(do, Remedy(asks, apply))


def _has_left(addresses: Sequence[Address]) -> bool:
    """Return True if systemd-resolved listens on none of these addresses."""
    port = Port.look(addresses[0].port)
    pids = port.pids(one for one in port.bound if one.address in addresses)
    return not any(one.name.startswith(RESOLVED_NAME) for one in map(read_process, pids) if one)


# dnsmasq


def _dnsmasq_of_others(process: Process) -> Way | None:
    """Return how to handle a dnsmasq that another program has started."""
    unit, command = process.unit or "", process.command
    if unit == DNSMASQ:
        return None
    if unit == "NetworkManager.service":
        return Way(
            "dns=default under [main] in /etc/NetworkManager/conf.d/fastdns.conf, "
            "then systemctl restart NetworkManager"
        )
    if "libvirt" in unit + command or "lxc" in unit + command or "incus" in command:
        return Way(
            "it serves virtual machines on their own bridge: name addresses in listen.dns "
            "instead of 0.0.0.0 and [::]"
        )
    return _any(process)


def _dnsmasq(
    process: Process,
    wanted: Collection[Address],
    lost: Sequence[Address],
    commands: Commands,
) -> Way:
    text = _dnsmasq_configuration()
    if not (_DHCP.search(text) or _serves_dhcp(process)):
        return Way(f"systemctl disable --now {DNSMASQ}", _stop_for_good(DNSMASQ, lost))
    if all(ip_address(one.host.partition("%")[0]).is_loopback for one in wanted):
        return Way(
            "it is this network's DHCP server and tells clients to ask it: make fastdns serve "
            f"them ({SERVE_ALL}), then {commands.line('doctor --fix')} again"
        )
    settings = _dns_off(text)
    do = f"{' and '.join(settings)} in {DNSMASQ_DROP_IN}, then systemctl restart {DNSMASQ}"
    if not units.systemd_runs() or str(DNSMASQ_DROP_IN.parent) not in process.command:
        return Way(do)

    def apply(record: Record) -> str:
        after = Content(MARK + "".join(f"{line}\n" for line in settings))
        with record.all_or_nothing():
            record.make(FileChange.of(DNSMASQ_DROP_IN, after, reader=DNSMASQ, needs_port=True))
            if not units.is_active(DNSMASQ):
                raise FastdnsError(
                    f"{DNSMASQ} does not start with that change: journalctl -u {DNSMASQ}"
                )
        return f"dnsmasq serves DHCP only{_cut_off(lost)}"

    asks = (
        "make dnsmasq serve DHCP only and send its clients to fastdns "
        f"({' and '.join(settings)}); names that it answers itself no longer work: "
        "names of DHCP clients, local names, rules for domains; fastdns import-config converts "
        f"its configuration{_cut_off(lost)}"
    )
    return Way(do, Remedy(asks, apply))


def _dns_off(configuration: str) -> list[str]:
    """Return the settings for it.

    Without DNS, dnsmasq no longer announces itself to its clients as a server, unless told to.
    """
    if _DNS_OPTION.search(configuration):
        return ["port=0"]
    return [
        "port=0",
        "dhcp-option=option:dns-server,0.0.0.0",
        "dhcp-option=option6:dns-server,[::]",
    ]


def _dnsmasq_configuration() -> str:
    """Return its whole configuration, as far as readable."""
    main, directory = DNSMASQ_FILES
    files = [main, *(sorted(directory.iterdir()) if directory.is_dir() else ())]
    texts = []
    for file in files:
        try:
            texts.append(file.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)


def _serves_dhcp(process: Process) -> bool:
    """Return True if it listens where DHCP clients ask."""
    ports = map(Port.look, DHCP_PORTS)
    return any(process.pid in port.pids(port.bound) for port in ports)
