"""The common miss, over real sockets: a client, the forwarder, an upstream played by the test."""

from __future__ import annotations

import errno
import os
import resource
import socket
import struct
import time
from pathlib import Path

import dns.message
import pytest
from environments import ago, value_of, write_disk
from messages import (
    DO,
    GENEROUS,
    ID,
    NAME,
    NS,
    QR,
    RA,
    RD,
    REPLY,
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
    ttl_of,
)
from scenes import Peer, Scene, fail_until_dead, readable

from fastdns._control import CHANGE_NAME
from fastdns._groups import Group
from fastdns._policy import Policy
from fastdns._questions import IN_FLIGHT_MAX
from fastdns._upstream import query_message

TRIES = 4  # questions that try in an outage whether somebody answers
EDE_NOBODY, EDE_NETWORK = 22, 23
ONE_EVENT = 0.01  # seconds in which failures count as one
SERVFAIL = 2


# ---- asking


def test_upstream_is_asked_the_question_and_nothing_else_of_the_client(scene: Scene) -> None:
    scene.ask(query("wWw.example", 1, 1, opt(b"\0\3\0\4priv", ttl=DO), flags=RD | 0x0010))
    asked, _ = scene.asked()
    assert asked[2:] == query("www.example", 1, 1, opt(ttl=DO), flags=RD | 0x0010)[2:]
    assert asked == query_message(int.from_bytes(asked[:2], "big"), key(do=True, cd=True), False)


def test_upstreams_are_asked_in_turn(tmp_path: Path) -> None:
    scene = Scene(tmp_path, in_turn=True)
    scene.use(scene.known, scene.second_known)
    for number in range(10):
        scene.ask(query(f"n{number}.example"))
    for place in (scene.upstream, scene.second):
        for _ in range(5):
            place.recv(4096)
    assert scene.not_asked()
    scene.close()


def test_upstream_over_a_stream_is_asked_by_its_transport_and_answers_by_it(scene: Scene) -> None:
    scene.use(scene.make_upstream(scene.upstream, is_stream=True))
    scene.ask(query())
    assert scene.not_asked()
    (attempt,) = scene.streamed
    assert attempt.message(7) == query_message(7, key(), False)
    assert not attempt.received(reply(address(), qname="other.example"), ID)
    assert attempt.received(reply(address()), ID)
    assert scene.heard() == [reply(address())]
    assert (attempt.is_over, scene.streamed) == (True, [])


def test_stream_that_fails_is_told_with_the_reason(scene: Scene) -> None:
    scene.use(scene.make_upstream(scene.upstream, is_stream=True))
    scene.ask(query())
    scene.streamed[0].failed(errno.ECONNRESET)
    told = dns.message.from_wire(scene.told())
    assert told.rcode() == SERVFAIL
    assert scene.front.count("upstream_errors_total") == 1


def test_query_that_the_network_refuses_is_answered_at_once(scene: Scene) -> None:
    scene.upstream.close()
    scene.ask(query("www.example", A, 1, opt()))
    assert readable(5, scene.front.forward.flights.descriptor)
    scene.front.forward.read_replies()
    told = dns.message.from_wire(scene.told())
    assert (told.rcode(), [int(one.code) for one in told.options]) == (SERVFAIL, [EDE_NETWORK])
    assert scene.known.last_error == errno.ECONNREFUSED


def test_without_a_port_to_be_had_the_client_is_told_so_and_nobody_is_to_blame(
    scene: Scene,
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = os.dup(0)
    os.close(soft)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))  # no descriptor is left
    try:
        scene.ask(query())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    (told,) = scene.heard()
    assert told[3] & 15 == SERVFAIL
    assert (scene.front.forward.count, scene.known.failures) == (0, 0)
    assert scene.front.memory.count == 0  # it is over as soon as there are some


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
    said = reply(address(), authority=(record(NS, name("ns.demo")), SIGNATURE, SIGNATURE))
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
    assert scene.front.memory.count == 0
    assert scene.front.ring.used == 0


def test_answer_of_an_upstream_of_before_is_told_and_not_kept(scene: Scene) -> None:
    scene.ask(query())
    scene.front.cache.set_group(0, 77)
    scene.answer(address())
    assert len(scene.heard()) == 1
    assert scene.front.memory.count == 0


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
    while scene.front.cache.disk.is_cold:
        scene.front.cache.disk.fetch(key("nothing"))
    scene.front.forward.renew(key())
    scene.answer(flags=REPLY | SERVFAIL)
    scene.ask(query())
    (heard,) = scene.heard()
    assert dns.message.from_wire(heard).rcode() == 0
    scene.close()


def test_client_that_repeats_one_question_ends_nobody_s_wait_for_it(scene: Scene) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.77", 0))
        other.connect(scene.server.getsockname())
        other.send(query())
        scene.ask()
        for _ in range(300):
            scene.ask(*[query()] * 30)
        scene.answer(address())
        assert readable(0, other)
    assert scene.front.count("shed_total") > 0


def test_question_of_a_group_that_there_is_not_is_nobody_s(scene: Scene) -> None:
    scene.front.cache.use_policy(Policy(5))
    scene.ask(query("www.example", A, 1, opt()))
    assert dns.message.from_wire(scene.heard()[0]).rcode() == SERVFAIL
    assert scene.not_asked()
    scene.front.forward.add_group(private := Group(GENEROUS, number=5))
    private.use([scene.second_known])
    scene.ask(query())
    scene.answer(address(), by=scene.second)
    assert scene.heard() == [reply(address())]


# ---- an outage


def test_while_nobody_is_alive_that_is_the_answer_at_once_and_a_few_questions_try(
    scene: Scene,
) -> None:
    fail_until_dead(scene.known)
    for number in range(40):
        scene.ask(query(f"n{number}.example", A, 1, opt()))
    told = [dns.message.from_wire(one) for one in scene.heard()]
    assert len(told) == 40 - TRIES
    assert {(one.rcode(), int(one.options[0].code)) for one in told} == {(SERVFAIL, EDE_NOBODY)}
    scene.tick_until(lambda: scene.front.forward.count == 0)  # they do not wait for long either
    assert len(scene.heard()) == TRIES
    scene.ask(query("again.example"))
    assert len({scene.asked()[0][12:] for _ in range(TRIES + 1)}) == TRIES + 1


def test_try_in_an_outage_that_is_answered_ends_it(scene: Scene) -> None:
    fail_until_dead(scene.known)
    scene.ask(query())
    scene.answer(address())
    assert scene.heard() == [reply(address())]
    assert scene.known.alive
    assert not scene.front.group.is_outage


def test_without_any_upstream_the_client_is_told_so_at_once(scene: Scene) -> None:
    scene.use()
    scene.ask(query("www.example", A, 1, opt()))
    told = dns.message.from_wire(scene.heard()[0])
    assert (told.rcode(), [int(one.code) for one in told.options]) == (SERVFAIL, [EDE_NOBODY])
    assert scene.front.memory.count == 0


# ---- a disk that takes its time


def cold_scene(tmp_path: Path, age: int) -> Scene:
    write_disk(tmp_path, {key(): value_of(answer_from(reply(address())), ago(age))})
    scene = Scene(tmp_path)
    assert scene.front.cache.disk.is_cold
    return scene


def test_cold_disk_is_left_to_another_thread_and_what_it_finds_is_told(tmp_path: Path) -> None:
    scene = cold_scene(tmp_path, 10)
    scene.ask(query(), query("nothing.example"))
    assert scene.not_asked()
    assert scene.front.cold == [key(), key("nothing.example")]
    cache = scene.front.cache
    cache.adopt(key(), cache.fetch(key()), cache.ticket())
    scene.front.forward.found(key())
    (told,) = scene.heard()
    assert 285 <= ttl_of(told) <= 290
    scene.front.forward.ask(key())  # it is over
    assert scene.not_asked()
    scene.close()


def test_what_a_slow_disk_has_is_told_when_upstreams_fail(tmp_path: Path) -> None:
    scene = cold_scene(tmp_path, 400)
    scene.ask(query())
    scene.front.forward.ask(key())
    cache = scene.front.cache
    cache.adopt(key(), cache.fetch(key()), cache.ticket())
    scene.answer(flags=REPLY | SERVFAIL)
    (told,) = scene.heard()
    assert ttl_of(told) == 30
    scene.close()


# ---- too much


def test_oldest_questions_are_dropped_when_there_are_too_many(scene: Scene) -> None:
    for number in range(0, IN_FLIGHT_MAX, 32):
        scene.ask(*(query(f"n{one}.example") for one in range(number, number + 32)))
    scene.answer(address(), qname="n0.example")  # it lives, however long this has taken
    for number in range(IN_FLIGHT_MAX, IN_FLIGHT_MAX + 65):
        scene.ask(query(f"n{number}.example"))
    assert scene.front.forward.count == IN_FLIGHT_MAX
    assert scene.front.count("shed_total") == 64
    assert scene.front.forward.renew(key("n1.example")) is False  # there is no room for it either


def test_silent_upstream_is_known_to_be_dead_when_nobody_waits_to_the_end(scene: Scene) -> None:
    for number in range(IN_FLIGHT_MAX):
        scene.ask(query(f"n{number}.example"))
    scene.answer(address(), qname="n0.example")
    for number in range(IN_FLIGHT_MAX, IN_FLIGHT_MAX + 3):
        scene.ask(query(f"n{number}.example"))
    assert scene.known.alive  # what is dropped was sent before its last reply
    scene.use(scene.second_known)
    for number in range(IN_FLIGHT_MAX):
        scene.ask(query(f"m{number}.example"))
        if number == 10:
            time.sleep(scene.second_known.patience)
    began = time.monotonic()
    scene.ask(*(query(f"m{number}.demo") for number in range(10)))
    took = time.monotonic() - began
    assert scene.second_known.alive or took > ONE_EVENT  # all that was at one moment
    time.sleep(2 * ONE_EVENT)
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


def test_flood_under_one_domain_ends_its_own_waits_only(scene: Scene) -> None:
    others = [f"n{number}.d{number}.demo" for number in range(20)]
    asked: dict[bytes, tuple[bytes, Peer]] = {}

    def ask(*names: str) -> None:
        scene.ask(*map(query, names))
        while readable(0, scene.upstream):
            wire, peer = scene.asked()
            asked[wire[12:]] = wire, peer
        scene.known.answered(0.01)  # it is well: it is the domain that nobody answers for

    ask(*others[:10])
    for number in range(0, 2 * IN_FLIGHT_MAX, 32):
        ask(*(f"n{one}.flood.demo" for one in range(number, number + 32)))
    ask(*others[10:])
    assert scene.front.count("shed_total") >= IN_FLIGHT_MAX
    for one in others:
        wire, peer = asked[query(one, A, 1, opt())[12:]]
        scene.say(wire[:2] + reply(address(), qname=one)[2:], peer)
    assert len(scene.heard()) == len(others)


def test_flood_of_one_client_ends_its_own_waits_only(scene: Scene) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.77", 0))
        other.connect(scene.server.getsockname())
        other.send(query("waits.demo"))
        scene.ask()
        wire, peer = scene.asked()
        for number in range(0, 2 * IN_FLIGHT_MAX, 32):
            scene.ask(*(query(f"n.d{one}.x{one}") for one in range(number, number + 32)))
        scene.say(wire[:2] + reply(address(), qname="waits.demo")[2:], peer)
        assert readable(0, other)


def test_small_flood_that_nobody_answers_takes_no_repetition_from_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path, attempts=3, budget=3.0)
    for _ in range(30):
        scene.known.answered(0.005)
    for number in range(0, 1500, 30):
        scene.ask(*(query(f"n{one}.flood.demo") for one in range(number, number + 30)))
        scene.front.forward.tick()
        while readable(0, scene.upstream):
            scene.asked()
        scene.known.answered(0.005)  # others are answered
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.77", 0))
        other.connect(scene.server.getsockname())
        other.send(query())
        scene.ask()
        wanted = query("www.example", A, 1, opt())[12:]
        times = 0
        while times < 2:  # the first one is lost
            scene.tick_until(lambda: readable(0, scene.upstream))
            times += scene.asked()[0][12:] == wanted
    scene.close()


# ---- renewing, and health


def test_renewal_is_asked_once_and_kept(scene: Scene) -> None:
    assert scene.front.forward.renew(key()) is True
    assert scene.front.forward.renew(key()) is False
    scene.answer(address())
    assert scene.heard() == []
    assert scene.front.memory.count == 1


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
    known = scene.make_upstream(scene.upstream, is_stream=True)
    scene.use(known)
    scene.ask(query())
    scene.streamed[0].failed(number)
    scene.told()
    assert known.failures == failures


def test_reply_with_rd_and_ra_only_is_no_error(scene: Scene) -> None:
    scene.ask(query())
    scene.answer(address(), flags=QR | RD | RA)
    assert len(scene.heard()) == 1
