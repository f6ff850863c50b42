"""Questions, replies and reloads in any order: clients are told what the configuration allows."""

from __future__ import annotations

import random
import socket
import struct
import time
from pathlib import Path

import dns.message
import pytest
from messages import (
    AAAA,
    CNAME,
    DO,
    GENEROUS,
    HEADER,
    RD,
    REPLY,
    SOURCE,
    TC,
    TO_QUESTION,
    A,
    Front,
    StreamClient,
    end_of_question,
    header,
    name,
    opt,
    peer_of,
    query,
    record,
    soa,
)
from test_local import built

from fastdns._flights import Attempt
from fastdns._groups import Group
from fastdns._upstream import OPT, Upstream
from fastdns.config.load import load
from fastdns.config.schema import Config
from fastdns.policy.compile import Domains, compile_domains

HTTPS, MX = 65, 15
STEPS = 2500
CORP = '[[forward]]\nname = "corp"\ndomains = ["corp.example"]\nservers = ["192.0.2.53"]\n'
DENIED = '[[forward]]\nname = "no"\ndomains = ["no.example"]\nanswer = "nxdomain"\n'
NEVER = '[[rule]]\nnames = ["never.example"]\naaaa = "never"\n'
DYNAMIC = '[[rule]]\nnames = ["dyn.example"]\ncache = false\n'
IF_NO_A = '[[rule]]\nnames = ["www.example", "*.corp.example"]\naaaa = "if-no-a"\n'
PROTECT = '[protect]\nrebind = true\nbogus_answers = ["198.51.100.0/24"]\n'
CONFIGURATIONS = (
    "",
    IF_NO_A + DYNAMIC + NEVER + PROTECT,
    NEVER + DYNAMIC,
    CORP + DYNAMIC + IF_NO_A + PROTECT,
    CORP + DENIED + NEVER + PROTECT,
)
RECORDS = (
    (),
    ("alias.lan 60 CNAME www.example.", "nas.lan 60 A 192.168.1.1", "dyn.example 60 A 10.1.1.1"),
    ("alias.lan 60 CNAME a.corp.example.", "also.lan 60 CNAME alias.lan.", "nas.lan 0 A 10.2.2.2"),
    ("alias.lan 60 CNAME never.example.", "a.loop.lan 60 CNAME a.loop.lan."),
)
NAMES = (
    *("www.example", "a.corp.example", "b.corp.example", "dyn.example", "never.example"),
    *("x.no.example", "other.example", "alias.lan", "also.lan", "nas.lan", "a.loop.lan"),
)
V4, PRIVATE, FORGED = "192.0.2.1", "10.0.0.1", "198.51.100.7"
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7")


class World:
    """A front, its clients and its upstream, and what is configured now."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.chance = chance
        group = Group(GENEROUS, attempts=1, budget=0.3)
        self.front = Front(directory, 1 << 17, chance.choice((0, 3600)), group=group)
        self.known = Upstream(SOURCE, 0.2, peer_of(self.front.upstream), lambda: None, stream=self)
        self.known.look_at_message(OPT, 0, has_opt=True)
        self.front.group.use([self.known])
        self.streamed: list[Attempt] = []
        self.states: list[tuple[str, Config, Domains]] = []
        for text in CONFIGURATIONS:
            (directory / "fastdns.toml").write_text(text)
            config = load(directory / "fastdns.toml", state=directory)
            self.states.append((text, config, compile_domains(config)))
        for one in self.states[3][1].forward:
            corp = Group(GENEROUS, attempts=2, budget=0.3, number=one.number)
            corp.use([self.known])
            self.front.forward.add_group(corp)
            self.front.cache.set_group(one.number, 77)
        self.clients = [StreamClient() for _ in range(50)]
        self.asked: dict[int, tuple[str, int, int]] = {}
        self.reloads = self.questions = 0
        self.reload()

    # the upstream over streams

    def send(self, attempt: Attempt) -> None:
        self.streamed.append(attempt)

    def late(self, attempt: Attempt) -> None:
        pass

    def forget(self, attempt: Attempt) -> None:
        if attempt in self.streamed:
            self.streamed.remove(attempt)

    # what happens

    def reload(self) -> None:
        self.text, _, domains = self.chance.choice(self.states)
        self.records = [line.split() for line in self.chance.choice(RECORDS)]
        lines = (" ".join(words) for words in self.records)
        self.front.cache.use_policy(domains.policy(built(*lines)))
        self.reloads += 1

    def ask(self) -> None:
        self.questions += 1
        qname, qtype = self.chance.choice(NAMES), self.chance.choice((A, AAAA, HTTPS, CNAME, MX))
        self.asked[self.questions] = qname, qtype, self.reloads
        extra = [opt(ttl=DO)] if self.chance.random() < 0.3 else []
        flags = RD if self.chance.random() < 0.95 else 0
        client = self.clients[self.questions % len(self.clients)]
        if client.is_full():
            return
        client.say(query(qname, qtype, 1, *extra, flags=flags, message_id=self.questions))
        client.serve(self.front.fastpath)
        self.hear(client, at_once=self.questions)

    def answer(self) -> None:
        if self.streamed and self.chance.random() < 0.5:
            attempt = self.streamed.pop(self.chance.randrange(len(self.streamed)))
            wire = None if attempt.is_over else self.reply_to(attempt.message(7))
            if wire is None:
                attempt.failed(104)
            else:
                attempt.received(b"\0\7" + wire[2:], 7)
        elif self.front.missed():
            waiting = self.front._asked
            asked, peer = waiting.pop(self.chance.randrange(len(waiting)))
            wire = self.reply_to(asked)
            if wire is not None:  # its question may be over
                self.front.upstream.sendto(asked[:2] + wire[2:], peer)  # type: ignore[call-overload]
                self.front.forward.read_replies()

    def reply_to(self, asked: bytes) -> bytes | None:
        """Whatever upstreams say; None: nothing."""
        question = asked[HEADER : end_of_question(asked)]
        (qtype,) = struct.unpack("!H", question[-4:-2])
        target = name(self.chance.choice(NAMES))
        denial = soa(60, 60)
        flags, answers, authority = self.chance.choice(
            (
                (0, [self.data(qtype, TO_QUESTION)], []),
                (0, [self.data(qtype, TO_QUESTION)], []),
                (0, [record(CNAME, target, 60)], []),
                (0, [record(CNAME, target, 5), self.data(qtype, target)], []),
                (0, [], [denial]),
                (3, [], [denial]),
                (self.chance.choice((2, 5, TC)), [], []),
                (None, [], []),
            )
        )
        if flags is None:
            return None
        additional = [opt(ttl=DO if asked[-4] & 0x80 else 0)] if self.chance.random() < 0.5 else []
        counts = 1, len(answers), len(authority), len(additional)
        return b"".join(
            (header(REPLY | flags, *counts), question, *answers, *authority, *additional)
        )

    def data(self, qtype: int, owner: bytes) -> bytes:
        v4 = socket.inet_aton(self.chance.choice((V4, V4, PRIVATE, FORGED)))
        hints = (b"\0\4\0\4" + v4, b"\0\6\0\x10" + V6)
        rdata = {
            A: v4,
            AAAA: V6,
            HTTPS: b"\0\1\0" + b"".join(one for one in hints if self.chance.random() < 0.6),
            CNAME: name("other.example"),
            MX: b"\0\1" + name("mx.example"),
        }
        return record(qtype, rdata[qtype], self.chance.choice((0, 5, 300)), owner=owner)

    # what clients are told

    def hear(self, client: StreamClient, at_once: int = 0) -> None:
        for wire in client.heard():
            message = dns.message.from_wire(wire)
            qname, qtype, reloads = self.asked.pop(message.id)
            if reloads == self.reloads:  # else it was decided by a former configuration
                data = [one.to_text() for rrset in message.answer for one in rrset]
                self.check(qname, qtype, data, is_hit=message.id == at_once)

    def check(self, qname: str, qtype: int, data: list[str], *, is_hit: bool) -> None:
        what = (qname, qtype, data, self.text, self.records)
        own = [words for words in self.records if words[0] == qname]
        if own and own[0][2] == "A":
            assert data == ([words[3] for words in own] if qtype == A else []), what
        elif own:
            assert not data or data[0] == own[0][3], what
        else:
            self.check_rules(qname, qtype, data, what, is_hit=is_hit)

    def check_rules(
        self, qname: str, qtype: int, data: list[str], what: object, *, is_hit: bool
    ) -> None:
        if qname == "never.example" and NEVER in self.text:
            assert not (qtype == AAAA and data), what
            assert not any("ipv6hint" in one for one in data), what
        if qname == "dyn.example" and DYNAMIC in self.text:
            assert not (is_hit and data), what
        if PROTECT in self.text:
            assert not any(FORGED in one for one in data), what
            if CORP not in self.text or not qname.endswith("corp.example"):
                assert not any(PRIVATE in one for one in data), what


@pytest.mark.parametrize("seed", range(2))
def test_each_client_is_told_what_the_configuration_allows(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    world = World(tmp_path, chance)
    events = (world.ask, world.answer, world.reload, world.front.forward.tick)
    for _ in range(STEPS):
        chance.choices(events, (47, 48, 3, 2))[0]()
        world.hear(world.clients[chance.randrange(len(world.clients))])
        if chance.random() < 0.01:
            world.front.group.use(chance.choice(([world.known], [])))
    deadline = time.monotonic() + 10
    while world.front.forward.count and time.monotonic() < deadline:
        world.streamed.clear()
        world.front.forward.tick()
        time.sleep(0.01)
    for client in world.clients:
        world.hear(client)
        client.hang_up()
    assert world.front.forward.waiting == world.front.forward.count == 0
    assert world.asked == {}
