"""DNS cookies towards clients: RFC 7873, in the form of RFC 9018."""

from __future__ import annotations

import mmap
import socket
from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest
from messages import (
    CHAOS,
    IN,
    NAME,
    OPAQUE,
    RD,
    REPLY,
    TXT,
    A,
    Front,
    address,
    answer_from,
    answer_of_size,
    header,
    key,
    opt,
    option,
    query,
    record,
    reply,
)

from fastdns._cookies import SECRETS_OCTETS, Cookies

COOKIE = 10
CLIENT = bytes.fromhex("2464c4abcf10c957")
SECRET, FORMER = b"0123456789abcdef", b"fedcba9876543210"
PEER = ("198.51.100.100", 5353)
NOW = 1_800_000_000
FORMERR = 1


def cookies_with(current: bytes = SECRET, former: bytes = FORMER) -> Cookies:
    made = Cookies()
    made.use(current, former)
    return made


# ---- RFC 9018, appendix A

SECRET_OF_RFC = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
ROLLED_OVER = bytes.fromhex("445536bcd2513298075a5d379663c962")
BEFORE_THAT = bytes.fromhex("dd3bdf9344b678b185a6f5cb60fca715")


@pytest.mark.parametrize(
    ("sent", "now", "expected"),
    [
        ("2464c4abcf10c957", 0x5CF79F11, "010000005cf79f111f8130c3eee29480"),
        (
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            0x5CF7A871,
            "010000005cf7a871d4a564a1442aca77",
        ),
    ],
    ids=["A.1", "A.2"],
)
def test_learning_and_renewing_a_cookie_goes_as_in_the_rfc(
    sent: str, now: int, expected: str
) -> None:
    cookies = cookies_with(SECRET_OF_RFC)
    made, is_proof = cookies.answer(bytes.fromhex(sent), PEER, now)
    assert made.hex() == "2464c4abcf10c957" + expected
    assert is_proof is (len(sent) > 16)


def test_reserved_octets_of_another_server_are_part_of_its_cookie() -> None:
    cookies = cookies_with(SECRET_OF_RFC)
    sent = bytes.fromhex("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5")
    peer = ("203.0.113.203", 5353)
    assert cookies.answer(sent, peer, 0x5CF78F71 + 3000)[1]
    made, _ = cookies.answer(sent, peer, 0x5CF7A9AC)  # A.3: too old by then, a new one is made
    assert made.hex() == "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"


def test_ipv6_client_gets_a_cookie_of_the_new_secret_for_one_of_the_old() -> None:
    cookies = cookies_with(ROLLED_OVER, BEFORE_THAT)
    peer = ("2001:db8:220:1:59de:d0f4:8769:82b8", 5353)
    sent = bytes.fromhex("22681ab97d52c298010000005cf7c57926556bd0934c72f8")
    made, is_proof = cookies.answer(sent, peer, 0x5CF7C609)
    assert made.hex() == "22681ab97d52c298010000005cf7c609a6bb79d16625507a"
    assert is_proof


# ---- what proves an address


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *[(0, True), (1799, True), (3600, True), (-300, True)],
        *[(3601, False), (-301, False), (86400, False)],
    ],
)
def test_cookie_is_good_for_an_hour_and_five_minutes_ahead(seconds: int, expected: bool) -> None:
    cookies = cookies_with()
    mine, _ = cookies.answer(CLIENT, PEER, NOW)
    assert cookies.answer(mine, PEER, NOW + seconds)[1] is expected


def test_time_in_a_cookie_may_come_round() -> None:
    cookies = cookies_with()
    mine, _ = cookies.answer(CLIENT, PEER, 2**32 - 10)
    assert cookies.answer(mine, PEER, 20)[1]
    assert not cookies.answer(mine, PEER, 5000)[1]


def test_young_cookie_is_sent_back_and_an_old_one_renewed() -> None:
    cookies = cookies_with()
    mine, _ = cookies.answer(CLIENT, PEER, NOW)
    assert cookies.answer(mine, PEER, NOW + 1799) == (mine, True)
    renewed, _ = cookies.answer(mine, PEER, NOW + 1800)
    assert renewed != mine
    assert cookies.answer(renewed, PEER, NOW + 1800 + 1799) == (renewed, True)


@pytest.mark.parametrize("other", ["198.51.100.101", "::1", "::ffff:198.51.100.101"])
def test_cookie_of_another_address_proves_nothing(other: str) -> None:
    cookies = cookies_with()
    mine, _ = cookies.answer(CLIENT, PEER, NOW)
    assert not cookies.answer(mine, (other, 5353), NOW)[1]
    assert cookies.answer(mine, ("::ffff:198.51.100.100", 1, 0, 0), NOW)[1]


@pytest.mark.parametrize("place", range(24))
def test_every_octet_of_a_cookie_counts(place: int) -> None:
    cookies = cookies_with()
    mine, _ = cookies.answer(CLIENT, PEER, NOW)
    forged = bytes(octet ^ (i == place) for i, octet in enumerate(mine))
    made, is_proof = cookies.answer(forged, PEER, NOW)
    assert not is_proof
    assert made[:8] == forged[:8]


@pytest.mark.parametrize("length", [16, 17, 23, 25, 40])
def test_server_cookie_of_another_form_proves_nothing_and_is_replaced(length: int) -> None:
    cookies = cookies_with()
    mine, _ = cookies.answer(CLIENT, PEER, NOW)
    sent = (mine + bytes(16))[:length]
    assert cookies.answer(sent, PEER, NOW) == (mine, False)


def test_former_secret_is_good_until_the_next_one() -> None:
    cookies = cookies_with()
    mine, _ = cookies.answer(CLIENT, PEER, NOW)
    cookies.use(b"third-secret-16b", SECRET)
    renewed, is_proof = cookies.answer(mine, PEER, NOW)
    assert (is_proof, renewed == mine) == (True, False)
    cookies.use(b"fourth-secret-16", b"third-secret-16b")
    assert not cookies.answer(mine, PEER, NOW)[1]
    assert cookies.answer(renewed, PEER, NOW)[1]


def test_processes_that_share_the_memory_have_the_same_secrets() -> None:
    memory = mmap.mmap(-1, SECRETS_OCTETS)
    one, other = Cookies(memory), Cookies(memory)
    one.use(SECRET, FORMER)
    mine, _ = one.answer(CLIENT, PEER, NOW)
    assert other.answer(mine, PEER, NOW) == (mine, True)


@pytest.mark.parametrize("wrong", [b"", b"short", bytes(17)])
def test_secret_of_another_length_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Cookies().use(wrong, FORMER)
    with pytest.raises(ValueError, match="16 bytes"):
        Cookies().use(SECRET, wrong)


# ---- in messages


class Wire:
    """A client over UDP and the fast path with cookies that answers it."""

    def __init__(self, directory: Path) -> None:
        self.front = Front(directory, stale=3600)
        self.front.fastpath.use_cookies(cookies_with())
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.client.connect(self.server.getsockname())
        self.client.settimeout(5)

    def ask(self, packet: bytes) -> bytes:
        self.client.send(packet)
        self.front.fastpath.drain(self.server.fileno())
        return self.client.recv(4096)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path)
    yield made
    made.server.close()
    made.client.close()


def cookie_in(response: bytes) -> bytes:
    """The only cookie of a response."""
    message = dns.message.from_wire(response)
    (found,) = [one for one in message.options if one.otype == COOKIE]
    return bytes(found.to_wire())


def has_cookie(response: bytes) -> bool:
    return any(one.otype == COOKIE for one in dns.message.from_wire(response).options)


def with_cookie(cookie: bytes, *others: bytes, qtype: int = A, size: int = 1232) -> bytes:
    return query(NAME, qtype, IN, opt(option(COOKIE, cookie), *others, size=size))


def test_client_cookie_comes_back_with_one_of_ours_that_proves_the_address(wire: Wire) -> None:
    wire.front.keep(answer_from(reply(address())))
    mine = cookie_in(wire.ask(with_cookie(CLIENT)))
    assert (mine[:8], len(mine)) == (CLIENT, 24)
    assert cookie_in(wire.ask(with_cookie(mine))) == mine
    count = wire.front.count
    assert (count("cookies_valid_total"), count("cookies_bad_total")) == (1, 0)


def test_wrong_server_cookie_is_answered_as_none_and_counted(wire: Wire) -> None:
    wire.front.keep(answer_from(reply(address())))
    response = wire.ask(with_cookie(CLIENT + bytes(16)))
    assert (response[3] & 15, response[7]) == (0, 1)
    assert cookie_in(response)[8:] != bytes(16)
    count = wire.front.count
    assert (count("cookies_valid_total"), count("cookies_bad_total")) == (0, 1)


def test_client_that_has_sent_none_gets_none(wire: Wire) -> None:
    wire.front.keep(answer_from(reply(address())))
    assert not has_cookie(wire.ask(query(NAME, A, IN, opt())))
    assert wire.ask(query())[11] == 0


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 41, 255, 256, 264, 272, 1000])
def test_cookie_of_an_impossible_length_is_malformed(wire: Wire, length: int) -> None:
    wire.front.keep(answer_from(reply(address())))
    response = wire.ask(with_cookie(bytes(length)))
    assert response[3] & 15 == FORMERR
    assert not has_cookie(response)


@pytest.mark.parametrize("length", [8, 16, 24, 32, 40])
def test_cookie_of_a_possible_length_is_answered(wire: Wire, length: int) -> None:
    wire.front.keep(answer_from(reply(address())))
    response = wire.ask(with_cookie(bytes(length)))
    assert response[3] & 15 == 0
    assert cookie_in(response)[:8] == bytes(8)


def test_client_may_ask_for_a_cookie_alone(wire: Wire) -> None:
    packet = header(RD, 0, 0, 0, 1) + opt(option(COOKIE, CLIENT))
    response = wire.ask(packet)
    assert response[:12] == header(REPLY, 0, 0, 0, 1)
    mine = cookie_in(response)
    assert mine[:8] == CLIENT
    assert cookie_in(wire.ask(header(RD, 0, 0, 0, 1) + opt(option(COOKIE, mine)))) == mine
    assert wire.front.count("cookies_valid_total") == 1


@pytest.mark.parametrize("additional", [b"", opt(), opt(option(COOKIE, bytes(3)))])
def test_message_without_a_question_and_a_cookie_is_malformed(
    wire: Wire, additional: bytes
) -> None:
    response = wire.ask(header(RD, 0, 0, 0, bool(additional)) + additional)
    assert response[3] & 15 == FORMERR


def test_first_of_several_cookies_counts(wire: Wire) -> None:
    wire.front.keep(answer_from(reply(address())))
    response = wire.ask(with_cookie(CLIENT, option(COOKIE, bytes(3)), option(COOKIE, bytes(8))))
    assert cookie_in(response)[:8] == CLIENT


def test_cookie_between_other_options_is_found(wire: Wire) -> None:
    wire.front.keep(answer_from(reply(address())))
    options = option(3), option(65001, bytes(5)), option(COOKIE, CLIENT), option(12, bytes(9))
    assert cookie_in(wire.ask(query(NAME, A, IN, opt(*options))))[:8] == CLIENT


def test_cookie_under_another_edns_version_is_not_looked_at(wire: Wire) -> None:
    packet = query(NAME, A, IN, opt(option(COOKIE, bytes(3)), ttl=1 << 16))
    message = dns.message.from_wire(wire.ask(packet))
    assert (message.rcode(), message.options) == (16, ())


def test_errors_and_answers_of_our_own_carry_it_as_well(wire: Wire) -> None:
    options = opt(option(COOKIE, CLIENT))
    for packet in (
        query("localhost", A, IN, options),
        query("version.bind", TXT, CHAOS, options),
        query(NAME, 252, IN, options),  # a transfer: REFUSED
        query(NAME, A, IN, options, flags=0),
    ):
        assert cookie_in(wire.ask(packet))[:8] == CLIENT


def test_client_that_waited_gets_its_own_cookie(wire: Wire) -> None:
    other = CLIENT[::-1]
    for cookie in (CLIENT, other):
        wire.client.send(with_cookie(cookie))
    wire.front.fastpath.drain(wire.server.fileno())
    wire.front.say(reply(address()))
    assert [cookie_in(wire.client.recv(4096))[:8] for _ in range(2)] == [CLIENT, other]


def test_client_of_a_stream_gets_one(wire: Wire) -> None:
    wire.front.keep(answer_from(reply(address())))
    response = wire.front.ask(with_cookie(CLIENT))
    assert response is not None
    assert cookie_in(response)[:8] == CLIENT


def test_upstream_is_never_sent_the_cookie_of_a_client(wire: Wire) -> None:
    wire.client.send(with_cookie(CLIENT))
    wire.front.fastpath.drain(wire.server.fileno())
    asked, _ = wire.front.upstream.recvfrom(4096)
    assert dns.message.from_wire(asked).options == ()
    assert CLIENT not in asked


def test_cookie_of_an_upstream_is_not_passed_on(wire: Wire) -> None:
    ours = opt(option(COOKIE, bytes(24)))
    wire.front.keep(answer_from(reply(address(), additional=(ours,))))
    assert not has_cookie(wire.ask(query(NAME, A, IN, opt())))
    assert cookie_in(wire.ask(with_cookie(CLIENT)))[:8] == CLIENT


@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_answer_leaves_room_for_the_cookie(wire: Wire, beside: int) -> None:
    room = 512 - len(opt(option(COOKIE, bytes(24))))
    wire.front.learn(key(NAME, OPAQUE), answer_of_size(room + beside))
    response = wire.ask(with_cookie(CLIENT, qtype=OPAQUE, size=512))
    assert len(response) <= 512
    assert bool(response[2] & 2) is (beside > 0)
    assert cookie_in(response)[:8] == CLIENT
    assert bool(wire.ask(query(NAME, OPAQUE, IN, opt(size=512)))[2] & 2) is False


def test_extended_error_gives_way_to_the_cookie(wire: Wire) -> None:
    error = opt(option(15, bytes(2) + b"x" * 40))
    records = record(OPAQUE, bytes(430))
    wire.front.learn(
        key(NAME, OPAQUE),
        answer_from(reply(records, additional=(error,), qtype=OPAQUE), of=key(NAME, OPAQUE)),
    )
    message = dns.message.from_wire(wire.ask(with_cookie(CLIENT, qtype=OPAQUE, size=512)))
    assert [int(one.otype) for one in message.options] == [COOKIE]
    message = dns.message.from_wire(wire.ask(with_cookie(CLIENT, qtype=OPAQUE)))
    assert [int(one.otype) for one in message.options] == [15, COOKIE]
    assert message.flags == REPLY
