"""[[rule]] and [protect], compiled: which rule concerns a name, and what is decided by it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from messages import A, record, reply
from messages import key as key_of

from fastdns._key import make_key
from fastdns._policy import Policy
from fastdns.config.addresses import read_addresses
from fastdns.config.load import load
from fastdns.config.names import parse_name
from fastdns.config.schema import Config
from fastdns.errors import ConfigErrors
from fastdns.policy.compile import Domains, compile_domains
from fastdns.policy.protection import spans
from fastdns.policy.rule_changes import rule_changes
from fastdns.policy.rules import compile_rules

AAAA, HTTPS, MX, ANY, CHAOS = 28, 65, 15, 255, 3
State = tuple[Config, Domains]
Compile = Callable[..., State]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    def compile_text(text: str, former: Domains | None = None) -> State:
        file = tmp_path / "fastdns.toml"
        file.write_text(text)
        config = load(file, state=tmp_path / "state")
        return config, compile_domains(config, former)

    return compile_text


def rule(*names: str, does: str = 'max_ttl = "1m"') -> str:
    listed = ", ".join(f'"{one}"' for one in names)
    return f"[[rule]]\nnames = [{listed}]\n{does}\n"


def number(domains: Domains, name: str) -> int:
    return domains.rules.number_of(parse_name(name))


def decided(policy: Policy, name: str, qtype: int, qclass: int = 1) -> tuple[str, int | None]:
    found = policy.decide(make_key(parse_name(name), qtype, qclass, do=False, cd=False, view=0))
    return found.verdict, found.ede


def test_longest_name_wins_and_a_name_comes_before_a_wildcard(compiled: Compile) -> None:
    _, domains = compiled(
        rule("*.example")
        + rule("*.b.example", "c.example")
        + rule("*")
        + rule("b.example", "*.c.example")
        + rule(".")
    )
    assert domains.problems == ()
    wanted = {
        ".": 5,
        "example": 3,
        "a.example": 1,
        "b.example": 4,
        "x.b.example": 2,
        "x.y.b.example": 2,
        "c.example": 2,
        "x.c.example": 4,
        "other": 3,
    }
    assert {name: number(domains, name) for name in wanted} == wanted


def test_names_of_lists_are_domains_with_all_under_them(compiled: Compile, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a.example\nb.example\n")
    _, domains = compiled(rule("b.example") + rule(f"file:{tmp_path}/list"))
    names = ("a.example", "x.a.example", "b.example", "x.b.example", "example")
    assert [number(domains, name) for name in names] == [2, 2, 1, 2, 0]
    assert domains.problems == (f"{tmp_path}/list: 1 of its domains have an earlier rule",)


def test_name_of_two_rules_belongs_to_the_first_and_is_told(compiled: Compile) -> None:
    _, domains = compiled(rule("*.a.example") + rule("a.example", "*.a.example"))
    assert [number(domains, name) for name in ("a.example", "x.a.example")] == [2, 1]
    assert domains.problems == (
        'rule[1].names: "*.a.example" has an earlier rule, that of "*.a.example" (leave one out)',
    )


def test_list_that_is_gone_at_a_reload_keeps_its_names(compiled: Compile, tmp_path: Path) -> None:
    names, bogus = tmp_path / "names", tmp_path / "bogus"
    names.write_text("a.example\n")
    bogus.write_text("192.0.2.1\n")
    text = rule(f"file:{names}") + f'[protect]\nbogus_answers = ["file:{bogus}"]\n'
    _, former = compiled(text)
    names.unlink()
    bogus.unlink()
    _, domains = compiled(text, former)
    assert number(domains, "a.example") == 1
    assert domains.protection.bogus_count == 1
    assert [one.partition("; ")[2] for one in domains.problems] == [
        "its former 1 domains stay in use",
        "its former 1 addresses stay in use",
    ]


@pytest.mark.parametrize(
    ("does", "qtype", "verdict"),
    [
        ('block_types = ["HTTPS", "mx", "TYPE99"]', HTTPS, ("nodata", 15)),
        ('block_types = ["HTTPS", "mx", "TYPE99"]', MX, ("nodata", 15)),
        ('block_types = ["HTTPS", "mx", "TYPE99"]', 99, ("nodata", 15)),
        ('block_types = ["HTTPS", "mx", "TYPE99"]', A, ("forward", None)),
        ('aaaa = "never"', AAAA, ("nodata", 15)),
        ('aaaa = "never"', A, ("forward", None)),
        ('aaaa = "never"', HTTPS, ("forward", None)),
        ('aaaa = "if-no-a"', AAAA, ("forward", None)),
        ('block_types = ["ANY"]', ANY, ("nodata", 15)),
        ('max_ttl = "1m"', ANY, ("minimal_any", None)),
    ],
)
def test_type_is_decided_by_the_rule(
    compiled: Compile, does: str, qtype: int, verdict: tuple[str, int | None]
) -> None:
    policy = compiled(rule("*.example", does=does))[1].policy()
    assert decided(policy, "www.example", qtype) == verdict
    plain = ("minimal_any" if qtype == ANY else "forward", None)
    assert decided(policy, "www.other", qtype) == plain
    assert decided(policy, "www.example", qtype, CHAOS)[0] == "forward"


def test_special_names_and_denied_groups_come_before_rules(compiled: Compile) -> None:
    group = '[[forward]]\nname = "no"\ndomains = ["no.example"]\nanswer = "nxdomain"\n'
    policy = compiled(rule("*", does='block_types = ["A"]') + group)[1].policy()
    assert decided(policy, "localhost", A)[0] == "special"
    assert decided(policy, "www.no.example", A)[0] == "nxdomain"
    assert decided(policy, "www.example", A)[0] == "nodata"


def test_marks_tell_what_a_rule_does_to_each_type(compiled: Compile) -> None:
    def marks(does: str) -> list[int]:
        rules = compile_rules(compiled(rule("*.example", does=does))[0])
        return [rules.mark_of(parse_name("www.example"), qtype, 1) for qtype in (A, AAAA, HTTPS)]

    plain = marks('block_types = ["MX"]\nstale = "1h"')
    assert plain == [0, 0, 0]  # what is cached stays good
    short = marks('max_ttl = "1m"')
    assert len(set(short)) == 1
    assert short[0]
    assert short == marks('max_ttl = "60s"\nstale = "1h"')
    assert short[0] not in (marks('min_ttl = "1m"')[0], marks("cache = false")[0])
    never = marks('aaaa = "never"')
    assert (never[0], never[1] == never[2]) == (0, True)
    assert never != marks('aaaa = "if-no-a"')
    assert marks('aaaa = "never"\nmax_ttl = "1m"') == [
        a ^ b for a, b in zip(never, short, strict=True)
    ]


def test_without_rules_no_name_has_one(compiled: Compile) -> None:
    config, domains = compiled("")
    assert (len(domains.rules), number(domains, "www.example")) == (0, 0)
    assert compile_rules(config).mark_of(parse_name("www.example"), A, 1) == 0
    assert domains.policy().is_empty
    assert decided(domains.policy(), "www.example", ANY)[0] == "minimal_any"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (rule("a.example", does=""), "rule[0]: changes nothing (set min_ttl, max_ttl, stale,"),
        (rule("a.example", does='aaaa = ""'), "rule[0]: changes nothing"),
        ("[[rule]]\nmax_ttl = '1m'\n", "rule[0].names: is missing"),
        (rule(), 'rule[0].names: is empty (try ["*.dyn.example"])'),
        (rule("a.*.b"), 'rule[0].names: "a.*.b": "*" is only possible as the first label'),
        (rule(".b"), 'rule[0].names: ".b" is not a name (try "*.b")'),
        (rule("a..b"), "rule[0].names: "),
        (rule("a", does="cache = false\nstale = '1h'"), "rule[0].stale: has no effect with cache"),
        (
            rule("a", does="min_ttl = '1m'\nmax_ttl = '30s'"),
            "rule[0].max_ttl: is 30s; must be at least min_ttl (60s)",
        ),
        (rule("a", does="min_ttl = '1500ms'"), "rule[0].min_ttl: is 1.5s; must be whole seconds"),
        (rule("a", does='block_types = ["HTTP"]'), 'rule[0].block_types: "HTTP" is not a record'),
        (rule("a", does='aaaa = "no"'), 'rule[0].aaaa: "no" is not one of "", "never", "if-no-a"'),
        ('[protect]\nbogus_answers = ["x"]\n', 'protect.bogus_answers: "x" is not an address'),
        (
            '[protect]\nbogus_answers = ["192.0.2.300"]\n',
            'protect.bogus_answers: "192.0.2.300" is not an address or a prefix (try "192.0.2.1")',
        ),
        (
            '[protect]\nbogus_answers = ["::/0"]\n',
            'protect.bogus_answers: "::/0" has every address',
        ),
        (
            '[protect]\nrebind_allow = ["192.168.1.0/24"]\n',
            'protect.rebind_allow: "192.168.1.0/24" has addresses, not names '
            '(for their reverse names write "1.168.192.in-addr.arpa")',
        ),
        ('[protect]\nrebind_allow = ["*.x"]\n', "protect.rebind_allow: "),
        ("[rule]\nnames = ['a']\n", "rule: is a single table (write [[rule]], once for each)"),
    ],
)
def test_rule_that_makes_no_sense_is_refused(compiled: Compile, text: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        compiled(text)
    assert problem in refused.value.lines[0]


def test_reload_counts_rules_that_are_others(compiled: Compile, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a.example\n")
    listed = rule(f"file:{tmp_path}/list")
    was = compiled(rule("a") + rule("b") + rule("c") + listed)
    same = compiled(listed + rule("c") + rule("b") + rule("a"), was[1])
    assert list(rule_changes(was, same)) == ["rules: 4, as before"]
    (tmp_path / "list").write_text("b.example\n")
    now = compiled(rule("a", does="cache = false") + rule("c") + rule("d") + listed, was[1])
    assert list(rule_changes(was, now)) == ["rules: 4 (2 changed, 1 new, 1 removed)"]
    none = compiled("[protect]\nrebind = true\n", was[1])
    assert list(rule_changes(was, none)) == [
        "rules: 0 (4 removed)",
        "protect: other settings, also for cached answers",
    ]
    assert list(rule_changes(none, none)) == []


# --- [protect] ------------------------------------------------------------------------------------


def packed(text: str) -> bytes:
    address = ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def test_spans_of_networks_are_joined_where_they_meet() -> None:
    networks = [
        "192.0.2.0/25",
        "192.0.2.128/25",
        "192.0.2.7/32",
        "198.51.100.1/32",
        "2001:db8::/32",
    ]
    assert spans(map(ip_network, networks)) == [
        (packed("192.0.2.0"), packed("192.0.2.255")),
        (packed("198.51.100.1"), packed("198.51.100.1")),
        (packed("2001:db8::"), packed("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")),
    ]


def test_bogus_addresses_are_found_by_both_ends_of_their_networks(compiled: Compile) -> None:
    protection = compiled(
        '[protect]\nbogus_answers = ["192.0.2.0/24", "198.51.100.7", "2001:db8::/64"]\n'
    )[1].protection
    inside = ["192.0.2.0", "192.0.2.255", "198.51.100.7", "2001:db8::", "2001:db8::ffff:1"]
    outside = ["192.0.1.255", "192.0.3.0", "198.51.100.6", "198.51.100.8", "2001:db8:0:1::", "::"]
    assert all(protection.has(packed(one)) for one in inside)
    assert not any(protection.has(packed(one)) for one in outside)


def test_list_of_addresses_is_read_as_dnsmasq_writes_it() -> None:
    text = (
        "\ufeff## DNS\r\nbogus-nxdomain=192.0.2.1\r\n\r\n bogus-nxdomain = 192.0.2.2 # why\n"
        "ignore-address=2001:db8::/32\n198.51.100.1,198.51.100.2\nbogus-nxdomain=no\n"
        "203.0.113.1/24\n"
    )
    assert [(line, str(one)) for line, one in read_addresses(text)] == [
        (2, "192.0.2.1/32"),
        (4, "192.0.2.2/32"),
        (5, "2001:db8::/32"),
        (6, "198.51.100.1/32"),
        (6, "198.51.100.2/32"),
        (7, '"no" is not an address or a prefix (try "192.0.2.1")'),
        (8, '"203.0.113.1/24" has bits beyond its prefix length (try "203.0.113.0/24")'),
    ]


def test_private_address_is_found_in_what_the_default_group_answers(compiled: Compile) -> None:
    group = '[[forward]]\nname = "corp"\ndomains = ["corp.example"]\nservers = ["10.0.0.1"]\n'
    text = (
        '[protect]\nrebind = true\nrebind_allow = ["ok.example"]\nbogus_answers = ["192.0.2.9"]\n'
    )
    policy = compiled(text + group)[1].policy()

    def inspected(name: str, address: str) -> str | None:
        wire = reply(record(A, ip_address(address).packed), qname=name)
        found = policy.inspect(key_of(name), wire)
        return found and found.verdict

    assert inspected("www.example", "10.0.0.1") == "nodata"
    assert inspected("www.example", "192.0.2.1") is None
    assert inspected("www.ok.example", "10.0.0.1") is None
    assert inspected("www.corp.example", "10.0.0.1") is None
    assert inspected("www.corp.example", "192.0.2.9") == "ignore"
