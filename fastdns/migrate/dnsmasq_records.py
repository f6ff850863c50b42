"""Options of dnsmasq that are records, as lines of a zone file. ValueError: one that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import attrs

from ..config.text import describe
from .draft import reverse_name


@attrs.frozen
class Record:
    """A line of local.records; ttl: of this option, else that of all."""

    name: str
    rest: str  # type and data
    ttl: int = 0

    def line(self, ttl: int) -> str:
        ttl = self.ttl or ttl
        return f"{self.name} {ttl} {self.rest}" if ttl else f"{self.name} {self.rest}"


def absolute(name: str) -> str:
    """Return a name with its final dot."""
    if not name.strip("."):
        raise ValueError("names nothing")
    if re.search(r"\s", name):
        raise ValueError(f"{describe(name)} is not a name")
    return name.lower().rstrip(".") + "."


def address_record(name: str, address: str, ttl: int = 0) -> Record:
    """Return the A or AAAA record of an address."""
    found = ip_address(address)
    return Record(name, f"{'A' if found.version == 4 else 'AAAA'} {found}", ttl)


def _host(fields: list[str]) -> Iterator[Record]:
    ttl = int(fields.pop()) if fields and fields[-1].isdigit() else 0
    addresses = [one for one in fields if _is_address(one)]
    names = [absolute(one) for one in fields if one and not _is_address(one)]
    if not names or not addresses:
        raise ValueError("has no name and address")
    for name in names:
        for address in addresses:
            yield address_record(name, address, ttl)
    for address in addresses:
        yield Record(reverse_name(address), f"PTR {names[0]}", ttl)


def _cname(fields: list[str]) -> Iterator[Record]:
    ttl = int(fields.pop()) if fields and fields[-1].isdigit() else 0
    *aliases, target = _at_least(fields, 2)
    for alias in aliases:
        yield Record(absolute(alias), f"CNAME {absolute(target)}", ttl)


def _pointer(fields: list[str]) -> Iterator[Record]:
    name, target, *_ = _at_least(fields, 2)
    yield Record(absolute(name), f"PTR {absolute(target)}")


def _text(fields: list[str]) -> Iterator[Record]:
    name, *texts = _at_least(fields, 1)
    yield Record(absolute(name), f"TXT {' '.join(map(quoted, texts or ['']))}")


def _service(fields: list[str]) -> Iterator[Record]:
    name, *rest = _at_least(fields, 1)
    target, port, priority, weight = (rest + [""] * 4)[:4]
    numbers = [
        _number(one or usual) for one, usual in ((priority, "0"), (weight, "0"), (port, "1"))
    ]
    if not target:
        numbers[2] = 0  # no such service, RFC 2782
    yield Record(
        absolute(name),
        f"SRV {' '.join(map(str, numbers))} {absolute(target) if target else '.'}",
    )


def _mail(fields: list[str]) -> Iterator[Record]:
    name, *rest = _at_least(fields, 1)
    if not rest or rest[0].isdigit():
        raise ValueError("names no mail server; write the MX record into local.records")
    preference = _number(rest[1]) if len(rest) > 1 else 1
    yield Record(absolute(name), f"MX {preference} {absolute(rest[0])}")


def _any(fields: list[str]) -> Iterator[Record]:
    name, number, *data = _at_least(fields, 2)
    octets = re.sub(r"[^0-9A-Fa-f]", "", "".join(data))
    if len(octets) % 2:
        raise ValueError("has half a byte")
    yield Record(absolute(name), f"TYPE{_number(number)} \\# {len(octets) // 2} {octets}".rstrip())


def _naptr(fields: list[str]) -> Iterator[Record]:
    name, order, preference, flags, service, regexp, *more = _at_least(fields, 6)
    texts = " ".join(map(quoted, (flags, service, regexp)))
    target = absolute(more[0]) if more and more[0].strip(".") else "."
    yield Record(absolute(name), f"NAPTR {_number(order)} {_number(preference)} {texts} {target}")


def _caa(fields: list[str]) -> Iterator[Record]:
    name, flags, tag, value, *_ = _at_least(fields, 4)
    yield Record(absolute(name), f"CAA {_number(flags)} {tag} {quoted(value)}")


RECORDS: dict[str, Callable[[list[str]], Iterator[Record]]] = {
    "host-record": _host,
    "cname": _cname,
    "ptr-record": _pointer,
    "txt-record": _text,
    "srv-host": _service,
    "mx-host": _mail,
    "dns-rr": _any,
    "naptr-record": _naptr,
    "caa-record": _caa,
}


def quoted(text: str) -> str:
    """Return a character string as in a zone file."""
    return (
        '"'
        + "".join(f"\\{c}" if c in '"\\' else c if " " <= c <= "~" else _bytes(c) for c in text)
        + '"'
    )


def _bytes(character: str) -> str:
    return "".join(f"\\{octet:03}" for octet in character.encode())


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _at_least(fields: list[str], count: int) -> list[str]:
    if len(fields) < count or not fields[0]:
        raise ValueError("lacks a part")
    return fields


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError(f"{text} is not a number up to 65535")
    return int(text)
