"""Corrected replies: read back by dnspython, an independent reader."""

from __future__ import annotations

import random
import struct
import time
from itertools import pairwise

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from messages import (
    AAAA,
    CNAME,
    DNAME,
    GENEROUS,
    ID,
    IN,
    NAME,
    NS,
    OPAQUE,
    REPLY,
    TC,
    A,
    address,
    header,
    key,
    name,
    question,
    record,
    reply,
)

from fastdns._answer import Answer, Reading

STRANGER = record(A, bytes(4), owner=name("stranger.demo"))
# One record of each type that has names in its data, as dnspython reads it.
WITH_NAMES = {
    "NS": "ns.Other.demo.",
    "CNAME": "Target.demo.",
    "PTR": "host.Other.demo.",
    "DNAME": "d.Other.demo.",
    "SOA": "ns.Other.demo. host.Other.demo. 1 2 3 4 5",
    "MX": "10 mail.Other.demo.",
    "AFSDB": "1 afs.Other.demo.",
    "RT": "1 rt.Other.demo.",
    "KX": "1 kx.Other.demo.",
    "LP": "1 lp.Other.demo.",
    "RP": "mbox.Other.demo. txt.Other.demo.",
    "PX": "1 map.Other.demo. x400.Other.demo.",
    "SRV": "0 5 5060 sip.Other.demo.",
    "NAPTR": '100 50 "s" "SIP+D2U" "" _sip._udp.Other.demo.',
    "SVCB": "1 svc.Other.demo. alpn=h2",
    "HTTPS": "1 . alpn=h3,h2",
    "RRSIG": "A 8 2 300 20300101000000 20200101000000 1 Other.demo. AAAA",
    "NSEC": "next.Other.demo. A RRSIG",
    "TXT": '"a text" "and another"',
    "HINFO": '"cpu" "os"',
    "TYPE65280": r"\# 4 c00cc00c",
}


def mended(wire: bytes, of: bytes | None = None) -> Answer:
    """The answer that becomes of a reply of which something has to be put right."""
    reading = Reading()
    assert reading.read(wire, ID, key() if of is None else of)
    assert not reading.is_whole
    return reading.answer(GENEROUS)


def answers(answer: Answer) -> list[str]:
    return [str(rrset) for rrset in dns.message.from_wire(answer.message).answer]


def spoiled(wire: bytes, of: bytes | None = None) -> bool:
    reading = Reading()
    return not reading.read(wire, ID, key() if of is None else of) and reading.is_spoiled


@pytest.mark.parametrize("rtype", WITH_NAMES)
@pytest.mark.parametrize("compressed", [True, False])
def test_record_of_any_type_is_told_as_it_was_when_a_stranger_is_left_out(
    rtype: str, compressed: bool
) -> None:
    owner = dns.name.from_text("wWw.Example.")
    message = dns.message.Message(ID)
    message.flags = REPLY
    message.question = [dns.rrset.RRset(owner, IN, dns.rdatatype.from_text(rtype))]
    first = dns.rrset.from_text("stranger.Other.demo.", 300, "IN", "A", "192.0.2.9")
    kept = dns.rrset.from_text(owner, 300, "IN", rtype, WITH_NAMES[rtype])
    message.answer = [first, kept]
    message.authority = [dns.rrset.from_text("Example.", 300, "IN", "NS", "ns.Other.demo.")]
    wire = message.to_wire(max_size=65535) if compressed else plain_wire(message)
    of = key("www.example", dns.rdatatype.from_text(rtype))
    shown = dns.message.from_wire(mended(wire, of).message)
    assert [rrset.to_text() for rrset in shown.answer] == [kept.to_text()]
    assert [rrset.to_text() for rrset in shown.authority] == [message.authority[0].to_text()]


def plain_wire(message: dns.message.Message) -> bytes:
    """The message without a compressed name."""
    wire = header(REPLY, 1, len(message.answer), len(message.authority))
    asked = message.question[0]
    wire += asked.name.to_wire() + struct.pack("!HH", asked.rdtype, asked.rdclass)
    for rrset in (*message.answer, *message.authority):
        for rdata in rrset:
            wire += record(rrset.rdtype, rdata.to_wire(), rrset.ttl, owner=rrset.name.to_wire())
    return wire


@pytest.mark.parametrize("rtype", [35, 33, 64])
def test_octets_of_a_name_that_was_not_compressed_are_kept(rtype: int) -> None:
    data = {
        35: bytes(4) + b"\1s\1x\0" + name("_sip.Www.Example"),
        33: bytes(6) + name("Sip.www.example"),
        64: bytes(2) + name("Svc.www.example") + b"\0\1\0\0",
    }[rtype]
    answer = mended(reply(STRANGER, record(rtype, data), qtype=rtype), key(qtype=rtype))
    assert answer.message.endswith(data)


@pytest.mark.parametrize("count", [1, 2, 30, 62])
@pytest.mark.parametrize("order", ["reversed", "shuffled", "addresses first"])
def test_chain_in_any_order_is_told_in_its_own(count: int, order: str) -> None:
    names = [NAME, *(f"n{i}.demo" for i in range(count))]
    links = [record(CNAME, name(after), owner=name(one)) for one, after in pairwise(names)]
    ends = [address(owner=name(names[-1])), record(AAAA, bytes(16), owner=name(names[-1]))]
    parts = [*links, ends[0]]
    if order == "reversed":
        parts.reverse()
    elif order == "shuffled":
        random.Random(count).shuffle(parts)
        parts.insert(0, parts.pop(-1))
        parts = parts[::-1] if parts[0] == links[0] and len(parts) > 1 else parts
    else:
        parts = [ends[0], *links]
    reading = Reading()
    assert reading.read(reply(*parts), ID, key())
    shown = answers(reading.answer(GENEROUS))
    assert [line.split()[0] for line in shown] == [f"{one}." for one in names]
    assert shown[-1].split()[3] == "A"


def test_chain_longer_than_is_followed_is_no_success_without_its_end() -> None:
    names = [NAME, *(f"n{i}.demo" for i in range(70))]
    links = [record(CNAME, name(after), owner=name(one)) for one, after in pairwise(names)]
    whole = [*links, address(owner=name(names[-1]))]
    assert spoiled(reply(*whole))
    assert spoiled(reply(*reversed(whole)))


def test_dname_and_its_signature_come_before_what_was_made_of_them() -> None:
    signature = struct.pack("!HBBIIIH", DNAME, 8, 1, 300, 9, 1, 1) + name("example") + b"sig"
    parts = [
        address(owner=name("www.other.demo")),
        record(46, signature, owner=name("example")),
        record(CNAME, name("www.other.demo")),
        record(DNAME, name("other.demo"), owner=name("example")),
    ]
    shown = answers(mended(reply(*parts)))
    assert [line.split()[3] for line in shown] == ["DNAME", "RRSIG", "CNAME", "A"]


def test_a_thousand_strangers_are_left_out_in_no_time() -> None:
    strangers = [
        record(A, bytes(4), owner=name(f"s{i}.demo") if i % 2 else b"\xc0\x0c") for i in range(2000)
    ]
    strangers = [one for i, one in enumerate(strangers) if i % 2]
    wire = reply(*strangers, address())
    began = time.process_time()
    for _ in range(20):
        assert len(answers(mended(wire))) == 1
    assert time.process_time() - began < 5  # nothing that grows with the square of them


def test_foreign_records_of_authority_and_additional_section_are_left_out() -> None:
    wire = reply(
        address(),
        authority=(
            record(NS, name("ns.other.demo"), owner=name("example")),
            record(NS, name("evil.demo"), owner=name("bank.demo")),
        ),
        additional=(
            record(A, bytes(4), owner=name("bank.demo")),
            record(A, b"\1\2\3\4", owner=name("ns.other.demo")),
            record(AAAA, bytes(16), owner=name("www.bank.demo")),
        ),
    )
    shown = dns.message.from_wire(mended(wire).message)
    assert [str(rrset) for rrset in shown.authority] == ["example. 300 IN NS ns.other.demo."]
    assert [str(rrset) for rrset in shown.additional] == ["ns.other.demo. 300 IN A 1.2.3.4"]


@pytest.mark.parametrize(
    ("rtype", "data", "owner"),
    [
        (15, b"\0\1" + name("mail.demo"), "mail.demo"),
        (33, bytes(6) + name("sip.demo"), "sip.demo"),
        (65, b"\0\1\0\0\1\0\3\2h2", NAME),
        (65, b"\0\0" + name("svc.demo"), "svc.demo"),
        (NS, name("ns.demo"), "ns.demo"),
    ],
)
def test_addresses_of_what_the_answer_names_stay(rtype: int, data: bytes, owner: str) -> None:
    wire = reply(record(rtype, data), additional=(address(owner=name(owner)),), qtype=rtype)
    reading = Reading()
    assert reading.read(wire, ID, key(qtype=rtype))
    assert reading.is_whole
    assert len(dns.message.from_wire(reading.answer(GENEROUS).message).additional) == 1


def test_opt_whose_owner_is_a_pointer_to_the_root_is_understood() -> None:
    """In the new message the pointer would lead elsewhere."""
    to_root = struct.pack("!H", 0xC000 | (12 + len(name(NAME)) - 1))
    ede = b"\0\x0f\0\2\0\7"
    opt = to_root + struct.pack("!HHIH", 41, 1232, 0, len(ede)) + ede
    assert mended(reply(STRANGER, address(), additional=(opt,))).edns_options == ede


def test_opt_in_front_of_glue_goes_without_the_glue() -> None:
    ede = b"\0\x0f\0\2\0\7"
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, len(ede)) + ede
    wire = reply(
        record(NS, name("ns.demo")), additional=(opt, address(owner=name("ns.demo"))), qtype=NS
    )
    answer = mended_or_whole(wire, key(qtype=NS))
    assert answer.edns_options == ede
    assert len(dns.message.from_wire(answer.message).additional) == 1


def mended_or_whole(wire: bytes, of: bytes) -> Answer:
    reading = Reading()
    assert reading.read(wire, ID, of)
    return reading.answer(GENEROUS)


@pytest.mark.parametrize("octets", range(1, 40))
def test_tc_counts_wherever_the_message_was_cut(octets: int) -> None:
    whole = reply(address(), address(), flags=REPLY | TC)
    end = 12 + len(question())
    answer = mended_or_whole(whole[: min(end + octets, len(whole))], key())
    assert answer.truncated
    assert answer.message[6:12] == bytes(6)


def test_tc_in_a_header_alone_counts() -> None:
    answer = mended_or_whole(header(REPLY | TC), key())
    assert answer.truncated


@pytest.mark.parametrize("rcode", [1, 2, 4, 5, 9])
def test_error_in_a_header_alone_ends_the_wait_and_gets_the_question(rcode: int) -> None:
    answer = mended_or_whole(header(REPLY | rcode), key())
    assert answer.rcode == rcode
    assert answer.is_failure
    assert answer.message[12:] == question()


@pytest.mark.parametrize("rcode", [0, 3])
def test_header_alone_says_nothing_of_a_name(rcode: int) -> None:
    reading = Reading()
    assert not reading.read(header(REPLY | rcode), ID, key())
    assert not reading.is_spoiled


def test_what_follows_the_last_record_is_left_out() -> None:
    good = reply(address())
    for behind in (b"\0", b"\xc0\x0c", good, bytes(500)):
        assert mended_or_whole(good + behind, key()).message == good


@pytest.mark.parametrize("cut", range(1, 22))
def test_authority_that_is_cut_costs_the_answer_nothing(cut: int) -> None:
    good = reply(address())
    wire = reply(address(), authority=(record(NS, name("ns.demo")),))
    assert mended_or_whole(wire[:-cut], key()).message == good


def test_bad_record_of_authority_is_left_out_and_the_next_one_kept() -> None:
    wire = reply(
        address(),
        authority=(record(NS, b"\xc0"), record(NS, name("ns.demo"))),
        additional=(record(A, bytes(5), owner=name("ns.demo")), address(owner=name("ns.demo"))),
    )
    shown = dns.message.from_wire(mended(wire).message)
    assert len(shown.answer) == len(shown.authority) == len(shown.additional) == 1


def test_empty_text_is_relayed() -> None:
    wire = reply(record(16, b""), qtype=16)
    assert mended_or_whole(wire, key(qtype=16)).message == wire


def test_more_additional_records_than_promised_and_less_do_no_harm() -> None:
    good = reply(address())
    wire = bytearray(good)
    wire[11] = 1
    assert mended_or_whole(bytes(wire), key()).message == good


def test_message_made_of_the_largest_is_no_larger_than_any_may_be() -> None:
    """Names that were compressed inside data of a type that may not be are written out."""
    long = name(".".join(["a" * 60] * 4))
    target = struct.pack("!HHH", 0, 0, 0) + struct.pack(
        "!H", 0xC000 | (12 + len(question(qtype=33)))
    )
    first = record(OPAQUE, b"", owner=long)
    many = [record(33, target)] * 2500
    wire = reply(first, *many, qtype=33)
    assert len(wire) <= 65535
    assert spoiled(wire, key(qtype=33))


def test_records_put_together_at_random_are_told_as_an_independent_reader_would() -> None:
    random_ = random.Random(2181)
    owners = [NAME, "a.demo", "b.demo", "example", "Ns.Example", "stranger.demo"]
    for _ in range(3000):
        sections = [
            tuple(
                record(rtype, rdata(random_, rtype, owners), owner=owner_of(random_, owners))
                for rtype in random_.choices((A, CNAME, NS, 15, 33, 16, 46, OPAQUE), k=count)
            )
            for count in (random_.randrange(6), random_.randrange(4), random_.randrange(4))
        ]
        wire = reply(*sections[0], authority=sections[1], additional=sections[2])
        reading = Reading()
        if not reading.read(wire, ID, key()):
            assert reading.is_spoiled
            continue
        kept = dns.message.from_wire(reading.answer(GENEROUS).message, one_rr_per_rrset=True)
        given = dns.message.from_wire(wire, one_rr_per_rrset=True)
        for was, now in zip(given.sections[1:], kept.sections[1:], strict=True):
            left = [rrset.to_text() for rrset in was]
            for rrset in now:
                left.remove(rrset.to_text())
        expected = belonging(given)
        assert sorted(rrset.to_text() for rrset in kept.answer) == sorted(expected)


def owner_of(random_: random.Random, owners: list[str]) -> bytes:
    return b"\xc0\x0c" if random_.random() < 0.5 else name(random_.choice(owners))


def rdata(random_: random.Random, rtype: int, owners: list[str]) -> bytes:
    plain = name(random_.choice(owners))
    target = b"\xc0\x0c" if random_.random() < 0.3 else plain
    return {
        A: random_.randbytes(4),
        CNAME: target,
        NS: target,
        15: b"\0\1" + target,
        33: bytes(6) + plain,
        16: b"\3abc",
        46: bytes(18) + plain + b"s",
        OPAQUE: random_.randbytes(random_.randrange(9)),
    }[rtype]


def belonging(message: dns.message.Message) -> list[str]:
    """The answer records whose owner is the name asked for or on its chain."""
    chain = [message.question[0].name]
    for one in chain:
        for rrset in message.answer:
            if rrset.name == one and rrset.rdtype == CNAME and rrset[0].target not in chain:
                chain.append(rrset[0].target)
    return [rrset.to_text() for rrset in message.answer if rrset.name in chain]
