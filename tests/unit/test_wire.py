"""Reading messages from anywhere: every file of tests/wire_corpus, and its mutations.

A file is one message, named after its oddity; its name begins with the expected result. Queries:
query_ and dropped, formerr, notimp, badvers, refused or answered (memory is empty, so it is
forwarded). Replies, to www.example IN A with id 0x1a2b: reply_ and refused (not a reply to the
question), spoiled (a reply that must not be used), accepted, or mended (accepted, but something in
it is left out or corrected).
"""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import pytest
from messages import (
    AAAA,
    AD,
    CD,
    CHAOS,
    GENEROUS,
    HEADER,
    ID,
    IN,
    OPAQUE,
    OPT,
    RD,
    REPLY,
    SOA,
    TC,
    A,
    Front,
    address,
    answer_from,
    answer_of_size,
    header,
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

from fastdns._answer import Limits, Reading
from fastdns._key import split_key
from fastdns._wire import smallest_ttl_of

CORPUS = {
    file.stem: file.read_bytes()
    for file in sorted((Path(__file__).parent.parent / "wire_corpus").glob("*.bin"))
}
ERRORS = {
    "formerr": dns.rcode.FORMERR,
    "notimp": dns.rcode.NOTIMP,
    "badvers": dns.rcode.BADVERS,
    "refused": dns.rcode.REFUSED,
}


def corpus(*prefixes: str) -> list[str]:
    names = [stem for stem in CORPUS if stem.startswith(prefixes)]
    assert names
    return names


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(tmp_path)


def test_every_file_of_the_corpus_says_what_is_expected() -> None:
    known = [f"query_{outcome}_" for outcome in ("dropped", "answered", *ERRORS)]
    known += [f"reply_{outcome}_" for outcome in ("refused", "spoiled", "accepted", "mended")]
    assert [stem for stem in CORPUS if not stem.startswith(tuple(known))] == []


# ---- queries


@pytest.mark.parametrize("stem", corpus("query_dropped_"))
def test_query_is_dropped(stem: str, front: Front) -> None:
    assert front.ask(CORPUS[stem]) is None
    assert front.missed() == []
    assert front.count("queries_dropped_total") == 1


@pytest.mark.parametrize("stem", corpus(*(f"query_{outcome}_" for outcome in ERRORS)))
def test_query_is_answered_with_an_error(stem: str, front: Front) -> None:
    packet = CORPUS[stem]
    response = front.ask(packet)
    assert response is not None
    assert front.missed() == []
    assert_header_fits(response, packet)
    assert response[6:10] == bytes(4)
    assert rcode_of(response) == ERRORS[stem.split("_")[1]]


@pytest.mark.parametrize("stem", corpus("query_answered_"))
def test_query_is_passed_on_with_its_own_question(stem: str, front: Front) -> None:
    packet = CORPUS[stem]
    if question_of(packet)[-1] == CHAOS:
        assert front.ask(packet) == packet[:2] + header(REPLY | 5, 1)[2:] + question_of(packet)
        return
    assert front.ask(packet) is None
    assert front.count("queries_dropped_total") == 0
    (passed,) = front.missed()
    asked = question_of(packet)
    assert passed[:-3] == asked[:-4].lower() + asked[-4:]


def assert_header_fits(response: bytes, packet: bytes) -> None:
    """Id, opcode, RD and CD are the query's; QR and RA are set, AA, Z and AD are not."""
    flags = int.from_bytes(response[2:4], "big")
    asked = int.from_bytes(packet[2:4], "big")
    assert response[:2] == packet[:2]
    assert flags & 0xFDF0 == 0x8080 | asked & 0x7910  # all but TC and RCODE


def rcode_of(response: bytes) -> int:
    """The RCODE with its upper octet, which the OPT carries."""
    upper = sum(ttl >> 24 for rtype, ttl in records(response) if rtype == OPT)
    return response[3] & 15 | upper << 4


def question_of(packet: bytes) -> bytes:
    """The question of a sound message, octet by octet."""
    end = HEADER
    while packet[end]:
        end += 1 + packet[end]
    return packet[HEADER : end + 5]


def test_key_is_lower_cased_and_holds_type_class_do_and_cd(front: Front) -> None:
    front.ask(query("wWw.ExAmPlE", 257, 4, opt(ttl=0x8000), flags=RD | CD))
    (passed,) = front.missed()
    assert passed == name("www.example") + bytes((1, 1, 0, 4, 3, 0, 0))
    assert split_key(passed) == (name("www.example"), 257, 4, True, True, 0)


def test_octets_beside_the_letters_keep_their_case(front: Front) -> None:
    """@ and [ stand beside the capital letters, ` and { beside the small ones."""
    head = query()[:HEADER]
    for octets in (b"@[`{", bytes(range(0xC1, 0xDB))):
        front.ask(head + bytes([len(octets)]) + octets + b"\0\0\1\0\1")
    assert [one[1:-8] for one in front.missed()] == [b"@[`{", bytes(range(0xC1, 0xDB))]


def test_neither_id_nor_rd_ad_z_edns_size_or_options_are_in_the_key(front: Front) -> None:
    front.ask(query())
    front.ask(query(flags=RD | AD | 0x40, message_id=7))
    front.ask(query("WWW.EXAMPLE", A, IN, opt(option(65001, b"x"), size=4096)))
    assert front.missed() == [key()]


@pytest.mark.parametrize("octets", [b"", b"\1a\0", bytes(7)])
def test_key_too_short_to_be_one_has_no_parts(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a key"):
        split_key(octets)


# ---- replies


@pytest.mark.parametrize("stem", corpus("reply_refused_"))
def test_reply_to_another_question_does_not_count(stem: str) -> None:
    reading = Reading()
    assert not reading.read(CORPUS[stem], ID, key())
    assert not reading.is_spoiled


@pytest.mark.parametrize("stem", corpus("reply_spoiled_"))
def test_reply_that_must_not_be_used_is_told_from_one_that_is_none(stem: str) -> None:
    reading = Reading()
    assert not reading.read(CORPUS[stem], ID, key())
    assert reading.is_spoiled
    with pytest.raises(ValueError, match="no message"):
        reading.answer(GENEROUS)


@pytest.mark.parametrize("stem", corpus("reply_accepted_"))
def test_reply_counts_as_it_is(stem: str) -> None:
    reading = Reading()
    assert reading.read(CORPUS[stem], ID, key())
    assert reading.is_whole


@pytest.mark.parametrize("stem", corpus("reply_mended_"))
def test_reply_counts_when_what_does_not_belong_is_left_out(stem: str) -> None:
    reading = Reading()
    assert reading.read(CORPUS[stem], ID, key())
    assert not reading.is_whole
    records(reading.answer(GENEROUS).message)


@pytest.mark.parametrize("stem", corpus("reply_accepted_"))
def test_reply_cut_inside_question_or_answer_does_not_count(stem: str) -> None:
    wire = CORPUS[stem]
    flags, _, answers = struct.unpack_from("!3H", wire, 2)
    reading = Reading()
    end = len(wire) if not wire[8:12].strip(b"\0") else HEADER + len(question()) + 10
    if not answers or flags & TC:
        end = HEADER + len(question())
    lengths = range(end) if end < 1500 else range(0, end, 97)
    assert [length for length in lengths if reading.read(wire[:length], ID, key())] == []


def test_reply_is_read_anew_each_time() -> None:
    reading = Reading()
    assert reading.read(CORPUS["reply_mended_stranger_in_answer"], ID, key())
    assert reading.read(CORPUS["reply_accepted_address"], ID, key())
    assert reading.is_whole


@pytest.mark.parametrize(
    "other",
    [
        key(do=True)[:-8],
        key("example"),
        key("www.example.www.example"),
        key(qtype=A + 256),
        key(qclass=257),
        b"",
        bytes(6),
        bytes(7),
        bytes(70000),
    ],
)
def test_reply_to_another_key_does_not_count(other: bytes) -> None:
    assert not Reading().read(CORPUS["reply_accepted_address"], ID, other)


def test_reply_larger_than_any_message_does_not_count() -> None:
    largest = CORPUS["reply_accepted_of_65535_octets"]
    empty = reply(record(OPAQUE, b""))
    assert Reading().read(largest, ID, key())
    larger = reply(record(OPAQUE, bytes(65535 - len(empty))), record(OPAQUE, b""))
    assert not Reading().read(larger, ID, key())


def test_as_many_records_as_a_message_holds_are_read() -> None:
    root = question("")
    count = (65535 - HEADER - len(root)) // 11
    one = record(OPAQUE, b"", 9, owner=b"\0")
    wire = header(REPLY, 1, count) + root + one * count
    answer = answer_from(wire, Limits(0, 5, 5, 5, False), of=key(""))
    assert len(answer.message) == len(wire)
    assert answer.message[-6:-2] == (5).to_bytes(4, "big")


# ---- mutations

INTERESTING = (0, 1, 5, 6, 12, 28, 29, 39, 41, 63, 64, 127, 128, 192, 193, 255)
SOURCES = [stem for stem, wire in CORPUS.items() if len(wire) < 1500]


def mutate(random_: random.Random, wire: bytes) -> bytes:
    """Change, cut, lengthen or splice; mostly a little, so that the result is nearly right."""
    octets = bytearray(wire)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        where = random_.randrange(len(octets) + 1)
        kind = random_.randrange(7)
        if kind == 0 and where < len(octets):
            octets[where] ^= 1 << random_.randrange(8)
        elif kind == 1 and where < len(octets):
            octets[where] = random_.choice(INTERESTING)
        elif kind == 2 and where + 1 < len(octets):
            octets[where : where + 2] = struct.pack("!H", 0xC000 | random_.randrange(len(octets)))
        elif kind == 3:
            del octets[where : where + random_.choice((1, 1, 2, 4, 16))]
        elif kind == 4:
            octets[where:where] = random_.randbytes(random_.choice((1, 1, 2, 4, 16)))
        elif kind == 5:
            other = CORPUS[random_.choice(SOURCES)]
            octets[where:] = other[where:]
        elif len(octets) > HEADER:  # one of the counts
            octets[5 + 2 * random_.randrange(4)] = random_.randrange(4)
    return bytes(octets)


def test_no_mutation_of_a_reply_is_taken_for_another_answer() -> None:
    random_ = random.Random(1035)
    limits = Limits(1, 1000, 500, 5, False)
    reading = Reading()
    # Mostly of good ones: what was bad before seldom becomes good.
    good = [stem for stem in SOURCES if stem.startswith(("reply_accepted_", "reply_mended_"))]
    bad = ("reply_refused_", "reply_spoiled_")
    stems = good * 5 + [stem for stem in SOURCES if stem.startswith(bad)]
    counted = 0
    for _ in range(40_000):
        wire = mutate(random_, CORPUS[random_.choice(stems)])
        if reading.read(wire, ID, key()):
            counted += 1
            assert_reply_was_rightly_taken(wire, reading, limits)
    assert 4_000 < counted < 39_000


def assert_reply_was_rightly_taken(wire: bytes, reading: Reading, limits: Limits) -> None:
    answer = reading.answer(limits)
    shown = dns.message.from_wire(answer.message, question_only=True)
    (asked,) = shown.question
    assert shown.id == ID
    assert shown.opcode() == dns.opcode.QUERY
    assert shown.flags & dns.flags.QR
    assert (asked.name, asked.rdtype, asked.rdclass) == (dns.name.from_text("www.example."), A, 1)
    kept = records(answer.message)
    assert all(rtype != OPT for rtype, _ in kept)
    assert all(ttl <= limits.max_ttl for _, ttl in kept)
    if not answer.is_failure:
        assert answer.ttl <= min([limits.max_ttl, *(ttl for _, ttl in kept)])
    assert 0 <= answer.rcode < 16


def records(wire: bytes) -> list[tuple[int, int]]:
    """Walk over a message to its end; return type and TTL of every record."""
    questions, *counts = struct.unpack_from("!4H", wire, 4)
    at = HEADER
    found = []
    for _ in range(questions):
        at = after_name(wire, at) + 4
    for _ in range(sum(counts)):
        at = after_name(wire, at) + 10
        rtype, _, ttl, length = struct.unpack_from("!HHIH", wire, at - 10)
        assert length == 16 or rtype != AAAA
        at += length
        found.append((rtype, ttl))
    assert at == len(wire)
    return found


def after_name(wire: bytes, at: int) -> int:
    while 0 < wire[at] < 64:
        at += 1 + wire[at]
    if wire[at] == 0:
        return at + 1
    assert HEADER <= int.from_bytes(wire[at : at + 2], "big") & 0x3FFF < at
    return at + 2


def test_no_mutation_of_a_query_gets_more_than_it_may(front: Front) -> None:
    """Over a stream: whatever is answered is a sound message with the query's own question."""
    random_ = random.Random(6891)
    fill(front)
    stems = [stem for stem in SOURCES if stem.startswith("query_")]
    answered = 0
    for _ in range(20_000):
        packet = mutate(random_, CORPUS[random_.choice(stems)])
        response = front.ask(packet)
        if response is not None:
            answered += 1
            assert_response_fits(response, packet)
    assert answered > 10_000
    assert all(8 <= len(passed) <= 262 for passed in front.missed())


def test_no_mutation_of_a_query_gets_more_over_udp_than_it_may(front: Front) -> None:
    random_ = random.Random(1232)
    fill(front)
    stems = [stem for stem in SOURCES if stem.startswith("query_answered_")]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        sizes = []
        for _ in range(4_000):
            packet = mutate(random_, CORPUS[random_.choice(stems)])
            client.send(packet)
            front.fastpath.drain(server.fileno())
            try:
                response = client.recv(65535, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            sizes.append(len(response))
            assert_response_fits(response, packet)
            assert len(response) <= (1232 if has_opt(response) else 512)
    assert len(sizes) > 2_000
    assert max(sizes) > 512


BIG = answer_of_size(4_000)


def fill(front: Front) -> None:
    """Let memory hold answers for the names of the corpus, too large for UDP and not."""
    good = answer_of_size(1_000)
    for stem in corpus("query_answered_"):
        front.ask(CORPUS[stem])
    for number, passed in enumerate(front.missed()):
        if len(passed) - 7 == len(name("www.example")):
            front.keep(BIG if number % 3 == 0 else good, passed)


def has_opt(response: bytes) -> bool:
    return any(rtype == OPT for rtype, _ in records(response))


def assert_response_fits(response: bytes, packet: bytes) -> None:
    assert_header_fits(response, packet)
    if int.from_bytes(response[4:6], "big"):
        question_ = question_of(response)
        assert packet[HEADER : HEADER + len(question_)] == question_
    records(response)


def test_garbage_is_never_a_reply_and_never_more_than_an_error(front: Front) -> None:
    random_ = random.Random(0)
    reading = Reading()
    for _ in range(5_000):
        garbage = random_.randbytes(random_.randrange(200))
        assert not reading.read(garbage, ID, key())
        response = front.ask(garbage)
        assert response is None or len(response) <= 282


def test_any_name_that_dnspython_writes_is_read_as_it_is(front: Front) -> None:
    random_ = random.Random(255)
    for _ in range(500):
        labels = [random_.randbytes(random_.choice((1, 2, 5, 63))) for _ in range(3)]
        qname = dns.name.Name([*labels, b""])
        packet = dns.message.make_query(qname, random_.choice((1, 257, 65535))).to_wire()
        assert front.ask(packet) is None
        (passed,) = front.missed()
        assert split_key(passed)[0] == qname.to_digestable()
        front.fail()
        response = front.heard()
        assert response is not None
        assert question_of(response) == question_of(packet)


@pytest.mark.parametrize(("count", "rcode"), [(8, None), (9, dns.rcode.FORMERR), (5395, 1)])
def test_query_has_a_handful_of_additional_records_at_most(
    front: Front, count: int, rcode: int | None
) -> None:
    """Each owner may be a ladder of pointers, whose every step takes time."""
    response = front.ask(query("www.example", A, IN, *[record(OPAQUE, b"")] * count))
    assert (None if response is None else rcode_of(response)) == rcode


# ---- for how long a response may be kept


@pytest.mark.parametrize(
    ("response", "ttl"),
    [
        (reply(address(300)), 300),
        (reply(address(300), address(0), address(20)), 0),
        (reply(address(2**32 - 1)), 2**32 - 1),
        (reply(address(300), authority=(soa(60, 900),)), 60),
        (reply(authority=(soa(600, 900),)), 600),
        (reply(authority=(soa(900, 600),), flags=REPLY | 3), 600),
        (reply(record(SOA, b"\0\0" + bytes(16) + b"\0\0\0\1", 300)), 300),  # an answer: no denial
        (reply(address(300), additional=(opt(), address(5))), 300),
        (reply(additional=(opt(), address(5))), None),
        (reply(address(300), flags=REPLY | TC), None),
        (reply(address(300), flags=REPLY | 2), None),
        (reply(address(300), authority=(soa(60, 900),), flags=REPLY | 5), None),
    ],
)
def test_response_is_kept_for_its_smallest_ttl(response: bytes, ttl: int | None) -> None:
    assert smallest_ttl_of(response) == ttl


def test_response_that_is_not_whole_is_not_kept() -> None:
    whole = reply(address(300), authority=(soa(60, 900),))
    assert smallest_ttl_of(whole) == 60
    assert {smallest_ttl_of(whole[:length]) for length in range(len(whole))} == {None}
