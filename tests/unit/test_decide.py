"""Any configuration decides as a plain reading of it does ("The order of a decision")."""

from __future__ import annotations

import random

from test_local import built

from fastdns._domains import DomainSet, DomainSetBuilder
from fastdns._key import make_key
from fastdns._policy import NXDOMAIN_VERDICT, ZONE_VERDICT, Policy, value_of_domain
from fastdns._protection import Protection
from fastdns._rules import IF_NO_A, NEVER, Rules, value_of_name
from fastdns._special_names import special_answer
from fastdns.config.names import parse_name

Labels = tuple[str, ...]  # of a name, its last label first
A, AAAA, HTTPS, ANY, CHAOS = 1, 28, 65, 255, 3
FORWARD = 0
ALPHABET = ("a", "b", "test", "lan", "x", "local", "localhost")
ROUNDS = 120


class Model:
    """A configuration put together at random."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.records = {self.name() for _ in range(chance.randrange(4))}
        self.wildcards = {self.name() for _ in range(chance.randrange(3))}
        self.domains = {
            self.name(): (
                chance.randrange(3),
                chance.choice((FORWARD, NXDOMAIN_VERDICT, ZONE_VERDICT)),
            )
            for _ in range(chance.randrange(5))
        }
        self.rules = [
            (chance.choice((0, NEVER, IF_NO_A)), chance.choice(((), (A,), (HTTPS, ANY))))
            for _ in range(chance.randrange(5))
        ]
        self.itself: dict[Labels, int] = {}
        self.under: dict[Labels, int] = {}
        for number in range(1, len(self.rules) + 1):
            for of in (self.itself, self.under):
                for _ in range(chance.randrange(3)):
                    of.setdefault(self.name(), number)
        self.minimal_any = chance.random() < 0.5

    def name(self) -> Labels:
        return tuple(self.chance.choices(ALPHABET, k=self.chance.randrange(5)))

    def policy(self) -> Policy:
        domains = DomainSetBuilder()
        for name, value in self.domains.items():
            domains.add(wire(name), value_of_domain(*value))
        names = DomainSetBuilder(in_halves=True)
        for of, itself in ((self.itself, True), (self.under, False)):
            for name, number in of.items():
                names.add(wire(name), value_of_name(number, itself, not itself))
        rules = Rules(DomainSet(names.compile()))
        for aaaa, types in self.rules:
            rules.add(aaaa=aaaa, types=types)
        lines = [text(name) for name in self.records] + [
            "*." + text(one).lstrip(".") for one in self.wildcards
        ]
        return Policy(
            domains=DomainSet(domains.compile()),
            local=built(*(f"{one} 60 A 192.0.2.1" for one in lines)),
            rules=rules,
            protection=Protection(minimal_any=self.minimal_any),
        )

    def decide(self, name: Labels, qtype: int, qclass: int) -> tuple[str, int, int, int]:
        """The verdict, the group, the rule and the labels of what was decided by."""
        parents = [name[:count] for count in range(len(name), -1, -1)]
        domain = next((one for one in parents if one in self.domains), None)
        group, verdict = self.domains[domain] if domain is not None else (0, FORWARD)
        labels = len(domain or ())
        if qclass == 1:
            own = next((one for one in parents[1:] if one in self.wildcards), None)
            if name in self.records:
                own = name
            if own is not None:
                is_zone = domain is not None and verdict == ZONE_VERDICT
                return "local", 0, 0, labels if is_zone else len(own)
            if not domain and special_answer(key(name, qtype, qclass)) is not None:
                return "special", 0, 0, 0
        if verdict != FORWARD:
            return ("nxdomain" if verdict == NXDOMAIN_VERDICT else "own_domain"), group, 0, labels
        return (*self.by_rule(parents, qtype if qclass == 1 else 0, group), labels)

    def by_rule(self, parents: list[Labels], qtype: int, group: int) -> tuple[str, int, int]:
        """The verdict, the group and the rule of a name that upstreams are asked about."""
        if not qtype:
            return "forward", group, 0
        found = [self.itself.get(parents[0], 0), *(self.under.get(one, 0) for one in parents[1:])]
        rule = next(filter(None, found), 0)
        aaaa, types = self.rules[rule - 1] if rule else (0, ())
        if qtype in types or (qtype == AAAA and aaaa == NEVER):
            return "nodata", group, rule
        is_filtered = bool(aaaa or types)
        is_minimal = qtype == ANY and (self.minimal_any or is_filtered)
        return ("minimal_any" if is_minimal else "forward"), group, rule


def text(name: Labels) -> str:
    return ".".join(reversed(name)) + "."


def wire(name: Labels) -> bytes:
    return parse_name(text(name))


def key(name: Labels, qtype: int, qclass: int) -> bytes:
    return make_key(wire(name), qtype, qclass, do=False, cd=False, view=0)


def test_any_configuration_decides_as_a_plain_reading_of_it() -> None:
    chance = random.Random(10)
    seen = set()
    for _ in range(ROUNDS):
        model = Model(chance)
        policy = model.policy()
        for _ in range(60):
            name, qtype = model.name(), chance.choice((A, AAAA, HTTPS, ANY))
            qclass = CHAOS if chance.random() < 0.05 else 1
            found = policy.decide(key(name, qtype, qclass))
            wanted = model.decide(name, qtype, qclass)
            group = 0 if found.verdict in ("local", "special") else found.group
            labels = 0 if found.verdict == "special" else found.labels
            assert (found.verdict, group, found.rule, labels) == wanted, (text(name), qtype, qclass)
            assert (found.ede == 15) == (found.verdict == "nodata")
            seen.add(found.verdict)
    assert len(seen) == 7
