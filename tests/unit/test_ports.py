"""The ports of queries to upstreams: unpredictable, and none is used for ever."""

from __future__ import annotations

import gc
import os
import socket
from itertools import pairwise

import pytest
from messages import (
    address,
    key,
    query,
    reply,
)
from scenes import Peer, Scene

from fastdns._flights import Flights
from fastdns._upstream import PROBE, Upstream

PORT_MIN = 16384  # below stand the ports of services
FRESH_AT_ONCE = 256  # ports of one query each
POOL = 64  # ports that queries share beyond those
QUERIES_OF_A_PORT = 256


def exchange(scene: Scene, known: Upstream, at: socket.socket, qname: str = "www.example") -> Peer:
    """Ask an upstream, which answers; return which port asked."""
    scene.front.forward.flights.probe(known, key(qname), PROBE)
    asked, peer = at.recvfrom(4096)
    scene.say(asked[:2] + reply(address(), qname=qname)[2:], peer, by=at)
    return peer


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
    ports = []
    for _ in range(POOL * QUERIES_OF_A_PORT + FRESH_AT_ONCE):
        ports.append(exchange(scene, scene.known, scene.upstream)[1])
    assert (
        max(ports.count(port) for port in set(ports)) <= QUERIES_OF_A_PORT + 2
    )  # and of one query


def test_ports_that_nobody_uses_are_closed(scene: Scene) -> None:
    flights = scene.front.forward.flights
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(FRESH_AT_ONCE + 500):
        exchange(scene, scene.known, scene.upstream)
    assert before < len(os.listdir("/proc/self/fd")) <= before + POOL
    flights.close_idle_ports()
    assert len(os.listdir("/proc/self/fd")) > before  # they are young


def use_up_fresh_ports(scene: Scene) -> None:
    for _ in range(2 * FRESH_AT_ONCE):
        exchange(scene, scene.known, scene.upstream)


def shared_ports(scene: Scene) -> set[Peer]:
    """The ports by which queries leave when there are too many for ports of their own."""
    use_up_fresh_ports(scene)
    peers = []
    for _ in range(500):
        peers.append(exchange(scene, scene.known, scene.upstream))
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
    for number in range(3000):
        scene.ask(query(f"n{number}.example"))
        scene.asked()
    peers = set()
    for _ in range(POOL * 8):
        peers.add(exchange(scene, scene.second_known, scene.second))
    assert len(peers) > POOL - 5


def test_upstream_that_is_forgotten_and_asked_again_keeps_no_port_open(scene: Scene) -> None:
    flights = scene.front.forward.flights
    flights.forget(scene.known)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(32):
        exchange(scene, scene.known, scene.upstream, f"n{number}.example")
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_more_ports_are_opened_than_a_quarter_of_the_descriptors_that_we_may_have(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (512, 512))
    flights = Flights(scene.front.pages.counters(0))
    gc.collect()  # those of other tests
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1000):  # nobody answers: each of them is held
        for upstream in (scene.known, scene.second_known):
            flights.probe(upstream, key(f"n{number}.example"), PROBE)
    assert len(os.listdir("/proc/self/fd")) - before == 512 // 4
