"""The fingerprint of a group of upstreams: answers of another group are none of ours."""

from __future__ import annotations

from collections.abc import Iterable

from .._siphash import siphash
from ..config.schema import Config, Server, Upstream
from .sources import Sources

KEY = bytes(16)  # nobody is to be kept from finding collisions: whoever could, configures fastdns


def fingerprint(settings: Upstream, servers: Iterable[Server]) -> int:
    """Return 64 bits that stand for these servers, in whatever order, and for what we believe them.

    Those that the system names are one origin, whoever they are: another network is no other
    choice of the owner. Never 0, which stands for an origin that is not known.
    """
    names = ["system"] if not settings.servers else sorted({str(one) for one in servers})
    text = "\n".join([f"trust_ad={settings.trust_ad}", *names])
    return siphash(KEY, text.encode()) or 1


def origin_of(config: Config) -> int:
    """Return the fingerprint that a daemon with this configuration would use now."""
    return fingerprint(config.upstream, Sources(config).servers)
