"""local-zone, local-data and local-data-ptr of unbound."""

from __future__ import annotations

import re

import attrs

from ..config.names import parse_name
from .draft import Draft, is_special, reverse_name, wire
from .report import Origin
from .unbound_syntax import Setting

TTL = 3600  # unbound's for local-data without one
NULL_TTL = 60
# What fastdns does anyway: answer local records, and ask upstream for other names.
OPEN = {"transparent", "inform", "always_transparent", "noview"}
# Other names of the zone do not exist.
CLOSED = {"static", "always_nxdomain"}
# The same here, and something else in unbound.
SHUT = {
    "deny": "are not answered",
    "refuse": "are refused",
    "inform_deny": "are not answered",
    "always_deny": "are not answered",
    "always_refuse": "are refused",
    "always_nodata": "have no data",
}
REDIRECTS = {"redirect", "inform_redirect"}
IGNORES_DATA = ("always_",)
LOOPBACK = {
    parse_name(one) for one in ("localhost", reverse_name("127.0.0.1"), reverse_name("::1"))
}
BLOCKED, LOCAL = "blocked", "local"  # groups

LAN_ZONES = (
    *("10.in-addr.arpa", "168.192.in-addr.arpa"),
    *(f"{second}.172.in-addr.arpa" for second in range(16, 32)),
    *("254.169.in-addr.arpa", "d.f.ip6.arpa"),
    *("8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa"),
)


@attrs.define
class _Record:
    name: str  # absolute
    ttl: int
    rest: str  # type and data

    def __str__(self) -> str:
        return f"{self.name} {self.ttl} {self.rest}"

    def under(self, name: str) -> str:
        return f"{name} {self.ttl} {self.rest}"


@attrs.define
class LocalZones:
    """Collects them all first: what a record means depends on its zone."""

    draft: Draft
    zones: dict[bytes, Setting] = attrs.Factory(dict)
    data: list[Setting] = attrs.Factory(list)

    def take(self, setting: Setting) -> None:
        if setting.keyword != "local-zone":
            self.data.append(setting)
            return
        with self.draft.told(str(setting), setting.origin):
            name = parse_name(setting.value)
            if len(setting.values) < 2:
                raise ValueError("has no type")
            self.zones[name] = setting

    def finish(self, unblocks: Setting | None) -> None:
        """Write everything into the draft, whose groups are complete but for local zones."""
        for name, setting in self.zones.items():
            with self.draft.told(str(setting), setting.origin):
                self._zone(name, setting)
        for setting in self.data:
            with self.draft.told(str(setting), setting.origin):
                self._record(setting)
        if unblocks:
            for zone in LAN_ZONES:
                self._ask_upstream(wire(zone) or b"", zone, unblocks.origin)

    def _zone(self, name: bytes, setting: Setting) -> None:
        zone, kind = _absolute(setting.value), setting.values[1].lower()
        report = self.draft.report
        if kind in OPEN:
            report.not_needed(
                setting.origin,
                f"local-zone {kind}",
                "local records are answered, other names are asked upstream",
            )
        elif kind == "typetransparent":
            report.differs(
                setting.origin,
                str(setting),
                "a name in local.records has no data of other types; unbound asked upstream",
            )
        elif kind in CLOSED:
            self.draft.no_such_name(zone, _group_for(kind), str(setting), setting.origin)
        elif kind in SHUT:
            report.differs(
                setting.origin,
                f"local-zone {kind}",
                f"its names do not exist here (NXDOMAIN); in unbound they {SHUT[kind]}",
            )
            self.draft.no_such_name(zone, _group_for(kind), str(setting), setting.origin)
        elif kind == "always_null":
            for owner in (zone, f"*.{zone}"):
                self.draft.record(f"{owner} {NULL_TTL} A 0.0.0.0", setting.origin)
                self.draft.record(f"{owner} {NULL_TTL} AAAA ::", setting.origin)
        elif kind == "nodefault":
            self._ask_upstream(name, zone, setting.origin)
        elif kind not in REDIRECTS:  # those are for their records
            raise ValueError("has a type that fastdns does not know")

    def _ask_upstream(self, name: bytes, zone: str, origin: Origin) -> None:
        if self.draft.has_group(name):
            return  # a group wins anyway
        if is_special(name):
            self.draft.domain("local", "ask_upstream", zone, origin)
        else:
            self.draft.report.not_needed(
                origin, f"local-zone {zone} nodefault", "fastdns asks upstream for it anyway"
            )

    def _record(self, setting: Setting) -> None:
        text = " ".join(setting.values)
        record = _pointer(text) if setting.keyword == "local-data-ptr" else _parse(text)
        name = parse_name(record.name)
        if name in LOOPBACK:
            what = f"{setting.keyword} of localhost"
            self.draft.report.not_needed(setting.origin, what, "fastdns answers it itself")
            return
        zone = self._zone_of(name)
        kind = zone.values[1].lower() if zone else ""
        if kind.startswith(IGNORES_DATA):
            raise ValueError(f"unbound ignores it, because its zone is {kind}")
        if kind in REDIRECTS:
            self.draft.record(record.under(f"*.{record.name}"), setting.origin, kind)
        elif record.name.startswith("*."):
            self.draft.report.differs(
                setting.origin,
                setting.keyword,
                "* stands for any name here; to unbound it is a letter",
            )
        self.draft.record(str(record), setting.origin)

    def _zone_of(self, name: bytes) -> Setting | None:
        at = 0
        while at < len(name):
            if found := self.zones.get(name[at:]):
                return found
            at += 1 + name[at]
        return None


def _group_for(kind: str) -> str:
    return LOCAL if kind == "static" else BLOCKED


def _absolute(name: str) -> str:
    return name.lower().rstrip(".") + "."


def _parse(text: str) -> _Record:
    """Return the record in a line like "name [TTL] [class] type data"."""
    words = re.split(r"[ \t]+", text.strip(), maxsplit=1)
    if len(words) < 2:
        raise ValueError("is not a record")
    name, rest = words
    ttl = TTL
    while match := re.match(r"([0-9]+[smhdw]?|IN|CH|HS)[ \t]+", rest, re.IGNORECASE):
        word = match[1].upper()
        if word in ("CH", "HS"):
            raise ValueError("is not in class IN")
        if word != "IN":
            ttl = _seconds(word)
        rest = rest[match.end() :]
    kind, _, data = rest.partition(" ")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", kind):
        raise ValueError("is not a record")
    return _Record(_absolute(name), ttl, f"{kind.upper()} {data.strip()}")


def _seconds(text: str) -> int:
    unit = {"S": 1, "M": 60, "H": 3600, "D": 86400, "W": 604800}.get(text[-1])
    return int(text[:-1]) * unit if unit else int(text)


def _pointer(text: str) -> _Record:
    """Return the record of "address [TTL] name"."""
    words = text.split()
    if len(words) not in (2, 3) or (len(words) == 3 and not words[1].isdigit()):
        raise ValueError('is not "ADDRESS NAME"')
    ttl = int(words[1]) if len(words) == 3 else TTL
    return _Record(reverse_name(words[0]), ttl, f"PTR {_absolute(words[-1])}")
