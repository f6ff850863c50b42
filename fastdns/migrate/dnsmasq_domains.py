"""server=, local=, address= and rev-server= of dnsmasq."""

from __future__ import annotations

import os
import re
from collections import Counter
from ipaddress import ip_address, ip_network

import attrs

from ..config.domains import reverse_domains
from ..config.names import parse_name
from ..config.servers import parse_server
from .dnsmasq_records import absolute, address_record
from .dnsmasq_syntax import Option
from .draft import Draft, is_under, wire
from .report import Origin

MANY = 100  # lines of one kind: their file is named in place of a copy of them
BLOCKED, LOCAL = "blocked", "local"  # groups
STANDARD = "#"
NULL = {"0.0.0.0", "::", "#"}
_SERVER = re.compile(r"([^#@]*)(?:#([0-9]+))?(@.*)?")


@attrs.frozen
class _Line:
    """Domains of one option. `server`: ours, or STANDARD; None: the names do not exist."""

    domains: list[str]
    server: str | None
    group: str
    option: Option


@attrs.define
class Domains:
    """Collects them all first: several lines together make the servers of a domain."""

    draft: Draft
    default: dict[str, str] = attrs.Factory(dict)  # servers for all other names
    lines: list[_Line] = attrs.Factory(list)
    addresses: list[tuple[Option, list[str], str]] = attrs.Factory(list)
    ttl: int = 0
    all_lines: Counter[str] = attrs.Factory(Counter)  # of each file
    in_file: Counter[str] = attrs.Factory(Counter)  # lines of each file that have domains

    # ---- one option after the other

    def take(self, option: Option) -> None:
        """Take an option; ValueError with one phrase if it cannot be used."""
        if option.word == "rev-server":
            self._take_reverse(option)
            return
        domains, target = _split(option.value)
        if domains:
            self.in_file[option.origin.file] += 1  # a list may have some wrong lines
        if option.word == "address":
            self._take_address(option, domains, target)
        elif not domains:
            self.default[self._server(target, option)] = str(option.origin)
        elif not target:
            self.lines.append(_Line(self._usable(domains, option), None, LOCAL, option))
        else:
            server = target if target == STANDARD else self._server(target, option)
            self.lines.append(_Line(self._usable(domains, option), server, "", option))

    def _take_reverse(self, option: Option) -> None:
        network = ip_network(option.fields[0] if option.fields else "", strict=False)
        target = option.fields[1] if len(option.fields) > 1 else ""
        server = self._server(target, option) if target else None
        self.lines.append(_Line(reverse_domains(network), server, LOCAL, option))

    def _take_address(self, option: Option, domains: list[str], target: str) -> None:
        if not domains:
            raise ValueError("names no domain")
        if not target:
            self.lines.append(_Line(self._usable(domains, option), None, BLOCKED, option))
            return
        if target != STANDARD:
            ip_address(target)
        self.addresses.append((option, self._usable(domains, option, wildcards=True), target))

    def _usable(self, domains: list[str], option: Option, *, wildcards: bool = False) -> list[str]:
        """Return the domains that fastdns can name, and tell of the others."""
        found = []
        for domain in domains:
            plain = domain.removeprefix("*.") if wildcards else domain
            if domain == "#" and wildcards:
                found.append(domain)
                continue
            if domain == "#":
                why = "fastdns cannot do that for all names"
            elif domain == "":
                why = "fastdns has nothing for names without a dot"
            elif "*" in plain:
                why = "fastdns knows whole labels; name the domains"
            else:
                found.append(domain)
                continue
            self.draft.report.leave_out(option.origin, str(option), why)
        for domain in found:
            parse_name(domain.removeprefix("*.").strip(".") or "..")
        return found

    def _server(self, text: str, option: Option) -> str:
        match = _SERVER.fullmatch(text)
        if not match:
            raise ValueError("is not an address")
        host, port, source = match.groups()
        try:
            server = str(
                parse_server(f"[{host}]:{port or 53}" if ":" in host else f"{host}:{port or 53}")
            )
        except ValueError as error:
            raise ValueError(str(error).replace(f"{host}:53", host)) from None
        if source:
            self.draft.report.differs(
                option.origin,
                str(option),
                f"{source} is left out: the routes of this machine decide",
            )
        return server

    def is_local(self, domain: str) -> bool:
        """Whether local=/domain/ is there."""
        name = wire(domain)
        return any(
            wire(one.strip(".")) == name
            for line in self.lines
            if line.server is None and line.group == LOCAL
            for one in line.domains
        )

    def has_servers(self, domain: str) -> bool:
        """Whether server=/domain/ADDRESS is there."""
        name = wire(domain)
        return any(
            wire(one.strip(".")) == name
            for line in self.lines
            if line.server is not None
            for one in line.domains
        )

    # ---- at the end

    def finish(self, own: str | None) -> None:
        """Write all into the draft. `own`: local.domain, which needs no group."""
        self._name_files()
        self._forward()
        for line in self.lines:
            if line.server is not None:
                continue
            for domain in line.domains:
                if own is None or wire(domain.strip(".")) != wire(own):
                    self.draft.no_such_name(
                        domain.strip("."), line.group, str(line.option), line.option.origin
                    )
        self._write_addresses()

    def _name_files(self) -> None:
        """Name files that are one long list for one group, and take their lines away."""
        lists: dict[str, set[str | None]] = {}
        for line in self.lines:
            lists.setdefault(line.option.origin.file, set()).add(line.server)
        for option, _, target in self.addresses:
            lists.setdefault(option.origin.file, set()).add(None if target in NULL else "address")
        named: dict[str, str | None] = {}
        for file, kinds in lists.items():
            if not MANY < self.in_file[file] == self.all_lines[file] or len(kinds) > 1:
                continue
            (kind,) = kinds
            if kind not in ("address", STANDARD):
                named[file] = kind
        for file, server_or_none in named.items():
            origin = Origin(file, 1)
            name = re.sub(r"\.(?:conf|list|txt)$", "", os.path.basename(file))
            servers = {} if server_or_none is None else {server_or_none: str(origin)}
            self.draft.list_file(os.path.abspath(file), name, servers, origin)
            if any(option.origin.file == file for option, _, _ in self.addresses):
                self.draft.report.differs(
                    origin,
                    "its domains",
                    "do not exist here (NXDOMAIN); dnsmasq answers null addresses",
                )
        self.lines = [line for line in self.lines if line.option.origin.file not in named]
        self.addresses = [one for one in self.addresses if one[0].origin.file not in named]

    def _forward(self) -> None:
        servers: dict[str, dict[str, str]] = {}
        first: dict[str, Option] = {}
        for line in self.lines:
            if line.server is None:
                continue
            for domain in line.domains:
                plain = domain.strip(".").lower()
                first.setdefault(plain, line.option)
                own = servers.setdefault(plain, {})
                if line.server != STANDARD:
                    own.setdefault(line.server, str(line.option.origin))
                    continue
                own.update(self.default)
                if not self.default:
                    self.draft.report.leave_out(
                        line.option.origin,
                        str(line.option),
                        "it needs upstream.servers; name them for this domain in [[forward]]",
                    )
        for domain, own in servers.items():
            if own:
                self.draft.forward(domain, own, str(first[domain]), first[domain].origin)

    def _write_addresses(self) -> None:
        covered: set[bytes] = set()
        for option, domains, target in self.addresses:
            with self.draft.told(str(option), option.origin):
                for domain in domains:
                    covered.add(self._write_address(domain, target, option))
                if target != STANDARD:
                    self.draft.report.differs(
                        option.origin,
                        "address",
                        "the names have no data of other types here; dnsmasq 2.86 and newer "
                        "asks upstream for those",
                    )
        for group in self.draft.groups:
            for domain in group.domains:
                own = None if domain.startswith("file:") else wire(domain)
                if own is not None and own not in covered and is_under(own, covered):
                    self.draft.report.differs(
                        Origin(self.draft.source, 0),
                        "",
                        f"{domain} is under a domain of address=, which wins here: its records in "
                        "local.records have a wildcard",
                    )

    def _write_address(self, domain: str, target: str, option: Option) -> bytes:
        """Write the records of a domain; return it in wire form."""
        if domain == STANDARD:  # all names; the root itself has other records
            name, names = ".", ["*."]
        else:
            name = absolute(domain.removeprefix("*.").lstrip("."))
            names = [f"*.{name}"] if domain.startswith("*.") else [name, f"*.{name}"]
        for address in ("0.0.0.0", "::") if target == STANDARD else (target,):
            for one in names:
                self.draft.record(address_record(one, address).line(self.ttl), option.origin)
        return parse_name(name)


def _split(value: str) -> tuple[list[str], str]:
    """Return the domains and the rest of "/one/other/rest"."""
    if not value.startswith("/"):
        return [], value
    *domains, target = value[1:].split("/")
    return domains, target
