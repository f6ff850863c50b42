"""The common miss, over real sockets: a client, the forwarder, an upstream played by the test."""

from __future__ import annotations

import errno
import struct
import time
from functools import partial
from pathlib import Path

import dns.message
import pytest
from environments import ago, value_of, write_disk
from messages import (
    DO,
    GENEROUS,
    NAME,
    NS,
    QR,
    RA,
    RD,
    REPLY,
    SOURCE,
    TC,
    A,
    address,
    answer_from,
    answer_of_size,
    key,
    name,
    opt,
    query,
    record,
    reply,
    soa,
)
from scenes import TIMEOUT, Patient, Peer, Scene, fail_until_dead, readable

from fastdns._control import CHANGE_NAME
from fastdns._forward import IN_FLIGHT_MAX
from fastdns._upstream import Upstream, query_message
from fastdns.config.schema import Address, Server
from fastdns.upstream.endpoint import Endpoint
from fastdns.upstream.exchange import Desk, new_arrivals
from fastdns.upstream.reply import Reader
from fastdns.upstream.request import Request
from fastdns.upstream.udp import open_socket

SERVFAIL = 2


# ---- asking


def test_upstream_is_asked_the_question_and_nothing_else_of_the_client(scene: Scene) -> None:
    scene.ask(query("wWw.example", 1, 1, opt(b"\0\3\0\4priv", ttl=DO), flags=RD | 0x0010))
    asked, _ = scene.asked()
    assert asked[2:] == query("www.example", 1, 1, opt(ttl=DO), flags=RD | 0x0010)[2:]
    assert asked == query_message(int.from_bytes(asked[:2], "big"), key(do=True, cd=True), False)


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
        if scene.front.asked:
            scene.front.asked.clear()
            whose.append(scene.front.forward.take_turn() % 2)
        else:
            whose.append(0)
    assert sorted(whose) == [0, 0, 0, 1, 1, 1]


def test_who_asks_for_what_is_no_matter_of_udp_goes_elsewhere(scene: Scene) -> None:
    scene.use(None)
    scene.ask(query())
    assert len(scene.front.asked) == 1
    assert scene.not_asked()


def test_query_that_the_network_refuses_is_handed_over_with_the_reason(scene: Scene) -> None:
    scene.upstream.close()
    scene.ask(query())
    assert readable(5, scene.front.forward.flights.descriptor)
    scene.front.forward.read_replies()
    handover, _ = scene.tick_until_handed_over()
    assert handover.error == errno.ECONNREFUSED
    assert handover.key == key()
    assert (len(handover.waiters), handover.waiters.key) == (1, key())


def test_without_a_port_to_be_had_the_question_goes_elsewhere(scene: Scene) -> None:
    def refuse() -> int:
        raise OSError(errno.EMFILE, "too many")

    scene.use(Upstream(SOURCE, TIMEOUT, refuse, print))
    scene.ask(query())
    assert len(scene.front.asked) == 1
    assert scene.front.forward.count == 0


# ---- answering


def test_all_who_wait_for_a_question_are_answered_by_one_reply_each_in_its_spelling(
    scene: Scene,
) -> None:
    spellings = ["www.example", "WWW.example", "www.EXAMPLE"]
    scene.ask(*(query(one, message_id=number) for number, one in enumerate(spellings)))
    assert scene.front.ask(query()) is None
    scene.answer(address())
    assert scene.not_asked()
    assert sorted(scene.heard()) == [
        number.to_bytes(2, "big") + reply(address(), qname=one)[2:]
        for number, one in enumerate(spellings)
    ]
    assert scene.front.heard() == reply(address())
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


DENIALS = {
    "SOA": soa(300, 300),
    "NSEC": record(47, name("z.example") + b"\0\1\x40"),
    "NSEC3": record(50, bytes((1, 0, 0, 0, 0, 20)) + bytes(20) + b"\0\1\x40"),
}
SIGNATURE = record(46, struct.pack("!HBBIIIH", 50, 8, 2, 300, 2**31, 1, 1) + name("") + bytes(700))


@pytest.mark.parametrize("which", DENIALS)
def test_denial_whose_proof_does_not_fit_is_cut(scene: Scene, which: str) -> None:
    """Who checks it would take it for forged, and others could not keep it."""
    said = reply(authority=(SIGNATURE, SIGNATURE, DENIALS[which]), flags=REPLY | 3)
    scene.ask(query(NAME, A, 1, opt(ttl=DO)))
    asked, peer = scene.asked()
    scene.say(asked[:2] + said[2:], peer)
    cut = dns.message.from_wire(scene.heard()[0])
    assert (cut.rcode(), cut.flags & TC, cut.authority) == (3, TC, [])


def test_authority_that_proves_nothing_is_left_out_without_a_word(scene: Scene) -> None:
    said = reply(address(), authority=(record(NS, name("ns.test")), SIGNATURE, SIGNATURE))
    scene.ask(query(NAME, A, 1, opt(ttl=DO)))
    asked, peer = scene.asked()
    scene.say(asked[:2] + said[2:], peer)
    told = dns.message.from_wire(scene.heard()[0])
    assert (len(told.answer), told.authority, told.flags & TC) == (1, [], 0)


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
    assert (handover.error, len(handover.waiters)) == (0, 1)
    assert handover.upstream is scene.known
    assert handover.sent.id == int.from_bytes(asked[:2], "big")


def test_cut_reply_counts_when_one_of_no_use_came_before_it(scene: Scene) -> None:
    """It is asked again over TCP: whoever forged the other one must not keep us from that."""
    scene.ask(query())
    asked, peer = scene.asked()
    scene.say(asked[:2] + reply(record(A, b"cut"))[2:], peer)
    scene.say(asked[:2] + reply(flags=REPLY | TC)[2:], peer)
    (handover,) = scene.front.handed_over
    who = Patient()
    handover.sent.listen(who)
    assert (who.errors, handover.error) == ([], 0)
    assert handover.wire is not None


def test_cut_reply_says_nothing_of_what_its_sender_knows_of_edns(scene: Scene) -> None:
    """The OPT is behind the cut, and it may answer the query with OPT, not the trial after it."""
    known = Upstream(
        SOURCE, TIMEOUT, partial(open_socket, Address(*scene.upstream.getsockname())), lambda: None
    )
    scene.front.forward.use([known], in_turn=False, is_alone=True, attempts=3, budget=3.5)
    scene.ask(query())
    asked, peer = scene.asked()
    while scene.not_asked():
        scene.front.forward.tick()
        time.sleep(0.002)
    assert len(scene.asked()[0]) < len(asked)
    scene.say(asked[:2] + reply(flags=REPLY | TC)[2:], peer)
    assert (known.has_edns, known.is_known) == (True, False)
    assert len(scene.front.handed_over) == 1


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


def test_single_upstream_is_asked_as_often_as_is_allowed_while_it_is_silent(scene: Scene) -> None:
    scene.known.answered(0.001)
    scene.front.forward.use([scene.known], in_turn=False, is_alone=True, attempts=4, budget=3.5)
    scene.ask(query())
    handover, _ = scene.tick_until_handed_over()
    queries = [scene.asked()[0] for _ in range(4)]
    assert len(set(queries)) == 1
    assert scene.not_asked()
    assert handover.attempts == 4


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
    assert len(scene.front.asked) == 1
    assert scene.not_asked()
    scene.front.forward.release(key())
    scene.ask(query())
    scene.asked()
    assert len(scene.front.asked) == 1


def test_question_that_is_held_is_not_asked(scene: Scene) -> None:
    scene.front.forward.hold(key())
    scene.ask(query())
    assert len(scene.front.asked) == 1
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


def test_upstream_dies_of_failures_that_follow_each_other_without_a_pause(scene: Scene) -> None:
    until = time.monotonic() + 5
    while scene.known.alive and time.monotonic() < until:
        scene.known.failed(0.1)  # as fast as a flood has them
    assert not scene.known.alive


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


def test_reply_with_rd_and_ra_only_is_no_error(scene: Scene) -> None:
    scene.ask(query())
    scene.answer(address(), flags=QR | RD | RA)
    assert len(scene.heard()) == 1
