"""The upstreams that the daemon really asks: who has named them, and do they answer?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from .._counters import UPSTREAM_TABLE
from ..config.filters import View
from ..config.groups import Forward
from ..config.places import Places
from ..config.schema import Config
from ..config.servers import parse_server
from ..config.units import in_time
from ..config.values import Seconds, Server, ServerFile
from ..counters import Pages
from ..upstream.refusals import MEANINGS, Meaning
from ..upstream.sources import RESOLV_CONF, Sources, no_upstream
from . import probe
from .commands import Commands
from .findings import Finding, hint, ok, wrong
from .probe import said
from .running import Daemon

ABOUT = "upstream"
TRIES = 2
ASKED_MAX = 20
FOLLOWS_SECONDS = 2.5  # within which workers follow a file of upstreams, and publish that
PAUSE_SECONDS = 0.1
TCP_SECONDS = 2.0
SHOWN_MAX, NAME_OCTETS = UPSTREAM_TABLE
UNKNOWN = Meaning("", "it does not resolve for this machine", "see its own log")
NAME_ONE = 'servers = ["9.9.9.9"] under [upstream]'


@attrs.frozen
class Asked:
    """The upstreams to judge, and who has named them."""

    servers: Sequence[Server]
    source: str
    change: str  # how to name others


def look(config: Config, running: Daemon | None, commands: Commands) -> Iterator[Finding]:
    """Say which upstreams answer a question that every resolver can answer.

    These are the upstreams that the daemon asks now, as its counters show; without a daemon, those
    that one would ask.
    """
    asked, finding = _asked(config, running, commands)
    if not asked.servers:
        yield wrong(ABOUT, no_upstream(config), NAME_ONE)
        return
    servers = asked.servers[:ASKED_MAX]
    with ThreadPoolExecutor(2 * ASKED_MAX) as pool:
        over_tcp = pool.map(_refuses_tcp, servers)
        told = list(pool.map(lambda one: _ask(one, config.upstream.timeout, asked), servers))
        refusals = list(over_tcp)
    some_answer = any(one.state == "ok" for one in told)
    for one in told:
        # If another one answers, a dead one costs little.
        yield hint(one.about, one.text, one.do) if some_answer and one.state == "wrong" else one
    # A silent one was reported already.
    answering = [i for i, one in enumerate(told) if one.state == "ok"]
    without = [(servers[i], why) for i in answering if (why := refusals[i]) is not None]
    yield from _without_tcp(without, some_take_it=len(without) < len(answering))
    if len(asked.servers) > ASKED_MAX:
        yield ok(ABOUT, f"{len(asked.servers) - ASKED_MAX} more were not asked")
    if finding is not None:
        yield finding


def look_at_groups(config: Config) -> Iterator[Finding]:
    """Say which upstreams of the groups answer: those that the configuration names."""
    named = [
        (group, server)
        for group in config.named_groups
        for server in Sources(config, group).servers
    ]
    if not named:
        return
    with ThreadPoolExecutor(2 * ASKED_MAX) as pool:
        told = list(pool.map(lambda one: _ask_of_group(*one), named[:ASKED_MAX]))
    answering = {
        group.name for (group, _), one in zip(named, told, strict=False) if one.state == "ok"
    }
    for (group, _), one in zip(named, told, strict=False):
        is_wrong = one.state == "wrong"
        is_backed = group.fallback_to_default or group.name in answering
        yield hint(one.about, one.text, one.do) if is_wrong and is_backed else one
    if len(named) > ASKED_MAX:
        yield ok(ABOUT, f"{len(named) - ASKED_MAX} more of groups were not asked")


def _ask_of_group(group: Forward | View, server: Server) -> Finding:
    change = f"name another one in the servers of group {group.name}"
    return _ask(server, group.timeout, Asked((server,), f"of group {group.name}", change))


def _refuses_tcp(server: Server) -> str | None:
    """Return why an upstream that is asked over UDP cannot be asked over TCP; None: it can."""
    if server.kind.is_stream:
        return None  # it is asked over TCP anyway
    try:
        probe.ask(server.address, probe.ROOT_NS, tcp=True, timeout=TCP_SECONDS)
    except OSError as error:
        return said(error)
    return None


def _without_tcp(found: Sequence[tuple[Server, str]], *, some_take_it: bool) -> Iterator[Finding]:
    for server, why in found:
        text = (
            f"{server} answers over UDP, but not over TCP ({why}): it cannot give answers "
            "that are too large for UDP (DNSSEC, many addresses)"
        )
        do = f"allow TCP from this machine to its port {server.address.port} (a firewall?)"
        yield (hint if some_take_it else wrong)(ABOUT, text, f"{do}, or name another upstream")


def _asked(
    config: Config, running: Daemon | None, commands: Commands
) -> tuple[Asked, Finding | None]:
    """Return the upstreams to judge, and the finding if the configuration names others."""
    source = "from the configuration" if config.upstream.servers else f"from {RESOLV_CONF}"
    change = "name another one in upstream.servers"
    named = Asked(Sources(config).servers, source, change)
    used = _shown(config, running, named.servers)
    if running is None or used is None:
        return named, None
    if running.is_told_upstreams:
        change = "start fastdns with another --upstream"
        asked = Asked(used, "given by --upstream", change)
        if _differ(used, named.servers) and config.upstream.servers:
            text = f"{running} asks {_listed(used)}, {asked.source}; {_other(named)}"
            return asked, ok(ABOUT, f"{text}, which no reload changes")
        return asked, None
    configured = config.upstream.servers
    is_followed = not configured or any(isinstance(one, ServerFile) for one in configured)
    until = time.monotonic() + (FOLLOWS_SECONDS if is_followed else 0.0)
    while _differ(used, named.servers) and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)  # a file may have changed just now
        used = _shown(config, running, named.servers) or used
    if not named.servers or not _differ(used, named.servers):
        return attrs.evolve(named, servers=used), None
    asked = Asked(used, "from an earlier configuration", change)
    text = f"{running} asks {_listed(used)}; {_other(named)}: it runs with an earlier configuration"
    return asked, hint(ABOUT, text, commands.line("reload"))


def _shown(
    config: Config, running: Daemon | None, named: Iterable[Server]
) -> tuple[Server, ...] | None:
    """Return the upstreams that the daemon's workers ask; None: not visible."""
    if running is None:
        return None
    places = Places(config.state_dir, running.run_dir or config.run_dir)
    try:
        pages = Pages.attach(places.counters)
    except (OSError, ValueError):
        return None
    if running.pid and pages.pid != running.pid:
        return None
    known = {_shown_name(one): one for one in named}
    servers = []
    for state in pages.upstreams():
        server = known.get(state.name) or _parsed(state.name)
        if server is not None:
            servers.append(server)
    return tuple(servers) or None


def _shown_name(server: Server) -> str:
    return str(server).encode()[:NAME_OCTETS].decode(errors="ignore")


def _parsed(name: str) -> Server | None:
    try:
        server = parse_server(name)
    except ValueError:  # its end was cut off
        return None
    return server if isinstance(server, Server) else None


def _differ(used: Sequence[Server], named: Sequence[Server]) -> bool:
    """Return whether these are others; of very many, only the first are shown."""
    if len(used) >= SHOWN_MAX:
        return not set(used) <= set(named)
    return set(used) != set(named)


def _other(named: Asked) -> str:
    origin = "the configuration" if named.source == "from the configuration" else RESOLV_CONF
    return f"{origin} names {_listed(named.servers)}"


def _listed(servers: Sequence[Server]) -> str:
    more = f" and {len(servers) - ASKED_MAX} more" if len(servers) > ASKED_MAX else ""
    return ", ".join(map(str, servers[:ASKED_MAX])) + more


def _ask(server: Server, timeout: Seconds, asked: Asked) -> Finding:
    problem = other = ""
    for _ in range(TRIES):
        try:
            reply, has_edns = probe.ask_upstream(server, probe.ROOT_NS, max(timeout, 1.0))
        except OSError as error:
            problem = f"does not answer: {said(error)}"
            other = "check that this machine can reach it"
        else:
            if reply.is_good:
                without = (
                    "" if has_edns else "; it does not support EDNS, so fastdns asks it without"
                )
                text = f"{server} answers, in {in_time(reply.seconds)}{without}"
                return ok(ABOUT, f"{text} ({asked.source})")
            meaning = MEANINGS.get(reply.rcode, UNKNOWN)
            problem = f"answers {reply} to . NS: {meaning.what}"
            other = meaning.do
    do = f"{asked.change}, or {other}"
    return wrong(ABOUT, f"{server} {problem} ({asked.source})", do)
