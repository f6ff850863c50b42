"""The table [listen]: where clients reach fastdns, over which protocols, and who it says it is.

Field types are real objects here, as in schema.py.
"""

from collections.abc import Collection, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any

import attrs

from ..errors import ConfigError
from .section import Section
from .validators import once
from .values import (
    NO_FILE,
    NO_SERVICE_NAME,
    Address,
    Clients,
    HttpsAddress,
    MaybeFile,
    Network,
    ServiceName,
    TlsAddress,
)

DEFAULT_DNS = (Address("127.0.0.1", 53), Address("::1", 53))
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))
SERVICES = ("dns", "tls", "https")  # keys with addresses; `listen.services` says more of each
MAKE_ONE = "to try it, make one: fastdns certificate --self-signed NAME"
NAME_PROXY = "if a web server in front has them, name it in proxies"


def _distinct(_instance: Any, _attribute: Any, value: tuple[Address, ...]) -> None:
    fixed = [address for address in value if address.port]  # port 0 is another free port each time
    for address in dict.fromkeys(fixed):
        if fixed.count(address) > 1:
            raise ValueError(f'"{address}" is listed more than once (keep one)')


def _some_distinct(instance: Any, attribute: Any, value: tuple[Address, ...]) -> None:
    if not value:
        raise ValueError('is empty; fastdns needs an address to listen on (try ["127.0.0.1:53"])')
    _distinct(instance, attribute, value)


def _few_proxies(instance: Any, attribute: Any, value: tuple[Clients, ...]) -> None:
    once(instance, attribute, value)
    for one in value:
        if one == "lan" or (not isinstance(one, str) and not one.prefixlen):
            raise ValueError(
                f'"{one}" would let many machines pretend to be any client (name the proxies only)'
            )


@attrs.frozen
class Listen(Section):
    """The addresses that clients use, and the certificate that proves whose they are."""

    dns: tuple[Address, ...] = attrs.field(default=DEFAULT_DNS, validator=_some_distinct)
    tls: tuple[TlsAddress, ...] = attrs.field(default=(), validator=_distinct)
    https: tuple[HttpsAddress, ...] = attrs.field(default=(), validator=_distinct)
    certificate: MaybeFile = NO_FILE
    key: MaybeFile = NO_FILE
    name: ServiceName = NO_SERVICE_NAME
    proxies: tuple[Clients, ...] = attrs.field(default=(), validator=_few_proxies)

    @property
    def addresses(self) -> tuple[tuple[str, Address], ...]:
        """All addresses, each with the name of its service."""
        return tuple((name, address) for name in SERVICES for address in getattr(self, name))

    @property
    def has_default_dns(self) -> bool:
        """Whether the addresses for plain DNS are those of a configuration that names none."""
        return self.dns == DEFAULT_DNS

    @property
    def is_encrypted(self) -> bool:
        """Whether there is an address over TLS or HTTPS."""
        return bool(self.tls or self.https)

    @property
    def certificate_files(self) -> tuple[Path, Path] | None:
        """The files with the certificate and with its key; None: there are none."""
        return (Path(self.certificate), Path(self.key)) if self.certificate and self.key else None

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """Where the proxies are."""
        found: list[Network] = []
        for one in self.proxies:
            found += LOOPBACK if isinstance(one, str) else (one,)
        return tuple(found)

    def covers(self, address: Address) -> bool:
        """Return True if a query sent to the address would come back to fastdns.

        Under a wildcard, an address of another interface is not recognized: interfaces come and go.
        """
        return address in self.dns or (
            address.wildcard in self.dns and ip_address(address.host).is_loopback
        )

    def contradictions(self, wrong: Collection[str] = ()) -> Iterator[ConfigError]:
        yield from self._shared_addresses(wrong)
        if {"certificate", "key"} & set(wrong):
            return
        if bool(self.certificate) != bool(self.key):
            yield (
                ConfigError("key", 'is missing; certificate is set (try "/etc/fastdns/key.pem")')
                if self.certificate
                else ConfigError(
                    "certificate", 'is missing; key is set (try "/etc/fastdns/fullchain.pem")'
                )
            )
        elif not self.certificate:
            # Behind a proxy that ends HTTPS itself, clients never see a certificate of ours.
            needing = ["tls"] * bool(self.tls) + ["https"] * bool(self.https and not self.proxies)
            for service in needing:
                others = f"; {NAME_PROXY}" if service == "https" else ""
                yield ConfigError(service, f"needs certificate and key ({MAKE_ONE}{others})")

    def _shared_addresses(self, wrong: Collection[str]) -> Iterator[ConfigError]:
        """Yield the addresses that are given to a second service: one TCP socket has one."""
        owners: dict[Address, str] = {}
        for service, address in self.addresses:
            other = owners.setdefault(address, service)
            if address.port and other != service and not {service, other} & set(wrong):
                problem = f'"{address}" is in listen.{other} as well (keep one, or change the port)'
                yield ConfigError(service, problem)
