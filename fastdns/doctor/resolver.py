"""Points this machine's own programs at fastdns, and never so that fastdns asks itself.

fastdns without configured upstreams reads the nameservers of resolv.conf. They stay there, after
fastdns's own address, which it leaves out: so the upstreams remain known and followed, and the C
library falls back on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..config.schema import Config
from ..config.values import Address
from ..errors import FastdnsError
from ..upstream.system import is_ourselves, system_servers
from . import probe, resolv, units
from .changes import Content, FileChange
from .commands import Commands
from .findings import Finding, Remedy, hint, ok, wrong
from .record import Record
from .services import MARK, RESOLVED

ABOUT = "resolver"
DROP_IN = Path("/etc/systemd/resolved.conf.d/fastdns-resolver.conf")
RESOLVED_SECONDS = 5.0
ANSWER_SECONDS = 2.0
TAKEN_IN_SECONDS = 1.0  # until other programs have read resolv.conf again
STUB = Address("127.0.0.53", 53)
POINT = "doctor --fix --resolver"
_HOW = {
    "NetworkManager": "dns=none under [main] in /etc/NetworkManager/conf.d/fastdns.conf and "
    "nameserver {host} in /etc/resolv.conf, then systemctl reload NetworkManager",
    "resolvconf": "nameserver {host} in /etc/resolvconf/resolv.conf.d/head, then resolvconf -u "
    "(openresolv: name_servers={host} in /etc/resolvconf.conf)",
    "dhclient": "prepend domain-name-servers {host}; in /etc/dhcp/dhclient.conf, "
    "then ifdown and ifup the interface",
    "dhcpcd": "static domain_name_servers={host} in /etc/dhcpcd.conf, then restart dhcpcd",
}


def look(config: Config, daemon: int | None, commands: Commands) -> Iterator[Finding]:
    """Say which resolver this machine's own programs use; `daemon`: the pid of fastdns."""
    yield _look(config, daemon, commands)


def _look(config: Config, daemon: int | None, commands: Commands) -> Finding:
    point = commands.line(POINT)
    named = resolv.nameservers()
    if not named:
        return hint(ABOUT, f"{resolv.RESOLV_CONF} names no nameserver", point)
    if resolv.names_stub() and not units.is_active(RESOLVED) and not _answers(STUB.host):
        do = f"ln -sf {resolv.UPLINK_RESOLV_CONF} {resolv.RESOLV_CONF}"
        text = f"{resolv.RESOLV_CONF} names systemd-resolved's stub, which does not answer"
        return wrong(ABOUT, text, do)
    host = _host_in_use(config)
    if host is None:
        text = f"this machine's resolver is {named[0]}, not fastdns (to change that: {point})"
        return ok(ABOUT, text)
    if daemon is not None:
        through = ", through systemd-resolved" if host not in named else ""
        return ok(ABOUT, f"this machine's resolver is fastdns ({host}){through}")
    if _answers(host):
        return ok(ABOUT, f"this machine's resolver is {host}, where another program answers now")
    do = f"start fastdns, or undo that: {commands.line('doctor --undo')}"
    return wrong(ABOUT, f"this machine's resolver is {host}, where nothing answers", do)


def is_pointed(config: Config) -> bool:
    """Return True if this machine's own programs use fastdns's address."""
    return _host_in_use(config) is not None


def pointing(config: Config) -> Remedy:
    """Return the remedy; FastdnsError says why it is impossible, and what the user can do."""
    host = _own_host(config)
    if not probe.resolves(Address(host, 53)):
        raise FastdnsError(
            f"fastdns at {host}:53 does not answer from an upstream yet, so nothing was changed"
        )
    manager = resolv.manager()
    if manager == resolv.RESOLVED:
        return _by_resolved(config, host)
    if manager is not None:
        how = _HOW.get(manager, "set nameserver {host} in that program's settings")
        first = "" if config.upstream.servers else f"{_keep_upstreams(config)}; then "
        raise FastdnsError(
            f"{resolv.RESOLV_CONF} is written by {manager}, which would undo a change: "
            f"{first}{how.format(host=host)}"
        )
    return _by_file(config, host)


def _by_file(config: Config, host: str) -> Remedy:
    others: list[str] = []
    if not config.upstream.servers:
        own = config.listen.dns
        servers = system_servers(resolv.RESOLV_CONF, resolv.UPLINK_RESOLV_CONF, own)
        others = [one.address.host for one in servers]
    keep = _keep_upstreams(config)

    def apply(record: Record) -> str:
        now = FileChange.of(resolv.RESOLV_CONF, Content())
        text = now.before.text if now.before is not None and now.before.text else ""
        after = Content(MARK + resolv.pointed(text, host, others))
        with record.all_or_nothing():
            record.make(FileChange.of(resolv.RESOLV_CONF, after))
            _check_upstreams(config, keep)
            _check_for_loop(host)
        return f"{resolv.RESOLV_CONF} names {host}"

    behind = f"; {', '.join(others)} stays behind it, because fastdns asks it" if others else ""
    return Remedy(f"write nameserver {host} into {resolv.RESOLV_CONF}{behind}", apply)


def _by_resolved(config: Config, host: str) -> Remedy:
    if not units.is_active(RESOLVED):
        raise FastdnsError(
            f"{resolv.RESOLV_CONF} is systemd-resolved's, which does not run: "
            f"systemctl start {RESOLVED}, or replace {resolv.RESOLV_CONF} by a file"
        )
    keep = _keep_upstreams(config)

    def apply(record: Record) -> str:
        # The empty line removes what other files set; servers of links stay known.
        text = f"{MARK}[Resolve]\nDNS=\nDNS={host}\nDomains=~.\n"
        with record.all_or_nothing():
            record.make(FileChange.of(DROP_IN, Content(text), reader=RESOLVED))
            if not _in_time(lambda: host in resolv.nameservers(resolv.UPLINK_RESOLV_CONF)):
                raise FastdnsError(f"systemd-resolved did not accept {DROP_IN}; that was undone")
            _check_upstreams(config, keep)
            _check_for_loop(host)
            if resolv.names_stub() and not _in_time(lambda: probe.resolves(STUB)):
                raise FastdnsError("systemd-resolved gets no answers that way; that was undone")
        return f"systemd-resolved asks {host}"

    return Remedy(f"make systemd-resolved ask {host} for all names ({DROP_IN})", apply)


def _check_upstreams(config: Config, keep: str) -> None:
    """Check that fastdns still finds its upstreams, at its next start as well.

    FastdnsError ends with the setting that keeps them.
    """
    if config.upstream.servers:
        return
    own = config.listen.dns
    if not system_servers(resolv.RESOLV_CONF, resolv.UPLINK_RESOLV_CONF, own):
        raise FastdnsError(f"fastdns would lose its upstreams, so that was undone: {keep}")


def _check_for_loop(host: str) -> None:
    """Check that fastdns still gets answers: one of its upstreams may ask this machine."""
    time.sleep(TAKEN_IN_SECONDS)
    if not probe.resolves(Address(host, 53)):
        raise FastdnsError(
            f"fastdns at {host}:53 gets no answers that way, so that was undone: does one of "
            "its upstreams ask this machine's resolver? Name others in upstream.servers"
        )


def _keep_upstreams(config: Config) -> str:
    own = config.listen.dns
    servers = system_servers(resolv.RESOLV_CONF, resolv.UPLINK_RESOLV_CONF, own)
    named = ", ".join(f'"{one.address.host}"' for one in servers) or '"9.9.9.9"'
    return f"first name them in the configuration, servers = [{named}] under [upstream]"


def _own_host(config: Config) -> str:
    """Return the address by which this machine reaches fastdns; resolv.conf has no ports."""
    at_port = [one for one in config.listen.dns if one.port == 53 and "%" not in one.host]
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    hosts = [near.get(one.host, one.host) for one in at_port]
    if not hosts:
        raise FastdnsError(
            "fastdns does not listen on port 53, so it cannot be this machine's resolver"
        )
    return next((one for one in hosts if one in near.values()), hosts[0])


def _host_in_use(config: Config) -> str | None:
    """Return the address by which this machine asks us, if it does."""
    path = resolv.UPLINK_RESOLV_CONF if resolv.names_stub() else resolv.RESOLV_CONF
    named = resolv.nameservers(path)
    return named[0] if named and _is_fastdns(named[0], config) else None


def _is_fastdns(host: str, config: Config) -> bool:
    try:
        return is_ourselves(Address(host, 53), config.listen.dns)
    except ValueError:
        return False


def _answers(host: str) -> bool:
    try:
        probe.ask(Address(host, 53), probe.ROOT_NS, tcp=False, timeout=ANSWER_SECONDS)
    except OSError:
        return False
    return True


def _in_time(holds: Callable[[], bool]) -> bool:
    """Wait until it holds; systemd-resolved writes its files soon after it has started."""
    until = time.monotonic() + RESOLVED_SECONDS
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
