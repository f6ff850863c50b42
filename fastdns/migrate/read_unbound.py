"""unbound.conf to a draft of our configuration."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import attrs

from ..config.clients import parse_clients
from ..config.schema import WORKERS_MAX
from ..config.units import spell_duration, spell_size
from ..config.values import MAX_TTL
from .draft import Draft
from .files import Files
from .local_zones import LocalZones
from .report import Origin
from .unbound_listen import WORDS as LISTEN_WORDS
from .unbound_listen import Listening
from .unbound_syntax import CLAUSE_WORDS, Setting, settings
from .unbound_words import CLAUSES, REASONS
from .unbound_zones import UpstreamZones, Zone

DEFAULT_CACHE = 4 << 20  # of unbound, for each of its two caches
DEFAULTS = ("do-ip4", "do-udp", "do-tcp")
ALLOWS = {"allow", "allow_snoop", "allow_setrd", "allow_cookie"}
DENIES = {"deny", "deny_non_local", "refuse", "refuse_non_local"}
# What protect.rebind covers.
PRIVATE = tuple(
    ip_network(one)
    for one in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.168.0.0/16", "::/127", "fc00::/7", "fe80::/10", "::ffff:0:0/96"),
    )
)
_SIZE = re.compile(r"([0-9]+) ?([kmg]?)b?", re.IGNORECASE)


def read_unbound(paths: list[Path], draft: Draft) -> None:
    """Read the files, and those that they include, into the draft."""
    files = Files(draft.report)
    reader = _Reader(draft)
    for path in paths:
        for setting in settings(files.main(path), str(path), files):
            reader.take(setting)
    draft.files = files.read
    reader.finish(Origin(str(paths[0]), 0))


@attrs.define
class _Reader:
    draft: Draft
    clause: str = "server"
    zones: list[Zone] = attrs.Factory(list)
    server: dict[str, Setting] = attrs.Factory(dict)  # the last of each keyword
    interfaces: list[Setting] = attrs.Factory(list)
    more_tls: list[Setting] = attrs.Factory(list)  # ports
    access: dict[str, Setting] = attrs.Factory(dict)  # by prefix; the first one counts
    private: list[Setting] = attrs.Factory(list)
    local: LocalZones = attrs.Factory(lambda self: LocalZones(self.draft), takes_self=True)

    # ---- one setting after the other

    def take(self, setting: Setting) -> None:
        keyword = setting.keyword
        if keyword in CLAUSE_WORDS and not setting.values:
            self.clause = keyword
            if keyword in ("forward-zone", "stub-zone"):
                self.zones.append(Zone(keyword.removesuffix("-zone"), setting.origin))
        elif self.clause in CLAUSES:
            is_needless, why = CLAUSES[self.clause]
            tell = self.draft.report.not_needed if is_needless else self.draft.report.leave_out
            tell(setting.origin, f"{self.clause}:", why)
        elif not setting.values:
            self.draft.report.leave_out(setting.origin, str(setting), "it has no value")
        elif self.zones and self.clause in ("forward-zone", "stub-zone"):
            self.zones[-1].settings.append(setting)
        else:
            self._take_server(setting)

    def _take_server(self, setting: Setting) -> None:
        keyword = setting.keyword
        if keyword in ("interface", "ip-address"):
            self.interfaces.append(setting)
        elif keyword in ("tls-additional-port", "ssl-additional-port"):
            self.more_tls.append(setting)
        elif keyword == "access-control":
            self.access.setdefault(setting.value, setting)
        elif keyword in ("private-address", "private-domain"):
            self.private.append(setting)
        elif keyword in ("local-zone", "local-data", "local-data-ptr"):
            self.local.take(setting)
        elif keyword in _SERVER_KEYS:
            self.server[keyword] = setting
        else:
            self._leave_out(setting)

    def _leave_out(self, setting: Setting) -> None:
        is_needless, why = REASONS.of(setting.keyword)
        if why == REASONS.unknown:
            pass
        elif setting.keyword in DEFAULTS and setting.is_yes:
            is_needless, why = True, "fastdns does it anyway"
        elif setting.value in ("no", "0") and not setting.keyword.startswith("do-"):
            is_needless, why = True, "it is off"
        tell = self.draft.report.not_needed if is_needless else self.draft.report.leave_out
        tell(setting.origin, setting.keyword, why)

    # ---- at the end, when all is known

    def finish(self, start: Origin) -> None:
        Listening(self.draft, self.server, self.more_tls).write(self.interfaces)
        self._access(start)
        for setting in self.server.values():
            if write := _SIMPLE.get(setting.keyword):
                with self.draft.told(str(setting), setting.origin):
                    write(self.draft, setting)
        self._stale()
        self._memory()
        everywhere = UpstreamZones(
            self.draft,
            tls=self._is_yes("tls-upstream") or self._is_yes("ssl-upstream"),
            tcp=self._is_yes("tcp-upstream"),
        )
        for zone in self.zones:
            everywhere.write(zone)
            for setting in zone.others:
                self._leave_out(setting)
        if "servers" not in self.draft.table("upstream").keys:
            self.draft.report.differs(
                start,
                "",
                'has no forward-zone "." that could be converted. unbound asks the servers of each '
                "domain itself, fastdns asks resolvers: those of /etc/resolv.conf, unless you set "
                "upstream.servers",
            )
        self._private()
        self.local.finish(self._is_yes("unblock-lan-zones"))

    def _is_yes(self, keyword: str) -> Setting | None:
        found = self.server.get(keyword)
        return found if found is not None and found.is_yes else None

    def _access(self, start: Origin) -> None:
        access = self.draft.table("access")
        access.add("allow", "loopback", None, "as unbound does by default")
        actions = set()
        for setting in self.access.values():
            action = setting.values[1].lower() if len(setting.values) > 1 else ""
            with self.draft.told(str(setting), setting.origin):
                network = ip_network(setting.value, strict=False)
                is_own = network.is_loopback and action in ALLOWS
                clients = "loopback" if is_own else str(parse_clients(str(network)))
                if action in ALLOWS:
                    access.add("allow", clients, setting.origin)
                elif action in DENIES:
                    access.add("deny", clients, setting.origin)
                    actions.add(action.partition("_")[0])
                else:
                    raise ValueError("names an action that fastdns does not have")
        denied = access.values("deny")
        if actions == {"deny"}:
            access.set("refuse", "drop", None, "deny drops queries")
        elif len(actions) > 1:
            for setting in self.access.values():
                if setting.values[1:] and setting.values[1].lower().startswith("deny"):
                    self.draft.report.differs(
                        setting.origin,
                        str(setting),
                        "clients in access.deny get REFUSED; access.refuse is one for all",
                    )
        if not denied and not self.access:
            self.draft.report.differs(
                start,
                "",
                'has no access-control, so only this machine may ask; access.allow = ["loopback", '
                '"lan"] admits your networks',
            )

    def _stale(self) -> None:
        cache = self.draft.table("cache")
        serve = self.server.get("serve-expired")
        if serve is not None and not serve.is_yes:
            cache.set("stale", "0s", serve.origin)
            return
        for keyword, key, unit, least in (
            ("serve-expired-ttl", "stale", 1.0, 0),
            ("serve-expired-client-timeout", "stale_wait", 0.001, 0),
            ("serve-expired-reply-ttl", "stale_ttl", 1.0, 1),
        ):
            if setting := self.server.get(keyword):
                if serve is None:
                    self.draft.report.not_needed(
                        setting.origin, str(setting), "serve-expired is not set; see cache.stale"
                    )
                    continue
                with self.draft.told(str(setting), setting.origin):
                    value = _number(setting.value) * unit
                    if key == "stale" and not value:
                        value = float(MAX_TTL)  # unbound's 0 has no limit
                    most = 10.0 if key == "stale_wait" else float(MAX_TTL)
                    cache.set(key, spell_duration(max(least, min(value, most))), setting.origin)

    def _memory(self) -> None:
        found = [
            self.server[one] for one in ("msg-cache-size", "rrset-cache-size") if one in self.server
        ]
        if not found:
            return
        total, notes = 0, []
        for setting in found:
            with self.draft.told(str(setting), setting.origin):
                total += _size(setting.value)
                notes.append(f"{setting.origin}: {setting}")
        total += DEFAULT_CACHE * (2 - len(found))
        if notes:
            mib = max(total >> 20, 1) << 20
            self.draft.table("cache").set("memory", spell_size(mib), None, ", ".join(notes))

    def _private(self) -> None:
        protect = self.draft.table("protect")
        addresses = [one for one in self.private if one.keyword == "private-address"]
        for setting in addresses:
            with self.draft.told(str(setting), setting.origin):
                network = ip_network(setting.value, strict=False)
                if not _is_private(network):
                    raise ValueError("is not private, and protect.rebind covers only that")
                if "rebind" not in protect.keys:
                    protect.set("rebind", True, setting.origin, "for all private addresses")
                self.draft.report.differs(
                    setting.origin,
                    setting.keyword,
                    "protect.rebind is about all private addresses, and an answer that has one is "
                    "dropped as a whole; unbound drops those of the named networks and keeps the "
                    "others of the answer",
                )
        for setting in self.private:
            if setting.keyword == "private-domain" and "rebind" in protect.keys:
                with self.draft.told(str(setting), setting.origin):
                    self.draft.domain("protect", "rebind_allow", setting.value, setting.origin)
            elif setting.keyword == "private-domain":
                self.draft.report.not_needed(
                    setting.origin, str(setting), "without private-address it does nothing"
                )


# ---- keys that one setting decides


def _flag(table: str, key: str) -> Callable[[Draft, Setting], None]:
    return lambda draft, one: draft.table(table).set(key, one.is_yes, one.origin)


def _ttl(key: str) -> Callable[[Draft, Setting], None]:
    return lambda draft, one: draft.table("cache").set(
        key, spell_duration(min(_number(one.value), MAX_TTL)), one.origin
    )


def _workers(draft: Draft, one: Setting) -> None:
    draft.table("").set("workers", min(max(_number(one.value), 1), WORKERS_MAX), one.origin)


_SIMPLE: dict[str, Callable[[Draft, Setting], None]] = {
    "num-threads": _workers,
    "cache-min-ttl": _ttl("min_ttl"),
    "cache-max-ttl": _ttl("max_ttl"),
    "cache-max-negative-ttl": _ttl("negative_max_ttl"),
    "prefetch": _flag("cache", "prefetch"),
    "deny-any": _flag("protect", "minimal_any"),
}
# All that is looked at when everything is read.
_SERVER_KEYS = frozenset(
    {
        *_SIMPLE,
        *LISTEN_WORDS,
        *("msg-cache-size", "rrset-cache-size", "unblock-lan-zones"),
        *("serve-expired", "serve-expired-ttl", "serve-expired-client-timeout"),
        *("serve-expired-reply-ttl", "tcp-upstream", "tls-upstream", "ssl-upstream"),
    }
)
_OTHER_KEYS = frozenset(
    {
        *("interface", "ip-address", "access-control", "private-address", "private-domain"),
        *("local-zone", "local-data", "local-data-ptr", "name"),
        *(
            f"{kind}-{word}"
            for kind in ("forward", "stub")
            for word in ("addr", "first", "no-cache", "tcp-upstream", "tls-upstream")
        ),
    }
)


def is_setting(keyword: str) -> bool:
    """Whether unbound has such a keyword."""
    return keyword in _SERVER_KEYS | _OTHER_KEYS or REASONS.knows(keyword)


def _number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError("is not a number")
    return max(int(text), 0)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError('is not a size (try "64m")')
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def _is_private(network: IPv4Network | IPv6Network) -> bool:
    return any(
        one.supernet_of(network)  # type: ignore[arg-type]
        for one in PRIVATE
        if one.version == network.version
    )
