"""The daemon: does it run, does it answer, and where?"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from ..config.places import Places
from ..config.schema import Address, Config, Listen
from ..counters import Pages
from ..errors import FastdnsError
from ..policy.access import open_addresses
from ..upstream.system import is_local
from . import probe, units
from .findings import Finding, Remedy, hint, ok, wrong
from .probe import said
from .record import Record
from .running import Daemon

ABOUT = "daemon"
OWN_SECONDS = 2.0
WHOLE_SECONDS = 5.0  # to an upstream and back, with all that is tried there


def look(config: Config, running: Daemon | None, *, may_start: bool) -> Iterator[Finding]:
    """Say whether it runs and answers; `may_start`: nothing is in the way of starting it."""
    if running is None:
        yield _absent(may_start=may_start)
        return
    over_udp: list[Address] = []
    over_both: list[Address] = []
    silent = 0
    for address in config.listen.dns:
        if address.port == 0:
            continue
        near = _near(address)
        try:
            probe.ask(near, probe.VERSION, tcp=False, timeout=OWN_SECONDS)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and running.addresses is None:
                continue  # no IPv6 here, which is no reason not to serve
            silent += 1
            yield _silent(running, near, error, how="UDP")
            continue
        over_udp.append(near)
        finding = _over_tcp(config, running, near)
        if finding is None:
            over_both.append(near)
        else:
            yield finding
    if over_both:
        where = " and ".join(map(str, over_both))
        yield ok(ABOUT, f"{running} answers on {where}, over UDP and TCP")
    if over_udp:
        yield _whole_way(over_udp[0])
    elif not silent:
        yield ok(ABOUT, f"{running} runs")
    if units.is_known(units.FASTDNS) and not units.is_enabled(units.FASTDNS):
        text = f"{units.FASTDNS} does not start with the system"
        yield hint(ABOUT, text, f"systemctl enable {units.FASTDNS}")


def look_at_addresses(config: Config, running: Daemon) -> Iterator[Finding]:
    """Say where the daemon listens, when that is not what the configuration says."""
    if running.addresses is None:
        return
    wanted = [one for one in config.listen.dns if one.port]
    if config.listen == Listen():
        wanted = [one for one in wanted if is_local(one)]  # no IPv6 here: it is left out
    if set(map(_plain, wanted)) <= set(running.addresses):
        return
    served, named = " and ".join(map(str, running.addresses)), " and ".join(map(str, wanted))
    text = f"{running} serves {served}; the configuration says {named}"
    if running.is_told_addresses:
        yield ok(ABOUT, f"{text}, but it was started with --listen")
    else:
        yield hint(ABOUT, f"{text}: it runs with an earlier one", "fastdns reload")


def look_at_access(config: Config) -> Iterator[Finding]:
    """Warn of an open resolver."""
    for address, everybody in open_addresses(config):
        yield hint(
            "access",
            f"{address} serves anybody who can reach it, because access.allow has {everybody}: "
            "an open resolver is used for attacks on others",
            'allow = ["loopback", "lan"] under [access], with the prefixes of your own clients',
        )


def _absent(*, may_start: bool) -> Finding:
    text = "fastdns does not run"
    if not units.is_known(units.FASTDNS):
        return wrong(ABOUT, text, "fastdns serve")
    do = f"systemctl start {units.FASTDNS} (what it says: journalctl -u {units.FASTDNS} -n 20)"
    return wrong(ABOUT, text, do, Remedy(f"start {units.FASTDNS}", _start) if may_start else None)


def _start(_record: Record) -> str:
    units.forgive(units.FASTDNS)
    units.change("start", units.FASTDNS)
    if units.is_enabled(units.FASTDNS):
        return f"started {units.FASTDNS}"
    try:
        units.change("enable", units.FASTDNS)  # `--undo` has ended that
    except FastdnsError as error:
        return f"started {units.FASTDNS}, which does not start with the system ({error})"
    return f"started {units.FASTDNS}, now and with the system"


def _over_tcp(config: Config, running: Daemon, address: Address) -> Finding | None:
    """Return what is wrong with TCP there; None: nothing."""
    before = _counted(config)
    try:
        probe.ask(address, probe.VERSION, tcp=True, timeout=OWN_SECONDS)
    except OSError as error:
        after = _counted(config)
        if before is not None and after is not None and after[0] > before[0]:
            number = address.port
            return hint(
                ABOUT,
                f"{running} refuses new TCP connections on {address}: {after[1]} are open, which "
                "is the limit of a client or of all; UDP goes on",
                f"see whose they are: ss -tn state established sport = :{number}",
            )
        return _silent(running, address, error, how="TCP")
    return None


def _counted(config: Config) -> tuple[int, int] | None:
    """Return how many TCP connections were refused so far, and how many are open."""
    try:
        pages = Pages.attach(Places(config.state_dir, config.run_dir).counters)
    except (OSError, ValueError):
        return None  # not ours to see
    return pages.total("tcp_rejected_total"), pages.total("tcp_connections")


def _silent(running: Daemon, address: Address, error: OSError, *, how: str) -> Finding:
    if not running.pid:  # its lock is not ours to read
        text = f"nobody answers on {address} over {how}: {said(error)}; only root sees who runs"
        return wrong(ABOUT, text, "sudo fastdns doctor")
    text = f"{running} runs, but does not answer on {address} over {how}: {said(error)}"
    if how == "TCP" and os.geteuid() != 0 and isinstance(error, ConnectionError):
        do = "sudo fastdns doctor says whether its TCP connections are at their limit"
        return hint(ABOUT, text, do)
    do = f"systemctl restart {running.unit or units.FASTDNS}"
    if running.addresses is None:
        do = f"fastdns reload, if listen.dns has changed, or {do}"
    return wrong(ABOUT, text, do)


def _whole_way(address: Address) -> Finding:
    try:
        reply = probe.ask(address, probe.ROOT_NS, tcp=False, timeout=WHOLE_SECONDS)
    except OSError as error:
        return wrong(ABOUT, f"{address} does not answer . NS: {said(error)}", "fastdns stats")
    if not reply.is_good:
        return wrong(ABOUT, f"{address} answers {reply} to . NS", "see the upstreams below")
    return ok(ABOUT, f"{address} resolves (. NS, {reply.seconds * 1e3:.1f} ms)")


def _near(address: Address) -> Address:
    """Return where this machine reaches what listens there."""
    if address == address.wildcard:
        return Address("::1" if ":" in address.host else "127.0.0.1", address.port)
    return address


def _plain(address: Address) -> Address:
    """Return the address without its interface, which the kernel's tables do not name."""
    return Address(address.host.partition("%")[0], address.port)
