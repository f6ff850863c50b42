"""The common miss, over real sockets: a client, the forwarder, an upstream played by the test."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import dns.message
import pytest
from environments import ago, value_of, write_disk
from messages import (
    DO,
    GENEROUS,
    HEADER,
    QR,
    RA,
    RD,
    REPLY,
    SOURCE,
    TC,
    Front,
    address,
    answer_from,
    answer_of_size,
    key,
    name,
    opt,
    query,
    record,
    reply,
)

from fastdns import defects
from fastdns._answer import Answer
from fastdns._control import CHANGE_NAME
from fastdns._forward import IN_FLIGHT_MAX, Handover
from fastdns._query import Query
from fastdns._upstream import OPT, Upstream, query_message
from fastdns.config.schema import Address, Server
from fastdns.upstream.endpoint import Endpoint
from fastdns.upstream.exchange import Desk, new_arrivals
from fastdns.upstream.reply import Reader
from fastdns.upstream.request import Request
from fastdns.upstream.udp import PORT_MIN, open_socket

SERVFAIL = 2
TIMEOUT = 0.4
FRESH_AT_ONCE = 256  # ports of one query each
POOL = 64  # ports that queries share beyond those
QUERIES_OF_A_PORT = 256
Peer = tuple[str, int]


def readable(seconds: float, *which: socket.socket | int) -> bool:
    """Wait until one can be read, at most so long. select() would end at descriptor 1024."""
    poll = select.poll()
    for one in which:
        poll.register(one, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Scene:
    """A client and an upstream of a forwarder, which moves when the test says so."""

    def __init__(self, directory: Path) -> None:
        self.front = Front(directory, stale=3600)
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
        self.server, self.client, self.upstream, self.second = self.sockets
        for one in (self.server, self.upstream, self.second):
            one.bind(("127.0.0.1", 0))
        self.client.connect(self.server.getsockname())
        self.upstream.settimeout(5)
        self.turned = 0
        self.known = self.make_upstream(self.upstream)
        self.second_known = self.make_upstream(self.second)
        self.use(self.known)

    def make_upstream(self, at: socket.socket) -> Upstream:
        place = Address(*at.getsockname())
        made = Upstream(SOURCE, TIMEOUT, partial(open_socket, place), self._turn)
        made.look_at_message(OPT, 0, has_opt=True, is_odd=False, is_spoiled=False)
        return made

    def _turn(self) -> None:
        self.turned += 1

    def use(self, *upstreams: Upstream | None, in_turn: bool = False) -> None:
        self.front.forward.use(upstreams, in_turn=in_turn, is_alone=len(upstreams) < 2)

    def close(self) -> None:
        for one in self.sockets:
            one.close()

    def ask(self, *packets: bytes) -> None:
        """Let the client send these and the forwarder look at them."""
        for packet in packets:
            self.client.send(packet)
        self.front.fastpath.drain(self.server.fileno())

    def asked(self) -> tuple[bytes, Peer]:
        """The next query that the upstream gets, and from where."""
        return self.upstream.recvfrom(4096)

    def not_asked(self) -> bool:
        return not readable(0, self.upstream, self.second)

    def say(self, wire: bytes, to: Peer) -> None:
        """Let the upstream send this and the forwarder look at it."""
        self.upstream.sendto(wire, to)
        assert readable(5, self.front.forward.flights.descriptor)
        self.front.forward.read_replies()

    def answer(self, *records: bytes, flags: int = REPLY, qname: str = "www.example") -> None:
        """Answer the next query of the upstream."""
        asked, peer = self.asked()
        self.say(asked[:2] + reply(*records, flags=flags, qname=qname)[2:], peer)

    def heard(self) -> list[bytes]:
        """What the client has been sent."""
        packets = []
        while readable(0, self.client):
            packets.append(self.client.recv(65535))
        return packets

    def tick_until_handed_over(self) -> tuple[Handover, float]:
        """The next question that is handed over, and after how many seconds."""
        began = time.monotonic()
        while not self.front.handed_over and time.monotonic() < began + 5:
            self.front.forward.tick()
            time.sleep(0.002)
        return self.front.handed_over.pop(), time.monotonic() - began


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


class Elsewhere(Query):
    """A client that did not come over UDP."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def reply(self, answer: Answer) -> None:
        self.answers.append(answer)


class Patient:
    """Who waits for what has been handed over."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.errors: list[int] = []
        self.is_late = False

    def received(self, wire: bytes) -> None:
        self.heard.append(wire)

    def late(self) -> None:
        self.is_late = True

    def failed(self, number: int) -> None:
        self.errors.append(number)


# ---- asking


def test_upstream_is_asked_the_question_and_nothing_else_of_the_client(scene: Scene) -> None:
    scene.ask(query("wWw.example", 1, 1, opt(b"\0\3\0\4priv", ttl=DO), flags=RD | 0x0010))
    asked, _ = scene.asked()
    assert asked[2:] == query("www.example", 1, 1, opt(ttl=DO), flags=RD | 0x0010)[2:]
    assert asked == query_message(int.from_bytes(asked[:2], "big"), key(do=True, cd=True), False)


def test_ids_and_ports_differ_from_query_to_query(scene: Scene) -> None:
    seen = []
    for number in range(200):
        scene.ask(query(f"n{number}.example"))
        asked, (_, port) = scene.asked()
        seen.append((asked[:2], port))
    assert len({number for number, _ in seen}) > 190
    assert len({port for _, port in seen}) > 190
    assert min(port for _, port in seen) >= PORT_MIN


def test_queries_of_one_burst_leave_by_ports_of_their_own(scene: Scene) -> None:
    for number in range(0, 200, 50):
        scene.ask(*(query(f"n{one}.example") for one in range(number, number + 50)))
    assert len({scene.asked()[1] for _ in range(200)}) > 190


def test_port_of_a_query_is_closed_with_its_reply(scene: Scene) -> None:
    before = len(os.listdir("/proc/self/fd"))
    scene.ask(query())
    assert len(os.listdir("/proc/self/fd")) == before + 1
    scene.answer(address())
    assert len(os.listdir("/proc/self/fd")) == before


def test_flood_that_nobody_answers_leaves_by_ports_that_change_all_the_time(
    scene: Scene,
) -> None:
    """Who may choose the questions must not learn by which port the next one leaves."""
    peers = []
    for number in range(0, 3200, 32):
        scene.ask(*(query(f"n{one}.example") for one in range(number, number + 32)))
        peers += [scene.asked()[1] for _ in range(32)]
    late = peers[-1600:]
    assert max(late.count(peer) for peer in set(late)) < 1600 / POOL * 4
    longest = run = 1
    for one, after in pairwise(late):
        run = run + 1 if one == after else 1
        longest = max(longest, run)
    assert longest <= 32  # four bursts that drew the same port, at the most
    assert len(set(late)) > POOL - 5


def test_shared_port_is_given_up_after_so_many_queries(scene: Scene) -> None:
    flights = scene.front.forward.flights
    ports = []
    for _ in range(POOL * QUERIES_OF_A_PORT + FRESH_AT_ONCE):
        flights.ask(scene.known, key()).cancel()
        ports.append(scene.asked()[1][1])
    assert (
        max(ports.count(port) for port in set(ports)) <= QUERIES_OF_A_PORT + 2
    )  # and of one query


def test_ports_that_nobody_uses_are_closed(scene: Scene) -> None:
    flights = scene.front.forward.flights
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(FRESH_AT_ONCE + 500):
        flights.ask(scene.known, key()).cancel()
        scene.asked()
    assert before < len(os.listdir("/proc/self/fd")) <= before + POOL
    flights.close_idle_ports()
    assert len(os.listdir("/proc/self/fd")) > before  # they are young


def test_upstreams_are_asked_in_turn(scene: Scene) -> None:
    scene.use(scene.known, scene.make_upstream(scene.second), in_turn=True)
    for number in range(10):
        scene.ask(query(f"n{number}.example"))
    for place in (scene.upstream, scene.second):
        for _ in range(5):
            place.recv(4096)
    assert scene.not_asked()


def test_turn_of_what_is_no_matter_of_udp_is_left_to_who_asks_it(scene: Scene) -> None:
    scene.use(scene.known, None, in_turn=True)
    whose = []
    for number in range(6):
        scene.ask(query(f"n{number}.example"))
        if scene.front.uncommon:
            scene.front.uncommon.clear()
            whose.append(scene.front.forward.take_turn() % 2)
        else:
            whose.append(0)
    assert sorted(whose) == [0, 0, 0, 1, 1, 1]


def test_who_asks_for_what_is_no_matter_of_udp_goes_elsewhere(scene: Scene) -> None:
    scene.use(None)
    scene.ask(query())
    assert len(scene.front.uncommon) == 1
    assert scene.not_asked()


def test_query_that_the_network_refuses_is_handed_over_with_the_reason(scene: Scene) -> None:
    scene.upstream.close()
    scene.ask(query())
    assert readable(5, scene.front.forward.flights.descriptor)
    scene.front.forward.read_replies()
    handover, _ = scene.tick_until_handed_over()
    assert handover.error == errno.ECONNREFUSED
    assert handover.key == key()
    assert [one.key for one in handover.queries] == [key()]


def test_without_a_port_to_be_had_the_question_goes_elsewhere(scene: Scene) -> None:
    def refuse() -> int:
        raise OSError(errno.EMFILE, "too many")

    scene.use(Upstream(SOURCE, TIMEOUT, refuse, print))
    scene.ask(query())
    assert len(scene.front.uncommon) == 1
    assert scene.front.forward.count == 0


# ---- answering


def test_all_who_wait_for_a_question_are_answered_by_one_reply_each_in_its_spelling(
    scene: Scene,
) -> None:
    spellings = ["www.example", "WWW.example", "www.EXAMPLE"]
    scene.ask(*(query(one, message_id=number) for number, one in enumerate(spellings)))
    elsewhere = Elsewhere()
    assert scene.front.fastpath.answer_stream(query(), lambda: elsewhere) is None
    scene.answer(address())
    assert scene.not_asked()
    assert sorted(scene.heard()) == [
        number.to_bytes(2, "big") + reply(address(), qname=one)[2:]
        for number, one in enumerate(spellings)
    ]
    assert [answer.message[HEADER:] for answer in elsewhere.answers] == [reply(address())[HEADER:]]
    assert scene.front.count("coalesced_total") == 3
    assert scene.front.forward.count == scene.front.count("in_flight") == 0


def test_answer_is_kept_in_memory_and_sent_towards_the_disk(scene: Scene) -> None:
    scene.ask(query())
    scene.answer(address())
    scene.heard()
    scene.ask(query())
    assert len(scene.heard()) == 1
    assert scene.not_asked()
    assert scene.front.ring.used > 0
    assert scene.front.count("upstream_queries_total") == 1


def test_answer_larger_than_the_client_takes_is_cut_for_it_and_whole_in_the_cache(
    scene: Scene,
) -> None:
    scene.ask(query("www.example", 65280))
    asked, peer = scene.asked()
    scene.say(asked[:2] + answer_of_size(1100).message[2:], peer)
    (cut,) = scene.heard()
    assert dns.message.from_wire(cut).flags & TC
    scene.ask(query("www.example", 65280, 1, opt()))
    assert len(scene.heard()[0]) > 1100


def test_reply_that_does_not_match_is_counted_and_the_true_one_still_taken(scene: Scene) -> None:
    scene.ask(query())
    asked, peer = scene.asked()
    true = asked[:2] + reply(address())[2:]
    wrong_id = bytes((asked[0], asked[1] ^ 1))
    scene.say(wrong_id + true[2:], peer)
    scene.say(asked[:2] + reply(address(), qname="xyz.example")[2:], peer)
    scene.say(true[:-1], peer)
    scene.say(b"", peer)
    assert scene.heard() == []
    scene.say(true, peer)
    assert len(scene.heard()) == 1
    assert scene.front.count("upstream_bad_replies_total") == 4


def test_reply_to_another_port_than_the_one_that_asked_does_not_count(scene: Scene) -> None:
    peers: dict[Peer, bytes] = {}
    number = 0
    while len(peers) < 2:  # the same port may be drawn again
        scene.ask(query(f"n{number}.example"))
        asked, peer = scene.asked()
        number += 1
        peers.setdefault(peer, asked)
    (here, asked), (there, _) = peers.items()
    scene.say(asked[:2] + reply(address(), qname="n0.example")[2:], there)
    assert scene.heard() == []
    scene.say(asked[:2] + reply(address(), qname="n0.example")[2:], here)
    assert len(scene.heard()) == 1


def test_answer_to_a_question_that_a_command_has_removed_meanwhile_is_told_and_not_kept(
    scene: Scene,
) -> None:
    scene.ask(query())
    scene.front.control.post(CHANGE_NAME, name("www.example"))
    scene.answer(address())
    assert len(scene.heard()) == 1
    assert scene.front.cache.count == 0
    assert scene.front.ring.used == 0


def test_answer_of_an_upstream_of_before_is_told_and_not_kept(scene: Scene) -> None:
    scene.ask(query())
    scene.front.tiers.change_origin(77)
    scene.answer(address())
    assert len(scene.heard()) == 1
    assert scene.front.cache.count == 0


def test_error_of_the_only_upstream_is_told_and_kept_for_a_while(scene: Scene) -> None:
    scene.ask(query())
    scene.answer(flags=REPLY | SERVFAIL)
    (told,) = scene.heard()
    assert told[3] & 15 == SERVFAIL
    scene.ask(query())
    assert len(scene.heard()) == 1
    assert scene.not_asked()
    assert scene.front.ring.used == 0


def test_error_hides_no_good_answer_that_only_the_disk_has(tmp_path: Path) -> None:
    write_disk(tmp_path, {key(): value_of(answer_from(reply(address())), ago(1))})
    scene = Scene(tmp_path)
    while scene.front.tiers.disk.is_cold:
        scene.front.tiers.disk.fetch(key("nothing"))
    scene.front.forward.renew(key())
    scene.answer(flags=REPLY | SERVFAIL)
    scene.ask(query())
    (heard,) = scene.heard()
    assert dns.message.from_wire(heard).rcode() == 0
    scene.close()


# ---- what is not the common case


def test_cut_reply_is_handed_over_with_the_clients(scene: Scene) -> None:
    scene.ask(query())
    asked, peer = scene.asked()
    cut = asked[:2] + reply(flags=REPLY | TC)[2:]
    scene.say(cut, peer)
    (handover,) = scene.front.handed_over
    assert handover.wire == cut
    assert (handover.error, len(handover.queries)) == (0, 1)
    assert handover.upstream is scene.known
    assert handover.sent.id == int.from_bytes(asked[:2], "big")


def test_reply_with_a_stranger_is_answered_without_it(scene: Scene) -> None:
    scene.ask(query())
    asked, peer = scene.asked()
    stranger = record(1, bytes(4), owner=name("stranger.example"))
    scene.say(asked[:2] + reply(stranger, address())[2:], peer)
    assert scene.front.handed_over == []
    assert scene.heard() == [reply(address())]


def test_error_is_handed_over_where_another_upstream_can_be_asked(scene: Scene) -> None:
    scene.use(scene.known, scene.make_upstream(scene.second))
    scene.ask(query())
    scene.answer(flags=REPLY | SERVFAIL)
    assert len(scene.front.handed_over) == 1
    assert scene.heard() == []


def test_error_is_handed_over_where_there_is_a_stale_answer(scene: Scene) -> None:
    scene.front.keep(answer_of_size(100, ttl=1), age_ms=2000)
    scene.ask(query())
    scene.answer(flags=REPLY | SERVFAIL)
    assert len(scene.front.handed_over) == 1


def test_silence_is_handed_over_at_the_timeout_when_there_is_no_other_upstream(
    scene: Scene,
) -> None:
    scene.ask(query())
    handover, seconds = scene.tick_until_handed_over()
    assert handover.error == errno.ETIMEDOUT
    assert seconds >= TIMEOUT - 0.01
    assert scene.front.forward.flights.count == 1  # the answer is still worth keeping
    assert scene.front.count("upstream_timeouts_total") == 1


def test_silence_is_handed_over_early_when_there_is_another_upstream_and_the_reply_still_counts(
    scene: Scene,
) -> None:
    patient = Patient()
    scene.use(scene.known, scene.make_upstream(scene.second))
    scene.known.answered(0.01)  # its patience is short now
    scene.ask(query())
    handover, seconds = scene.tick_until_handed_over()
    assert handover.error == 0
    assert scene.known.patience - 0.01 <= seconds < TIMEOUT
    handover.sent.listen(patient)
    scene.answer(address())
    assert len(patient.heard) == 1
    handover.sent.cancel()
    assert scene.front.forward.flights.count == 0


def test_reply_that_comes_before_anybody_listens_is_told_to_who_does(scene: Scene) -> None:
    patient = Patient()
    scene.use(scene.known, scene.make_upstream(scene.second))
    scene.ask(query())
    handover, _ = scene.tick_until_handed_over()
    scene.answer(address())
    handover.sent.listen(patient)
    assert len(patient.heard) == 1
    assert patient.errors == []


def test_lateness_that_comes_before_anybody_listens_is_told_to_who_does(scene: Scene) -> None:
    patient = Patient()
    scene.use(scene.known, scene.make_upstream(scene.second))
    scene.ask(query())
    handover, _ = scene.tick_until_handed_over()
    while not scene.front.count("upstream_timeouts_total"):
        scene.front.forward.tick()
        time.sleep(0.01)
    handover.sent.listen(patient)
    assert (patient.heard, patient.errors, patient.is_late) == ([], [], True)


def test_who_asks_what_has_been_handed_over_goes_there_until_it_is_over(scene: Scene) -> None:
    scene.ask(query())
    scene.answer(flags=REPLY | TC)
    scene.ask(query())
    assert len(scene.front.uncommon) == 1
    assert scene.not_asked()
    scene.front.forward.release(key())
    scene.ask(query())
    scene.asked()
    assert len(scene.front.uncommon) == 1


def test_question_that_is_held_is_not_asked(scene: Scene) -> None:
    scene.front.forward.hold(key())
    scene.ask(query())
    assert len(scene.front.uncommon) == 1
    assert scene.front.forward.renew(key()) is False


# ---- too much


def test_oldest_questions_are_dropped_when_there_are_too_many(scene: Scene) -> None:
    for number in range(0, IN_FLIGHT_MAX + 64, 32):
        scene.ask(*(query(f"n{one}.example") for one in range(number, number + 32)))
    assert scene.front.forward.count == IN_FLIGHT_MAX
    assert scene.front.count("shed_total") == 64
    assert scene.front.forward.renew(key("n0.example")) is False  # there is no room for it either


def test_silent_upstream_is_known_to_be_dead_when_nobody_waits_to_the_end(scene: Scene) -> None:
    for number in range(IN_FLIGHT_MAX):
        scene.ask(query(f"n{number}.example"))
    scene.answer(address(), qname="n0.example")
    for number in range(IN_FLIGHT_MAX, IN_FLIGHT_MAX + 3):
        scene.ask(query(f"n{number}.example"))
    assert scene.known.alive  # what is dropped was sent before its last reply
    scene.use(scene.second_known)
    for number in range(IN_FLIGHT_MAX + 10):
        scene.ask(query(f"m{number}.example"))
        if number == 10:
            time.sleep(scene.second_known.patience)
    assert scene.second_known.alive  # all that was at one moment
    time.sleep(0.02)
    scene.ask(query("later.example"))
    assert not scene.second_known.alive


def test_who_is_dropped_is_told_what_is_stale(scene: Scene) -> None:
    scene.front.keep(
        answer_of_size(100, ttl=1, qname="old.example"), key("old.example", 65280), age_ms=2000
    )
    scene.ask(query("old.example", 65280))
    for number in range(0, IN_FLIGHT_MAX, 32):
        scene.ask(*(query(f"n{one}.example") for one in range(number, number + 32)))
    (told,) = scene.heard()
    assert dns.message.from_wire(told).question[0].rdtype == 65280
    assert scene.front.count("shed_total") == 0
    assert scene.front.count("cache_stale_total") == 1


def test_hits_leave_before_a_batch_of_misses_is_asked_for(scene: Scene) -> None:
    scene.ask(query("hit.example"))
    scene.answer(address(), qname="hit.example")
    scene.heard()
    order: list[str] = []

    def note() -> int:
        order.append("asked" if not readable(0, scene.client) else "hit first")
        return open_socket(Address(*scene.upstream.getsockname()))

    scene.use(Upstream(SOURCE, TIMEOUT, note, print))
    scene.ask(*(query(f"n{number}.example") for number in range(20)), query("hit.example"))
    assert set(order) == {"hit first"}


# ---- renewing, and health


def fail_until_dead(known: Upstream) -> int:
    """Let queries to it fail one after another; return how many that took."""
    began = time.monotonic()
    failures = known.failures
    while known.alive and time.monotonic() < began + 5:
        time.sleep(0.02)
        known.failed(0.0)
    assert not known.alive
    return known.failures - failures


def test_renewal_is_asked_once_and_kept(scene: Scene) -> None:
    assert scene.front.forward.renew(key()) is True
    assert scene.front.forward.renew(key()) is False
    scene.answer(address())
    assert scene.heard() == []
    assert scene.front.cache.count == 1


def test_renewal_without_an_upstream_for_it_is_left_to_others(scene: Scene) -> None:
    scene.use()
    assert scene.front.forward.renew(key()) is None


def test_upstream_dies_of_two_failures_in_a_row_and_lives_again_with_a_reply(scene: Scene) -> None:
    for _ in range(10):  # at once: one message of the network may end that many
        scene.known.failed(0.1)
    assert scene.known.alive
    assert fail_until_dead(scene.known) == 1
    scene.ask(query())
    scene.answer(address())
    assert scene.known.alive
    assert scene.turned == 2


def test_failure_of_what_was_sent_before_the_last_reply_is_no_sign_of_death(scene: Scene) -> None:
    scene.known.answered(0.01)
    for _ in range(5):
        scene.known.failed(1.0)
    assert scene.known.alive
    assert scene.known.failures == 5


@pytest.mark.parametrize(
    ("number", "failures"),
    [(errno.EAGAIN, 0), (errno.ENOBUFS, 0), (errno.ECONNREFUSED, 1)],
)
def test_query_that_this_machine_could_not_send_is_no_failure_of_the_upstream(
    scene: Scene, number: int, failures: int
) -> None:
    desk = Desk(Reader(GENEROUS), scene.front.pages.counters(0), scene.front.forward.flights)
    place = Address(*scene.upstream.getsockname())
    upstream = Endpoint(Server("udp", place), TIMEOUT, desk)
    arrivals = new_arrivals()
    exchange = upstream.ask(Request(key(), False), arrivals)
    exchange.failed(number)
    assert upstream.by_udp.failures == failures
    assert arrivals.get()[0] is exchange


def use_up_fresh_ports(scene: Scene) -> None:
    for _ in range(2 * FRESH_AT_ONCE):
        scene.front.forward.flights.ask(scene.known, key()).cancel()
        scene.asked()


def shared_ports(scene: Scene) -> set[Peer]:
    """The ports by which queries leave when there are too many for ports of their own."""
    use_up_fresh_ports(scene)
    peers = []
    for _ in range(500):
        scene.front.forward.flights.ask(scene.known, key()).cancel()
        peers.append(scene.asked()[1])
    return {peer for peer in peers if peers.count(peer) > 1}


@pytest.mark.parametrize("why", ["a time-out", "news of the network"])
def test_ports_of_before_are_given_up_all_at_once_after(scene: Scene, why: str) -> None:
    """Their sockets are bound to the way that the network had then."""
    before = shared_ports(scene)
    scene.known.answered(0.001)
    if why == "a time-out":
        scene.known.failed(0.1)  # of a query from before the last reply
    else:
        scene.front.forward.flights.give_up_ports()
    assert len(before) > POOL - 10
    assert len(before & shared_ports(scene)) < 5  # chance may draw a number again


def test_line_that_loses_packets_costs_no_new_ports_for_each(scene: Scene) -> None:
    shared_ports(scene)
    scene.known.failed(5.0)
    before = shared_ports(scene)
    for _ in range(100):
        scene.known.failed(5.0)
    assert before & shared_ports(scene)


def test_upstream_that_comes_when_all_ports_are_taken_gets_some(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    flights = scene.front.forward.flights
    for number in range(3000):
        scene.ask(query(f"n{number}.example"))
        scene.asked()
    peers = set()
    for _ in range(POOL * 8):
        flights.ask(scene.second_known, key()).cancel()
        peers.add(scene.second.recvfrom(4096)[1])
    assert len(peers) > POOL - 5


def test_upstream_that_is_forgotten_and_asked_again_keeps_no_port_open(scene: Scene) -> None:
    flights = scene.front.forward.flights
    flights.forget(scene.known)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(32):
        flights.ask(scene.known, key(f"n{number}.example")).cancel()
        scene.asked()
    assert len(os.listdir("/proc/self/fd")) == before


def test_defect_of_who_hears_of_a_turn_leaves_the_reading_of_replies_alone(scene: Scene) -> None:
    def defect() -> None:
        raise ValueError("a defect")

    at = Address(*scene.upstream.getsockname())
    known = Upstream(SOURCE, TIMEOUT, partial(open_socket, at), defect)
    scene.use(known)
    scene.ask(query())
    with suppress(ValueError):
        fail_until_dead(known)
    scene.answer(address())
    scene.ask(query("n1.example"))
    scene.answer(address(), qname="n1.example")
    assert reply(address(), qname="n1.example")[2:] in {one[2:] for one in scene.heard()}


def break_disk(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever looks at the control pages meet a defect."""
    monkeypatch.setattr(logging.getLogger("fastdns.disk"), "debug", lambda *_: 1 / 0)
    scene.front.control.advance_generation()


def test_defect_of_what_reading_replies_begins_with_does_not_leave_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """gevent would never again call who reads replies."""
    monkeypatch.setattr(defects._told, "next_at", 0.0)
    scene.ask(query())
    asked, peer = scene.asked()
    break_disk(scene, monkeypatch)
    scene.upstream.sendto(asked[:2] + reply(address())[2:], peer)
    scene.front.forward.read_replies()
    assert "defect: ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    scene.front.forward.read_replies()
    assert len(scene.heard()) == 1


def test_defect_of_what_draining_begins_with_does_not_leave_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_disk(scene, monkeypatch)
    scene.ask(query())
    monkeypatch.undo()
    scene.ask()
    scene.answer(address())
    assert len(scene.heard()) == 1


def test_defects_are_told_once_a_second(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(defects, "PAUSE_SECONDS", 3600.0)
    for number in range(50):
        break_disk(scene, monkeypatch)
        scene.ask(query(f"n{number}.example"))
    assert caplog.text.count("defect: ZeroDivisionError") <= 1


@pytest.mark.parametrize("octets", [bytes(263), bytes(65544)], ids=len)
def test_what_is_no_key_is_refused_wherever_one_is_taken(scene: Scene, octets: bytes) -> None:
    forward = scene.front.forward
    takers = [forward.renew, forward.hold, forward.release]
    takers.append(lambda key: forward.flights.ask(scene.known, key))
    takers.append(lambda key: scene.front.cache.insert(key, answer_of_size(100), 0))
    takers.append(lambda key: scene.front.learn(key, answer_of_size(100)))
    for take in takers:
        with pytest.raises(ValueError, match="not a key"):
            take(octets)


def test_reply_with_rd_and_ra_only_is_no_error(scene: Scene) -> None:
    scene.ask(query())
    scene.answer(address(), flags=QR | RD | RA)
    assert len(scene.heard()) == 1
