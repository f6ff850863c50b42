"""A configuration of ours in the making: keys with their values, each with where it came from."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address

import attrs

from .._key import make_key
from .._special_names import special_answer
from ..config.domains import parse_domain
from ..config.groups import GROUPS_MAX, number_of_group
from ..config.names import parse_name
from ..config.records import parse_record
from ..config.servers import parse_listen, parse_server
from ..config.text import describe, quote
from ..config.values import CNAME, Domain, Server
from .report import Origin, Report

Scalar = str | int | bool

TYPE_A = 1
NAME_LENGTH = 32  # of a group
# A configuration has at most 1 MiB; files are the place for more.
DOMAINS_MAX = 2000  # of one group
RECORDS_MAX = 4000


@attrs.frozen
class Value:
    """A value of a key, and the comment behind it."""

    value: Scalar
    comment: str = ""


@attrs.define
class Table:
    """The keys of a table in their order; a list has a comment for each of its values."""

    keys: dict[str, Value | list[Value]] = attrs.Factory(dict)

    def set(self, key: str, value: Scalar, origin: Origin | None = None, note: str = "") -> None:
        """Set a key, in place of its former value: of two lines the later one counts."""
        self.keys[key] = Value(value, _comment(origin, note))

    def add(self, key: str, value: Scalar, origin: Origin | None = None, note: str = "") -> None:
        """Add a value to the list that a key has, once."""
        values = self.keys.setdefault(key, [])
        if isinstance(values, list) and value not in [one.value for one in values]:
            values.append(Value(value, _comment(origin, note)))

    def extend(self, key: str, values: dict[str, str]) -> None:
        """Set a list of many values, each with its comment."""
        self.keys[key] = [Value(value, comment) for value, comment in values.items()]

    def values(self, key: str) -> list[Scalar]:
        """Return the values in the list of a key."""
        found = self.keys.get(key, [])
        return [one.value for one in found] if isinstance(found, list) else [found.value]


def _comment(origin: Origin | None, note: str) -> str:
    return ": ".join(part for part in (str(origin or ""), note) if part)


@attrs.define(eq=False)
class Group:
    """Domains and who answers for them; no servers: their names do not exist.

    The name is "" until all domains are known.
    """

    name: str
    servers: dict[str, str]  # with their comments
    domains: dict[str, str] = attrs.Factory(dict)
    fallback: str | None = None  # its comment, if it falls back to the default group


@attrs.define
class Draft:
    """All of it, and what has to be told. The order of tables is that of the output."""

    source: str
    report: Report = attrs.Factory(Report)
    tables: dict[str, Table] = attrs.Factory(dict)
    groups: list[Group] = attrs.Factory(list)
    rules: list[Table] = attrs.Factory(list)
    files: int = 0
    _of: dict[bytes, Group] = attrs.Factory(dict)  # the group of each domain
    _records: dict[str, str] = attrs.Factory(dict)
    _types: dict[bytes, tuple[bool, bool]] = attrs.Factory(dict)  # whether CNAME, others
    lowest: dict[str, int] = attrs.Factory(dict)  # limits that several lines set

    def table(self, name: str) -> Table:
        return self.tables.setdefault(name, Table())

    @property
    def records(self) -> dict[str, str]:
        """The lines of local.records, with their comments."""
        return self._records

    # ---- values that our own reader has to accept

    def listen_on(
        self, text: str, setting: str, origin: Origin, note: str = "", service: str = "dns"
    ) -> None:
        """Add an address to the key of [listen] for a service."""
        with self.told(setting, origin):
            self.table("listen").add(service, str(parse_listen(text)), origin, note)

    def told(self, setting: str, origin: Origin) -> _Told:
        """A block that ends at a ValueError, whose phrase is the reason why a line is left out."""
        return _Told(self.report, setting, origin)

    def record(self, line: str, origin: Origin, note: str = "") -> None:
        """Add a line to local.records, once. ValueError if fastdns cannot read it."""
        if line in self._records:
            return
        if line.startswith("file:"):
            raise ValueError("names no record")
        record = parse_record(line)
        has_cname, has_others = self._types.get(record.name, (False, False))
        if has_others if record.rtype == CNAME else has_cname:
            raise ValueError(f"{line.split(maxsplit=1)[0]} has a CNAME record and others")
        is_cname = record.rtype == CNAME
        self._types[record.name] = (has_cname or is_cname, has_others or not is_cname)
        self._records[line] = _comment(origin, note)

    def domain(self, table: str, key: str, text: str, origin: Origin) -> None:
        """Add a domain to a list of domains. ValueError if fastdns cannot read it."""
        self.table(table).add(key, domain_text(text), origin)

    # ---- groups

    def forward(
        self, domain: str, servers: dict[str, str], setting: str, origin: Origin, note: str = ""
    ) -> Group | None:
        """Give a domain to the group with these servers; None: it is left out, and told."""
        with self.told(setting, origin):
            return self._into(self._group(servers), domain, setting, origin, note)
        return None

    def no_such_name(self, domain: str, name: str, setting: str, origin: Origin) -> None:
        """Give a domain to the group of that name, whose names do not exist."""
        with self.told(setting, origin):
            if is_special(parse_name(domain)):
                self.report.not_needed(origin, setting, "fastdns answers these names itself")
                return
            group = next((one for one in self.groups if one.name == name), None)
            self._into(group or Group(name, {}), domain, setting, origin)

    def list_file(self, path: str, name: str, servers: dict[str, str], origin: Origin) -> None:
        """Give all domains of a list to a group of its own."""
        group = Group(self.group_name(name), servers)
        group.domains[f"file:{path}"] = str(origin)
        self.groups.append(group)

    def has_group(self, name: bytes) -> bool:
        """Whether a group has exactly this domain."""
        return name in self._of

    def group_name(self, text: str) -> str:
        """Return a name that no other group has, made from a domain; its number is free as well."""
        base = re.sub(r"[^a-z0-9_-]+", "-", text.lower().strip("."))[:NAME_LENGTH].strip("-")
        base = base or "group"
        taken = {number_of_group(one.name) for one in self.groups}
        name, count = base, 1
        while number_of_group(name) in taken and count < GROUPS_MAX:
            count += 1
            name = f"{base[: NAME_LENGTH - 1 - len(str(count))]}-{count}"
        return name

    def _group(self, servers: dict[str, str]) -> Group:
        """Return the group with the same servers, or a new one."""
        for group in self.groups:
            if servers and list(group.servers) == list(servers) and group.fallback is None:
                return group
        return Group("", servers)

    def _into(
        self, group: Group, domain: str, setting: str, origin: Origin, note: str = ""
    ) -> Group | None:
        if domain_text(domain) == ".":
            raise ValueError("stands for all names; write the servers into upstream.servers")
        parsed = parse_domain(domain)
        assert isinstance(parsed, Domain)
        if other := self._of.get(parsed.wire):
            if other is group:
                return group
            self.report.leave_out(
                origin,
                setting,
                f"{parsed.text} has {' and '.join(other.servers) or 'no server'} already",
            )
            return None
        if group not in self.groups:
            self.groups.append(group)
        self._of[parsed.wire] = group
        group.domains[parsed.text] = _comment(origin, note)
        return group

    def split(self, group: Group, domain: str) -> Group:
        """Move a domain of a group into a new one with the same servers."""
        parsed = parse_domain(domain)
        assert isinstance(parsed, Domain)
        comment = group.domains.pop(parsed.text)
        alone = Group("", dict(group.servers), {parsed.text: comment})
        self.groups.append(alone)
        self._of[parsed.wire] = alone
        return alone

    def rule(self, domain: str, key: str, value: Scalar, origin: Origin) -> None:
        """Set a key for all names of a domain; "": for all names."""
        self._rule(domain).set(key, value, origin)

    def block_type(self, name: str, origin: Origin) -> None:
        """Block a type of records for all names."""
        self._rule("").add("block_types", name, origin)

    def _rule(self, domain: str) -> Table:
        """Return the [[rule]] of a domain. It has only one, because only one concerns a name."""
        text = domain_text(domain) if domain else ""
        names = [text, f"*.{text}"] if text else ["*"]
        for rule in self.rules:
            if rule.values("names") == names:
                return rule
        rule = Table()
        for one in names:
            rule.add("names", one)
        self.rules.append(rule)
        return rule

    # ---- at the end

    def finish(self) -> None:
        """Write groups and records into their tables, as far as they can be used."""
        self._leave_out_itself()
        for group in self.groups:
            if not group.name and group.domains:  # rather "corp.example" than "10.in-addr.arpa"
                is_reverse = [(one.endswith(".arpa"), one) for one in group.domains]
                group.name = self.group_name(min(is_reverse, key=lambda one: one[0])[1])
        whole = Origin(self.source, 0)
        if len(self._records) > RECORDS_MAX:
            why = 'they are too many: write them into a file, and local.records = ["file:PATH"]'
            self.report.leave_out(whole, f"{len(self._records):,} local records", why)
        elif self._records:
            self.table("local").extend("records", self._records)
        for group in self.groups:
            if len(group.domains) > DOMAINS_MAX:
                answer = (
                    f"servers = [{', '.join(map(quote, group.servers))}]"
                    if group.servers
                    else 'answer = "nxdomain"'
                )
                self.report.leave_out(
                    whole,
                    f"{len(group.domains):,} domains of the group {group.name}",
                    "they are too many: write them into a file, one a line, and [[forward]] with "
                    f'name = "{group.name}", domains = ["file:PATH"] and {answer}',
                )
        self.groups = [one for one in self.groups if 0 < len(one.domains) <= DOMAINS_MAX]

    def _leave_out_itself(self) -> None:
        """Drop upstreams that are fastdns itself, which its own reader refuses."""
        heard = self.table("listen").values("dns") or ["127.0.0.1:53", "[::1]:53"]
        listening = [parse_listen(str(one)) for one in heard]
        origin = Origin(self.source, 0)

        def is_own(text: str) -> bool:
            server = parse_server(text)
            if not isinstance(server, Server):
                return False
            loopback = ip_address(server.address.host.partition("%")[0]).is_loopback
            return server.address in listening or (
                loopback and server.address.wildcard in listening
            )

        why = "is left out: fastdns itself listens there; name another address or port"
        upstream = self.table("upstream").keys.get("servers")
        if isinstance(upstream, list):
            for one in [one for one in upstream if is_own(str(one.value))]:
                upstream.remove(one)
                self.report.differs(origin, "", f"upstream {one.value} ({one.comment}) {why}")
        for group in self.groups:
            own = [one for one in group.servers if is_own(one)]
            for server in own:
                comment = group.servers.pop(server)
                self.report.differs(
                    origin,
                    "",
                    f"upstream {server} ({comment}) for {next(iter(group.domains))} {why}",
                )
            if own and not group.servers:
                group.domains.clear()


class _Told:
    """Ends a block at a ValueError and tells its phrase."""

    def __init__(self, report: Report, setting: str, origin: Origin) -> None:
        self._report, self._setting, self._origin = report, setting, origin

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, ValueError):
            return False
        why = str(error)
        if re.match(r"(?:is|has|needs|names|lacks|contains|stands) ", why):
            why = f"it {why}"
        self._report.leave_out(self._origin, self._setting, why)
        return True


def is_under(name: bytes, domains: Collection[bytes]) -> bool:
    """Whether a name in wire form is one of the domains or under one."""
    at = 0
    while at < len(name):
        if name[at:] in domains:
            return True
        at += 1 + name[at]
    return False


def domain_text(text: str) -> str:
    """Return a domain as we write it; ValueError with one phrase if it is not one."""
    if text.startswith("file:") or "\\" in text:
        raise ValueError(f"{describe(text)} is not a domain")
    return str(parse_domain(text))


def is_special(name: bytes) -> bool:
    """Whether fastdns answers a name in wire form itself, like localhost."""
    return special_answer(make_key(name, TYPE_A)) is not None


def wire(text: str) -> bytes | None:
    """Return a name in wire form; None: it is not one."""
    with suppress(ValueError):
        return parse_name(text)
    return None


# ---- reverse names


def reverse_name(text: str) -> str:
    """Return the name that stands for an address; ValueError: it is not an address."""
    return f"{ip_address(text).reverse_pointer}."
