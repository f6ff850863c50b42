"""The daemon and its upstreams: do they run, and do they answer?"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ..config.schema import Address, Config, Listen, Seconds, Server
from ..server.settings import no_upstream
from ..upstream.sources import Sources
from . import probe, units
from .findings import Finding, Remedy, hint, ok, wrong
from .record import Record

ABOUT = "daemon"
UPSTREAMS = "upstream"
OWN_SECONDS = 2.0
WHOLE_SECONDS = 5.0  # to an upstream and back, with all that is tried there
TRIES = 2
ASKED_MAX = 20


def look(config: Config, daemon: int | None, *, may_start: bool) -> Iterator[Finding]:
    """Say whether it runs and answers; `may_start`: nothing is in the way of starting it."""
    if daemon is None:
        yield _absent(may_start=may_start)
        return
    reached = []
    silent = 0
    for address in config.listen.dns:
        if address.port == 0:
            continue
        near = _near(address)
        try:
            for tcp in (False, True):
                probe.ask(near, probe.VERSION, tcp=tcp, timeout=OWN_SECONDS)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and config.listen == Listen():
                continue  # no IPv6 here, which is no reason not to serve
            silent += 1
            yield _silent(daemon, near, error, tcp=tcp)
        else:
            reached.append(near)
    if reached:
        where = " and ".join(map(str, reached))
        yield ok(ABOUT, f"fastdns (pid {daemon}) answers on {where}, over UDP and TCP")
        yield _whole_way(reached[0])
    elif not silent:
        yield ok(ABOUT, f"fastdns (pid {daemon}) runs")
    if units.is_known(units.FASTDNS) and not units.is_enabled(units.FASTDNS):
        text = f"{units.FASTDNS} does not start with the system"
        yield hint(ABOUT, text, f"systemctl enable {units.FASTDNS}")


def look_at_upstreams(config: Config) -> Iterator[Finding]:
    """Say which upstreams answer a question that every resolver can answer."""
    servers = Sources(config).servers
    if not servers:
        yield wrong(UPSTREAMS, no_upstream(config), 'servers = ["9.9.9.9"] under [upstream]')
        return
    with ThreadPoolExecutor(ASKED_MAX) as pool:
        told = list(pool.map(lambda one: _ask(one, config.upstream.timeout), servers[:ASKED_MAX]))
    some_answer = any(one.state == "ok" for one in told)
    for one in told:
        # With another one that answers, a dead one costs little.
        yield hint(one.about, one.text, one.do) if some_answer and one.state == "wrong" else one
    if len(servers) > ASKED_MAX:
        yield ok(UPSTREAMS, f"{len(servers) - ASKED_MAX} more were not asked")


def _absent(*, may_start: bool) -> Finding:
    text = "fastdns does not run"
    if not units.is_known(units.FASTDNS):
        return wrong(ABOUT, text, "fastdns serve")
    do = f"systemctl start {units.FASTDNS} (what it says: journalctl -u {units.FASTDNS} -n 20)"
    return wrong(ABOUT, text, do, Remedy(f"start {units.FASTDNS}", _start) if may_start else None)


def _start(_record: Record) -> str:
    units.forgive(units.FASTDNS)
    units.change("start", units.FASTDNS)
    return f"started {units.FASTDNS}"


def _silent(daemon: int, address: Address, error: OSError, *, tcp: bool) -> Finding:
    how = "TCP" if tcp else "UDP"
    return wrong(
        ABOUT,
        f"fastdns (pid {daemon}) runs, but does not answer on {address} over {how}: {_said(error)}",
        f"fastdns reload, if listen.dns has changed, or systemctl restart {units.FASTDNS}",
    )


def _whole_way(address: Address) -> Finding:
    try:
        reply = probe.ask(address, probe.ROOT_NS, tcp=False, timeout=WHOLE_SECONDS)
    except OSError as error:
        return wrong(ABOUT, f"{address} does not answer . NS: {_said(error)}", "fastdns stats")
    if not reply.is_good:
        return wrong(ABOUT, f"{address} answers {reply} to . NS", "see the upstreams below")
    return ok(ABOUT, f"{address} resolves (. NS, {reply.seconds * 1e3:.1f} ms)")


def _ask(server: Server, timeout: Seconds) -> Finding:
    do = "name another one in upstream.servers, or see that this machine reaches it"
    problem = ""
    for _ in range(TRIES):
        try:
            tcp = server.transport == "tcp"
            reply = probe.ask(server.address, probe.ROOT_NS, tcp=tcp, timeout=max(timeout, 1.0))
        except OSError as error:
            problem = f"does not answer: {_said(error)}"
        else:
            if reply.is_good:
                return ok(UPSTREAMS, f"{server} answers, in {reply.seconds * 1e3:.1f} ms")
            problem = f"answers {reply} to . NS: it does not resolve for this machine"
    return wrong(UPSTREAMS, f"{server} {problem}", do)


def _near(address: Address) -> Address:
    """Return where this machine reaches what listens there."""
    if address == address.wildcard:
        return Address("::1" if ":" in address.host else "127.0.0.1", address.port)
    return address


def _said(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
