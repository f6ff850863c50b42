"""What is known of clients apart from their queries: hardware addresses, and names."""

from __future__ import annotations

from collections.abc import Iterator

from .._hosts import reverse_of
from .._key import disk_key, make_key
from ..browse.items import read_item
from ..browse.names import spell_name
from ..config.schema import Config
from ..config.types import TYPES
from ..errors import FastdnsError
from ..machine.neighbours import read_neighbours
from ..policy.compile import compile_domains
from ..policy.local_names import Names
from ..policy.views import (
    as_clients_name,
    names_of_addresses,
    narrow,
    reverse_names,
    wide,
)
from .cache.site import Site

CACHED_MAX = 1024  # addresses whose names are looked for in the cache


class ClientNames:
    """Knows the names and hardware addresses of clients, from files and from the kernel."""

    def __init__(self, config: Config, names: Names) -> None:
        self._config = config
        self._names = names
        self._of_views = names_of_addresses(config, names)
        self._macs = {(wide(address), 0): mac for address, mac in names.macs.items()} | _macs()
        self._cached: dict[bytes, list[str]] = {}

    def mac(self, address: bytes, link: int = 0) -> bytes | None:
        """Return the hardware address of an address (16 octets), as the kernel has it now."""
        found = self._macs.get((address, link))
        return found or self._macs.get((address, 0))

    def addresses(self, mac: bytes) -> list[bytes]:
        """Return the addresses that the kernel knows of a hardware address."""
        return [address for (address, _), one in self._macs.items() if one == mac]

    def same_machine(self, address: bytes) -> list[bytes]:
        """Return all addresses of the machine that has this one."""
        mac = self.mac(address)
        return [address] if mac is None else sorted({address, *self.addresses(mac)})

    def names(self, address: bytes) -> list[str]:
        """Return the names of an address: from files, else from the cache; the best one first."""
        found = self._reverse(address) or self._cached.get(address, [])
        return found + sorted(set(self._of_views.get(address, ())) - set(found))

    def names_for_views(self, address: bytes) -> set[str]:
        """Return what views may call the machine that has this address."""
        domain = self._config.local.domain.text
        called: set[str] = set()
        for one in self.same_machine(address):
            called.update(self._of_views.get(one, ()))
            for name in self._cached.get(one, ()):
                called.update(as_clients_name(name, domain))
        return called

    def look_in_cache(self, addresses: list[bytes], site: Site) -> None:
        """Look in the cache for the reverse names of addresses that no file names."""
        nameless = [one for one in addresses if not self._reverse(one)][:CACHED_MAX]
        if nameless:
            try:
                self._cached = dict(_cached(self._config, self._names, site, nameless))
            except FastdnsError:
                return  # then they have no names

    def _reverse(self, address: bytes) -> list[str]:
        reverse = reverse_of(narrow(address).packed)
        return [spell_name(one).rstrip(".") for one in reverse_names(self._names, reverse)]


def _macs() -> dict[tuple[bytes, int], bytes]:
    try:
        return {(one.address, one.link): one.mac for one in read_neighbours() if one.mac}
    except OSError:
        return {}  # a container may not ask


def _cached(
    config: Config, names: Names, site: Site, addresses: list[bytes]
) -> Iterator[tuple[bytes, list[str]]]:
    policy = compile_domains(config).policy(names.records)
    judge = site.judge()
    places = {}
    for address in addresses:
        key = make_key(reverse_of(narrow(address).packed), TYPES["PTR"])
        group = policy.decide(key).group
        places[disk_key(key[:-2] + group.to_bytes(2, "big"))] = address
    with site.reading() as reader:
        if reader.is_bare:
            return
        for batch in reader.values(list(places)):
            for place, value in batch:
                try:
                    item = read_item(place, value, judge)
                except ValueError:
                    continue
                if item.state != "expired":
                    found = [one.data for one in item.records() if one.type == "PTR"]
                    yield places[place], [name.rstrip(".").lower() for name in found]
