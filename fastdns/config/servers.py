"""Addresses and upstreams: text to schema, and the file that lists upstreams.

An address is an IP literal with or without a port: "9.9.9.9", "9.9.9.9:53", "2620:fe::fe",
"[2620:fe::fe]:53", "[fe80::1%eth0]:53". An upstream is an address, a scheme
("udp://", "tcp://": transports.py has them all) before an address, or "file:" before a path.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from . import later
from .files import absolute_path, read_text
from .text import describe, path_text
from .transports import TRANSPORTS, UDP
from .values import Address, Server, ServerFile

DNS_PORT = 53
TLS_PORT = 853  # RFC 7858 section 3.1
HTTPS_PORT = 443
MAX_SERVERS = 1000  # in one file
MAX_PROBLEMS = 20  # lines reported about one file; the first few show what is wrong with it

_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::([^:]*))?")
_PLAIN = re.compile(r"([^:]*)(?::([^:]*))?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9._-]+(:[0-9]+)?")
_FOREIGN_PORT = re.compile(r"\[?([0-9A-Fa-f.:]+)\]?[@#]([0-9]{1,5})")  # unbound's, dnsmasq's
_INTERFACE = re.compile(r"[A-Za-z0-9._+-]{1,15}")
# The white space before it matters: in "9.9.9.9#53" it is a port to other programs.
_COMMENT = re.compile(r"(?:^|\s)#.*")


def parse_listen(text: str, usual_port: int = DNS_PORT) -> Address:
    """Return the address to listen on; port 0 asks for a free one. ValueError with one phrase."""
    here = f"127.0.0.1:{usual_port}"
    host, port = _parse_address(
        text,
        text,
        least_port=0,
        example=f'"{here}" or "0.0.0.0:{usual_port}"',
        usual_port=usual_port,
    )
    if host.is_multicast or str(host) == "255.255.255.255":
        raise ValueError(f'{describe(text)} is not an address of one host (try "{here}")')
    return Address(str(host), port)


def parse_server(text: str) -> Server | ServerFile:
    """Return the upstream that the text names. ValueError with one phrase."""
    if text.startswith("file:"):
        return ServerFile(absolute_path(text.removeprefix("file:")))
    match = _SCHEME.fullmatch(text)
    scheme, rest = (match[1].lower(), match[2]) if match else (UDP.scheme, text)
    transport = TRANSPORTS.get(scheme)
    if transport is None and scheme in later.SCHEMES:
        raise ValueError(
            f"{describe(text)}: an encrypted upstream ({scheme}://) {later.NOT_IN_THIS_VERSION}"
        )
    if transport is None:
        known = " or ".join(f'"{one}://"' for one in TRANSPORTS)
        raise ValueError(f"{describe(text)} has an unknown scheme (try {known})")
    host, port = _parse_address(
        rest, text, least_port=1, example='"9.9.9.9" or "127.0.0.1:53"', usual_port=transport.port
    )
    if host.is_unspecified or host.is_multicast or str(host) == "255.255.255.255":
        raise ValueError(f'{describe(text)} is not an address of one host (try "9.9.9.9")')
    return Server(scheme, Address(str(host), port))


def _parse_address(
    text: str, shown: str, *, least_port: int, example: str, usual_port: int = DNS_PORT
) -> tuple[IPv4Address | IPv6Address, int]:
    host, port = _split_port(text)
    address = _parse_host(host, shown, example)
    if port is None:
        return address, usual_port
    if not re.fullmatch(r"[0-9]{1,5}", port) or not least_port <= int(port) <= 65535:
        raise ValueError(f"{describe(shown)} has an impossible port (use {least_port} to 65535)")
    return address, int(port)


def _split_port(text: str) -> tuple[str, str | None]:
    match = _BRACKETED.fullmatch(text) or _PLAIN.fullmatch(text)
    return (match[1], match[2]) if match else (text, None)  # several colons: IPv6 without a port


def _parse_host(host: str, shown: str, example: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(host)
    except ValueError:
        if match := _FOREIGN_PORT.fullmatch(host):
            with suppress(ValueError):
                literal = ip_address(match[1])
                example = (
                    f'"[{literal}]:{match[2]}"'
                    if literal.version == 6
                    else f'"{literal}:{match[2]}"'
                )
        if _NAME.fullmatch(shown.rpartition("//")[2]):
            problem = "is a name; this version of fastdns needs an IP address"
        else:
            problem = "is not an IP address, with or without a port"
        raise ValueError(f"{describe(shown)} {problem} (try {example})") from None
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped:  # the same host in its usual form, so that comparisons work
        return address.ipv4_mapped
    if address.is_link_local and not address.scope_id:
        raise ValueError(f'{describe(shown)} needs its interface (try "[{address}%eth0]:53")')
    if address.scope_id and not (address.is_link_local and _INTERFACE.fullmatch(address.scope_id)):
        raise ValueError(
            f"{describe(shown)}: only a link-local address can have an interface, given by its name"
        )
    return address


def read_server_file(path: Path) -> tuple[tuple[Server, ...], list[str]]:
    """Return the upstreams in the file and a message about each wrong line.

    One upstream a line; blank lines and `# comments` are skipped. The valid lines are used: another
    program writes this file, and one upstream less is better than none. A file that cannot be read,
    is larger than 1 MiB or names more than 1,000 upstreams gives none. Does not block.
    """
    where = path_text(path)
    try:
        text = read_text(path, regular=True)
    except ValueError as error:
        return (), [f"{where}: {error}"]
    servers: list[Server] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        entry = _COMMENT.sub("", line).strip()
        if not entry:
            continue
        try:
            server = parse_server(entry)
            if isinstance(server, ServerFile):
                raise ValueError(
                    f"{describe(entry)} is a file inside a file (write the addresses here)"
                )
        except ValueError as error:
            problems.append(f"{where}:{number}: {error}")
        else:
            servers.append(server)
    if len(servers) > MAX_SERVERS:
        return (), [f"{where}: names more than {MAX_SERVERS} upstreams"]
    if len(problems) > MAX_PROBLEMS:
        more = len(problems) - MAX_PROBLEMS
        problems[MAX_PROBLEMS:] = [f"{where}: {more} more lines are not upstreams"]
    return tuple(servers), problems
