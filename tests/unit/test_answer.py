"""How an upstream's reply becomes a cached answer: for how long, and with which content."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rdatatype
import pytest
from messages import (
    AD,
    CNAME,
    EDE,
    ID,
    NAME,
    NS,
    REPLY,
    RRSIG,
    TC,
    TXT,
    A,
    address,
    answer_from,
    key,
    name,
    opt,
    option,
    record,
    reply,
    soa,
)

from fastdns._answer import Answer, Limits, Reading, extended_error, failure, text_answer

LIMITS = Limits(min_ttl=10, max_ttl=1000, negative_max_ttl=500, failure_ttl=7, trust_ad=False)
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH = 0, 1, 2, 3, 4, 5, 6, 9


def parse(answer: Answer) -> dns.message.Message:
    return dns.message.from_wire(answer.message, one_rr_per_rrset=True)


def ttls(answer: Answer) -> list[int]:
    message = parse(answer)
    return [rr.ttl for rr in (*message.answer, *message.authority, *message.additional)]


# ---- TTLs


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (0, 10),
        (9, 10),
        (10, 10),
        (11, 11),
        (999, 999),
        (1000, 1000),
        (1001, 1000),
        (0x7FFFFFFF, 1000),
        (0x80000000, 1000),  # the top bit counts as large, RFC 8767 section 4
        (0xFFFFFFFF, 1000),
    ],
)
def test_ttl_is_brought_between_min_ttl_and_max_ttl(sent: int, kept: int) -> None:
    answer = answer_from(reply(address(sent)), LIMITS)
    assert ttls(answer) == [kept]
    assert answer.ttl == kept


@pytest.mark.parametrize(
    ("do", "additional", "kept"),
    [(True, (), 10), (True, (opt(),), 300), (False, (), 300), (False, (opt(),), 300)],
)
@pytest.mark.parametrize("records", ["data", "none"])
def test_answer_that_may_lack_its_signatures_is_soon_asked_for_again(
    do: bool, additional: tuple[bytes, ...], kept: int, records: str
) -> None:
    """An upstream that seems to know no OPT for a moment must not spoil a name for all its TTL."""
    if records == "data":
        wire = reply(address(300), additional=additional)
    else:
        wire = reply(authority=(soa(300, 300),), additional=additional)
    answer = answer_from(wire, LIMITS, key(do=do))
    assert answer.ttl == kept
    assert set(ttls(answer)) == {300}


def test_answer_lives_as_long_as_its_smallest_ttl() -> None:
    glue = (address(40, owner=name("ns.example")), opt())
    servers = (record(NS, name("ns.example"), 250),)
    wire = reply(address(300), address(200), authority=servers, additional=glue)
    answer = answer_from(wire, LIMITS)
    assert ttls(answer) == [300, 200, 250, 40]
    assert answer.ttl == 40


def test_every_record_of_every_section_is_clamped() -> None:
    wire = reply(
        address(1),
        address(9999),
        authority=(soa(1, 1), soa(9999, 9999)),
        additional=(address(1), address(9999), opt()),
    )
    assert ttls(answer_from(wire, LIMITS)) == [10, 1000, 10, 1000, 10, 1000]


def test_answer_with_a_ttl_of_0_is_not_to_be_kept() -> None:
    answer = answer_from(reply(address(300), address(0)), Limits(0, 1000, 500, 7, False))
    assert answer.ttl == 0
    assert ttls(answer) == [300, 0]


def test_max_ttl_of_0_keeps_nothing() -> None:
    assert answer_from(reply(address(300)), Limits(0, 0, 0, 7, False)).ttl == 0


# ---- negative answers, RFC 2308


@pytest.mark.parametrize("rcode", [NOERROR, NXDOMAIN])
@pytest.mark.parametrize(
    ("soa_ttl", "minimum", "kept"),
    [
        (300, 60, 60),
        (60, 300, 60),
        (900, 900, 500),
        (300, 0, 10),  # a MINIMUM is as much a TTL: raised to min_ttl
        (5, 3, 10),
        (0x80000000, 60, 60),
        (60, 0x80000000, 60),
        (0xFFFFFFFF, 0xFFFFFFFF, 500),
    ],
)
def test_negative_answer_lives_by_its_soa_whose_ttl_is_lowered(
    rcode: int, soa_ttl: int, minimum: int, kept: int
) -> None:
    wire = reply(authority=(soa(soa_ttl, minimum),), flags=REPLY | rcode)
    answer = answer_from(wire, LIMITS)
    assert answer.ttl == kept
    assert ttls(answer) == [kept]
    assert (answer.rcode, answer.is_failure) == (rcode, False)


@pytest.mark.parametrize("rcode", [NOERROR, NXDOMAIN])
def test_negative_answer_without_an_soa_is_not_to_be_kept(rcode: int) -> None:
    delegation = record(2, name("ns.example"), owner=name("example"))
    for authority in ((), (delegation,)):
        answer = answer_from(reply(authority=authority, flags=REPLY | rcode), LIMITS)
        assert answer.ttl == 0
        assert not answer.is_failure


def test_soa_elsewhere_than_in_the_authority_section_is_none() -> None:
    assert answer_from(reply(additional=(soa(300, 60),)), LIMITS).ttl == 0


def test_chain_that_ends_in_nothing_is_a_negative_answer() -> None:
    chain = record(CNAME, name("b.example"), 400)
    assert answer_from(reply(chain, authority=(soa(300, 60),)), LIMITS).ttl == 60
    assert answer_from(reply(chain), LIMITS).ttl == 0


def test_nxdomain_at_the_end_of_a_chain_is_a_negative_answer() -> None:
    chain = record(CNAME, name("b.example"), 20)
    wire = reply(chain, authority=(soa(300, 60),), flags=REPLY | NXDOMAIN)
    assert answer_from(wire, LIMITS).ttl == 20


def test_soa_beside_a_good_answer_says_nothing_of_its_life() -> None:
    answer = answer_from(reply(address(300), authority=(soa(400, 60),)), LIMITS)
    assert answer.ttl == 300
    assert ttls(answer) == [300, 400]


def test_record_of_another_type_alone_is_no_data() -> None:
    assert answer_from(reply(record(TXT, b"\1a")), LIMITS).ttl == 0


def test_address_at_the_end_of_the_chain_is_data() -> None:
    wire = reply(record(CNAME, name("b.example")), address(owner=name("b.example")))
    assert answer_from(wire, LIMITS).ttl == 300


def test_any_record_answers_a_question_for_any() -> None:
    wire = reply(record(TXT, b"\1a"), qtype=255)
    assert answer_from(wire, LIMITS, key(qtype=255)).ttl == 300


def test_signature_alone_is_no_address() -> None:
    signature = struct.pack("!HBBIIIH", A, 8, 2, 300, 2, 1, 7) + name("example") + b"sig"
    assert answer_from(reply(record(RRSIG, signature)), LIMITS).ttl == 0


# ---- failures and truncation


@pytest.mark.parametrize("rcode", [FORMERR, SERVFAIL, NOTIMP, REFUSED, 7, 8, NOTAUTH, 15])
def test_upstream_error_is_a_failure_kept_for_failure_ttl(rcode: int) -> None:
    answer = answer_from(reply(authority=(soa(300, 60),), flags=REPLY | rcode), LIMITS)
    assert (answer.rcode, answer.ttl, answer.is_failure) == (rcode, 7, True)


def test_name_too_long_after_a_dname_is_no_failure() -> None:
    wire = reply(authority=(soa(300, 60),), flags=REPLY | YXDOMAIN)
    answer = answer_from(wire, LIMITS)
    assert (answer.rcode, answer.is_failure) == (YXDOMAIN, False)


@pytest.mark.parametrize("upper", [1, 2, 0x80, 0xFF])
@pytest.mark.parametrize("lower", [NOERROR, NXDOMAIN, 7])
def test_rcode_above_15_becomes_servfail(upper: int, lower: int) -> None:
    wire = reply(address(), additional=(opt(ttl=upper << 24),), flags=REPLY | lower)
    answer = answer_from(wire, LIMITS)
    assert (answer.rcode, answer.ttl, answer.is_failure) == (SERVFAIL, 7, True)


@pytest.mark.parametrize("rcode", [NOERROR, SERVFAIL])
def test_truncated_answer_is_not_to_be_kept(rcode: int) -> None:
    answer = answer_from(reply(address(), flags=REPLY | TC | rcode), LIMITS)
    assert answer.truncated
    assert answer.ttl == 0
    assert not answer_from(reply(address()), LIMITS).truncated


# ---- what is kept


def test_final_opt_is_cut_off() -> None:
    glue = address(owner=name("ns.example"))
    servers = (record(NS, name("ns.example")),)
    plain = reply(address(), authority=servers, additional=(glue,))
    extended = reply(address(), authority=servers, additional=(glue, opt(option(10, b"a" * 8))))
    assert answer_from(extended).message == plain == answer_from(plain).message


def test_message_is_kept_as_it_came() -> None:
    wire = reply(record(CNAME, b"\3FOO\xc0\x10"), address(owner=b"\x03foo\xc0\x10"), qname="wWw.X")
    answer = answer_from(wire, of=key("www.x"))
    assert answer.message == wire


def test_ad_bit_is_cleared_unless_the_upstream_is_trusted_with_it() -> None:
    wire = reply(address(), flags=REPLY | AD)
    assert not parse(answer_from(wire, Limits(0, 9, 9, 9, False))).flags & dns.flags.AD
    assert parse(answer_from(wire, Limits(0, 9, 9, 9, True))).flags & dns.flags.AD
    unsigned = reply(address())
    assert not parse(answer_from(unsigned, Limits(0, 9, 9, 9, True))).flags & dns.flags.AD


def test_what_was_read_is_not_changed() -> None:
    wire = bytearray(reply(address(5), authority=(soa(1, 1),), flags=REPLY | AD))
    before = bytes(wire)
    answer = answer_from(wire, LIMITS)
    assert wire == before
    wire[:] = bytes(len(wire))
    assert ttls(answer) == [10, 10]


# ---- Extended DNS Errors


def test_extended_error_is_kept_with_its_text() -> None:
    error = option(EDE, b"\0\x06signature expired")
    wire = reply(flags=REPLY | SERVFAIL, additional=(opt(option(10, b"a" * 8), error),))
    assert answer_from(wire).edns_options == error


def test_nothing_else_of_the_opt_is_kept() -> None:
    others = option(10, b"a" * 24), option(8, b"\0\1\0\0"), option(12, bytes(50))
    assert answer_from(reply(address(), additional=(opt(*others),))).edns_options == b""


@pytest.mark.parametrize(("text", "kept"), [(250, 250), (251, 0), (60_000, 0)])
def test_extended_error_with_a_long_text_is_kept_without_it(text: int, kept: int) -> None:
    error = option(EDE, b"\0\x16" + b"x" * text)
    answer = answer_from(reply(flags=REPLY | SERVFAIL, additional=(opt(error),)))
    assert answer.edns_options == option(EDE, b"\0\x16" + b"x" * kept)


def test_first_of_several_extended_errors_is_kept() -> None:
    both = option(EDE, b"\0\1"), option(EDE, b"\0\2")
    assert answer_from(reply(additional=(opt(*both),))).edns_options == both[0]


def test_extended_error_too_short_for_a_code_is_left_out() -> None:
    assert answer_from(reply(additional=(opt(option(EDE, b"\1")),))).edns_options == b""


# ---- answers of our own


def test_failure_says_its_rcode_and_extended_error() -> None:
    answer = failure(key(), SERVFAIL, 22, 5)
    message = dns.message.from_wire(answer.message)
    assert (message.rcode(), answer.rcode, answer.ttl, answer.is_failure) == (2, 2, 5, True)
    assert message.question[0].to_text() == f"{NAME}. IN A"
    assert answer.edns_options == option(EDE, b"\0\x16") == extended_error(22)


def test_failure_may_have_no_extended_error() -> None:
    assert failure(key(), REFUSED, None, 0).edns_options == b""


@pytest.mark.parametrize("length", [0, 1, 254, 255])
def test_text_of_our_own_is_one_txt_record_never_kept(length: int) -> None:
    answer = text_answer(key("version.bind", TXT, 3), b"v" * length)
    message = dns.message.from_wire(answer.message)
    (rrset,) = message.answer
    assert rrset.to_text() == f'version.bind. 0 CH TXT "{"v" * length}"'
    assert (answer.rcode, answer.ttl, answer.is_failure) == (NOERROR, 0, False)


# ---- a Reading is for the message that it read


def test_answer_of_nothing_read_is_refused() -> None:
    with pytest.raises(ValueError, match="no message was read"):
        Reading().answer(LIMITS)


def test_answer_of_a_reply_that_did_not_count_is_refused() -> None:
    reading = Reading()
    assert reading.read(reply(address()), ID, key())
    assert not reading.read(reply(address()), ID + 1, key())
    with pytest.raises(ValueError, match="no message was read"):
        reading.answer(LIMITS)
