"""Typed errors: what is wrong, and what clients hear of it (RCODE and RFC 8914)."""

from __future__ import annotations

SERVFAIL = 2

EDE_OTHER = 0
EDE_NO_REACHABLE_AUTHORITY = 22
EDE_NETWORK_ERROR = 23


class FastdnsError(Exception):
    """Anything that fastdns tells its owner about in one line."""


class ConfigError(FastdnsError):
    """One wrong value: the key path it stands under and what is the matter with it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class ConfigErrors(FastdnsError):
    """All that is wrong with a configuration, one printable line each, file and key included."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class StartError(FastdnsError):
    """The daemon cannot start; the text names the cause and the remedy."""


class UpstreamError(FastdnsError):
    """No upstream gave a usable answer; carries what the client is told."""

    rcode = SERVFAIL
    ede = EDE_OTHER
    lasting = True  # worth being remembered for failure_ttl


class UpstreamTimeout(UpstreamError):
    """Upstreams were asked and none answered in time."""

    ede = EDE_NO_REACHABLE_AUTHORITY


class UpstreamUnusable(UpstreamError):
    """An upstream has replied, and what it said is of no use."""

    ede = EDE_NETWORK_ERROR


class UpstreamLame(UpstreamError):
    """An upstream has answered with a referral, or with nothing: it does not recurse."""

    ede = EDE_NO_REACHABLE_AUTHORITY


class LocalShortage(UpstreamError):
    """This machine lacks descriptors or memory to ask anybody: no fault of an upstream's."""

    lasting = False


class UpstreamUnreachable(UpstreamError):
    """The network refused: no route, port closed, connection reset; or there is no upstream."""

    ede = EDE_NETWORK_ERROR


class NetworkDown(UpstreamUnreachable):
    """This machine has no way to the upstream, or knows none: over as soon as it has one."""

    lasting = False
