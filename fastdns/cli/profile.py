"""`fastdns profile`: a configuration profile, with which Apple devices use fastdns everywhere."""

from __future__ import annotations

import plistlib
import re
import uuid
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import click

from ..config.files import read_octets
from ..config.listen import Listen
from ..config.load import load
from ..config.servers import HTTPS_PORT, TLS_PORT
from ..config.service_name import parse_service_name
from ..config.text import describe, quote
from ..config.values import Identity
from ..errors import FastdnsError
from ..policy.views import unknown_identity
from . import options
from .output import emit, warn

Protocol = Literal["tls", "https"]

CLIENT = re.compile(r"[A-Za-z0-9_.-]{1,63}")  # as in the path that [[view]] knows
NO_SERVICE = (
    "neither listen.https nor listen.tls is set, so there is no service to point to (if a proxy in "
    "front offers DNS over HTTPS, add --protocol https)"
)
NO_NAME = (
    "which name has the service? Set listen.name, or give it here: fastdns profile dns.example.net"
)


@click.command()
@click.argument("name", required=False)
@options.config_file
@click.option(
    "--protocol",
    type=click.Choice(["https", "tls"]),
    help="DNS over HTTPS or over TLS (default: HTTPS if listen.https is set).",
)
@click.option("--client", metavar="CLIENT", help="With HTTPS: how a view knows the device.")
@click.option(
    "--address",
    "addresses",
    metavar="ADDR",
    multiple=True,
    help="An address of the service, for networks that do not know its name; may be repeated.",
)
def profile(
    name: str | None,
    path: Path | None,
    protocol: Protocol | None,
    client: str | None,
    addresses: tuple[str, ...],
) -> None:
    """Print a profile with which iPhones, iPads and Macs use fastdns in every network.

    NAME is the name of the service, by default listen.name of the configuration; its certificate
    must be one that the devices trust. Send the file to a device and open it there; then install
    it in the settings. A new profile of the same NAME replaces the former one.
    """
    config = load(path)
    listen = config.listen
    name = _name(name or listen.name)
    chosen = protocol or _protocol(listen)
    if client is not None and not CLIENT.fullmatch(client):
        raise click.UsageError(
            f"--client: {describe(client)} is not a name of up to 63 letters, digits, dots, "
            "hyphens and underscores"
        )
    if client is not None and chosen == "tls":
        raise click.UsageError(
            "--client goes with --protocol https: over TLS, a view knows a client by the NAME it "
            "asks for"
        )
    made = mobileconfig(
        name, chosen, _port(listen, chosen), client=client or "", addresses=_checked(addresses)
    )
    emit(made.decode())
    identity = Identity("doh", client.lower()) if client else None
    if identity is not None and (line := unknown_identity(config.view, identity)):
        warn(line)
    _warn_of_certificate(listen, name)


def _warn_of_certificate(listen: Listen, name: str) -> None:
    """Warn of a certificate that the devices refuse, if this user may read it."""
    if not listen.certificate:  # a proxy in front has one
        return
    # Imported here: it loads OpenSSL.
    from .._certificate import read_certificate  # noqa: PLC0415
    from ..listen.certificate_files import OCTETS_MAX  # noqa: PLC0415

    try:
        file = Path(listen.certificate)
        found = read_certificate(read_octets(file, regular=True, limit=OCTETS_MAX))
    except ValueError:  # `fastdns certificate` says why
        return
    if not found.covers(name):
        names = ", ".join(found.names) or "no name"
        warn(f"devices refuse the certificate for {quote(name)}: it is for {names}")
    if found.is_self_signed:
        warn("the certificate is self-signed: devices refuse it unless told to trust it")


def mobileconfig(
    name: str,
    protocol: Protocol,
    port: int,
    *,
    client: str = "",
    addresses: Sequence[str] = (),
) -> bytes:
    """Return the profile: a property list, the same for the same arguments.

    Apple's documentation has its keys under "DNSSettings" and "TopLevel".
    """
    title = f"{name} ({client})" if client else name
    # Lower levels come last in a name of DNS, first in Apple's identifiers.
    parts = ["fastdns", protocol, *([client] if client else [])]
    identifier = ".".join([*reversed(name.split(".")), *parts])
    settings: dict[str, Any] = {"DNSProtocol": protocol.upper()}
    if protocol == "https":
        at = name if port == HTTPS_PORT else f"{name}:{port}"
        path = f"/dns-query/{client}" if client else "/dns-query"
        settings["ServerURL"] = f"https://{at}{path}"
    else:
        settings["ServerName"] = name
    if addresses:
        settings["ServerAddresses"] = list(addresses)
    over = "DNS over HTTPS" if protocol == "https" else "DNS over TLS"
    content = {
        "PayloadType": "com.apple.dnsSettings.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{identifier}.settings",
        "PayloadUUID": _uuid(f"{identifier}.settings"),
        "PayloadDisplayName": f"{over}: {title}",
        "DNSSettings": settings,
    }
    whole = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": identifier,
        "PayloadUUID": _uuid(identifier),
        "PayloadDisplayName": f"{title}: {over}",
        "PayloadDescription": f"This device asks {name} for names, by {over}, in every network.",
        "PayloadRemovalDisallowed": False,
        "PayloadScope": "System",
        "PayloadContent": [content],
    }
    return plistlib.dumps(whole)


def _uuid(identifier: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, identifier)).upper()


def _name(text: str) -> str:
    if not text:
        raise click.UsageError(NO_NAME)
    try:
        return parse_service_name(text)
    except ValueError as error:
        raise click.UsageError(f"NAME: {error}") from None


def _protocol(listen: Listen) -> Protocol:
    if listen.https:
        return "https"
    if not listen.tls:
        raise FastdnsError(NO_SERVICE)
    return "tls"


def _port(listen: Listen, protocol: Protocol) -> int:
    """Return the port of the service; what a proxy in front has is the usual one."""
    usual, listening = (HTTPS_PORT, listen.https) if protocol == "https" else (TLS_PORT, listen.tls)
    # Where HTTPS has no certificate, a proxy ends it.
    ports = [one.port for one in listening if listen.certificate and one.port]
    if not ports or usual in ports:
        return usual
    if protocol == "tls":
        raise FastdnsError(
            f"listen.tls has port {ports[0]}, and Apple devices know only {TLS_PORT} for DNS over "
            "TLS (add that, or use --protocol https)"
        )
    return ports[0]


def _checked(addresses: Sequence[str]) -> list[str]:
    try:
        return [str(ip_address(one)) for one in addresses]
    except ValueError as error:
        raise click.UsageError(f"--address: {error}") from None
