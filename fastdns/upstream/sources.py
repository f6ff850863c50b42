"""The list of upstreams: configured ones, those of a file, those of the system."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import attrs

from ..config.filters import View
from ..config.groups import Forward, Upstream
from ..config.schema import Config
from ..config.servers import read_server_file
from ..config.values import Server, ServerFile
from .system import is_ourselves, system_servers

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
STUB_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")


class Sources:
    """The upstreams of a group, kept up to date with the files that name them.

    Without `group` it is the default group of the configuration.
    """

    def __init__(self, config: Config, group: Upstream | None = None) -> None:
        self._own = config.listen.dns
        self._configured = (config.upstream if group is None else group).servers
        self._files = [one.path for one in self._configured if isinstance(one, ServerFile)]
        if not self._configured:
            self._files = [RESOLV_CONF, STUB_RESOLV_CONF]
        self._last_good: dict[Path, tuple[Server, ...]] = {}
        self._seen: list[tuple[int, ...] | None] | None = None
        self.servers: tuple[Server, ...] = ()
        self.refresh()

    def refresh(self) -> bool:
        """Check whether a file has changed; return True if `servers` is a new list.

        If a file has vanished, cannot be read or names no upstream, its former ones stay in use.
        """
        seen = [_signature(path) for path in self._files]
        if seen == self._seen:
            return False
        self._seen = seen
        servers = self._configured_servers() if self._configured else self._system_servers()
        if not servers or servers == self.servers:
            return False
        self.servers = servers
        return True

    def warn_of_closed_files(self) -> None:
        """Log which files the current user could not read again."""
        for path in self._files:
            if path.exists() and not os.access(path, os.R_OK):
                log.warning(
                    "%s: the user of fastdns cannot read it, so changes have no effect", path
                )

    def _configured_servers(self) -> tuple[Server, ...]:
        servers: list[Server] = []
        for one in self._configured:
            servers += self._from_file(one.path) if isinstance(one, ServerFile) else [one]
        return self._without_ourselves(servers)

    def _from_file(self, path: Path) -> tuple[Server, ...]:
        listed, problems = read_server_file(path)
        for problem in problems:
            log.warning("%s", problem)
        if not listed and path in self._last_good:
            log.warning("%s names no upstream any more; the previous ones stay in use", path)
            return self._last_good[path]
        self._last_good[path] = listed
        return listed

    def _without_ourselves(self, servers: Sequence[Server]) -> tuple[Server, ...]:
        others = [one for one in servers if not is_ourselves(one.address, self._own)]
        for one in servers:
            if one not in others:
                log.warning("upstream %s is fastdns itself and is left out", one)
        return tuple(dict.fromkeys(others))

    def _system_servers(self) -> tuple[Server, ...]:
        servers = system_servers(RESOLV_CONF, STUB_RESOLV_CONF, self._own)
        if not servers and self.servers:
            log.warning("%s names no usable resolver; the previous ones stay in use", RESOLV_CONF)
        return servers


@attrs.frozen
class ForwardSources:
    """A group of its own, and where its upstreams come from."""

    group: Forward | View
    sources: Sources


def forward_sources(
    config: Config, former: Sequence[ForwardSources] = ()
) -> tuple[ForwardSources, ...]:
    """Return the groups that have upstreams; unchanged ones are those of `former`."""
    known = {one.group: one for one in former}
    return tuple(
        known.get(group) or ForwardSources(group, Sources(config, group))
        for group in config.named_groups
    )


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    # The change time as well: chmod makes a file readable without changing the other fields.
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def no_upstream(config: Config) -> str:
    """Return why there is no upstream, and the remedy."""
    if config.upstream.servers:
        return "no upstream is left; name another resolver with --upstream ADDRESS"
    return (
        "no upstream: /etc/resolv.conf names no resolver (fastdns itself does not count); "
        "name one with --upstream ADDRESS, or upstream.servers in the configuration"
    )
