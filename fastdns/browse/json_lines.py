"""A cache as JSON lines: `export` writes and `import` reads it, on this machine or another.

The wire form counts; names, types and TTLs beside it are for people. It is read as carefully as an
upstream's reply, because anyone may have written the file.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from .._answer import Answer, Limits, Reading
from .._clock import Moment
from .._entry import DiskEntry, pack
from .._key import disk_key
from .._rules import Rules
from ..config.groups import GROUP_NAME, GROUPS_MAX, number_of_group
from ..config.names import parse_name
from ..config.text import describe
from ..config.types import parse_type
from ..config.units import spell_size
from ..upstream.known_groups import Groups
from .items import Item
from .names import Key, parse_class, spell_rcode
from .reader import Pair

LINE_MAX = 16 << 20  # bytes; the records of the largest message have fewer as text
_OPT = b"\0\0\x29\x04\xd0\0\0\0\0"  # root, type 41, 1232 octets, no flags; RDLENGTH follows
_MILLISECOND = 1000
_FLAG_QR = 0x80
UPSTREAM_MAX = 100
_EARLIEST_MS = 0  # its time is unknown: the line must state an age


@attrs.frozen
class Terms:
    """The terms for imported answers: the limits of this configuration, and the upstreams."""

    limits: Limits
    origin: int  # of the default group
    stale: int
    now: Moment
    groups: Groups = attrs.Factory(dict)  # the others
    group_of: Callable[[bytes], int] = lambda _: 0  # of a name, where the file does not tell
    rules: Rules = attrs.Factory(Rules)

    def limits_of(self, key: Key) -> Limits:
        """Return the limits of an answer: those of the rule of its name, if it has one."""
        found = self.rules.limits_of(key.name, key.qclass, self.limits.trust_ad)
        return found or self.limits

    def origin_of(self, key: Key) -> int:
        """Return the origin of an entry; 0: there is no such group here."""
        if key.group == 0:
            origin = self.origin
        else:
            origin = self.groups[key.group].origin if key.group in self.groups else 0
        return origin and origin ^ self.rules.mark_of(key.name, key.qtype, key.qclass)


@attrs.frozen
class Imported:
    """The result of a line: an entry, a problem, or neither if it is useless.

    `ends_early`: the only problem is that this line is the last one.
    """

    line: int
    entry: Pair | None = None
    problem: str | None = None
    ends_early: bool = False


class Outdated(Exception):
    """The entry is intact, but too old to be used."""


class Malformed(ValueError):
    """A message does not answer its question, or cannot be read."""


def line_of(item: Item) -> str:
    """Return an entry as one line of JSON, wire form included."""
    return json.dumps(item.as_json() | {"wire": base64.b64encode(_wire(item.entry)).decode()})


def read_lines(lines: Iterable[tuple[int, bytes]], terms: Terms) -> Iterator[Imported]:
    """Yield the result of each numbered line of an export; a bad line does not stop the others."""
    for number, line in lines:
        if not line.strip():
            continue
        try:
            yield Imported(number, read_line(line, terms))
        except Outdated:
            yield Imported(number)
        except ValueError as error:
            yield Imported(number, problem=str(error))


def read_line(line: bytes, terms: Terms) -> Pair:
    """Return key and value on disk of an exported entry.

    ValueError names the problem of the line in a phrase; Outdated: it is too old.
    """
    if len(line) > LINE_MAX:
        raise ValueError(f"is longer than {spell_size(LINE_MAX)}")
    given = _parsed(line)
    key = _key(given)
    wire = _decoded(given)
    answer = read_answer(wire, key, terms.limits_of(key))
    return make_entry(
        key,
        answer,
        _stored(given),
        terms,
        upstream=_upstream(given),
        rtt_us=_microseconds(given),
        hits=_number(given, "hits", 0, 2**63),
    )


def read_answer(wire: bytes, key: Key, limits: Limits) -> Answer:
    """Return the entry of a message; ValueError if it is not a good answer to the question."""
    reading = Reading()
    if not reading.read(wire, int.from_bytes(wire[:2], "big"), key.join()):
        raise Malformed("wire: is not a well-formed answer to this question")
    if not reading.is_whole:
        raise ValueError("wire: holds records that do not belong to this question")
    answer = reading.answer(limits)
    if answer.is_failure:
        raise ValueError(f"wire: is a failure ({spell_rcode(answer.rcode)}), which is not cached")
    if not answer.ttl:
        raise ValueError(
            "wire: is an answer that must not be cached (TTL 0, truncated, or without an SOA)"
        )
    return answer


def make_entry(
    key: Key,
    answer: Answer,
    stored: Moment,
    terms: Terms,
    *,
    upstream: str | None = None,
    rtt_us: int = 0,
    hits: int = 0,
) -> Pair:
    """Return key and value on disk; Outdated if it would be neither fresh nor stale.

    So are answers that a rule does not let the cache have.
    """
    if not terms.rules.keeps(key.name, key.qtype, key.qclass):
        raise Outdated
    on_disk = disk_key(key.join())
    value = pack(
        answer,
        stored,
        origin=terms.origin_of(key),
        upstream=upstream,
        rtt_us=rtt_us,
        hits=hits,
    )
    if DiskEntry.parse(value).state(terms.now, terms.stale) == "expired":
        raise Outdated
    return on_disk, value


def _wire(entry: DiskEntry) -> bytes:
    """Return the whole message: data that was stored beside it goes back into an OPT."""
    message, options = entry.message, entry.edns_options
    if not options:
        return message
    additional = int.from_bytes(message[10:12], "big") + 1
    head = message[:10] + additional.to_bytes(2, "big")
    return head + message[12:] + _OPT + len(options).to_bytes(2, "big") + options


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line)
    except RecursionError:
        raise ValueError("is too deeply nested") from None
    except ValueError:  # JSONDecodeError, UnicodeDecodeError, and numbers of thousands of digits
        raise ValueError("is not a line of JSON") from None
    if not isinstance(given, dict):
        raise ValueError("is not a JSON object")
    return given


def _key(given: dict[str, Any]) -> Key:
    return Key(
        _named(given, "name", parse_name),
        _named(given, "type", parse_type),
        _named({"class": "IN"} | given, "class", parse_class),
        do=_flag(given, "do"),
        cd=_flag(given, "cd"),
        group=_group(given),
    )


def _group(given: dict[str, Any]) -> int:
    """Return the number of the group that is named; without a name it is the number itself."""
    name = given.get("group")
    if name is None:
        return _number(given, "view", 0, GROUPS_MAX - 1)
    if not isinstance(name, str) or not GROUP_NAME.fullmatch(name):
        raise ValueError(f"group: {describe(name)} is not a name of a group")
    return number_of_group(name)


def _named(given: dict[str, Any], field: str, parse: Any) -> Any:
    text = given.get(field)
    if not isinstance(text, str):
        raise ValueError(f"{field}: is missing" if text is None else f"{field}: is not a string")
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _flag(given: dict[str, Any], field: str) -> bool:
    value = given.get(field, False)
    if not isinstance(value, bool):
        raise ValueError(f"{field}: is not true or false")
    return value


def _number(given: dict[str, Any], field: str, least: int, most: int) -> int:
    value = given.get(field, least)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{field}: is not an integer from {least} to {most}")
    return value


def _upstream(given: dict[str, Any]) -> str | None:
    text = given.get("upstream")
    if text is not None and not (isinstance(text, str) and len(text) <= UPSTREAM_MAX):
        raise ValueError(f"upstream: {describe(text)} is not the address of an upstream")
    return text


def _decoded(given: dict[str, Any]) -> bytes:
    text = given.get("wire")
    if text is None:
        raise ValueError("wire: is missing (fastdns cache export writes it)")
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ValueError("wire: is not base64") from None


def _stored(given: dict[str, Any]) -> Moment:
    """Return when it was stored; two machines only have the wall clock in common."""
    if "age" in given and given["age"] is None:
        return Moment(_EARLIEST_MS, 0, 0)
    seconds = given.get("stored_at")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError("stored_at: is not a number of seconds")
    if not 0 <= seconds <= 2**40:
        raise ValueError("stored_at: is not a time")
    return Moment(round(seconds * _MILLISECOND), 0, 0)


def _microseconds(given: dict[str, Any]) -> int:
    milliseconds = given.get("rtt_ms")
    if milliseconds is None:
        return 0
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        raise ValueError("rtt_ms: is not a number of milliseconds")
    if not 0 <= milliseconds <= 2**32 / _MILLISECOND:
        raise ValueError("rtt_ms: is not a round trip")
    return min(round(milliseconds * _MILLISECOND), 2**32 - 1)
