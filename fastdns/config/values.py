"""The kinds of values that the configuration has, each with its unit or form in its type."""

import socket
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, NewType

import attrs

from .transports import TRANSPORTS, Transport

Octets = NewType("Octets", int)
Seconds = NewType("Seconds", float)
GroupName = NewType("GroupName", str)
Ttl = NewType("Ttl", float)  # whole seconds, as they stand in a record
MaybeTtl = Ttl | None  # None: what holds for all names
TypeName = NewType("TypeName", str)  # of records
MaybeFile = NewType("MaybeFile", str)  # an absolute path; NO_FILE: none
NO_FILE = MaybeFile("")
ServiceName = NewType("ServiceName", str)  # a host name in lower case; NO_SERVICE_NAME: none
NO_SERVICE_NAME = ServiceName("")

LogLevel = Literal["debug", "info", "warning", "error"]
Strategy = Literal["failover", "round-robin"]
Refusal = Literal["refused", "drop"]
OwnAnswer = Literal["", "nxdomain"]
Aaaa = Literal["", "never", "if-no-a"]
KnownClients = Literal["loopback", "lan"]
Network = IPv4Network | IPv6Network
Clients = KnownClients | Network

MIB = 1 << 20
MAX_TTL = Ttl(2**31 - 1)  # RFC 2181 section 8
CNAME = 5  # a type of records
LEASE_FORMATS = ("dnsmasq", "isc", "kea", "libvirt", "networkd", "odhcpd")


@attrs.frozen
class Address:
    """An IP address and a port; a link-local one carries its interface as "fe80::1%eth0"."""

    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def wildcard(self) -> "Address":
        """All addresses of the family, at the same port."""
        return Address("::" if self.family is socket.AF_INET6 else "0.0.0.0", self.port)

    @property
    def sockaddr(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """The address for bind and connect, without a name look-up; OSError: no such interface."""
        if self.family is socket.AF_INET:
            return (self.host, self.port)
        host, _, scope = self.host.partition("%")
        number = int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
        return (host, self.port, 0, number)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


TlsAddress = NewType("TlsAddress", Address)  # without a port, it has that of DNS over TLS
HttpsAddress = NewType("HttpsAddress", Address)


@attrs.frozen
class Server:
    """One upstream."""

    transport: str  # a scheme of TRANSPORTS
    address: Address

    @property
    def kind(self) -> Transport:
        """The scheme and address of one upstream."""
        return TRANSPORTS[self.transport]

    def __str__(self) -> str:
        return self.kind.spell(self.address)


@attrs.frozen
class NamedFile:
    """A file that has values of a list. Each kind is a class of its own."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


class ServerFile(NamedFile):
    """A file with upstreams, one a line; it may change while fastdns runs."""

    __slots__ = ()


AnyServer = Server | ServerFile


@attrs.frozen
class Domain:
    """A domain: itself and every name under it. `wire`: in wire form and lower case."""

    text: str
    wire: bytes = attrs.field(eq=False, repr=False)

    def __str__(self) -> str:
        return self.text


class DomainFile(NamedFile):
    """A file that lists domains, one a line."""

    __slots__ = ()


AnyDomain = Domain | DomainFile
OwnDomain = NewType("OwnDomain", Domain)  # NO_DOMAIN: there is none
NO_DOMAIN = OwnDomain(Domain("", b""))


@attrs.frozen
class Record:
    """A resource record, as in a zone file. `name` is in wire form and lower case."""

    text: str
    name: bytes = attrs.field(eq=False, repr=False)
    rtype: int = attrs.field(eq=False)
    ttl: int = attrs.field(eq=False)
    data: bytes = attrs.field(eq=False, repr=False)

    def __str__(self) -> str:
        return self.text


class RecordFile(NamedFile):
    """A file of resource records, as a zone file has them."""

    __slots__ = ()


AnyRecord = Record | RecordFile


@attrs.frozen
class LeaseFile:
    """A file in which a DHCP server keeps its leases. `format` "": its content tells.

    The last part of the path may be a pattern.
    """

    path: Path
    format: str = ""

    def __str__(self) -> str:
        return f"{self.format}:{self.path}" if self.format else str(self.path)


AnyLeases = Literal["auto"] | LeaseFile
HostsFile = NewType("HostsFile", Path)


@attrs.frozen
class NamePattern:
    """A name, or all names under one: "host.example", "*.example". `wire`: without the "*"."""

    text: str
    wire: bytes = attrs.field(eq=False, repr=False)
    is_wildcard: bool = attrs.field(eq=False, repr=False)

    def __str__(self) -> str:
        return self.text


AnyName = NamePattern | DomainFile


class AddressFile(NamedFile):
    """A file that lists addresses, one a line."""

    __slots__ = ()


@attrs.frozen
class Addresses:
    """An address or a network."""

    network: Network

    def __str__(self) -> str:
        whole = self.network.prefixlen == self.network.max_prefixlen
        return str(self.network.network_address if whole else self.network)


AnyAddresses = Addresses | AddressFile


class ListFile(NamedFile):
    """A block list in a file of this machine."""

    __slots__ = ()


@attrs.frozen
class ListUrl:
    """A block list that is downloaded."""

    url: str

    def __str__(self) -> str:
        return self.url


@attrs.frozen
class ListZone:
    """A response policy zone (RPZ) that a name server hands out by zone transfer.

    `key`: a file with the TSIG key, if one is needed.
    """

    text: str
    server: Address = attrs.field(eq=False, repr=False)
    zone: str = attrs.field(eq=False, repr=False)
    key: Path | None = attrs.field(eq=False, repr=False)

    def __str__(self) -> str:
        return self.text


AnyList = ListFile | ListUrl | ListZone
MaybeLists = tuple[AnyList, ...] | None  # None: those of [block]
BlockAnswer = Literal["null", "nxdomain", "refused"]
MaybeBlockAnswer = BlockAnswer | None  # None: that of [block]


@attrs.frozen
class Mac:
    """The hardware address of a client, in lower case with colons."""

    text: str

    def __str__(self) -> str:
        return self.text


@attrs.frozen
class ClientName:
    """The name of a client, in lower case: of its DHCP lease, or of its address."""

    text: str

    def __str__(self) -> str:
        return self.text


@attrs.frozen
class Identity:
    """What a client over TLS or HTTPS says that it is, in lower case.

    "tls": the name of the server that it asks for; "doh": the word behind /dns-query/ in the path.
    """

    kind: Literal["tls", "doh"]
    text: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.text}"


AnyViewClient = Network | Mac | ClientName | Identity


@attrs.frozen
class Hours:
    """Hours of the week, by the local time of the machine. "": always.

    `spans`: minutes since Monday 00:00, each as (first, end); one over midnight of Sunday has an
    end beyond the week.
    """

    text: str
    spans: tuple[tuple[int, int], ...] = attrs.field(eq=False, repr=False, default=())

    def __str__(self) -> str:
        return self.text


NO_HOURS = Hours("")
