"""The names that fastdns itself has records of, on this machine: with its addresses."""

from __future__ import annotations

from ..config.schema import Config
from ..policy.designated import designated_of
from ..policy.local import LocalSources
from .own_addresses import own_addresses


def own_names(config: Config, former: LocalSources | None = None) -> LocalSources:
    """Return the names of a configuration. `former`: those until now."""
    designated = designated_of(config.listen)
    if former is not None:
        return former.renewed(config.local, designated)
    return LocalSources(config.local, designated=designated, own_addresses=own_addresses)
