"""A response policy zone by zone transfer: whole (AXFR), or what has changed (IXFR, RFC 1995).

The records pass through one by one and end as the text of a zone file: a zone of millions fits
into no memory as objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig

from ..config.units import spell_size
from ..config.values import ListZone
from .errors import FetchError
from .http import Limits
from .state import Timers
from .tsig import Key, read_key

LEAST_SECONDS = 30.0  # between two checks, whatever the SOA record says
PIECE = 1 << 16


@attrs.frozen
class _Record:
    name: str
    kind: str
    text: str

    @property
    def line(self) -> str:
        return f"{self.name} IN {self.kind} {self.text}\n"


class Transfer:
    """One try to have the newest version of a zone."""

    def __init__(self, zone: ListZone, limits: Limits, clock: Callable[[], float]) -> None:
        self._zone = zone
        self._name = dns.name.from_text(zone.zone)
        self._limits = limits
        self._end = clock() + limits.seconds
        self._clock = clock
        self._key = read_key(zone.key) if zone.key is not None else None

    def timers(self) -> Timers:
        """Return what the server's SOA record says now. FetchError: it does not answer well."""
        with _told(self._limits):
            query = dns.message.make_query(self._name, "SOA")
            if self._key is not None:
                query.use_tsig(_keyring(self._key), self._key.name, algorithm=self._key.algorithm)
            reply = dns.query.tcp(
                query, self._zone.server.host, self._left, port=self._zone.server.port
            )
            if reply.rcode():
                raise FetchError(f"answers {dns.rcode.to_text(reply.rcode())}")
            for rrset in reply.answer:
                if rrset.rdtype == dns.rdatatype.SOA and rrset.name == self._name:
                    return _timers(rrset[0])
        raise FetchError("has no SOA record: the server does not have this zone")

    def text(self, known: Timers | None, copy: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
        """Yield the text of the newest version. FetchError while reading: there is none.

        `known` is the version of the copy: then the server may send what has changed since.
        """
        with _told(self._limits):
            records = self._records(known)
            soa = next(records, None)
            if soa is None or soa.kind != "SOA":
                raise FetchError("begins without an SOA record")
            first = next(records, None)
            if first is None:
                raise FetchError("is cut off: it ends after its first record")
            yield f"$ORIGIN {self._name}\n$TTL 60\n{soa.line}".encode()
            pieces = (
                _changed(copy(), _changes(soa, records))
                if known is not None and first.kind == "SOA" and first != soa
                else _whole(first, records)
            )
            total = 0
            for piece in pieces:
                total += len(piece)
                if total > self._limits.text:
                    raise FetchError(f"is larger than {spell_size(self._limits.text)}")
                yield piece

    @property
    def _left(self) -> float:
        return max(0.001, min(self._limits.silence, self._end - self._clock()))

    def _records(self, known: Timers | None) -> Iterator[_Record]:
        keys: dict[str, Any] = {}
        if self._key is not None:
            keys = {
                "keyring": _keyring(self._key),
                "keyname": self._key.name,
                "keyalgorithm": self._key.algorithm,
            }
        messages = dns.query.xfr(
            self._zone.server.host,
            self._name,
            "AXFR" if known is None else "IXFR",
            timeout=self._limits.silence,
            port=self._zone.server.port,
            relativize=False,
            lifetime=max(0.001, self._end - self._clock()),
            serial=0 if known is None else known.serial,
            **keys,
        )
        for message in messages:
            for rrset in message.answer:
                kind = dns.rdatatype.to_text(rrset.rdtype)
                name = rrset.name.to_text()
                for rdata in rrset:
                    yield _Record(name, kind, rdata.to_text())


def _whole(first: _Record, records: Iterator[_Record]) -> Iterator[bytes]:
    lines: list[str] = []
    octets = 0
    if first.kind != "SOA":
        lines.append(first.line)
    for one in records:
        if one.kind != "SOA":
            lines.append(one.line)
            octets += len(lines[-1])
            if octets > PIECE:
                yield "".join(lines).encode()
                lines, octets = [], 0
    yield "".join(lines).encode()


def _changes(newest: _Record, records: Iterator[_Record]) -> dict[bytes, bool]:
    """Return the lines that were added (True) or removed since the version of the copy."""
    changes: dict[bytes, bool] = {}
    is_added = False  # the SOA record of the old version has been read
    for one in records:
        if one.kind == "SOA":
            if is_added and one == newest:
                break
            is_added = not is_added
        else:
            changes[one.line.encode()] = is_added
    return changes


def _changed(copy: Iterable[bytes], changes: dict[bytes, bool]) -> Iterator[bytes]:
    """Yield the text of the copy, without its head, after these changes."""
    for lines in _lines(copy):
        kept = [
            one
            for one in lines
            if one not in changes and not one.startswith(b"$") and b" IN SOA " not in one
        ]
        yield b"".join(kept)
    yield b"".join(line for line, is_added in changes.items() if is_added)


def _lines(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield [one + b"\n" for one in whole]
    if rest:
        yield [rest + b"\n"]


def _timers(soa: Any) -> Timers:
    refresh, retry = (max(LEAST_SECONDS, float(one)) for one in (soa.refresh, soa.retry))
    # RFC 1912 section 2.2: one that expires before a second try would be useless.
    return Timers(soa.serial, refresh, retry, max(float(soa.expire), refresh + retry))


def _keyring(key: Key) -> dict[dns.name.Name, dns.tsig.Key]:
    name = dns.name.from_text(key.name)
    return {name: dns.tsig.Key(name, key.secret, dns.name.from_text(key.algorithm))}


class _told:
    """Turns what dnspython raises into FetchError."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case None | FetchError() | GeneratorExit():
                return
            case dns.query.TransferError():
                raise FetchError(f"answers {dns.rcode.to_text(error.rcode)}") from error
            case dns.exception.Timeout() | TimeoutError():
                raise FetchError(f"sends nothing for {self._limits.silence:g} s") from error
            case EOFError():
                raise FetchError("is cut off: the connection ended within it") from error
            case OSError():
                raise FetchError(f"cannot be reached: {error.strerror or error}") from error
            case dns.tsig.PeerError() | dns.tsig.BadSignature() | dns.tsig.BadKey():
                raise FetchError("does not accept the TSIG key, or signs with another") from error
            case dns.exception.DNSException():
                raise FetchError(f"cannot be transferred: {error}") from error
