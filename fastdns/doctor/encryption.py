"""The encrypted services: do they answer, who may ask, and is the certificate one for them?"""

from __future__ import annotations

import os
import socket
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from ..config.listen import Listen
from ..config.schema import Config
from ..config.values import Address
from ..listen.certificate_files import Pair
from ..listen.view_services import out_of_reach
from ..machine.own_addresses import own_addresses
from ..policy.access import spell_clients
from . import certificate
from .certificate import ABOUT
from .commands import Commands
from .findings import Finding, hint, ok, wrong
from .probe import VERSION, near, said
from .running import Daemon

SECONDS = 3.0
TLS, HTTPS = "DNS over TLS", "DNS over HTTPS"
ALPN = {TLS: "dot", HTTPS: "h2"}
SHOWN_MAX = 6  # addresses of this machine
OK_STATUS = 200
HEADER = bytes([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])  # of a query
QUERY = "/dns-query?dns=" + urlsafe_b64encode(HEADER + VERSION).rstrip(b"=").decode()
NAME = 'name = "dns.example.net" under [listen]: a name that the certificate is for'


def look(config: Config, running: Daemon | None, commands: Commands) -> Iterator[Finding]:
    """Yield what there is to say of listen.tls and listen.https; nothing if they are empty."""
    listen = config.listen
    if not listen.is_encrypted:
        yield from _views(config, None)
        return
    about_certificate, pair = certificate.look(config, running, commands)
    yield from about_certificate
    in_file = _first(pair.chain.decode("ascii", "replace")) if pair is not None else b""
    why_not = certificate.why_not_used(running) if running is not None else ""
    for protocol, listening in ((TLS, listen.tls), (HTTPS, listen.https)):
        addresses = [one for one in listening if one.port]
        if not addresses:
            continue
        if running is not None and not certificate.needs_one(listen, running):
            for address in addresses:
                yield _behind_proxy(running, address, listen, commands)
        # Without a certificate, connections are closed, and the reason is told above.
        elif running is not None and not certificate.has_none(running):
            for address in addresses:
                found = _answer(
                    running,
                    protocol,
                    address,
                    listen.name,
                    in_file=in_file,
                    why_not=why_not,
                    commands=commands,
                )
                if found.state == "hint":
                    why_not = ""  # is told once
                yield found
        yield _reach(config, protocol, addresses)
    yield from _views(config, pair)
    if not listen.name:
        text = "listen.name is not set: clients do not find these services by themselves (RFC 9462)"
        yield hint(ABOUT, text, NAME)


def _views(config: Config, pair: Pair | None) -> Iterator[Finding]:
    found = pair.certificate if pair is not None else None
    yield from (hint(ABOUT, text, do) for text, do in out_of_reach(config, found))


def _behind_proxy(running: Daemon, address: Address, listen: Listen, commands: Commands) -> Finding:
    """Say whether it answers plain HTTP there, as it does to its proxies."""
    at = near(address)
    where = f"plain HTTP on {address}"
    here = ip_address(at.host.partition("%")[0])
    if not any(here in network for network in listen.proxy_networks):
        proxies = " and ".join(map(spell_clients, listen.proxies)) or "none"
        return ok(ABOUT, f"{where} was not tried: only the proxies may ask there ({proxies})")
    connection = HTTPConnection(at.host, at.port, timeout=SECONDS)
    try:
        connection.request("GET", QUERY, headers={"Accept": "application/dns-message"})
        answered = connection.getresponse().status
    except (OSError, HTTPException) as error:
        reason = said(error) if isinstance(error, OSError) else "no HTTP"
    else:
        if answered == OK_STATUS:
            return ok(ABOUT, f"{running} answers {where}, for its proxies")
        reason = f"HTTP status {answered}"
    finally:
        connection.close()
    return wrong(
        ABOUT,
        f"{running} runs, but does not answer {where}: {reason}",
        f"{commands.line('reload')}, if the configuration has changed; its log may say more",
    )


def _first(chain: str) -> bytes:
    """Return the first certificate of a chain as DER."""
    end = "-----END CERTIFICATE-----"
    begin = chain.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(chain[begin : chain.index(end, begin) + len(end)])


def _answer(
    running: Daemon,
    protocol: str,
    address: Address,
    name: str,
    *,
    in_file: bytes,
    why_not: str,
    commands: Commands,
) -> Finding:
    """Say whether a handshake succeeds there, and with the certificate of the file."""
    where = f"{protocol} on {address}"
    try:
        served = _handshake(near(address), ALPN[protocol], name)
    except OSError as error:
        reason = "the handshake fails" if isinstance(error, ssl.SSLError) else said(error)
        if os.geteuid() != 0 and not running.told:  # it may have no certificate
            text = f"{running} runs, but does not answer {where}: {reason}"
            return wrong(ABOUT, text, f"{commands.as_root('doctor')} says why")
        return wrong(
            ABOUT,
            f"{running} runs, but does not answer {where}: {reason}",
            f"{commands.line('reload')}, if the configuration has changed; its log may say more",
        )
    if in_file and served != in_file:
        text = f"{running} answers {where}, with another certificate than is in the file"
        if why_not:
            return hint(ABOUT, f"{text}: {why_not}")
        return hint(
            ABOUT, text, f"{commands.as_root('reload')}: it says why the new one is not used"
        )
    return ok(ABOUT, f"{running} answers {where}")


def _handshake(address: Address, alpn: str, name: str) -> bytes:
    """Return the certificate that is served, as DER; OSError: there is no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # `problems` judges it
    context.set_alpn_protocols([alpn])
    with (
        socket.create_connection(address.sockaddr[:2], SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=name or None) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def _reach(config: Config, protocol: str, addresses: Sequence[Address]) -> Finding:
    """Say at which addresses other machines find the service, and who may ask there."""
    own = [Address(str(one), 0) for one in own_addresses()]
    found: dict[int, list[str]] = {}
    for address in addresses:
        all_of_family = [one for one in own if one.family is address.family]
        for one in all_of_family if address == address.wildcard else [address]:
            host = one.host.partition("%")[0]
            if not ip_address(host).is_loopback:
                found.setdefault(address.port, []).append(host)
    if not found:
        listed = " and ".join(map(str, addresses))
        return ok(ABOUT, f"{protocol} on {listed}: only this machine reaches it")
    where = "; ".join(f"port {port} of {_listed(hosts)}" for port, hosts in found.items())
    allowed = ", ".join(map(spell_clients, config.access.allow))
    denied = ", ".join(map(spell_clients, config.access.deny))
    but = f", but not {denied}" if denied else ""
    return ok(
        ABOUT,
        f"{protocol} is at {where}, unless a firewall closes that; clients that may ask: "
        f"{allowed}{but} (access.allow)",
    )


def _listed(hosts: Sequence[str]) -> str:
    unique = list(dict.fromkeys(hosts))
    more = len(unique) - SHOWN_MAX
    return ", ".join(unique[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
