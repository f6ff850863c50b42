"""Which view a client is in, by the rules of the configuration and in the fast path."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from messages import (
    NAME,
    A,
    Front,
    StreamClient,
    address,
    answer_from,
    key,
    query,
    record,
    reply,
)

from fastdns._answer import Answer
from fastdns._clients import (
    IDENTITY_KINDS,
    KNOWN_CLIENTS_MAX,
    Access,
    KnownClients,
    span_value,
)
from fastdns._control import CHANGE_NAME, CHANGE_REFRESH, CHANGE_UNDER
from fastdns._fastpath import HeldQuery
from fastdns._key import make_key, name_of
from fastdns._rate_limit import RateLimit
from fastdns.config import schema
from fastdns.config.clients import parse_clients
from fastdns.config.filters import View
from fastdns.config.hours import parse_hours
from fastdns.config.values import Identity
from fastdns.config.view_clients import parse_view_client
from fastdns.policy.access import Lan, compile_access
from fastdns.policy.views import ViewRules, as_clients_name, mac_octets, wide

TABLET = mac_octets("aa:bb:cc:dd:ee:ff")


def views(*clients: list[str], when: str = "") -> tuple[View, ...]:
    return tuple(
        View(
            name=f"v{number}",
            clients=tuple(map(parse_view_client, several)),
            when=parse_hours(when),
        )
        for number, several in enumerate(clients, start=1)
    )


def compiled(
    several: tuple[View, ...],
    known: KnownClients | None = None,
    lan: Lan | None = None,
    numbers: Iterable[int] | None = None,
) -> Access:
    section = schema.Access(allow=tuple(map(parse_clients, ["0.0.0.0/0", "::/0"])))
    rules = ViewRules(several, numbers)
    return compile_access(section, lan or Lan(), rules.networks, known, rules.identities)


def view_of(rules: Access, host: str, link: int = 0) -> int:
    return rules.view_of_client((host, 5353, 0, link) if ":" in host else (host, 5353))


def test_longest_prefix_of_all_views_decides() -> None:
    rules = compiled(
        views(
            ["192.168.0.0/16", "2001:db8::/32"],
            ["192.168.20.0/24", "2001:db8:1::/48"],
            ["192.168.20.7"],
        )
    )
    told = {
        "10.0.0.1": 0,
        "192.168.1.1": 1,
        "192.168.20.1": 2,
        "192.168.20.7": 3,
        "192.168.20.8": 2,
        "192.168.21.0": 1,
        "192.169.0.0": 0,
        "2001:db8:2::1": 1,
        "2001:db8:1::1": 2,
        "2001:db9::1": 0,
        "::ffff:192.168.20.7": 3,
    }
    assert {host: view_of(rules, host) for host in told} == told


def test_first_of_two_views_with_the_same_clients_counts() -> None:
    rules = compiled(views(["192.168.20.0/24"], ["192.168.20.0/24", "192.168.30.0/24"]))
    assert view_of(rules, "192.168.20.1") == 1
    assert view_of(rules, "192.168.30.1") == 2


def view_by(rules: Access, kind: str, name: str, host: str = "192.0.2.1") -> int:
    return rules.view_of_client((host, 5353), IDENTITY_KINDS[kind], name.encode())


def test_name_of_the_server_or_word_of_the_path_counts_before_an_address() -> None:
    rules = compiled(
        views(
            ["192.0.2.1", "0.0.0.0/0"],
            ["tls:Kids.dns.demo", "doh:Kids", "tls:a.demo"],
            ["doh:office", "tls:office", "doh:kids", "tls:" + "x" * 63 + ".demo"],
        )
    )
    told = {
        ("tls", "kids.dns.demo"): 2,
        ("tls", "KIDS.dns.DEMO"): 2,
        ("tls", "a.demo"): 2,
        ("doh", "kids"): 2,
        ("doh", "OFFICE"): 3,
        ("tls", "office"): 3,
        ("tls", "x" * 63 + ".demo"): 3,
        ("doh", "a.demo"): 1,
        ("tls", "kids"): 1,
        ("tls", "dns.demo"): 1,
        ("tls", ""): 1,
        ("tls", "x" * 300): 1,
    }
    assert {(kind, name): view_by(rules, kind, name) for kind, name in told} == told


def test_of_views_with_the_same_name_the_first_one_in_force_counts() -> None:
    several = views(["doh:kids", "tls:demo"], ["doh:kids"], ["0.0.0.0/0"])
    for numbers, kids, demo in (([1, 2, 3], 1, 1), ([2, 3], 2, 3), ([1], 1, 1), ([3], 3, 3)):
        rules = compiled(several, numbers=numbers)
        assert (view_by(rules, "doh", "kids"), view_by(rules, "tls", "demo")) == (kids, demo)
        decide = ViewRules(several, numbers).of_client
        spoken = Identity("doh", "kids")
        assert decide(ip_address("192.0.2.1"), None, (), spoken)[0] == kids


def test_who_may_not_ask_may_not_by_a_name_either() -> None:
    rules = Access([(0xC0000200, span_value(True))], [], identities=[(2, b"kids", 1)])
    assert rules.view_of_client(("192.0.2.1", 1), 2, b"kids") == 1
    assert rules.view_of_client(("192.0.1.1", 1), 2, b"kids") == 0


def test_client_that_says_what_it_is_need_not_be_met() -> None:
    """Its hardware address changes nothing."""
    known = KnownClients()
    near = span_value(True, is_neighbour=True)
    rules = Access([(0, near)], [], known=known, identities=[(1, b"a.demo", 3)])
    assert known.set(wide(bytes((192, 0, 2, 1))), 0, 7)
    assert rules.view_of_client(("192.0.2.1", 1), 1, b"a.demo") == 3
    assert rules.view_of_client(("192.0.2.1", 1), 1, b"b.demo") == 7


@pytest.mark.parametrize("name", [b"", b"x" * 254, b"Kids"])
def test_name_that_no_client_could_say_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        Access([], [], identities=[(1, name, 1)])


def test_view_of_a_prefix_admits_nobody() -> None:
    section = schema.Access(allow=tuple(map(parse_clients, ["192.168.20.0/25"])))
    rules = compile_access(section, Lan(), ViewRules(views(["192.168.20.0/24"])).networks)
    assert rules.admits_client(("192.168.20.1", 1))
    assert not rules.admits_client(("192.168.20.200", 1))


@pytest.mark.parametrize("bits", [32, 128])
def test_view_is_that_of_the_longest_prefix_whatever_the_prefixes(bits: int) -> None:
    chance = random.Random(bits)
    for _ in range(100):
        networks = {
            ip_network(
                (
                    (chance.choice([0, 1, 255]) << bits - 8 | chance.getrandbits(2)).to_bytes(
                        bits // 8, "big"
                    ),
                    chance.choice([0, 1, 7, 8, 9, bits - 1, bits]),
                ),
                strict=False,
            ): chance.randrange(1, 9)
            for _ in range(10)
        }
        section = schema.Access(allow=tuple(map(parse_clients, ["0.0.0.0/0", "::/0"])))
        rules = compile_access(section, Lan(), networks)
        for network in networks:
            for number in {int(network[0]), int(network[-1]), max(int(network[0]) - 1, 0)}:
                host = ip_address(number.to_bytes(bits // 8, "big"))
                around = [one for one in networks if host in one]
                longest = max(around, key=lambda one: one.prefixlen, default=None)
                if bits == 32 or host.ipv4_mapped is None:
                    expected = 0 if longest is None else networks[longest]
                    assert view_of(rules, str(host)) == expected


def test_most_specific_of_address_hardware_address_name_and_prefix_counts() -> None:
    rules = ViewRules(
        views(["192.168.1.0/24"], ["tablet"], ["aa:bb:cc:dd:ee:ff"], ["192.168.1.20"])
    )

    def number(host: str, mac: bytes | None = None, *names: str) -> int:
        return rules.of_client(ip_address(host), mac, names)[0]

    assert number("192.168.1.9") == 1
    assert number("192.168.1.9", None, "tablet") == 2
    assert number("192.168.1.9", TABLET, "tablet") == 3
    assert number("192.168.1.20", TABLET, "tablet") == 4
    assert number("10.0.0.1", bytes(6), "laptop") == 0
    assert number("10.0.0.1", TABLET) == 3


def test_views_that_are_not_in_force_name_nobody() -> None:
    rules = ViewRules(views(["192.168.1.0/24"], ["192.168.0.0/16", "tablet"]), [2])
    assert rules.of_client(ip_address("192.168.1.9"), None, [])[0] == 2
    assert ViewRules(views(["tablet"]), []).by_other_than_address(None, ["tablet"]) == (0, None)


def test_name_alone_means_the_name_in_the_own_domain() -> None:
    assert list(as_clients_name("Tablet.LAN.", "lan")) == ["tablet.lan", "tablet"]
    assert list(as_clients_name("tablet.example", "lan")) == ["tablet.example"]
    assert list(as_clients_name("a.tablet.lan", "lan")) == ["a.tablet.lan"]
    assert list(as_clients_name("tablet", "")) == ["tablet"]


# ---- in the fast path


def test_known_client_is_in_its_view_unless_a_view_names_its_address() -> None:
    known = KnownClients()
    rules = compiled(views(["192.168.1.0/24"], ["192.168.1.20"], ["tablet"]), known)
    known.set(wide(bytes([192, 168, 1, 20])), 0, 3)
    known.set(wide(bytes([192, 168, 1, 21])), 0, 3)
    known.set(wide(bytes([192, 168, 1, 22])), 0, 0)
    told = {f"192.168.1.{n}": view_of(rules, f"192.168.1.{n}") for n in range(19, 23)}
    assert list(told.values()) == [1, 2, 3, 1]
    known.remove(wide(bytes([192, 168, 1, 21])))
    assert view_of(rules, "192.168.1.21") == 1


def test_link_local_client_is_known_on_its_link_only() -> None:
    known = KnownClients()
    rules = compiled(views(["tablet"]), known, Lan((), (2, 3)))
    known.set(ip_address("fe80::1").packed, 2, 1)
    known.set(ip_address("2001:db8::1").packed, 0, 1)
    assert [view_of(rules, "fe80::1", link) for link in (2, 3)] == [1, 0]
    assert view_of(rules, "2001:db8::1", 2) == 1


def test_known_clients_are_found_after_others_are_forgotten_and_their_number_is_bounded() -> None:
    chance = random.Random(1)
    known = KnownClients()
    truth: dict[bytes, int] = {}
    for _ in range(30_000):
        one = chance.randrange(3000).to_bytes(16, "big")
        if chance.random() < 0.5:
            known.remove(one)
            truth.pop(one, None)
        else:
            truth[one] = chance.randrange(1000)
            assert known.set(one, 0, truth[one])
    assert len(known) == len(truth)
    assert {one: known.view_of(one) for one in truth} == truth
    assert known.view_of(b"\xff" * 16) is None
    taken = [known.set((number << 20).to_bytes(16, "big"), 0, 1) for number in range(1, 10_000)]
    assert len(known) == KNOWN_CLIENTS_MAX
    assert not all(taken)


def in_views(*numbers: int) -> Access:
    """Rules by which 192.0.2.N is in the view N, of these."""
    spans = [(0, span_value(True))]
    for number in numbers:
        spans += [(0xC0000200 + number, span_value(True, number))]
    return Access(spans, [(0, 1)])


def ask_as(front: Front, host: str) -> bytes | None:
    """The answer to a client with this address; None: it has to wait."""
    front.clients.append(StreamClient(host))
    return front.ask(query(NAME))


def says(last: int) -> Answer:
    """An answer with the address 192.0.2.last."""
    return answer_from(reply(record(A, bytes((192, 0, 2, last)))))


def of_view(number: int) -> bytes:
    return make_key(name_of(key()), A, view=number)


def test_memory_has_answers_for_each_view(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(in_views(1, 2))
    front.keep(says(80))
    front.keep(says(81), of_view(1))
    answers = [ask_as(front, f"192.0.2.{number}") for number in range(3)]
    assert [answer and answer[-1] for answer in answers] == [80, 81, None]


def test_what_upstreams_said_for_one_view_serves_the_others_of_the_same_upstreams(
    tmp_path: Path,
) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(in_views(1, 2))
    front.learn(of_view(1), says(81))
    answers = [ask_as(front, f"192.0.2.{number}") for number in range(3)]
    assert [answer and answer[-1] for answer in answers] == [81, 81, 81]
    assert front.missed() == []


def test_clients_of_one_view_wait_for_one_answer_and_those_of_another_for_theirs(
    tmp_path: Path,
) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(in_views(1, 2))
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"):
        assert ask_as(front, host) is None
    assert len(front.missed()) == 2


def test_answer_that_is_soon_over_is_refreshed_for_the_view_that_has_asked(
    tmp_path: Path,
) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(in_views(1))
    front.keep(answer_from(reply(address(100))), of_view(1), age_ms=95_000)
    assert ask_as(front, "192.0.2.1") is not None
    assert front.refreshed == [of_view(1)]


@pytest.mark.parametrize("kind", [CHANGE_NAME, CHANGE_UNDER])
def test_command_removes_the_answers_of_all_views(kind: int, tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.fastpath.admit_by(in_views(1))
    for number in range(2):
        front.learn(of_view(number), answer_from(reply(address())))
    front.control.post(kind, name_of(key()))
    assert [ask_as(front, f"192.0.2.{number}") for number in range(2)] == [None, None]


def test_refresh_by_a_command_refreshes_the_answers_of_all_views(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.learn(of_view(3), answer_from(reply(address())))
    front.cache.views = 3
    front.control.post(CHANGE_REFRESH, name_of(key()), A)
    assert front.cache.look_at_control() == [key(), of_view(3)]


# ---- a neighbour that is not known yet


class Neighbour:
    """A client over UDP at 127.0.0.1, which belongs to the LAN as far as the rules go."""

    def __init__(self, directory: Path) -> None:
        self.front = Front(directory)
        self.known = KnownClients()
        near = span_value(True, is_neighbour=True)
        self.front.fastpath.admit_by(Access([(0, near)], [(0, near)], known=self.known))
        self.front.fastpath.on_unmet = self.meet
        for number in range(2):
            self.front.learn(of_view(number), says(number))
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.client.connect(self.server.getsockname())
        self.holds = True
        self.met: list[tuple[bytes, int]] = []
        self.held: list[HeldQuery] = []

    def meet(self, address: bytes, link: int, held: HeldQuery | None) -> bool:
        self.met.append((address, link))
        if self.holds and held is not None:
            self.held.append(held)
        return self.holds and held is not None

    def ask(self, times: int = 1) -> None:
        for _ in range(times):
            self.client.send(query(NAME))
        self.front.fastpath.drain(self.server.fileno())

    def heard(self) -> list[bytes]:
        """The last octet of the address in each answer that has come."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.client.recv(4096, socket.MSG_DONTWAIT)[-1:])
        return found


OURS = wide(bytes([127, 0, 0, 1]))


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[Neighbour]:
    made = Neighbour(tmp_path)
    yield made
    made.server.close()
    made.client.close()


def test_query_of_an_unknown_neighbour_waits_until_it_is_known(neighbour: Neighbour) -> None:
    neighbour.ask()
    assert neighbour.met == [(OURS, 0)]
    assert neighbour.heard() == []
    neighbour.known.set(OURS, 0, 1)
    neighbour.front.fastpath.resume(*neighbour.held)
    assert neighbour.heard() == [bytes([1])]
    assert neighbour.front.count("queries_udp_total") == 1
    assert neighbour.front.count("cache_hits_total") == 1


def test_query_that_waited_counts_once_towards_the_rate_limit(neighbour: Neighbour) -> None:
    neighbour.front.fastpath.limit_by(RateLimit(None, 1, Access([], [])))
    neighbour.ask()
    neighbour.front.fastpath.resume(*neighbour.held)
    assert neighbour.heard() == [bytes([0])]
    assert neighbour.front.count("queries_limited_total") == 0


def test_neighbour_that_stays_unknown_is_in_the_view_of_its_prefix(neighbour: Neighbour) -> None:
    neighbour.ask()
    neighbour.front.fastpath.resume(*neighbour.held)
    assert neighbour.heard() == [bytes([0])]
    assert len(neighbour.met) == 1


def test_neighbour_who_is_known_by_its_first_query_gets_its_view_at_once(
    neighbour: Neighbour,
) -> None:
    neighbour.holds = False
    neighbour.front.fastpath.on_unmet = lambda *_: not neighbour.known.set(OURS, 0, 1)
    neighbour.ask(3)
    assert neighbour.heard() == [bytes([1])] * 3


def test_unsure_view_counts_and_the_neighbour_is_met_nevertheless(neighbour: Neighbour) -> None:
    neighbour.holds = False
    neighbour.known.set(OURS, 0, 1, is_sure=False)
    neighbour.ask()
    assert neighbour.heard() == [bytes([1])]
    assert len(neighbour.met) == 1


def test_many_unknown_neighbours_are_not_all_met(neighbour: Neighbour) -> None:
    neighbour.holds = False
    heard = []
    for _ in range(10):
        neighbour.ask(60)
        heard += neighbour.heard()
    assert len(heard) == 600
    assert 64 <= len(neighbour.met) <= 192


def test_defect_in_meeting_costs_no_answer(neighbour: Neighbour) -> None:
    neighbour.front.fastpath.on_unmet = lambda *_: 1 // 0 == 0
    neighbour.ask(2)
    assert neighbour.heard() == [bytes([0])] * 2


@pytest.mark.parametrize(("is_own", "expected"), [(False, 1), (True, 0)])
def test_neighbour_on_the_lan_is_met_and_this_machine_is_not(
    neighbour: Neighbour, is_own: bool, expected: int
) -> None:
    home = ip_network("127.0.0.0/8")
    own = frozenset({ip_network("127.0.0.1/32")}) if is_own else frozenset()
    neighbour.holds = False
    neighbour.front.fastpath.admit_by(
        compiled(views(["tablet"]), neighbour.known, Lan((home,), (), own))
    )
    neighbour.ask()
    assert len(neighbour.met) == expected
    assert len(neighbour.heard()) == 1
