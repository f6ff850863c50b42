"""Which view a client is in: the one that names it most exactly.

What it says that it is counts first: the name of the server in TLS, or the path in HTTPS. An
address counts before a hardware address, that before a name, and a name before a prefix; of
prefixes the longest. Of several views that name the client alike, the first one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from ..config.filters import View
from ..config.names import parse_name
from ..config.schema import Config
from ..config.values import AnyViewClient, ClientName, Identity, Mac, Network
from .local_names import AAAA, PTR, A, Names

Address = IPv4Address | IPv6Address
NONE = (0, None)  # in no view


class ViewRules:
    """The clients of the views that are in force, by kind. Numbers of views begin with 1."""

    def __init__(self, views: Sequence[View], numbers: Iterable[int] | None = None) -> None:
        """`numbers`: of the views in force; None: of all."""
        wanted = range(1, len(views) + 1) if numbers is None else numbers
        self.networks: dict[Network, int] = {}
        self.macs: dict[bytes, int] = {}
        self.names: dict[str, int] = {}
        # 0: of views that are not in force, because the fast path numbers them all.
        self.identities: dict[Identity, int] = {
            client: 0 for view in views for client in view.clients if isinstance(client, Identity)
        }
        for number in wanted:
            for client in views[number - 1].clients:
                if isinstance(client, Mac):
                    self.macs.setdefault(mac_octets(client.text), number)
                elif isinstance(client, ClientName):
                    self.names.setdefault(client.text, number)
                elif isinstance(client, Identity):
                    self.identities[client] = self.identities[client] or number
                else:
                    self.networks.setdefault(client, number)

    def of_client(
        self,
        address: Address | None,
        mac: bytes | None,
        names: Iterable[str],
        identity: Identity | None = None,
    ) -> tuple[int, AnyViewClient | None]:
        """Return the number of a client's view, 0 for none, and by what it is in it."""
        if identity is not None and self.identities.get(identity):
            return self.identities[identity], identity
        inside = [one for one in self.networks if address is not None and address in one]
        longest = max(inside, key=lambda one: one.prefixlen, default=None)
        if longest is not None and longest.prefixlen == longest.max_prefixlen:
            return self.networks[longest], longest
        number, by = self.by_other_than_address(mac, names)
        if number:
            return number, by
        return NONE if longest is None else (self.networks[longest], longest)

    def by_other_than_address(
        self, mac: bytes | None, names: Iterable[str]
    ) -> tuple[int, AnyViewClient | None]:
        """Return the same by hardware address or name alone."""
        if mac is not None and mac in self.macs:
            return self.macs[mac], Mac(spell_mac(mac))
        found = [(self.names[name], ClientName(name)) for name in names if name in self.names]
        return min(found, key=lambda one: one[0], default=NONE)


def unknown_identity(views: Iterable[View], identity: Identity) -> str:
    """Return a line if no view has this client, whatever the hour is; "": one has it."""
    if any(identity in view.clients for view in views):
        return ""
    return f'no view has "{identity}" in its clients: its address alone decides on its view'


def needs_names(views: Iterable[View]) -> bool:
    """Whether a view has clients by name."""
    return any(isinstance(client, ClientName) for view in views for client in view.clients)


def has_identities(views: Iterable[View]) -> bool:
    """Whether a view has clients by what they ask for over TLS or HTTPS."""
    return any(isinstance(client, Identity) for view in views for client in view.clients)


def needs_neighbours(views: Iterable[View]) -> bool:
    """Whether hardware addresses must be known: a name stands for all addresses of a machine."""
    return any(isinstance(client, Mac | ClientName) for view in views for client in view.clients)


def names_of_addresses(config: Config, names: Names) -> Mapping[bytes, frozenset[str]]:
    """Return, by address (16 octets), what the views call the clients that local names know.

    These are names of hosts files, leases and records.
    """
    found: dict[bytes, set[str]] = {}
    for view in config.view:
        for client in view.clients:
            if isinstance(client, ClientName):
                for address in addresses_of_name(config, names, client.text):
                    found.setdefault(address, set()).add(client.text)
    return {address: frozenset(several) for address, several in found.items()}


def unknown_names(config: Config, names: Names) -> Iterator[tuple[str, str]]:
    """Yield the key and the name of each client by name that local names do not know."""
    for number, view in enumerate(config.view):
        for client in view.clients:
            if isinstance(client, ClientName) and not any(
                True for _ in addresses_of_name(config, names, client.text)
            ):
                yield f"view[{number}].clients", client.text


def addresses_of_name(config: Config, names: Names, name: str) -> Iterator[bytes]:
    """Yield the addresses (16 octets) of a name, also in the owner's domain, by local names."""
    domain = config.local.domain.text
    for spelled in (name, f"{name}.{domain}" if domain else ""):
        yield from _addresses(names, spelled)


def _addresses(names: Names, spelled: str) -> Iterator[bytes]:
    try:
        found = names.records.find(parse_name(spelled)) if spelled else None
    except ValueError:
        return
    if found is None or found[1]:  # a wildcard names nobody
        return
    for rtype, _, data, _ in found[2]:
        if rtype in (A, AAAA):
            yield wide(data)


def reverse_names(names: Names, reverse: bytes) -> Iterator[bytes]:
    """Yield the names, in wire form, that local names have for the reverse name of an address."""
    found = names.records.find(reverse)
    if found is not None and not found[1]:
        yield from (data for rtype, _, data, _ in found[2] if rtype == PTR)


def as_clients_name(name: str, domain: str) -> Iterator[str]:
    """Yield what a view may call a client with this name: "tablet.lan", and "tablet" in "lan"."""
    name = name.lower().removesuffix(".")
    yield name
    label, _, rest = name.partition(".")
    if domain and rest == domain:
        yield label


def mac_octets(text: str) -> bytes:
    """Return the octets of a hardware address with colons."""
    return bytes.fromhex(text.replace(":", ""))


def spell_mac(octets: bytes) -> str:
    """Return a hardware address as the configuration has it."""
    return octets.hex(":")


def wide(octets: bytes) -> bytes:
    """Return the octets of an address as 16: an IPv4 address as ::ffff:192.0.2.1."""
    return octets if len(octets) == 16 else bytes(10) + b"\xff\xff" + octets


def narrow(octets: bytes) -> Address:
    """Return the address of 16 octets."""
    if octets.startswith(bytes(10) + b"\xff\xff"):
        return IPv4Address(octets[12:])
    return IPv6Address(octets)
