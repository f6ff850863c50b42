"""The way of a question through the upstreams: errors, silence, loss, slow ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest
from messages import (
    ID,
    RA,
    REPLY,
    SOURCE,
    TC,
    A,
    address,
    good,
    key,
    name,
    opt,
    peer_of,
    query,
    record,
    reply,
    ttl_of,
)
from scenes import TIMEOUT, Scene, fail_until_dead, readable

from fastdns._attempts import Event
from fastdns._control import CHANGE_NAME
from fastdns._upstream import OPT, Upstream

ON_TIME = 0.05  # seconds that a busy machine may be late; later, it is asked more often
TRIES = 4  # questions that try in an outage whether somebody answers
EDE_NOBODY = 22
SERVFAIL = 2


# ---- what one reply does not end


def test_cut_reply_has_the_same_upstream_asked_over_a_stream(scene: Scene) -> None:
    scene.ask(query())
    scene.answer(flags=REPLY | TC)
    assert scene.heard() == []
    (attempt,) = scene.streamed
    assert attempt.received(reply(address()), ID)
    assert scene.heard() == [reply(address())]


def test_cut_reply_counts_when_one_of_no_use_came_before_it(scene: Scene) -> None:
    """It is asked again over TCP: whoever forged the other one must not keep us from that."""
    scene.ask(query())
    asked, peer = scene.asked()
    scene.say(asked[:2] + reply(record(A, b"cut"))[2:], peer)
    assert scene.streamed == []
    scene.say(asked[:2] + reply(flags=REPLY | TC)[2:], peer)
    assert len(scene.streamed) == 1


def test_reply_that_is_cut_over_a_stream_as_well_is_of_no_use(scene: Scene) -> None:
    scene.ask(query())
    scene.answer(flags=REPLY | TC)
    assert scene.streamed[0].received(reply(flags=REPLY | TC), ID)
    (told,) = scene.heard()
    assert told[3] & 15 == SERVFAIL


def test_cut_reply_says_nothing_of_what_its_sender_knows_of_edns(tmp_path: Path) -> None:
    """The OPT is behind the cut, and it may answer the query with OPT, not the trial after it."""
    scene = Scene(tmp_path, attempts=3, budget=3.5)
    known = Upstream(SOURCE, TIMEOUT, peer_of(scene.upstream), lambda: None, stream=scene)
    scene.use(known)
    scene.ask(query())
    asked, peer = scene.asked()
    scene.tick_until(lambda: not scene.not_asked())
    assert len(scene.asked()[0]) < len(asked)
    scene.say(asked[:2] + reply(flags=REPLY | TC)[2:], peer)
    assert (known.has_edns, known.is_known) == (True, False)
    assert len(scene.streamed) == 1
    scene.close()


def test_reply_with_a_stranger_is_answered_without_it(scene: Scene) -> None:
    scene.ask(query())
    asked, peer = scene.asked()
    stranger = record(1, bytes(4), owner=name("stranger.example"))
    scene.say(asked[:2] + reply(stranger, address())[2:], peer)
    assert scene.heard() == [reply(address())]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Scene]:
    """Two upstreams, and three attempts."""
    scene = Scene(tmp_path, attempts=3, budget=1.5)
    scene.use(scene.known, scene.second_known)
    scene.known.answered(0.01)  # its patience is short now
    scene.second_known.answered(0.01)
    yield scene
    scene.close()


@pytest.mark.parametrize("rcode", [SERVFAIL, 5])
def test_after_an_error_the_next_upstream_is_asked_at_once(pair: Scene, rcode: int) -> None:
    pair.ask(query())
    pair.answer(flags=REPLY | rcode)
    assert pair.heard() == []
    pair.answer(address(), by=pair.second)
    assert pair.heard() == [reply(address())]
    assert pair.known.alive


def test_who_looks_sees_each_query_and_what_became_of_it(pair: Scene) -> None:
    seen: list[Event] = []
    pair.front.forward.trace = seen.append
    pair.ask(query())
    pair.answer(flags=REPLY | SERVFAIL)
    pair.answer(flags=REPLY | TC, by=pair.second)
    assert pair.streamed[0].received(reply(address()), ID)
    assert pair.heard() == [reply(address())]
    assert [(one.what, one.upstream, one.is_stream) for one in seen] == [
        ("asked", pair.known, False),
        ("replied", pair.known, False),
        ("asked", pair.second_known, False),
        ("truncated", pair.second_known, False),
        ("asked", pair.second_known, True),
        ("replied", pair.second_known, True),
    ]
    assert [one.number for one in seen if one.what == "replied"] == [SERVFAIL, 0]
    assert {one.key for one in seen} == {key()}
    assert all(one.sendings == 1 and 0 <= one.seconds < 5 for one in seen)


def test_one_who_looks_and_fails_stops_no_answer(pair: Scene) -> None:
    def fail(_: Event) -> None:
        raise ValueError

    pair.front.forward.trace = fail
    pair.ask(query())
    pair.answer(address())
    assert pair.heard() == [reply(address())]


def test_error_of_the_last_one_is_told_when_all_say_one_and_remembered(pair: Scene) -> None:
    pair.ask(query())
    pair.answer(flags=REPLY | SERVFAIL)
    pair.answer(flags=REPLY | 5, by=pair.second)
    (told,) = pair.heard()
    assert told[3] & 15 == 5
    pair.ask(query())
    assert pair.heard()[0][3] & 15 == 5
    assert pair.not_asked()


def test_error_is_not_told_where_there_is_a_stale_answer(scene: Scene) -> None:
    scene.front.keep(good(1), age_ms=2000)
    scene.ask(query())
    scene.answer(flags=REPLY | SERVFAIL)
    (told,) = scene.heard()
    assert (told[3] & 15, ttl_of(told)) == (0, 30)


def test_when_one_takes_longer_than_usual_the_next_one_is_asked_as_well(pair: Scene) -> None:
    """Whoever answers first is told to the client; the other one is listened to."""
    pair.ask(query())
    seconds = pair.tick_until(lambda: readable(0, pair.second))
    assert pair.known.patience - 0.01 <= seconds < TIMEOUT
    pair.answer(address())
    assert pair.heard() == [reply(address())]
    failures = pair.second_known.failures
    pair.tick_until(lambda: pair.second_known.failures > failures)


def test_error_and_silence_of_the_other_is_told_when_that_is_late(pair: Scene) -> None:
    pair.ask(query())
    pair.answer(flags=REPLY | SERVFAIL)
    told = pair.told()
    assert told[3] & 15 == SERVFAIL
    assert pair.front.count("upstream_timeouts_total") == 1


def test_silence_is_answered_at_the_end_of_the_budget_and_a_late_answer_ends_that(
    scene: Scene,
) -> None:
    scene.ask(query("www.example", A, 1, opt()))
    seconds = scene.tick_until(lambda: readable(0, scene.client))
    told = dns.message.from_wire(scene.heard()[0])
    assert (told.rcode(), [int(one.code) for one in told.options]) == (SERVFAIL, [EDE_NOBODY])
    assert seconds >= TIMEOUT - 0.01
    assert scene.front.forward.flights.count == 1  # the answer is still worth keeping
    assert scene.front.count("upstream_timeouts_total") == 1
    scene.answer(address())
    scene.ask(query())
    assert scene.heard() == [reply(address())]


@pytest.mark.parametrize("attempts", [1, 4])
def test_single_upstream_is_asked_as_often_as_is_allowed_while_it_is_silent(
    tmp_path: Path, attempts: int
) -> None:
    scene = Scene(tmp_path, attempts=attempts, budget=1.5)
    scene.known.answered(0.001)
    scene.ask(query())
    scene.told()
    queries = [scene.asked()[0] for _ in range(attempts)]
    assert len(set(queries)) == 1
    assert scene.not_asked()
    scene.close()


def test_line_that_loses_packets_costs_more_sendings_and_no_answer(tmp_path: Path) -> None:
    scene = Scene(tmp_path, attempts=2, budget=3.0)
    scene.known.answered(0.001)
    for number, lost in enumerate((1, 4)):  # after the first loss it is known
        scene.ask(query(f"n{number}.example"))
        for _ in range(lost):
            scene.tick_until(lambda: readable(0, scene.upstream))
            scene.asked()
        scene.tick_until(lambda: readable(0, scene.upstream))
        scene.answer(address(), qname=f"n{number}.example")
        assert len(scene.heard()) == 1
    scene.close()


def test_what_is_stale_is_told_when_upstreams_take_too_long_and_to_who_comes_later(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, budget=2.0, stale_wait=0.02)
    scene.front.keep(good(1), age_ms=2000)
    scene.ask(query())
    assert ttl_of(scene.told()) == 30
    scene.ask(query())
    (told,) = scene.heard()
    assert ttl_of(told) == 30
    scene.front.control.post(CHANGE_NAME, name("www.example"))
    scene.ask(query())
    assert scene.heard() == []  # a command has removed it
    scene.answer(address())
    assert scene.heard() == [reply(address())]
    assert scene.front.count("cache_stale_total") == 2
    scene.close()


def test_name_whose_renewal_has_failed_is_held_though_its_clients_were_told_before(
    tmp_path: Path,
) -> None:
    """RFC 8767 section 5: the next client does not wait for stale_wait again."""
    scene = Scene(tmp_path, budget=0.2, stale_wait=0.02)
    scene.front.keep(good(1), age_ms=2000)
    scene.ask(query())
    assert ttl_of(scene.told()) == 30
    scene.tick_until(lambda: scene.front.forward.count == 0)
    while not scene.not_asked():
        scene.asked()
    scene.ask(query())
    (told,) = scene.heard()
    assert ttl_of(told) == 30
    assert scene.not_asked()
    scene.close()


def test_upstream_that_is_asked_after_an_error_has_its_whole_time(tmp_path: Path) -> None:
    scene = Scene(tmp_path, attempts=3, budget=1.5)
    third = scene.make_upstream(scene.server)  # nobody reads there
    scene.use(scene.known, third, scene.second_known)
    for one in (scene.known, third):
        one.answered(0.3)  # so long is the next one waited with
    scene.ask(query())
    scene.tick_until(lambda: readable(0, scene.upstream))
    began = time.monotonic()
    scene.answer(flags=REPLY | SERVFAIL)
    scene.tick_until(lambda: readable(0, scene.second))
    scene.answer(flags=REPLY | SERVFAIL, by=scene.second)
    scene.tick_until(lambda: readable(0, scene.client))
    assert time.monotonic() - began >= TIMEOUT - 0.02
    scene.close()


def test_questions_go_to_the_next_upstream_when_the_first_one_falls_silent_whatever_that_costs(
    pair: Scene,
) -> None:
    for number in range(0, 3000, 30):
        pair.ask(*(query(f"n{one}.one.demo") for one in range(number, number + 30)))
        while readable(0, pair.upstream):
            pair.asked()
    began = time.monotonic()
    asked = set()
    while len(asked) < 3000 and time.monotonic() < began + 3:
        pair.front.forward.tick()
        while readable(0, pair.second):
            asked.add(pair.second.recvfrom(4096)[0][12:])
    assert len(asked) == 3000


def silent_question(scene: Scene) -> int:
    """Ask what nobody answers; return how many queries that costs the first upstream."""
    scene.ask(query("silent.example"))
    scene.tick_until(lambda: readable(0, scene.client))
    scene.heard()
    count = 0
    while readable(0, scene.upstream):
        scene.asked()
        count += 1
    return count


def late_answer(scene: Scene, seconds: float, qname: str, *, sendings: int) -> None:
    """Ask, and have the upstream answer after so long, when it has been asked so often."""
    began = time.monotonic()
    scene.ask(query(qname))
    scene.tick_until(lambda: time.monotonic() > began + seconds)
    took = time.monotonic() - began
    asked, peer = scene.asked()
    count = 1
    while readable(0, scene.upstream):
        scene.asked()
        count += 1
    assert count == sendings or took > seconds + ON_TIME
    scene.say(asked[:2] + reply(address(), qname=qname)[2:], peer)
    assert scene.heard()


def test_upstream_that_got_slow_is_not_taken_for_one_that_loses_packets(tmp_path: Path) -> None:
    scene = Scene(tmp_path, attempts=3, budget=1.5)
    for _ in range(30):
        scene.known.answered(0.02)
    late_answer(scene, 0.15, "slow.example", sendings=2)
    assert silent_question(scene) == 3
    scene.close()


def test_steadily_slow_upstream_is_asked_once_a_question(tmp_path: Path) -> None:
    scene = Scene(tmp_path, attempts=3, budget=3.0)
    known = Upstream(SOURCE, 2.0, peer_of(scene.upstream), lambda: None)
    known.look_at_message(OPT, 0, has_opt=True)
    scene.use(known)
    late_answer(scene, 0.6, "first.example", sendings=2)  # nothing is known of it yet
    for number in range(3):
        late_answer(scene, 0.6, f"n{number}.example", sendings=1)
    scene.close()


def test_slow_upstream_beside_a_good_one_is_not_taken_for_one_that_loses_packets(
    pair: Scene,
) -> None:
    pair.ask(query())
    pair.tick_until(lambda: readable(0, pair.second))
    pair.answer(address(), by=pair.second)
    assert pair.heard()
    pair.answer(address())  # what the slow one says has not been lost
    pair.use(pair.known)
    assert silent_question(pair) == 3


def test_when_all_that_are_alive_say_an_error_one_that_counts_as_dead_is_asked(
    pair: Scene,
) -> None:
    fail_until_dead(pair.second_known)
    pair.ask(query())
    pair.answer(flags=REPLY | SERVFAIL)
    pair.answer(address(), by=pair.second)
    assert pair.heard() == [reply(address())]
    assert pair.second_known.alive


def test_error_waits_a_moment_only_for_one_that_counts_as_dead_and_one_a_second_does(
    pair: Scene,
) -> None:
    fail_until_dead(pair.second_known)
    pair.ask(*(query(f"n{number}.example") for number in range(10)))
    for number in range(10):
        pair.answer(flags=REPLY | SERVFAIL, qname=f"n{number}.example")
    assert len(pair.heard()) == 9
    waited = pair.tick_until(lambda: readable(0, pair.client))
    assert waited < 0.5 < TIMEOUT * 2
    pair.tick_until(lambda: pair.front.forward.count == 0)
    assert [one[3] & 15 for one in pair.heard()] == [SERVFAIL]
    pair.second.recv(4096)
    assert pair.not_asked()


def test_failure_is_remembered_though_one_that_counts_as_dead_was_tried(pair: Scene) -> None:
    fail_until_dead(pair.second_known)
    pair.ask(query())
    lame = REPLY & ~RA
    pair.answer(flags=lame)  # nothing, from one that does not recurse
    pair.tick_until(lambda: readable(0, pair.client))
    (told,) = pair.heard()
    assert told[3] & 15 == SERVFAIL
    pair.second.recv(4096)
    pair.ask(query())
    assert [one[3] & 15 for one in pair.heard()] == [SERVFAIL]
    assert pair.not_asked()


def test_line_that_got_slower_is_not_asked_twice_for_good(tmp_path: Path) -> None:
    scene = Scene(tmp_path, attempts=3, budget=3.0)
    known = Upstream(SOURCE, 2.0, peer_of(scene.upstream), lambda: None)
    known.look_at_message(OPT, 0, has_opt=True)
    for _ in range(30):
        known.answered(0.06)
    scene.use(known)

    def sendings(qname: str) -> int:
        scene.ask(query(qname))
        began = time.monotonic()
        scene.tick_until(lambda: time.monotonic() > began + 0.13)  # it was 0.06
        asked, peer = scene.asked()
        count = 1
        while readable(0, scene.upstream):
            scene.asked()
            count += 1
        scene.say(asked[:2] + reply(address(), qname=qname)[2:], peer)
        scene.heard()
        return count

    assert [sendings(f"n{number}.example") for number in range(12)][-3:] == [1, 1, 1]
    scene.close()
