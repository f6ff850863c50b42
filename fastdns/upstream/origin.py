"""The fingerprint of a group of upstreams: answers of another group are not used."""

from __future__ import annotations

from collections.abc import Iterable

from .._siphash import siphash
from ..config.groups import Upstream
from ..config.schema import Config
from ..config.values import Server
from .sources import Sources

KEY = bytes(
    16
)  # collisions need no protection: an attacker would have to be able to configure fastdns


def fingerprint(settings: Upstream, servers: Iterable[Server]) -> int:
    """Return 64 bits for these servers, in any order, and for what we believe them.

    The servers of the system are one origin, whichever they are: another network is not another
    choice of the owner. Never 0, which means an unknown origin.
    """
    names = ["system"] if not settings.servers else sorted({str(one) for one in servers})
    text = "\n".join([f"trust_ad={settings.trust_ad}", *names])
    return siphash(KEY, text.encode()) or 1


def origin_of(config: Config) -> int:
    """Return the fingerprint that a daemon with this configuration would use now."""
    return fingerprint(config.upstream, Sources(config).servers)
