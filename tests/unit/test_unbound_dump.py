"""Entries from a dump of unbound's cache."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fastdns._answer import Limits
from fastdns._clock import Moment
from fastdns._entry import DiskEntry
from fastdns._key import cache_key
from fastdns.browse.items import Item, Judge
from fastdns.browse.json_lines import Imported, Terms
from fastdns.browse.names import Key, spell_name, spell_rcode, spell_type
from fastdns.browse.unbound_dump import read_dump
from fastdns.upstream.known_groups import KnownGroup

NOW = Moment.now()
LIMITS = Limits(0, 86400, 3600, 5, False)
TERMS = Terms(LIMITS, 42, 86400, NOW)

# Of unbound 1.17.1 in front of the zones of the journeys, shortened.
DUMP = """\
START_RRSET_CACHE
;rrset 3600 1 0 8 0
example.demo.	3600	IN	SOA	ns1.example.demo. host.example.demo. 1 7200 3600 1209600 300
;rrset 120 1 0 7 0
example.demo.	120	IN	SOA	ns1.example.demo. host.example.demo. 1 7200 3600 1209600 300
;rrset 3600 1 0 8 0
alias.example.demo.	3600	IN	CNAME	WWW.example.demo.
;rrset 600 2 0 8 0
WWW.example.demo.	600	IN	A	192.0.2.80
WWW.example.demo.	600	IN	A	192.0.2.81
;rrset 3600 1 1 8 2
signed.example.demo.	3600	IN	A	192.0.2.1
signed.example.demo.	3600	IN	RRSIG	A 13 3 3600 20300101000000 20200101000000 1 test. AAAA
;rrset 3600 1 0 8 0
odd\\000\\.label.example.demo.	3600	IN	TYPE65280	\\# 4 0001FEFF ;{a comment}
END_RRSET_CACHE
START_MSG_CACHE
msg nope.example.demo. IN A 33155 1 120 0 0 1 0 -1
example.demo. IN SOA 4
msg Alias.example.demo. IN A 33152 1 600 0 2 0 0
alias.example.demo. IN CNAME 0
www.example.demo. IN A 0
msg signed.example.demo. IN A 33152 1 3600 5 1 0 0
signed.example.demo. IN A 0
msg odd\\000\\.label.example.demo. IN TYPE65280 33152 1 3600 0 1 0 0
odd\\000\\.label.example.demo. IN TYPE65280 0
END_MSG_CACHE
EOF
"""


def read(text: str, *, dumped: Moment = NOW, terms: Terms = TERMS) -> list[Imported]:
    lines: Sequence[bytes] = text.encode().split(b"\n")
    return list(read_dump(enumerate(lines, 1), terms, dumped))


def items(found: Sequence[Imported]) -> list[Item]:
    judge = Judge(NOW, TERMS.stale)
    return [
        Item(one.entry[0], Key.split(cache_key(one.entry[0])), DiskEntry.parse(one.entry[1]), judge)
        for one in found
        if one.entry
    ]


def told(found: Sequence[Imported]) -> list[tuple[int, str | None]]:
    return [(one.line, one.problem) for one in found if not (one.entry or one.ends_early)]


def test_each_message_becomes_an_answer() -> None:
    found = read(DUMP)
    assert told(found) == []
    assert [
        (item.name, spell_type(item.key.qtype), spell_rcode(item.entry.rcode), item.key.do)
        for item in items(found)
    ] == [
        ("nope.example.demo.", "A", "NXDOMAIN", False),
        ("alias.example.demo.", "A", "NOERROR", False),
        ("signed.example.demo.", "A", "NOERROR", False),
        ("signed.example.demo.", "A", "NOERROR", True),
        (r"odd\000\.label.example.demo.", "TYPE65280", "NOERROR", False),
    ]
    assert {item.entry.origin for item in items(found)} == {42}


def test_answer_belongs_to_the_group_that_its_name_has_here() -> None:
    terms = Terms(
        *(LIMITS, 42, 86400, NOW),
        groups={7: KnownGroup("corp", 77)},
        group_of=lambda name: 7 if name.startswith(b"\5alias") else 0,
    )
    found = items(read(DUMP, terms=terms))
    assert [(item.key.group, item.entry.origin) for item in found] == [
        *((0, 42), (7, 77), (0, 42), (0, 42), (0, 42))
    ]


def test_records_are_those_of_the_dump_in_their_order() -> None:
    nope, alias, plain, signed, odd = (item.records() for item in items(read(DUMP)))
    assert [(one.section, one.type, one.ttl) for one in nope] == [("AUTHORITY", "SOA", 120)]
    assert [one.type for one in alias] == ["CNAME", "A", "A"]
    assert {one.data for one in alias} == {"WWW.example.demo.", "192.0.2.80", "192.0.2.81"}
    assert [one.type for one in plain] == ["A"]
    assert [one.type for one in signed] == ["A", "RRSIG"]
    assert odd[0].data == r"\# 4 0001feff"


def test_negative_answer_has_the_ttl_that_is_left_of_it_not_that_of_the_soa() -> None:
    nope = items(read(DUMP))[0]
    assert (nope.name, nope.entry.ttl) == ("nope.example.demo.", 120)


def test_answer_lives_as_long_as_its_smallest_ttl_from_the_dump_on() -> None:
    earlier = Moment(NOW.wall_ms - 100_000, 0, 0)
    found = {item.name: item for item in items(read(DUMP, dumped=earlier))}
    assert found["alias.example.demo."].ttl == 500
    assert found["nope.example.demo."].ttl == 20
    assert found["nope.example.demo."].age == 100


def test_dump_that_is_too_old_leaves_nothing() -> None:
    long_ago = Moment(NOW.wall_ms - 200_000_000, 0, 0)
    found = read(DUMP, dumped=long_ago)
    assert items(found) == []
    assert {problem for _, problem in told(found)} == {None}


def message(text: str) -> str:
    """The dump with one more message."""
    return DUMP.replace("END_MSG_CACHE", f"{text}\nEND_MSG_CACHE")


@pytest.mark.parametrize(
    "left_out",
    [
        "msg a.demo. IN A 33152 1 600 0 1 0 0\nmissing.demo. IN A 0",
        "msg www.example.demo. IN A 33152 1 600 1 1 0 0\nwww.example.demo. IN A 0",
        "msg www.example.demo. IN A 33152 1 -5 0 1 0 0\nwww.example.demo. IN A 0",
        "msg www.example.demo. IN A 33152 1 600 0 2 0 0\nwww.example.demo. IN A 0",
        "msg www.example.demo. IN A 33154 1 600 0 1 0 0\nwww.example.demo. IN A 0",
        "msg www.example.demo. IN MX 33152 1 600 0 0 0 0",
        "msg other.demo. IN A 33152 1 600 0 1 0 0\nwww.example.demo. IN A 0",
    ],
    ids=["set missing", "bogus", "expired", "cut", "failure", "no soa", "stranger"],
)
def test_message_that_is_of_no_use_is_left_out_without_a_word(left_out: str) -> None:
    found = read(message(left_out))
    assert len(items(found)) == 5
    assert [problem for _, problem in told(found)] == [None]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("msg www.example.demo. IN A", "is not a whole msg line"),
        ("msg www.example.demo. IN A x 1 600 0 1 0 0", 'has "x" instead of a number'),
        (r"msg www.example.demo. IN A \x 1 600 0 1 0 0", r'has "\x" instead of a number'),
        ("msg www.example.demo. IN A 33152 0 600 0 1 0 0", "is a message without a question"),
        ("msg www.example.demo. IN A 99999 1 600 0 1 0 0", "has impossible numbers"),
        ("msg a..b. IN A 33152 1 600 0 0 0 0", "has an empty label"),
        ("msg \xff. IN A 33152 1 600 0 0 0 0", "is not in ASCII"),
        ("msg a. IN BOGUS 33152 1 600 0 0 0 0", "type is unknown"),
        ("www.example.demo. IN A", "does not name a set of records"),
    ],
)
def test_bad_line_is_told_with_its_number_and_stops_nothing(text: str, problem: str) -> None:
    number = DUMP[: DUMP.index("END_MSG_CACHE")].count("\n") + 1
    found = read(message(text))
    ((line, said),) = [one for one in told(found) if one[1]]
    assert line == number
    assert problem in (said or "")
    assert len(items(found)) >= 4


def test_record_that_unbound_has_cut_short_costs_only_what_needs_it() -> None:
    text = DUMP.replace(
        "END_RRSET_CACHE",
        ';rrset 60 1 0 8 0\nlong.demo.\t60\tIN\tTXT\t"xxxxxxxx;rrset 60 1 0 8 0\n'
        'next.demo.\t60\tIN\tTXT\t"y"\nEND_RRSET_CACHE',
    ).replace(
        "END_MSG_CACHE",
        "msg long.demo. IN TXT 33152 1 60 0 1 0 0\nlong.demo. IN TXT 0\n"
        "msg next.demo. IN TXT 33152 1 60 0 1 0 0\nnext.demo. IN TXT 0\nEND_MSG_CACHE",
    )
    found = read(text)
    cut = text[: text.index("long.demo.\t")].count("\n") + 1
    ((_, problem),) = told(found)
    assert f"needs line {cut}, which cannot be read" in (problem or "")
    assert spell_name(b"\4next\4demo\0") in [item.name for item in items(found)]


def dump_of(rtype: str, rdata: str) -> str:
    """A dump with one record of this type."""
    return (
        f"START_RRSET_CACHE\n;rrset 60 1 0 8 0\nodd.demo.\t60\tIN\t{rtype}\t{rdata}\n"
        "END_RRSET_CACHE\nSTART_MSG_CACHE\n"
        f"msg odd.demo. IN {rtype} 33152 1 60 0 1 0 0\nodd.demo. IN {rtype} 0\n"
        "END_MSG_CACHE\nEOF\n"
    )


@pytest.mark.parametrize(
    ("rtype", "rdata", "shown"),
    [
        ("MINFO", "r.demo. e.demo.", "r.demo. e.demo."),
        ("MINFO", r"\# 16 01720464656d6f0001650464656d6f 00", "r.demo. e.demo."),
        *((rtype, "host.demo.", "host.demo.") for rtype in ("MB", "MG", "MR", "MD", "MF")),
        ("APL", "", r"\# 0"),
        ("NULL", "", r"\# 0"),
        ("NULL", r"\# 0", r"\# 0"),
        ("TYPE65280", r"\# 0", r"\# 0"),
        ("TYPE65280", r"\# 3 0102 03 ;{a comment}", r"\# 3 010203"),
        ("EID", r"\# 1 00", r"\# 1 00"),
        ("UINFO", r"\# 1 00", r"\# 1 00"),
        ("HTTPS", "1 . alpn=h2", '1 . alpn="h2"'),
        ("HTTPS", "1 . alpn=h2 ech=AAAA ipv6hint=::1", r"\# 35 "),
        ("HTTPS", '1 h.demo. ech="AAAA"', r"\# "),
        ("HTTPS", "1 . ech", r"\# 7 00010000050000"),
        ("HTTPS", "1 . ech=", r"\# 7 00010000050000"),
        ("HTTPS", '1 . ech=""', r"\# 7 00010000050000"),
        ("HTTPS", r"\# 7 00010000050000", r"\# 7 00010000050000"),
        ("SVCB", "1 . ech=AAAA", r"\# 10 000100000500030000 00"),
    ],
)
def test_record_of_any_type_is_taken_as_it_is(rtype: str, rdata: str, shown: str) -> None:
    found = read(dump_of(rtype, rdata))
    assert told(found) == []
    (item,) = items(found)
    (record,) = item.records()
    assert record.type == rtype
    if rtype not in ("HTTPS", "SVCB"):
        assert record.data == shown
    # Versions of dnspython spell a service differently, or not at all; its octets are the same.
    elif shown.startswith(r"\# ") and not shown.endswith(" "):
        assert bytes.fromhex(shown.split(" ", 2)[2]) in item.entry.message


@pytest.mark.parametrize(
    ("rtype", "rdata", "problem"),
    [
        ("HTTPS", "1 . ech=AEX", "needs line 3, which cannot be read: ech is not base64"),
        ("HTTPS", '1 . ech="!!!"', "needs line 3, which cannot be read: ech is not base64"),
        ("MINFO", "one.demo.", "needs line 3, which cannot be read: has 1 names instead of 2"),
        ("MINFO", "a..b c.", "needs line 3, which cannot be read"),
        ("TYPE65280", r"\# 5 01", "needs line 3, which cannot be read: the RDATA is not as long"),
        ("DS", "1 8 2 ABCD", "needs line 3, which cannot be read"),
        ("A", "", "has a record that does not fit its type"),
        ("A", r"\# 0", "has a record that does not fit its type"),
        ("MX", r"\# 2 0001", "has a record that does not fit its type"),
    ],
)
def test_record_that_cannot_be_is_named_and_stops_nothing(
    rtype: str, rdata: str, problem: str
) -> None:
    records, messages = dump_of(rtype, rdata).split("END_RRSET_CACHE\nSTART_MSG_CACHE\n")
    text = DUMP.replace("START_RRSET_CACHE\n", records).replace(
        "START_MSG_CACHE\n", f"START_MSG_CACHE\n{messages.partition('END_MSG')[0]}"
    )
    found = read(text)
    assert any(problem in (said or "") for _, said in told(found))
    assert len(items(found)) == len(items(read(DUMP)))


def test_dump_that_ends_early_is_read_as_far_as_it_goes() -> None:
    text = DUMP[: DUMP.index("END_MSG_CACHE")]
    assert len(items(read(text))) == 5
    assert [one.line for one in read(text) if one.ends_early] == [text.count("\n") + 1]
    assert [one for one in read(DUMP) if one.ends_early] == []
    assert len(items(read(text[: text.index("www.example.demo. IN A 0")]))) == 1
