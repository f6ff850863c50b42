"""An answer for one client: its own id and spelling, aged TTLs, an OPT if it sent one."""

from __future__ import annotations

from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest
from messages import (
    AD,
    CD,
    CHAOS,
    DO,
    EDE,
    HEADER,
    ID,
    IN,
    NAME,
    NS,
    OPAQUE,
    RD,
    REPLY,
    A,
    Front,
    address,
    answer_from,
    answer_of_size,
    key,
    name,
    opt,
    option,
    query,
    question,
    record,
    reply,
    soa,
)

from fastdns._answer import Limits, failure
from fastdns._response import respond

HEADER_AND_QUESTION = HEADER + len(question())
OPT_LENGTH = len(opt())


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(tmp_path)


def asked(front: Front, *additional: bytes, qname: str = NAME, flags: int = RD) -> bytes:
    """The response of memory to the one question that it holds."""
    response = front.ask(query(qname, A, IN, *additional, flags=flags))
    assert response is not None
    return response


def told(front: Front, wire: bytes, *additional: bytes, flags: int = RD) -> bytes:
    """What a client is told that has to wait for an upstream, which says this."""
    assert front.ask(query(NAME, A, IN, *additional, flags=flags)) is None
    return front.answered(wire)


# ---- header and question


@pytest.mark.parametrize("message_id", [0, 1, 0x1234, 0xFFFF])
def test_response_has_the_id_of_its_query(front: Front, message_id: int) -> None:
    front.keep(answer_from(reply(address())))
    response = front.ask(query(message_id=message_id))
    assert response is not None
    assert response[:2] == message_id.to_bytes(2, "big")


@pytest.mark.parametrize("spelling", ["www.example", "WWW.EXAMPLE", "wWw.eXaMpLe"])
def test_question_is_repeated_in_the_client_s_own_spelling(front: Front, spelling: str) -> None:
    front.keep(answer_from(reply(address(), qname="Www.Example")))
    response = asked(front, qname=spelling)
    assert response[HEADER:HEADER_AND_QUESTION] == question(spelling)
    (found,) = dns.message.from_wire(response).answer
    assert found.to_text() == f"{spelling}. 300 IN A 192.0.2.1"


def test_answer_that_waited_for_an_upstream_has_the_client_s_spelling(front: Front) -> None:
    front.ask(query("wWw.ExAmPlE", message_id=77))
    response = front.answered(reply(address()))
    assert response[:2] == b"\0\x4d"
    assert response[HEADER:HEADER_AND_QUESTION] == question("wWw.ExAmPlE")


@pytest.mark.parametrize("flags", [RD, RD | CD])
def test_rd_and_cd_are_copied_and_nothing_else_is(front: Front, flags: int) -> None:
    front.keep(answer_from(reply(address(), flags=0x85F0)), key(cd=bool(flags & CD)))
    response = asked(front, flags=flags | 0x0440)
    assert int.from_bytes(response[2:4], "big") == REPLY & ~RD | flags


def test_rd_0_is_answered_from_memory_with_rd_0(front: Front) -> None:
    front.keep(answer_from(reply(address())))
    response = asked(front, flags=0)
    assert int.from_bytes(response[2:4], "big") == REPLY & ~RD
    assert len(dns.message.from_wire(response).answer) == 1


@pytest.mark.parametrize("rcode", [0, 1, 2, 3, 5, 6, 15])
def test_rcode_is_the_answer_s(front: Front, rcode: int) -> None:
    front.keep(answer_from(reply(authority=(soa(300, 60),), flags=REPLY | rcode)))
    assert dns.message.from_wire(asked(front)).rcode() == rcode
    assert dns.message.from_wire(asked(front, opt())).rcode() == rcode


@pytest.mark.parametrize(
    ("trusted", "flags", "edns", "told"),
    [
        (True, RD, (), False),
        (True, RD | AD, (), True),
        (True, RD, (opt(),), False),
        (True, RD, (opt(ttl=DO),), True),
        (False, RD | AD, (opt(ttl=DO),), False),
    ],
)
def test_ad_is_for_clients_that_set_do_or_ad_when_the_upstream_is_trusted(
    front: Front, trusted: bool, flags: int, edns: tuple[bytes, ...], told: bool
) -> None:
    limits = Limits(0, 300, 300, 5, trusted)
    answer = answer_from(reply(address(), flags=REPLY | AD), limits)
    front.keep(answer, key(do=edns == (opt(ttl=DO),)))
    response = dns.message.from_wire(asked(front, *edns, flags=flags))
    assert bool(response.flags & dns.flags.AD) is told


# ---- TTLs


def test_ttls_fall_with_the_age_of_the_entry(front: Front) -> None:
    wire = reply(
        address(300),
        authority=(record(NS, name("ns.example"), 400),),
        additional=(address(500, owner=name("ns.example")),),
    )
    front.keep(answer_from(wire), age_ms=100_500)
    message = dns.message.from_wire(asked(front))
    (found,), (authority,), (glue,) = message.answer, message.authority, message.additional
    assert [found.ttl, authority.ttl, glue.ttl] == [200, 300, 400]


def test_age_is_counted_in_whole_seconds(front: Front) -> None:
    front.keep(answer_from(reply(address(300))), age_ms=900)
    assert dns.message.from_wire(asked(front)).answer[0].ttl == 300


def test_ttls_of_what_is_kept_longer_than_they_say_stop_at_0(front: Front) -> None:
    """A failure is kept for failure_ttl, whatever stands in its records."""
    limits = Limits(0, 300, 300, 250, False)
    wire = reply(authority=(soa(100, 100),), flags=REPLY | 2)
    front.keep(answer_from(wire, limits), age_ms=200_000)
    assert asked(front) == reply(authority=(soa(0, 100),), flags=REPLY | 2)


def test_largest_ttl_falls_like_any_other(front: Front) -> None:
    limits = Limits(0, 0xFFFFFFFF, 0, 5, False)
    front.keep(answer_from(reply(address(0xFFFFFFFF)), limits), age_ms=10_000)
    assert asked(front)[-10:-6] == (0xFFFFFFFF - 10).to_bytes(4, "big")


def test_entry_itself_does_not_age(front: Front) -> None:
    front.keep(answer_from(reply(address(300))), age_ms=100_000)
    first, second = asked(front), asked(front)
    assert first == second


def test_answer_that_waited_for_an_upstream_has_its_ttls_whole(front: Front) -> None:
    response = told(front, reply(address(300)))
    assert dns.message.from_wire(response).answer[0].ttl == 300


# ---- OPT


def test_client_without_edns_gets_no_opt(front: Front) -> None:
    front.keep(answer_from(reply(address(), additional=(opt(),))))
    assert dns.message.from_wire(asked(front)).edns == -1


@pytest.mark.parametrize("size", [0, 511, 512, 1232, 4096, 65535])
def test_client_with_edns_gets_our_own_opt(front: Front, size: int) -> None:
    theirs = opt(option(10, b"a" * 8), option(65001, b"b"), size=size)
    front.keep(answer_from(reply(address(), additional=(opt(size=4000),))))
    message = dns.message.from_wire(asked(front, theirs))
    assert (message.edns, message.payload, message.options) == (0, 1232, ())
    assert len(message.answer) == 1


@pytest.mark.parametrize(("sent", "returned"), [(0, 0), (DO, DO), (0x7FFF, 0), (0xFFFF, DO)])
def test_do_is_copied_and_no_other_flag_of_the_opt(front: Front, sent: int, returned: int) -> None:
    front.keep(answer_from(reply(address())), key(do=bool(sent & DO)))
    assert dns.message.from_wire(asked(front, opt(ttl=sent))).ednsflags == returned


def test_opt_comes_after_the_records_that_were_there(front: Front) -> None:
    glue = address(owner=name("ns.example"))
    servers = (record(NS, name("ns.example")),)
    front.keep(answer_from(reply(address(), authority=servers, additional=(glue, opt()))))
    assert asked(front, opt())[-OPT_LENGTH - len(glue) :] == glue + opt()


def test_extended_error_is_for_clients_with_edns(front: Front) -> None:
    front.keep(failure(key(), dns.rcode.SERVFAIL, 22, 5))
    assert asked(front, opt())[-OPT_LENGTH - 6 :] == opt(option(EDE, b"\0\x16"))
    assert asked(front) == reply(flags=REPLY | 2)


def test_extended_error_of_the_upstream_is_relayed_with_its_text(front: Front) -> None:
    error = option(EDE, b"\0\x06signature expired")
    wire = reply(flags=REPLY | 2, additional=(opt(error),))
    assert told(front, wire, opt()).endswith(opt(error))


@pytest.mark.parametrize(("version", "flags"), [(1, 0), (255, DO)])
def test_badvers_says_which_version_we_speak(front: Front, version: int, flags: int) -> None:
    message = dns.message.from_wire(asked(front, opt(ttl=version << 16 | flags)))
    assert (message.rcode(), message.edns, message.ednsflags & DO) == (16, 0, flags)
    assert len(message.question) == 1


@pytest.mark.parametrize("qclass", [IN, 0])
def test_error_to_a_client_with_edns_has_an_opt(front: Front, qclass: int) -> None:
    """REFUSED, for a class that cannot be asked for or because RD is 0."""
    plain = front.ask(query(NAME, A, qclass, flags=0))
    extended = front.ask(query(NAME, A, qclass, opt(), flags=0))
    assert plain is not None
    assert extended is not None
    assert dns.message.from_wire(plain).edns == -1
    assert dns.message.from_wire(extended).edns == 0


# ---- size over a stream


def test_largest_answer_comes_whole_over_a_stream(front: Front) -> None:
    answer = answer_of_size(65535)
    front.keep(answer)
    response = asked(front)
    assert len(response) == 65535
    assert response[HEADER_AND_QUESTION:] == answer.message[HEADER_AND_QUESTION:]


def test_answer_and_opt_of_65535_octets_come_whole_over_a_stream(front: Front) -> None:
    front.keep(answer_of_size(65535 - OPT_LENGTH))
    response = asked(front, opt())
    assert len(response) == 65535
    assert response.endswith(opt())


def test_answer_whose_opt_goes_beyond_65535_octets_is_never_cut_short_in_silence(
    front: Front,
) -> None:
    front.keep(answer_of_size(65535 - OPT_LENGTH + 1))
    response = asked(front, opt())
    cut = bool(int.from_bytes(response[2:4], "big") & 0x0200)
    assert len(response) == (HEADER_AND_QUESTION + OPT_LENGTH if cut else 65535 - OPT_LENGTH + 1)


# ---- answers of our own


def test_what_we_say_of_ourselves_fits_the_query(front: Front) -> None:
    response = front.ask(query(NAME, A, CHAOS, opt()))
    assert response is not None
    message = dns.message.from_wire(response)
    assert (message.id, message.rcode(), message.edns) == (ID, dns.rcode.REFUSED, 0)
    assert message.question[0].to_text() == f"{NAME}. CH A"


def test_octets_that_only_look_like_names_or_ttls_are_left_alone(front: Front) -> None:
    everything = name("www.example") + bytes(range(256)) * 4
    wire = reply(record(OPAQUE, everything, 600), qtype=OPAQUE)
    front.keep(answer_from(wire, of=key(qtype=OPAQUE)), key(qtype=OPAQUE), age_ms=599_000)
    response = front.ask(query("WWW.example", OPAQUE))
    assert response == reply(record(OPAQUE, everything, 1), qname="WWW.example", qtype=OPAQUE)


# ---- what EDNS says over a connection

KEEPALIVE, PADDING = option(11), option(12)


def edns_of(response: bytes) -> dict[int, bytes]:
    """The options of a response, by their codes, in their order."""
    return {one.otype: one.to_wire() for one in dns.message.from_wire(response).options}


@pytest.mark.parametrize("octets", [0, 1, 40, 400])
@pytest.mark.parametrize("size", [100, 424, 425, 440, 452, 453, 900, 5000])
def test_response_to_who_has_padded_is_a_multiple_of_468(octets: int, size: int) -> None:
    padded = query(NAME, OPAQUE, IN, opt(option(12, bytes(octets))))
    plain = respond(padded, answer_of_size(size))
    response = respond(padded, answer_of_size(size), pad_to=468)
    assert len(plain) <= len(response) < len(plain) + 4 + 468
    assert len(response) % 468 == 0
    assert edns_of(response)[12].strip(b"\0") == b""
    assert dns.message.from_wire(response).answer == dns.message.from_wire(plain).answer


def test_response_to_who_has_not_padded_is_not_padded() -> None:
    for additional in ((), (opt(),), (opt(KEEPALIVE, option(65001, b"x")),)):
        packet = query(NAME, A, IN, *additional)
        answer = answer_from(reply(address()))
        assert respond(packet, answer, pad_to=468) == respond(packet, answer)


def test_error_is_padded_too() -> None:
    longest = ".".join(["x" * 62] * 4)
    response = respond(
        query(longest, A, IN, opt(PADDING, KEEPALIVE)), None, pad_to=468, keepalive=1
    )
    assert len(response) == 468
    assert dns.message.from_wire(response).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    ("octets", "length"),
    # 65520 is the last multiple of 468.
    [
        (65524, 65535),
        (65521, 65532),
        (65520, 65535),
        (65506, 65535),
        (65505, 65520),
        (65000, 65052),
    ],
)
def test_padding_of_a_large_response_is_what_finds_room(octets: int, length: int) -> None:
    packet = query(NAME, OPAQUE, IN, opt(PADDING))
    response = respond(packet, answer_of_size(octets), pad_to=468)
    assert len(response) == length
    assert len(dns.message.from_wire(response).answer) == 1


def test_padding_is_the_last_option_and_comes_beside_the_others() -> None:
    ede = option(EDE, b"\0\x06bogus")
    answer = answer_from(reply(flags=REPLY | 2, additional=(opt(ede),)))
    response = respond(
        query(NAME, A, IN, opt(PADDING, KEEPALIVE, size=4096)), answer, pad_to=468, keepalive=300
    )
    assert list(edns_of(response)) == [EDE, 11, 12]
    assert edns_of(response)[11] == (300).to_bytes(2, "big")
    assert len(response) == 468


def test_padding_leaves_out_nothing_that_a_response_has_without_it() -> None:
    answer = answer_of_size(400)
    packet = query(NAME, OPAQUE, IN, opt(PADDING))
    response = respond(packet, answer, pad_to=468, limit=420)
    assert dns.message.from_wire(response).answer == dns.message.from_wire(answer.message).answer
    assert len(response) == 420


def test_client_that_asks_how_long_it_may_be_idle_is_told() -> None:
    answer = answer_from(reply(address()))
    asks, does_not = query(NAME, A, IN, opt(KEEPALIVE)), query(NAME, A, IN, opt())
    assert edns_of(respond(asks, answer, keepalive=100)) == {11: b"\0\x64"}
    assert edns_of(respond(does_not, answer, keepalive=100)) == {}
    assert edns_of(respond(asks, answer)) == {}
    # A value is only for servers: RFC 7828 section 3.2.1.
    odd = query(NAME, A, IN, opt(option(11, b"\0\x64")))
    assert edns_of(respond(odd, answer, keepalive=100)) == {}


def test_over_tcp_nothing_is_padded_and_who_asks_is_told_how_long_it_may_be_idle(
    front: Front,
) -> None:
    front.keep(answer_from(reply(address())))
    plain = len(asked(front, opt()))
    assert len(asked(front, opt(PADDING))) == plain
    assert len(asked(front, opt(PADDING, KEEPALIVE, PADDING))) == plain + 6
    assert edns_of(asked(front, opt(KEEPALIVE))) == {11: b"\0\x64"}


def test_cookie_behind_padding_counts_and_of_two_the_first(front: Front) -> None:
    """RFC 7873 section 5.2.2."""
    front.keep(answer_from(reply(address())))
    wrong, right = option(10, bytes(9)), option(10, bytes(8))
    assert asked(front, opt(PADDING, wrong))[3] & 15 == dns.rcode.FORMERR
    assert asked(front, opt(PADDING, right, wrong))[3] & 15 == dns.rcode.NOERROR
