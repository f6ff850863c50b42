"""What is decided about a name, and where the configuration or a list says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from messages import good, key

from fastdns._policy import Policy
from fastdns.config.load import load
from fastdns.config.names import parse_name
from fastdns.config.schema import Config
from fastdns.policy.compile import compile_domains
from fastdns.policy.explain import Explanation, Origin, explain, suffix
from fastdns.policy.local import LocalSources
from fastdns.policy.local_names import Names

GROUPS = """
[[forward]]
name = "corp"
domains = ["corp.demo", "10.in-addr.arpa", "file:{list}"]
servers = ["10.0.0.2"]

[[forward]]
name = "ads"
domains = ["ads.demo"]
answer = "nxdomain"
"""
Explain = Callable[..., Explanation]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "list").write_text("# a comment\na.demo\nserver=/b.demo/192.0.2.1\n")
    file = tmp_path / "fastdns.toml"
    file.write_text(GROUPS.format(list=tmp_path / "list"))
    return load(file, state=tmp_path / "state")


@pytest.fixture
def explained(config: Config) -> Explain:
    policy = compile_domains(config).policy()
    return lambda name, rtype=1: explain(config, policy, key(name, rtype), Names())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("www.corp.demo", ("forward", "corp", "corp.demo", "forward[0].domains[0]")),
        ("corp.demo", ("forward", "corp", "corp.demo", "forward[0].domains[0]")),
        ("7.0.0.10.in-addr.arpa", ("forward", "corp", "10.in-addr.arpa", "forward[0].domains[1]")),
        ("x.a.demo", ("forward", "corp", "a.demo", "LIST:2")),
        ("b.demo", ("forward", "corp", "b.demo", "LIST:3")),
        ("www.ads.demo", ("nxdomain", "ads", "ads.demo", "forward[1].domains[0]")),
    ],
)
def test_domain_that_decides_is_named_with_its_place(
    explained: Explain, tmp_path: Path, name: str, told: tuple[str, str, str, str]
) -> None:
    verdict, group, domain, place = told
    found = explained(name)
    assert found.decided.verdict == verdict
    assert found.group is not None
    assert (found.group.name, found.domain) == (group, parse_name(domain))
    assert str(found.origin) == place.replace("LIST", str(tmp_path / "list"))


def test_other_names_are_of_the_default_group(explained: Explain) -> None:
    found = explained("www.demo")
    assert found.decided.verdict == "forward"
    assert (found.group, found.domain, found.origin) == (None, None, None)


def test_root_as_a_domain_is_named(tmp_path: Path) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text('[[forward]]\nname = "all"\ndomains = ["."]\nservers = ["10.0.0.2"]\n')
    config = load(file, state=tmp_path / "state")
    found = explain(config, compile_domains(config).policy(), key("www.demo"), Names())
    assert found.group is not None
    assert (found.group.name, found.domain) == ("all", b"\0")


@pytest.mark.parametrize(
    ("name", "rfc"),
    [
        ("localhost", "6761 section 6.3"),
        ("www.test", "6761 section 6.2"),
        ("x.onion", "7686 section 2"),
        ("router.local", "6762 section 22.1"),
        ("1.0.168.192.in-addr.arpa", "6303 section 4"),
        ("_dns.resolver.arpa", "9462 section 4"),
        ("home.arpa", "8375 section 4"),
    ],
)
def test_special_name_is_told_with_its_rfc(explained: Explain, name: str, rfc: str) -> None:
    found = explained(name)
    assert (found.decided.verdict, found.special) == ("special", f"RFC {rfc}")


def test_list_that_has_changed_leaves_the_key_that_names_it(
    explained: Explain, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("other.demo\n")
    assert explained("x.a.demo").origin == Origin("forward[0].domains")
    (tmp_path / "list").unlink()
    assert explained("x.a.demo").origin == Origin("forward[0].domains")


LOCAL = """
[local]
domain = "lan"
hosts = ["{hosts}"]
records = [
    "nas.lan 300 A 192.0.2.1",
    "*.dev.lan A 192.0.2.3",
    "www.lan CNAME www.demo.",
    "alias.lan CNAME nas.lan.",
]
ask_upstream = ["home.arpa"]
"""


@pytest.fixture
def local(tmp_path: Path) -> Explain:
    """What explains the names of a configuration with [local]."""
    (tmp_path / "hosts").write_text("# mine\n192.0.2.2 nas.lan nas\n")
    file = tmp_path / "fastdns.toml"
    file.write_text(LOCAL.format(hosts=tmp_path / "hosts"))
    config = load(file, state=tmp_path / "state")
    sources = LocalSources(config.local)
    policy = compile_domains(config).policy(sources.records)
    return lambda name, rtype=1: explain(config, policy, key(name, rtype), sources.names)


def answers(found: Explanation) -> int:
    """How many records the answer has that fastdns itself gives."""
    assert found.answer is not None
    return int.from_bytes(found.answer.message[6:8], "big")


def test_local_records_are_told_with_their_lines(local: Explain, tmp_path: Path) -> None:
    found = local("NAS.lan")
    assert (found.decided.verdict, found.is_wildcard) == ("local", False)
    assert answers(found) == 2
    assert [(one.ttl, str(one.origin)) for one in found.records] == [
        (60, "local.records[0]"),  # of records of one type the smallest TTL counts
        (60, f"{tmp_path}/hosts:2"),
    ]
    assert answers(local("nas.lan", 28)) == 0
    found = local("a.b.dev.lan")
    assert (found.is_wildcard, found.domain) == (True, parse_name("dev.lan"))
    assert str(found.records[0].origin) == "local.records[1]"


def test_chain_of_local_records_is_told_with_its_end(local: Explain) -> None:
    assert local("www.lan").target == parse_name("www.demo")
    assert (local("alias.lan").target, answers(local("alias.lan"))) == (None, 3)


def test_name_of_the_local_domain_without_records_is_told(local: Explain) -> None:
    found = local("x.y.lan")
    assert (found.decided.verdict, found.domain) == ("own_domain", parse_name("lan"))
    assert str(found.origin) == "local.domain"


def test_special_name_that_upstreams_are_asked_about_is_told(local: Explain) -> None:
    found = local("x.home.arpa")
    assert (found.decided.verdict, found.group) == ("forward", None)
    assert (str(found.origin), found.domain) == ("local.ask_upstream", parse_name("home.arpa"))


RULES = """
[[rule]]
names = ["*.dyn.demo"]
cache = false
[[rule]]
names = ["www.dyn.demo", "file:{list}"]
max_ttl = "1m"
block_types = ["HTTPS"]
"""


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("x.dyn.demo", "rule[0].names[0]"),
        ("dyn.demo", None),
        ("www.dyn.demo", "rule[1].names[0]"),
        ("x.www.dyn.demo", "rule[0].names[0]"),
        ("b.demo", "rule[1] LIST:2"),
        ("x.b.demo", "rule[1] LIST:2"),
        ("x.a.demo", "rule[1] LIST:1"),
        ("a.demo", "rule[1] LIST:1"),
        ("other.demo", None),
    ],
)
def test_rule_is_told_with_the_place_of_the_name(
    tmp_path: Path, name: str, place: str | None
) -> None:
    (tmp_path / "list").write_text("a.demo\nb.demo\n")
    file = tmp_path / "fastdns.toml"
    file.write_text(RULES.format(list=tmp_path / "list"))
    config = load(file, state=tmp_path / "state")
    policy = compile_domains(config).policy()
    found = explain(config, policy, key(name), Names()).rule
    if place is None:
        assert found is None
        return
    assert found is not None
    at = place.split()
    assert (found.key, str(found.origin)) == (
        place[:7],
        at[-1].replace("LIST", str(tmp_path / "list")),
    )


def test_type_that_a_rule_leaves_out_is_told(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a.demo\n")
    file = tmp_path / "fastdns.toml"
    file.write_text(RULES.format(list=tmp_path / "list"))
    config = load(file, state=tmp_path / "state")
    found = explain(config, compile_domains(config).policy(), key("a.demo", 65), Names())
    assert (found.decided.verdict, found.decided.ede) == ("nodata", 15)
    assert found.rule is not None


def test_any_is_told(config: Config) -> None:
    found = explain(config, compile_domains(config).policy(), key("www.demo", 255), Names())
    assert found.decided.verdict == "minimal_any"


def test_suffix_has_so_many_labels() -> None:
    name = parse_name("www.corp.demo")
    assert [suffix(name, labels) for labels in range(5)] == [
        *map(parse_name, (".", "demo", "corp.demo", "www.corp.demo", "www.corp.demo"))
    ]


def test_policy_says_what_it_decides_and_finds(config: Config) -> None:
    policy = compile_domains(config).policy()
    decided = policy.decide(key("www.corp.demo"))
    assert (decided.verdict, decided.group) == ("forward", config.forward[0].number)
    assert (decided.labels, decided.rule, decided.ede) == (2, 0, None)
    assert policy.inspect(key(), good().message) is None


@pytest.mark.parametrize("wrong", [b"", b"\3www", key("www.demo")[:-8], b"\3WWW\0" + bytes(7)])
def test_what_is_no_key_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="not a key"):
        Policy().decide(wrong)
    with pytest.raises(ValueError, match="not an answer"):
        Policy().inspect(key("www.demo"), wrong)
