"""The daemon: does it run, does it answer, and where?"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

from ..config.places import Places
from ..config.schema import Config
from ..config.text import path_text
from ..config.units import in_time
from ..config.values import Address
from ..counters import Pages
from ..errors import FastdnsError
from ..listen.services import SERVICES
from ..machine.lan import read_lan
from ..policy.access import Lan, open_addresses, rule_for
from ..upstream.system import is_local
from . import probe, units
from .commands import Commands
from .findings import Finding, Remedy, hint, ok, wrong
from .probe import Reply, said
from .processes import restart
from .record import Record
from .running import Daemon, plain

ABOUT = "daemon"
OWN_SECONDS = 2.0
ADDRESSES_AT_ONCE = 8
PORTS = 16  # to ask from: so each of a few workers gets a query
WHOLE_SECONDS = 5.0  # to an upstream and back, with all attempts


def look(
    config: Config, running: Daemon | None, commands: Commands, *, may_start: bool = True
) -> Iterator[Finding]:
    """Say whether it runs and answers; `may_start`: nothing prevents a start."""
    if running is None:
        yield _absent(commands, may_start=may_start)
        return
    over_udp: list[Address] = []
    over_both: list[Address] = []
    problems = 0
    some_are_lost = False
    addresses = [probe.near(address) for address in config.listen.dns if address.port]
    with ThreadPoolExecutor(ADDRESSES_AT_ONCE) as pool:
        cookies = list(pool.map(partial(_cookie, config), addresses))
        told = list(pool.map(_ask_often, addresses, cookies))
    for near, cookie, (replies, errors) in zip(addresses, cookies, told, strict=True):
        if not replies and errors[0].errno == errno.EADDRNOTAVAIL and running.addresses is None:
            continue  # no IPv6 here, which is fine
        denial = _denial(config, near, replies, commands)
        if denial is not None or not replies:
            problems += 1
            yield denial or _silent(running, near, errors[0], commands, how="UDP")
            continue
        if errors:
            some_are_lost = True
            may_be_limited = bool(config.access.rate_limit) and not cookie
            if may_be_limited:
                yield _limited(near, len(errors))
                continue
            yield _half_silent(running, near, len(errors), commands)
        over_udp.append(near)
        finding = _over_tcp(config, running, near, commands)
        if finding is not None:
            yield finding
        elif not errors:
            over_both.append(near)
    if over_both:
        where = " and ".join(map(str, over_both))
        yield ok(ABOUT, f"{running} answers on {where}, over UDP and TCP")
    if over_udp:
        cookie = cookies[addresses.index(over_udp[0])]
        yield _whole_way(over_udp[0], PORTS if some_are_lost else 1, cookie)
    elif not problems:
        yield ok(ABOUT, f"{running} runs")
    if units.is_known(units.FASTDNS) and not units.is_enabled(units.FASTDNS):
        text = f"{units.FASTDNS} does not start with the system"
        yield hint(ABOUT, text, f"systemctl enable {units.FASTDNS}")


def look_at_addresses(config: Config, running: Daemon, commands: Commands) -> Iterator[Finding]:
    """Say where the daemon listens, if the configuration differs."""
    if running.addresses is None:
        return
    wanted = [(name, one) for name, one in config.listen.addresses if one.port]
    if config.listen.has_default_dns:  # no IPv6 here: it is left out
        wanted = [(name, one) for name, one in wanted if name != "dns" or is_local(one)]
    served_ones = running.served(config.listen)
    if {(name, plain(one)) for name, one in wanted} <= set(served_ones):
        # Service managers may give addresses of plain DNS; the default ones are those that work.
        removed = {one for one in served_ones if one[0] != "dns"} - {
            (name, plain(one)) for name, one in wanted
        }
        is_fixed = all(one.port for _, one in config.listen.addresses)
        if not removed or not is_fixed:
            return
    served = " and ".join(SERVICES[name].spell(one) for name, one in served_ones)
    named = " and ".join(SERVICES[name].spell(one) for name, one in wanted)
    text = f"{running} serves {served}; the configuration says {named}"
    if running.is_told_addresses:
        yield ok(ABOUT, f"{text}, but it was started with --listen")
        return
    problem = running.told.get("reload_problem")
    refused = f"; its last reload was refused: {path_text(problem)}" if problem else ""
    yield hint(
        ABOUT,
        f"{text}: it runs with an earlier configuration{refused}",
        f"correct that, then {commands.line('reload')}" if refused else commands.line("reload"),
    )


def look_at_access(config: Config) -> Iterator[Finding]:
    """Warn of an open resolver."""
    for address, everybody in open_addresses(config):
        yield hint(
            "access",
            f"{address} serves anybody who can reach it, because access.allow has {everybody}: "
            "an open resolver is used for attacks on others",
            'allow = ["loopback", "lan"] under [access], with the prefixes of your clients',
        )


def look_at_protection(config: Config) -> Iterator[Finding]:
    """Name what protects a network whose names are all public: it is off by default."""
    if not config.protect.rebind:
        yield hint(
            "protection",
            "public names may have private addresses: a web page could reach devices in your "
            "network by DNS rebinding",
            "rebind = true under [protect] (docs/rules.md), unless your network needs such names",
        )


def _absent(commands: Commands, *, may_start: bool) -> Finding:
    text = "fastdns does not run"
    # A named file or directory does not belong to fastdns.service.
    if commands.options or not units.is_known(units.FASTDNS):
        return wrong(ABOUT, text, commands.line("serve"))
    do = f"systemctl start {units.FASTDNS} (its log: journalctl -u {units.FASTDNS} -n 20)"
    return wrong(ABOUT, text, do, Remedy(f"start {units.FASTDNS}", _start) if may_start else None)


def _start(_record: Record) -> str:
    units.reset_failed(units.FASTDNS)
    units.change("start", units.FASTDNS)
    if units.is_enabled(units.FASTDNS):
        return f"started {units.FASTDNS}"
    try:
        units.change("enable", units.FASTDNS)  # `--undo` has disabled that
    except FastdnsError as error:
        return f"started {units.FASTDNS}, which does not start with the system ({error})"
    return f"started {units.FASTDNS}, now and with the system"


def _over_tcp(
    config: Config, running: Daemon, address: Address, commands: Commands
) -> Finding | None:
    """Return what is wrong with TCP there; None: nothing."""
    before = _counted(config)
    try:
        probe.ask(address, probe.VERSION, tcp=True, timeout=OWN_SECONDS, has_opt=True)
    except OSError as error:
        after = _counted(config)
        if before is not None and after is not None and after[0] > before[0]:
            number = address.port
            return hint(
                ABOUT,
                f"{running} refuses new TCP connections on {address}: {after[1]} are open, which "
                "is the limit of a client or of all; UDP still works",
                f"see who opened them: ss -tn state established sport = :{number}",
            )
        return _silent(running, address, error, commands, how="TCP")
    return None


def _counted(config: Config) -> tuple[int, int] | None:
    """Return how many TCP connections were refused so far, and how many are open."""
    try:
        pages = Pages.attach(Places(config.state_dir, config.run_dir).counters)
    except (OSError, ValueError):
        return None  # not visible to this user
    return pages.total("tcp_rejected_total"), pages.total("tcp_connections")


def _silent(
    running: Daemon, address: Address, error: OSError, commands: Commands, *, how: str
) -> Finding:
    if not running.pid:  # this user cannot read its lock
        text = (
            f"nothing answers on {address} over {how}: {said(error)}; only root can see what runs"
        )
        return wrong(ABOUT, text, commands.as_root("doctor"))
    text = f"{running} runs, but does not answer on {address} over {how}: {said(error)}"
    if how == "TCP" and os.geteuid() != 0 and isinstance(error, ConnectionError):
        do = f"{commands.as_root('doctor')} says whether its TCP connections are at their limit"
        return hint(ABOUT, text, do)
    do = restart(running)
    if running.addresses is None:
        do = f"{commands.line('reload')}, if listen.dns has changed, or {do}"
    return wrong(ABOUT, text, do)


def _cookie(config: Config, address: Address) -> bytes:
    """Return a cookie of the daemon: our queries are more than access.rate_limit may allow."""
    return probe.cookie_of(address, OWN_SECONDS) if config.access.rate_limit else b""


def _ask_often(address: Address, cookie: bytes) -> tuple[list[Reply], list[OSError]]:
    return _sorted(probe.ask_often(address, probe.VERSION, PORTS, OWN_SECONDS, cookie))


def _sorted(told: Iterable[Reply | OSError]) -> tuple[list[Reply], list[OSError]]:
    replies, errors = [], []
    for one in told:
        if isinstance(one, OSError):
            errors.append(one)
        else:
            replies.append(one)
    return replies, errors


def _half_silent(running: Daemon, address: Address, lost: int, commands: Commands) -> Finding:
    is_root = os.geteuid() == 0
    return wrong(
        ABOUT,
        f"{running} does not answer {lost} of {PORTS} queries to {address} over UDP: the "
        "kernel chooses a worker by the client's port, and one worker hangs",
        "see below which one" if is_root else f"{commands.as_root('doctor')} says which one",
    )


def _limited(address: Address, lost: int) -> Finding:
    return hint(
        ABOUT,
        f"{lost} of {PORTS} queries to {address} over UDP had no answer: this machine may be above "
        "access.rate_limit, or one worker hangs",
        f"{address.host} in access.rate_exempt; then reload and run doctor again",
    )


def _denial(
    config: Config, address: Address, replies: Sequence[Reply], commands: Commands
) -> Finding | None:
    """Return what to say if this machine may not ask itself; None: it may."""
    is_told = any(one.is_denial for one in replies)
    if not is_told and (replies or config.access.refuse != "drop"):
        return None
    try:
        lan = read_lan()
    except OSError:
        lan = Lan()
    may_ask, rule = rule_for(config.access, lan, ip_address(address.host.partition("%")[0]))
    if may_ask and not is_told:
        return None
    does = "refuses" if is_told else "does not answer"
    told = " (REFUSED, Extended DNS Error 18)" if is_told else " (access.refuse is drop)"
    if may_ask:
        text = f"{address} {does} this machine{told}, but the configuration allows it"
        return wrong(
            ABOUT, f"{text}: fastdns runs with an earlier configuration", commands.line("reload")
        )
    return wrong(
        ABOUT,
        f"{address} {does} this machine{told}: {rule}",
        f"allow {address.host} under [access], if fastdns should serve this machine; "
        f"then {commands.line('reload')}",
    )


def _whole_way(address: Address, ports: int, cookie: bytes) -> Finding:
    told = probe.ask_often(address, probe.ROOT_NS, ports, WHOLE_SECONDS, cookie)
    replies, errors = _sorted(told)
    if not replies:
        text = f"{address} does not answer . NS: {said(errors[0])}"
        return wrong(ABOUT, text, "see the upstreams below")
    reply = min(replies, key=lambda one: (not one.is_good, one.seconds))
    if not reply.is_good:
        return wrong(ABOUT, f"{address} answers {reply} to . NS", "see the upstreams below")
    return ok(ABOUT, f"{address} resolves (. NS, {in_time(reply.seconds)})")
