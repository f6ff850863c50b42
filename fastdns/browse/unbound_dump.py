"""The output of `unbound-control dump_cache`, as our answers.

A dump lists sets of records (`;rrset TTL …` and their lines), then messages: `msg NAME CLASS TYPE
FLAGS QDCOUNT TTL SECURITY ANSWERS AUTHORITIES ADDITIONALS`, and after each the sets in it. TTLs are
those remaining when the dump was made. A message is left out if its sets are incomplete, if it is
bogus, or if it must not be cached, as in unbound's own load_cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from .._answer import Answer
from .._clock import Moment
from ..config.names import parse_name
from ..config.text import path_text
from .json_lines import Imported, Malformed, Outdated, Terms, make_entry, read_answer
from .names import Key
from .rdata import parse_rdata, type_of

FIRST_LINE = b"START_RRSET_CACHE"
LAST_LINE = b"EOF"

_MARKS = {FIRST_LINE, b"END_RRSET_CACHE", b"START_MSG_CACHE", b"END_MSG_CACHE", LAST_LINE}
_BOGUS = 1
_VALIDATED = {3, 5}  # insecure, secure: all DNSSEC data is there
_SOA_OF_NEGATIVE = 4  # the flag of a set whose TTL is that of a negative answer (RFC 2308)
_RECORDS_OF_DNSSEC = {
    dns.rdatatype.RRSIG,
    dns.rdatatype.NSEC,
    dns.rdatatype.NSEC3,
}
_RESPONSE = 0x8180  # QR, RD, RA
_RCODE = 0x000F
_MESSAGE_MAX = 65535

_SetName = tuple[bytes, bytes, bytes]  # name in lower case, class and type, as in the dump


@attrs.define
class _Set:
    """The lines of one set of records: number and text of each."""

    name: _SetName
    ttl: int
    lines: list[tuple[int, bytes]] = attrs.Factory(list)


@attrs.define
class _Message:
    """One message: its question, unbound's data about it, and its sets."""

    number: int
    name: bytes
    qclass: bytes
    qtype: bytes
    flags: int
    ttl: int
    security: int
    counts: tuple[int, int, int]
    sets: list[tuple[_SetName, int]] = attrs.Factory(list)

    @classmethod
    def parse(cls, number: int, words: list[bytes]) -> _Message:
        if len(words) < 11:
            raise ValueError("is not a whole msg line")
        flags, questions, ttl, security, *counts = map(_integer, words[4:11])
        if questions != 1:
            raise ValueError("is a message without a question")
        if min(counts) < 0 or not 0 <= flags <= 65535:
            raise ValueError("has impossible numbers")
        return cls(
            number,
            words[1],
            words[2],
            words[3],
            flags,
            ttl,
            security,
            (*counts[:3],),  # type: ignore[arg-type]
        )

    @property
    def is_complete(self) -> bool:
        return len(self.sets) == sum(self.counts)


def read_dump(
    lines: Iterable[tuple[int, bytes]], terms: Terms, dumped: Moment
) -> Iterator[Imported]:
    """Yield the result of each message of a dump made at that moment; bad lines do not stop it.

    The last one tells if the dump ends early: the missing part is unknown.
    """
    dump = _Dump(terms, dumped)
    number = 0
    for number, line in lines:
        try:
            yield from dump.take(number, line.strip())
        except ValueError as error:
            yield Imported(number, problem=str(error))
    yield from dump.end()
    if not dump.is_whole:
        yield Imported(number, ends_early=True)


class _Dump:
    """The sets read so far and the message that is being read."""

    is_whole = False  # its last line was read

    def __init__(self, terms: Terms, dumped: Moment) -> None:
        self._terms = terms
        self._dumped = dumped
        self._sets: dict[_SetName, list[_Set]] = {}
        self._set: _Set | None = None
        self._message: _Message | None = None
        self._in_messages = False

    def take(self, number: int, line: bytes) -> Iterator[Imported]:
        """Read a line; yield the message that ends with it."""
        if not line:
            return
        if line in _MARKS or line.startswith((b"msg ", b"BADRRSET", b"BADMSG")):
            yield from self.end()
            self._set = None
            self.is_whole = line == LAST_LINE
            self._in_messages = self._in_messages or line == b"START_MSG_CACHE"
            if line.startswith(b"msg "):
                self._message = _Message.parse(number, line.split())
        elif self._in_messages:
            self._take_reference(line)
        elif line.startswith(b";"):
            self._set = None
        else:
            self._take_record(number, line)

    def end(self) -> Iterator[Imported]:
        """Yield the result of the message that was being read."""
        message, self._message = self._message, None
        if message is None:
            return
        try:
            yield from self._answers(message)
        except (_LeftOut, Outdated):
            yield Imported(message.number)
        except (ValueError, dns.exception.DNSException) as error:
            yield Imported(message.number, problem=str(error) or type(error).__name__)

    def _take_record(self, number: int, line: bytes) -> None:
        """Add a record, or the signature of the records before it, to the set of its name.

        By the record's own text: unbound truncates long lines, including the end of the line.
        """
        words = line.split(None, 4)
        if len(words) < 4:  # RDATA may be empty, and then has no text
            raise ValueError("is not a record")
        name = (words[0].lower(), words[2], words[3])
        signs = self._set is not None and words[3] == b"RRSIG" and name[:2] == self._set.name[:2]
        if self._set is None or not (signs or name == self._set.name):
            self._set = _Set(name, _integer(words[1]))
            self._sets.setdefault(name, []).append(self._set)
        self._set.lines.append((number, line))

    def _take_reference(self, line: bytes) -> None:
        words = line.split()
        if self._message is None:
            raise ValueError("does not belong to a message")
        if len(words) != 4:
            raise ValueError("does not name a set of records")
        self._message.sets.append(((words[0].lower(), words[1], words[2]), _integer(words[3])))

    def _answers(self, message: _Message) -> Iterator[Imported]:
        """Yield the answer for clients without DNSSEC and, if it is complete, for others."""
        if message.security == _BOGUS or not message.is_complete or message.ttl <= 0:
            raise _LeftOut
        name, qclass, qtype = _question(message)
        sections = self._sections(message)
        for do in (False, True) if message.security in _VALIDATED else (False,):
            group = self._terms.group_of(name)
            key = Key(name, int(qtype), int(qclass), do=do, group=group)
            answer = self._answer(message, key, _of_dnssec_or_not(sections, key))
            pair = make_entry(key, answer, self._dumped, self._terms)
            yield Imported(message.number, pair)

    def _answer(self, message: _Message, key: Key, sections: list[list[dns.rrset.RRset]]) -> Answer:
        built = dns.message.Message(id=0)
        built.flags = dns.flags.Flag(_RESPONSE | message.flags & _RCODE)
        question = dns.name.from_wire(key.name, 0)[0]
        built.question.append(
            dns.rrset.RRset(
                question,
                dns.rdataclass.RdataClass(key.qclass),
                dns.rdatatype.RdataType.make(key.qtype),
            )
        )
        built.answer, built.authority, built.additional = sections
        try:
            wire = built.to_wire(max_size=_MESSAGE_MAX)
            return read_answer(wire, key, self._terms.limits_of(key))
        except Malformed:
            raise ValueError("has a record that does not fit its type") from None
        except (ValueError, dns.exception.DNSException):
            raise _LeftOut from None

    def _sections(self, message: _Message) -> list[list[dns.rrset.RRset]]:
        sets = iter(message.sets)
        return [
            [records for _ in range(count) for records in self._records(*next(sets))]
            for count in message.counts
        ]

    def _records(self, name: _SetName, flags: int) -> list[dns.rrset.RRset]:
        """Return a set; of several with one name, that of a negative answer has the smaller TTL."""
        found = self._sets.get(name)
        if not found:
            raise _LeftOut
        choose = min if flags & _SOA_OF_NEGATIVE else max
        return _parse_set(choose(found, key=lambda one: one.ttl))


class _LeftOut(Exception):
    """A message that is well formed but useless."""


def _question(message: _Message) -> tuple[bytes, Any, Any]:
    try:
        return (
            parse_name(message.name.decode("ascii")),
            dns.rdataclass.from_text(message.qclass.decode("ascii")),
            type_of(message.qtype.decode("ascii")),
        )
    except UnicodeDecodeError:
        raise ValueError("is not in ASCII") from None


def _parse_set(lines: _Set) -> list[dns.rrset.RRset]:
    """Return the records of a set and, as another set, their signatures."""
    parsed: dict[int, dns.rrset.RRset] = {}
    for number, line in lines.lines:
        try:
            owner, _, rclass, rtype, *text = line.decode("ascii").split(None, 4)
            rdata = parse_rdata(rclass, rtype, "".join(text))
            records = parsed.setdefault(
                rdata.rdtype,
                dns.rrset.RRset(
                    dns.name.from_text(owner), rdata.rdclass, rdata.rdtype, rdata.covers()
                ),
            )
            records.add(rdata, lines.ttl)
        except (ValueError, dns.exception.DNSException) as error:
            raise ValueError(f"needs line {number}, which cannot be read: {error}") from None
    return list(parsed.values())


def _of_dnssec_or_not(
    sections: list[list[dns.rrset.RRset]], key: Key
) -> list[list[dns.rrset.RRset]]:
    """Return the sections, without DNSSEC records for clients that do not know them (RFC 3225)."""
    if key.do:
        return sections
    return [
        [
            records
            for records in section
            if records.rdtype == key.qtype or records.rdtype not in _RECORDS_OF_DNSSEC
        ]
        for section in sections
    ]


def _integer(word: bytes) -> int:
    try:
        return int(word)
    except ValueError:
        text = path_text(word[:20].decode("ascii", "backslashreplace"))
        raise ValueError(f'has "{text}" instead of a number') from None
