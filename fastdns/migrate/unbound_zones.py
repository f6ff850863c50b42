"""forward-zone and stub-zone of unbound: the upstreams of a domain."""

from __future__ import annotations

import re

import attrs

from ..config.servers import parse_server
from .draft import Draft, Group
from .reasons import ENCRYPTED
from .report import Origin
from .unbound_syntax import Setting

KNOWN = (
    *("addr", "name", "first", "no-cache"),
    *("tcp-upstream", "tls-upstream", "ssl-upstream"),
)
_SERVER = re.compile(r"([^@#]+)(?:@([0-9]+))?(?:#.*)?")


@attrs.define
class Zone:
    """A forward-zone or a stub-zone."""

    kind: str
    origin: Origin
    settings: list[Setting] = attrs.Factory(list)

    def get(self, word: str) -> Setting | None:
        return next((one for one in self.settings if self.word_of(one) == word), None)

    def is_yes(self, *words: str) -> Setting | None:
        return next(
            (one for one in self.settings if self.word_of(one) in words and one.is_yes), None
        )

    def all(self, word: str) -> list[Setting]:
        return [one for one in self.settings if self.word_of(one) == word]

    @property
    def others(self) -> list[Setting]:
        """The settings that fastdns has no key for."""
        return [one for one in self.settings if self.word_of(one) not in KNOWN]

    def word_of(self, setting: Setting) -> str:
        return setting.keyword.removeprefix(f"{self.kind}-")


@attrs.frozen
class UpstreamZones:
    """Writes zones into a draft. `tls`, `tcp`: settings that hold for all zones."""

    draft: Draft
    tls: Setting | None
    tcp: Setting | None

    def write(self, zone: Zone) -> None:
        """Write a zone into the draft."""
        report = self.draft.report
        name = zone.get("name") or next((s for s in zone.settings if s.keyword == "name"), None)
        if name is None:
            report.leave_out(zone.origin, f"{zone.kind}-zone:", "it has no name")
            return
        told = f"{zone.kind}-zone {name.value}"
        tls = zone.is_yes("tls-upstream", "ssl-upstream") or self.tls
        tcp = zone.is_yes("tcp-upstream") or self.tcp
        is_default = name.value.strip(".") == ""
        if tls:
            rest = (
                "other upstream.servers, else the resolvers of /etc/resolv.conf, in plain text"
                if is_default
                else "the default upstreams, in plain text"
            )
            report.differs(  # the first that its owner has to know
                tls.origin,
                told,
                f"{ENCRYPTED}: it is left out, and its names go to {rest}. To keep it encrypted, "
                'keep unbound on another port, and name that: servers = ["127.0.0.1:5335"]',
            )
            return
        servers = self._servers(zone, tcp is not None)
        if not servers:
            report.leave_out(name.origin, told, "it has no address that fastdns could ask")
            return
        if zone.kind == "stub":
            report.differs(
                zone.origin,
                told,
                "its servers are asked like resolvers: they need to recurse, or to have all of it",
            )
        first = zone.is_yes("first")
        if is_default:
            for server, comment in servers.items():
                self.draft.table("upstream").add("servers", server, None, comment)
            if first:
                report.leave_out(first.origin, str(first), "fastdns cannot ask without a resolver")
            return
        group = self.draft.forward(name.value, servers, told, name.origin)
        if group is None:
            return
        report.differs(
            name.origin,
            f"{zone.kind}-zone",
            "if a name outside has a CNAME to one under it, unbound asks these servers for that "
            "one; fastdns takes the records that the other upstream sends with the CNAME",
        )
        if first:
            self._fall_back(group, name, first)
        if uncached := zone.is_yes("no-cache"):
            self.draft.rule(name.value, "cache", False, uncached.origin)

    def _fall_back(self, group: Group, name: Setting, first: Setting) -> None:
        if len(group.domains) > 1:  # it shares servers with a group that does not fall back
            group = self.draft.split(group, name.value)
        group.fallback = str(first.origin)

    def _servers(self, zone: Zone, is_tcp: bool) -> dict[str, str]:
        servers = {}
        for setting in zone.all("addr"):
            with self.draft.told(str(setting), setting.origin):
                server = parse_server(_our_server(setting.value, is_tcp))
                servers[str(server)] = str(setting.origin)
        return servers


def _our_server(text: str, is_tcp: bool) -> str:
    """Return an address of unbound (192.0.2.1@53#name) as we write it."""
    match = _SERVER.fullmatch(text)
    if not match:
        raise ValueError("is not an address")
    host, port = match.groups()
    if port == "853":
        raise ValueError(ENCRYPTED)
    host = f"[{host}]" if ":" in host else host
    return ("tcp://" if is_tcp else "") + f"{host}:{port or 53}"
