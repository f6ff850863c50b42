"""Lines of an export: written, and read again, whoever has edited them."""

from __future__ import annotations

import base64
import json
import random
import re
from pathlib import Path

import attrs
import pytest
from environments import ago, value_of
from messages import AAAA, EDE, address, answer_from, key, opt, option, question, record, reply, soa

from fastdns._answer import Limits
from fastdns._clock import Moment
from fastdns._entry import DiskEntry
from fastdns._key import disk_key
from fastdns.browse.items import Judge, read_item
from fastdns.browse.json_lines import (
    LINE_MAX,
    Imported,
    Outdated,
    Terms,
    line_of,
    read_line,
    read_lines,
)
from fastdns.config.load import load
from fastdns.policy.rules import compile_rules

CORPUS = Path(__file__).parent.parent / "wire_corpus"
LIMITS = Limits(0, 86400, 3600, 5, False)


def terms(limits: Limits = LIMITS) -> Terms:
    return Terms(limits, 77, 3600, Moment.now())


def exported(wire: bytes, stored: Moment, **about: int) -> str:
    value = value_of(answer_from(wire, LIMITS), stored, **about)
    return line_of(read_item(disk_key(key()), value, Judge(Moment.now(), 3600)))


def test_entry_comes_back_as_it_was_but_for_its_origin() -> None:
    stored = ago(100)
    line = exported(reply(address(), address(60)), stored, origin=5, hits=12)
    on_disk, value = read_line(line.encode(), terms())
    entry = DiskEntry.parse(value)
    assert on_disk == disk_key(key())
    assert entry.message == answer_from(reply(address(), address(60)), LIMITS).message
    assert (entry.ttl, entry.hits, entry.rtt_us, entry.origin) == (60, 12, 1500, 77)
    assert (entry.upstream, entry.stored_wall_ms) == ("192.0.2.53:53", stored.wall_ms)


def test_extended_errors_travel_in_an_opt() -> None:
    wire = reply(address(), additional=(opt(option(EDE, b"\0\3stale")),))
    line = exported(wire, ago(1))
    entry = DiskEntry.parse(read_line(line.encode(), terms())[1])
    assert entry.edns_options == option(EDE, b"\0\3stale")


def test_limits_of_who_takes_it_in_count() -> None:
    line = exported(reply(address(3000)), ago(1))
    strict = terms(Limits(0, 1000, 3600, 5, False))
    assert DiskEntry.parse(read_line(line.encode(), strict)[1]).ttl == 1000


def ruled(does: str, tmp_path: Path) -> Terms:
    """The terms under a configuration with one rule for the name of the entries."""
    file = tmp_path / "fastdns.toml"
    file.write_text(f'[[rule]]\nnames = ["www.example"]\n{does}\n')
    return attrs.evolve(terms(), rules=compile_rules(load(file, state=tmp_path)))


def test_limits_of_the_rule_of_its_name_count(tmp_path: Path) -> None:
    line = exported(reply(address(3000)), ago(1))
    short = ruled('max_ttl = "1m"', tmp_path)
    assert DiskEntry.parse(read_line(line.encode(), short)[1]).ttl == 60
    with pytest.raises(Outdated):
        read_line(line.encode(), ruled("cache = false", tmp_path))


def test_rule_for_ipv6_addresses_keeps_out_what_nobody_has_looked_at(tmp_path: Path) -> None:
    """Whether the name has an IPv4 address, or an HTTPS record IPv6 hints, is not known."""
    terms = ruled('aaaa = "if-no-a"', tmp_path)
    for rtype, rdata in ((AAAA, bytes(16)), (65, b"\0\1\0")):
        wire = reply(record(rtype, rdata), qtype=rtype)
        value = value_of(answer_from(wire, LIMITS, key(qtype=rtype)), ago(1))
        judge = Judge(Moment.now(), 3600)
        line = line_of(read_item(disk_key(key(qtype=rtype)), value, judge))
        with pytest.raises(Outdated):
            read_line(line.encode(), terms)
        assert read_line(line.encode(), ruled('max_ttl = "1m"', tmp_path))
    assert read_line(exported(reply(address()), ago(1)).encode(), terms)


def test_entry_past_its_use_is_outdated() -> None:
    line = exported(reply(address(60)), ago(60 + 3600 + 10))
    with pytest.raises(Outdated):
        read_line(line.encode(), terms())


def test_line_without_what_is_only_told_is_enough() -> None:
    given = json.loads(exported(reply(address()), ago(1)))
    least = {name: given[name] for name in ("name", "type", "stored_at", "wire")}
    entry = DiskEntry.parse(read_line(json.dumps(least).encode(), terms())[1])
    assert (entry.hits, entry.upstream, entry.rtt_us) == (0, None, 0)


def test_line_that_is_too_long_is_not_read() -> None:
    with pytest.raises(ValueError, match="is longer than 16MiB"):
        read_line(b"[" * (LINE_MAX + 1), terms())


def test_lines_are_numbered_and_empty_ones_are_none() -> None:
    good = exported(reply(address()), ago(1)).encode()
    found = list(read_lines(enumerate([good, b"", b" ", b"x", good], 1), terms()))
    assert [(one.line, one.entry is not None, one.problem) for one in found] == [
        (1, True, None),
        (4, False, "is not a line of JSON"),
        (5, True, None),
    ]
    assert isinstance(found[0], Imported)


def outcome(line: bytes) -> DiskEntry | str | None:
    """What a line comes to: an entry, what is wrong with it, or nothing: it is outdated."""
    try:
        return DiskEntry.parse(read_line(line, terms())[1])
    except Outdated:
        return None
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("file", sorted(CORPUS.glob("reply_*.bin")), ids=lambda file: file.stem)
def test_wire_of_a_hostile_line_is_taken_in_or_refused_like_an_upstreams_reply(file: Path) -> None:
    given = json.loads(exported(reply(address()), ago(1)))
    wire = base64.b64encode(file.read_bytes()).decode()
    found = outcome(json.dumps(given | {"wire": wire}).encode())
    if isinstance(found, DiskEntry):
        # Any id will do: nobody waits for it.
        assert re.match("reply_(accepted|refused_other_id|refused_id_)", file.stem)
        assert found.message[12:].lower().startswith(question())
    else:
        assert re.match("wire: [ -~]+$", found or "")


def test_mutated_lines_are_taken_in_or_refused_in_a_printable_phrase() -> None:
    rng = random.Random(11)
    lines = [
        exported(reply(address()), ago(1)).encode(),
        exported(reply(authority=(soa(60, 60),), flags=0x8183), ago(1)).encode(),
    ]
    pieces = [b"", b'"', b"{", b"null", b"-", b"1e999", b"\xff", b"\\u0000"]
    for _ in range(20_000):
        line = bytearray(rng.choice(lines))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(line))
            line[at : at + rng.randrange(3)] = rng.choice(pieces)
        found = outcome(bytes(line))
        assert not isinstance(found, str) or found.isprintable()
