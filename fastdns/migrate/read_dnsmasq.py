"""dnsmasq.conf to a draft of our configuration."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

import attrs

from ..config.files import absolute_path, read_text
from ..config.leases import parse_leases
from ..config.records import TTL_DEFAULT
from ..config.servers import parse_listen, parse_server
from ..config.units import spell_duration, spell_size
from ..config.values import MAX_TTL, MIB
from .dnsmasq_domains import MANY, Domains
from .dnsmasq_records import RECORDS
from .dnsmasq_syntax import Option, options
from .dnsmasq_words import DHCP, REASONS
from .draft import Draft, domain_text
from .files import Files, addresses_of, beside
from .report import Origin

HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"
OCTETS_A_ENTRY = 400
LEAST_MEMORY = 8 * MIB


def read_dnsmasq(paths: list[Path], draft: Draft) -> None:
    """Read the files, and those that they include, into the draft."""
    files = Files(draft.report)
    reader = _Reader(draft)
    for path in paths:
        for option in options(files.main(path), str(path), files):
            reader.take(option)
    draft.files = files.read
    _tell_of_debian(paths[0], files)
    reader.finish(Origin(str(paths[0]), 0))


def _tell_of_debian(path: Path, files: Files) -> None:
    """Tell of a directory beside a file, which Debian's service names on the command line."""
    directory = path.absolute().with_name("dnsmasq.d")
    beside = [one for one in directory.glob("[!.]*") if one.suffix == ".conf" or not one.suffix]
    unread = [one for one in beside if os.path.realpath(one) not in files.seen]
    if unread and len(unread) == len(beside):
        files.report.differs(
            Origin(str(path), 0),
            "",
            f"{directory} is not read; if dnsmasq reads it, as in Debian, name its files as well",
        )


@attrs.define
class _Reader:
    draft: Draft
    found: dict[str, list[Option]] = attrs.Factory(dict)
    domains: Domains = attrs.Factory(lambda self: Domains(self.draft), takes_self=True)

    def take(self, option: Option) -> None:
        self.domains.all_lines[option.origin.file] += 1
        if option.word in _AT_THE_END:
            self.found.setdefault(option.word, []).append(option)
        elif option.word in ("server", "local", "address", "rev-server"):
            with self.draft.told(str(option), option.origin):
                self.domains.take(option)
        elif option.word not in RECORDS:
            self._leave_out(option)
        if option.word in RECORDS:
            self.found.setdefault("records", []).append(option)

    def _leave_out(self, option: Option) -> None:
        is_needless, why = REASONS.of(option.word)
        tell = self.draft.report.not_needed if is_needless else self.draft.report.leave_out
        tell(option.origin, option.word, why)

    def last(self, word: str) -> Option | None:
        """Return the last option of that name, if there is one."""
        return self.found[word][-1] if word in self.found else None

    # ---- at the end, when all is known

    def finish(self, start: Origin) -> None:
        self._listen(start)
        self._records()
        self._local(start)
        self._upstream(start)
        for word, write in _SIMPLE.items():
            for option in self.found.get(word, []):
                with self.draft.told(str(option), option.origin):
                    write(self.draft, option)
        self._bogus()
        if dhcp := self.last("dhcp-range"):
            for option in self.found["dhcp-range"]:
                self.draft.report.leave_out(option.origin, option.word, DHCP)
            if "dhcp-leasefile" not in self.found:
                self.draft.table("local").add("leases", "auto", dhcp.origin)
        if "local-service" not in self.found:
            self.draft.report.differs(
                start,
                "",
                "has no local-service: dnsmasq answers every client that reaches it; fastdns "
                "answers this machine and its networks, unless access.allow names more",
            )

    def _listen(self, start: Origin) -> None:
        port_option = self.last("port")
        port = port_option.value if port_option else "53"
        if port_option and port == "0":
            self.draft.report.differs(
                port_option.origin,
                "",
                "port=0: dnsmasq answers no queries; fastdns listens on port 53",
            )
            return
        heard = [
            (one.origin, str(one), address, "")
            for one in self.found.get("listen-address", [])
            for address in one.fields
        ]
        for one in self.found.get("interface", []):
            heard += self._interface(one)
        if "interface" in self.found and heard:
            origin = self.found["interface"][0].origin
            heard += [(origin, "interface", own, "loopback") for own in ("127.0.0.1", "::1")]
        elif "interface" not in self.found and "listen-address" not in self.found:
            note = "dnsmasq listens on all addresses"
            origin = port_option.origin if port_option else start
            heard = [(origin, "port", every, note) for every in ("0.0.0.0", "::")]
        for origin, setting, address, note in heard:
            with self.draft.told(setting, origin):
                text = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                told = origin if origin.line else None
                self.draft.table("listen").add("dns", str(parse_listen(text)), told, note)

    def _interface(self, option: Option) -> list[tuple[Origin, str, str, str]]:
        heard = []
        for name in option.fields:
            addresses = addresses_of(name)
            note = f"an address of {name} now"
            heard += [(option.origin, str(option), one, note) for one in addresses]
            if not addresses:
                self.draft.report.leave_out(
                    option.origin,
                    f"interface={name}",
                    "fastdns listens on addresses; write those of the interface into listen.dns",
                )
        return heard

    def _records(self) -> None:
        ttl = 0
        if option := self.last("local-ttl"):
            with self.draft.told(str(option), option.origin):
                ttl = _number(option.value)
        self.domains.ttl = ttl
        for option in self.found.get("records", []):
            with self.draft.told(str(option), option.origin):
                for record in RECORDS[option.word](option.fields):
                    self.draft.record(record.line(ttl), option.origin)
                    if option.word == "cname" and record.name.startswith("*."):
                        self.draft.report.differs(
                            option.origin,
                            str(option),
                            "dnsmasq has it only in an auth-zone; here all names under it have it",
                        )

    def _local(self, start: Origin) -> None:
        local = self.draft.table("local")
        own = self._domain()
        self.domains.finish(own)
        if expands := self.last("expand-hosts"):
            if own is None:
                self.draft.report.leave_out(expands.origin, str(expands), "there is no domain=")
            else:
                self.draft.report.not_needed(
                    expands.origin, str(expands), "local.domain completes names in hosts files"
                )
        if "no-hosts" not in self.found:
            local.add("hosts", HOSTS, None, "dnsmasq reads it unless there is no-hosts")
        for option in self.found.get("addn-hosts", []) + self.found.get("hostsdir", []):
            self._hosts(option)
        for option in self.found.get("dhcp-leasefile", []):
            with self.draft.told(str(option), option.origin):
                path = beside(option.origin.file, option.value)
                parse_leases(path)
                local.add("leases", path, option.origin)
        ttl = self.last("local-ttl")
        if ttl and self.domains.ttl != TTL_DEFAULT and {"hosts", "leases"} & local.keys.keys():
            self.draft.report.differs(
                ttl.origin,
                str(ttl),
                f"names of hosts files and leases have a TTL of {TTL_DEFAULT} seconds here",
            )

    def _domain(self) -> str | None:
        """Set local.domain, and return it."""
        own: str | None = None
        for option in self.found.get("domain", []):
            name, *more = option.fields or [""]
            if own is not None or (more and more[-1] != "local") or name in ("", "#"):
                self.draft.report.leave_out(
                    option.origin,
                    str(option),
                    "fastdns has one domain for all networks: local.domain",
                )
                continue
            with self.draft.told(str(option), option.origin):
                name = domain_text(name.strip("."))
                if self.domains.has_servers(name):
                    raise ValueError("its names are asked from the servers of server=")
                own = name
                self.draft.table("local").set("domain", name, option.origin)
                if not self.domains.is_local(name) and not more:
                    self.draft.report.differs(
                        option.origin,
                        str(option),
                        "names under it are never asked upstream here; in dnsmasq only "
                        "local=/…/ does that",
                    )
        return own

    def _hosts(self, option: Option) -> None:
        path = beside(option.origin.file, option.value)
        paths = [path]
        if option.word == "hostsdir" and not os.path.isdir(path):
            why = "it is not a directory here; name its files in local.hosts"
            self.draft.report.leave_out(option.origin, str(option), why)
            return
        if os.path.isdir(path):
            names = sorted(one for one in os.listdir(path) if one[0] not in ".#" and one[-1] != "~")
            paths = [os.path.join(path, name) for name in names]
            self.draft.report.differs(
                option.origin,
                str(option),
                "is a directory: local.hosts has the files that are in it now",
            )
        for one in paths:
            with self.draft.told(str(option), option.origin):
                self.draft.table("local").add("hosts", str(absolute_path(one)), option.origin)

    def _upstream(self, start: Origin) -> None:
        upstream = self.draft.table("upstream")
        for server, comment in self.domains.default.items():
            upstream.add("servers", server, None, comment)
        no_resolv = self.last("no-resolv")
        for option in self.found.get("resolv-file", []):
            if no_resolv:
                self.draft.report.not_needed(option.origin, str(option), "there is no-resolv")
            elif os.path.realpath(option.value) == os.path.realpath(RESOLV_CONF):
                self.draft.report.not_needed(
                    option.origin, str(option), "fastdns reads it if upstream.servers is empty"
                )
            else:
                self._resolv_file(option)
        has_servers = "servers" in upstream.keys
        if no_resolv and not has_servers:
            self.draft.report.differs(
                no_resolv.origin,
                "",
                "no-resolv, and no server= for all names: dnsmasq asks nobody for other names, "
                "fastdns asks those of /etc/resolv.conf, unless upstream.servers names some",
            )
        elif has_servers and not no_resolv and "resolv-file" not in self.found:
            self.draft.report.differs(
                start,
                "",
                "has no no-resolv: dnsmasq asks the resolvers of /etc/resolv.conf besides those of "
                "server=; fastdns asks only upstream.servers",
            )
        if strict := self.last("strict-order"):
            upstream.set("strategy", "failover", strict.origin)
        if trusting := self.last("proxy-dnssec"):
            upstream.set("trust_ad", True, trusting.origin)

    def _resolv_file(self, option: Option) -> None:
        path = beside(option.origin.file, option.value)
        servers = []
        with suppress(ValueError):
            lines = [line.split() for line in read_text(Path(path), regular=True).splitlines()]
            for words in lines:
                with suppress(ValueError):
                    if len(words) > 1 and words[0] == "nameserver":
                        servers.append(str(parse_server(words[1])))
        if not servers:
            self.draft.report.leave_out(
                option.origin,
                str(option),
                "no address can be read there; fastdns asks the resolvers of /etc/resolv.conf, or "
                'those of a file with one address a line: upstream.servers = ["file:PATH"]',
            )
            return
        for server in servers:
            self.draft.table("upstream").add("servers", server, option.origin)
        self.draft.report.differs(
            option.origin,
            str(option),
            "its addresses of now are in upstream.servers; changes of this file are not followed",
        )

    def _bogus(self) -> None:
        found = self.found.get("bogus-nxdomain", []) + self.found.get("ignore-address", [])
        files = Counter(one.origin.file for one in found)
        protect = self.draft.table("protect")
        for option in found:
            file = option.origin.file
            if option.word == "bogus-nxdomain":
                self.draft.report.differs(
                    option.origin,
                    option.word,
                    "a reply with such an address is ignored, and the true one waited for; dnsmasq "
                    "turns it into NXDOMAIN",
                )
            if files[file] > MANY and files[file] == self.domains.all_lines[file]:
                path = os.path.abspath(file)
                protect.add("bogus_answers", f"file:{path}", Origin(file, 1), "and all after it")
                continue
            with self.draft.told(str(option), option.origin):
                network = ip_network(option.value, strict=False)
                whole = network.prefixlen == network.max_prefixlen
                text = str(network.network_address if whole else network)
                protect.add("bogus_answers", text, option.origin)


# ---- keys that one option decides


def _ttl(key: str) -> Callable[[Draft, Option], None]:
    def write(draft: Draft, option: Option) -> None:
        draft.table("cache").set(
            key, spell_duration(min(_number(option.value), MAX_TTL)), option.origin
        )

    return write


def _max_ttl(draft: Draft, option: Option) -> None:
    """Both max-ttl and max-cache-ttl: the lower one counts."""
    cache = draft.table("cache")
    value = min(_number(option.value), int(MAX_TTL))
    if value < draft.lowest.get("max_ttl", value + 1):
        draft.lowest["max_ttl"] = value
        cache.set("max_ttl", spell_duration(value), option.origin)


def _memory(draft: Draft, option: Option) -> None:
    entries = _number(option.value)
    if not entries:
        raise ValueError("fastdns always has a cache")
    size = max(-(-entries * OCTETS_A_ENTRY // MIB) * MIB, LEAST_MEMORY)
    note = f"{entries:,} entries of about {OCTETS_A_ENTRY} bytes, at least 8 MiB"
    draft.table("cache").set("memory", spell_size(size), option.origin, note)


def _stale(draft: Draft, option: Option) -> None:
    seconds = _number(option.value) if option.value else 86400
    draft.table("cache").set("stale", spell_duration(seconds or MAX_TTL), option.origin)


def _no_negative(draft: Draft, option: Option) -> None:
    draft.table("cache").set("negative_max_ttl", "0s", option.origin)


def _rebind(draft: Draft, option: Option) -> None:
    draft.table("protect").set("rebind", True, option.origin)


def _rebind_allow(draft: Draft, option: Option) -> None:
    for domain in filter(None, re.split("[/,]", option.value)):
        draft.domain("protect", "rebind_allow", domain.strip("."), option.origin)


def _no_ipv6(draft: Draft, option: Option) -> None:
    draft.rule("", "aaaa", "never", option.origin)


def _no_ipv4(draft: Draft, option: Option) -> None:
    draft.block_type("A", option.origin)


def _types(draft: Draft, option: Option) -> None:
    for one in option.fields:
        name = f"TYPE{one}" if one.isdigit() else one.upper()
        if name == "ANY":
            draft.report.not_needed(option.origin, str(option), "see protect.minimal_any")
        else:
            draft.block_type(name, option.origin)


_SIMPLE: dict[str, Callable[[Draft, Option], None]] = {
    "cache-size": _memory,
    "min-cache-ttl": _ttl("min_ttl"),
    "max-cache-ttl": _max_ttl,
    "max-ttl": _max_ttl,
    "no-negcache": _no_negative,
    "use-stale-cache": _stale,
    "stop-dns-rebind": _rebind,
    "rebind-domain-ok": _rebind_allow,
    "filter-A": _no_ipv4,
    "filter-AAAA": _no_ipv6,
    "filter-rr": _types,
}
_AT_THE_END = frozenset(
    {
        *_SIMPLE,
        *("port", "listen-address", "interface", "local-ttl", "domain", "expand-hosts", "no-hosts"),
        *(
            "addn-hosts",
            "hostsdir",
            "dhcp-leasefile",
            "dhcp-range",
            "no-resolv",
            "resolv-file",
            "strict-order",
        ),
        *("proxy-dnssec", "bogus-nxdomain", "ignore-address", "local-service"),
    }
)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError("is not a number")
    return int(text)
