"""`[[forward]]`: groups of upstreams for some domains, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastdns.config.groups import Forward
from fastdns.config.load import load
from fastdns.config.render import render
from fastdns.config.schema import Config
from fastdns.config.values import Domain, DomainFile, Server
from fastdns.errors import ConfigErrors

CORP = '[[forward]]\nname = "corp"\ndomains = ["corp.example"]\nservers = ["10.0.0.53"]\n'
EVERY_KEY = """
[[forward]]
name = "corp-1_a"
domains = ["Corp.Example.", "10.in-addr.arpa", ".", "_sip.\\\\046x.example", "file:LIST"]
servers = ["10.0.0.53", "tcp://10.0.0.54:5300", "file:SERVERS"]
strategy = "round-robin"
timeout = "0.2s"
attempts = 2
trust_ad = true
fallback_to_default = true
[[forward]]
name = "none"
domains = ["tracker.example"]
answer = "nxdomain"
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[str], Config]:
    """Load a configuration from its text, in which SERVERS and LIST are files that are there."""
    (tmp_path / "ip").write_text("10.0.0.55\n")

    def load_text(text: str) -> Config:
        path = tmp_path / "fastdns.toml"
        path.write_text(
            text.replace("SERVERS", str(tmp_path / "ip")).replace("LIST", str(tmp_path / "list"))
        )
        return load(path, state=tmp_path / "state")

    return load_text


@pytest.fixture
def refused(loaded: Callable[[str], Config], tmp_path: Path) -> Callable[[str], list[str]]:
    """Load a wrong configuration from its text; gives the lines, its file as FILE."""

    def refuse_text(text: str) -> list[str]:
        with pytest.raises(ConfigErrors) as errors:
            loaded(text)
        return [
            line.replace(f"{tmp_path}/fastdns.toml", "FILE").replace(str(tmp_path), "DIR")
            for line in errors.value.lines
        ]

    return refuse_text


def test_group_has_the_defaults_of_upstream(loaded: Callable[[str], Config]) -> None:
    (group,) = loaded(CORP).forward
    assert (group.name, [str(one) for one in group.domains]) == ("corp", ["corp.example"])
    assert [str(one) for one in group.servers] == ["10.0.0.53:53"]
    assert (group.strategy, group.timeout, group.attempts) == ("failover", 1.5, 3)
    assert (group.trust_ad, group.fallback_to_default, group.answer) == (False, False, "")


def test_every_key_is_read_and_rendered_so_that_it_loads_as_the_same(
    loaded: Callable[[str], Config], tmp_path: Path
) -> None:
    config = loaded(EVERY_KEY)
    first, second = config.forward
    assert [type(one) for one in first.domains] == [*[Domain] * 4, DomainFile]
    assert [str(one) for one in first.domains[:4]] == [
        *("corp.example", "10.in-addr.arpa", ".", "_sip.\\046x.example")
    ]
    assert isinstance(first.servers[1], Server)
    assert (first.strategy, first.timeout, first.attempts) == ("round-robin", 0.2, 2)
    assert (first.trust_ad, first.fallback_to_default) == (True, True)
    assert (second.answer, second.servers) == ("nxdomain", ())

    rendered = tmp_path / "rendered.toml"
    rendered.write_text(render(config))
    assert load(rendered) == config


def test_number_of_a_group_comes_from_its_name_alone(loaded: Callable[[str], Config]) -> None:
    one, two = loaded(CORP + CORP.replace("corp", "lab")).forward
    two_again, one_again = loaded(CORP.replace("corp", "lab") + CORP).forward
    assert (one.number, two.number) == (one_again.number, two_again.number)
    assert 0 < one.number != two.number > 0


def group(**keys: str) -> str:
    """Return a group with these keys in place of CORP's; "": left out."""
    values = {"name": '"corp"', "domains": '["a.example"]', "servers": '["10.0.0.53"]'} | keys
    return "[[forward]]\n" + "".join(f"{k} = {v}\n" for k, v in values.items() if v)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"name": ""}, "name: is missing"),
        ({"name": "7"}, 'name: 7 is not a name in quotes (try "corp")'),
        (
            {"name": '"Corp Inc"'},
            'name: "Corp Inc" is not a name of a group (use up to 32 of a-z, 0-9, "-", "_")',
        ),
        (
            {"name": '""'},
            'name: "" is not a name of a group (use up to 32 of a-z, 0-9, "-", "_")',
        ),
        ({"domains": ""}, "domains: is missing"),
        ({"domains": "[]"}, 'domains: is empty (try ["corp.example"])'),
        ({"domains": '"a.example"'}, 'domains: "a.example" is not a list (put it in [ ])'),
        ({"domains": "[7]"}, 'domains: 7 is not a domain in quotes (try "corp.example")'),
        ({"domains": '[""]'}, 'domains: is empty (try "." for the root)'),
        (
            {"domains": '["*.a.example"]'},
            'domains: "*.a.example": a domain covers all names under it anyway (write "a.example")',
        ),
        (
            {"domains": '["a..example"]'},
            'domains: "a..example" has an empty label (two dots in a row)',
        ),
        (
            {"domains": '["bücher.example"]'},
            'domains: "bücher.example" is not in ASCII; write its A-labels (xn--…), '
            "or bytes as \\DDD",
        ),
        (
            {"domains": '["file:~/list"]'},
            'domains: "~/list" is not an absolute path (begin it with /)',
        ),
        (
            {"servers": ""},
            'servers: is missing (try ["10.0.0.53"], or answer = "nxdomain")',
        ),
        (
            {"servers": "[]"},
            'servers: is missing (try ["10.0.0.53"], or answer = "nxdomain")',
        ),
        (
            {"servers": '["dns.corp.example"]'},
            'servers: "dns.corp.example" is a name; this version of fastdns needs an IP address '
            '(try "9.9.9.9" or "127.0.0.1:53")',
        ),
        (
            {"servers": '["127.0.0.1"]'},
            'servers: "127.0.0.1:53" is an address fastdns itself listens on '
            "(name another resolver)",
        ),
        (
            {"servers": '["file:DIR/none"]'},
            "servers: DIR/none: cannot be read: No such file or directory",
        ),
        (
            {"answer": '"nxdomain"'},
            "answer: needs no servers: fastdns answers itself (leave one out)",
        ),
        ({"servers": "", "answer": '"null"'}, 'answer: "null" is not one of "", "nxdomain"'),
        ({"timeout": '"11s"'}, "timeout: is 11s; must be at most 10s"),
        ({"attempts": "0"}, "attempts: is 0; must be at least 1"),
        (
            {"fallback_to_default": "1"},
            "fallback_to_default: 1 is not a boolean (try true or false)",
        ),
        ({"domain": '["b"]'}, "domain: is not a known key (did you mean forward.domains?)"),
        (
            {"fallback": '["10.0.0.1"]'},
            "fallback: is not in this version of fastdns (leave it out)",
        ),
        (
            {"strategy": '"race"'},
            'strategy: "race" is not in this version of fastdns (try "failover")',
        ),
    ],
)
def test_wrong_value_is_told_in_one_line_with_the_group_it_is_in(
    refused: Callable[[str], list[str]], tmp_path: Path, keys: dict[str, str], problem: str
) -> None:
    keys = {key: value.replace("DIR", str(tmp_path)) for key, value in keys.items()}
    right = group(name='"right"', domains='["right.example"]')
    assert refused(right + group(**keys)) == [f"FILE: forward[1].{problem}"]


def test_all_that_is_wrong_in_several_groups_is_told_at_once(
    refused: Callable[[str], list[str]],
) -> None:
    lines = refused(
        group(name="", domains='["a..b", "c"]')
        + CORP
        + group(name='"x"', servers='["1.2.3"]', attempts="11", more="1")
    )
    assert [line.split(" ")[1] for line in lines] == [
        *("forward[0].domains:", "forward[0].name:"),
        *("forward[2].servers:", "forward[2].attempts:", "forward[2].more:"),
    ]


def test_group_without_a_list_of_tables_is_told_with_the_remedy(
    refused: Callable[[str], list[str]],
) -> None:
    assert refused(CORP.replace("[[forward]]", "[forward]")) == [
        "FILE: forward: is a single table (write [[forward]], once for each)"
    ]
    assert refused("forward = 7\n") == ["FILE: forward: 7 is not a list (put it in [ ])"]
    assert refused("forward = [7]\n") == ["FILE: forward[0]: 7 is not a table (try [[forward]])"]


def test_name_of_two_groups_is_told(refused: Callable[[str], list[str]]) -> None:
    assert refused(CORP + CORP) == [
        "FILE: forward[1].name: is the name of another group as well (choose another one)"
    ]


def test_names_with_one_number_are_told(refused: Callable[[str], list[str]]) -> None:
    numbers: dict[int, str] = {}
    for count in range(10_000):
        name = f"g{count}"
        (one,) = (Forward(name=name, domains=(Domain("a", b"\1a\0"),), answer="nxdomain"),)
        other = numbers.setdefault(one.number, name)
        if other != name:
            break
    assert refused(group(name=f'"{other}"') + group(name=f'"{name}"')) == [
        f'FILE: forward[1].name: stands for the same number as "{other}" (choose another one)'
    ]


def test_key_in_another_table_is_told_with_the_right_one(
    refused: Callable[[str], list[str]],
) -> None:
    assert refused("[upstream]\nfallback_to_default = true\n") == [
        "FILE: upstream.fallback_to_default: is not a known key "
        "(did you mean forward.fallback_to_default?)"
    ]


# ---- several files


def test_groups_of_several_files_are_all_there_and_none_replaces_another(
    loaded: Callable[[str], Config], tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text(CORP.replace("corp", "one") + CORP.replace("corp", "two"))
    (tmp_path / "b.toml").write_text(CORP.replace("corp", "three"))
    main = 'include = ["a.toml", "b.toml"]\n'
    notes: list[str] = []
    loaded(main + CORP)
    config = load(tmp_path / "fastdns.toml", state=tmp_path / "state", say=notes.append)
    assert [one.name for one in config.forward] == ["corp", "one", "two", "three"]
    assert notes == []


def test_what_is_wrong_is_told_with_the_file_and_the_number_there(
    refused: Callable[[str], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text(group(name='"a"', attempts="0"))
    (tmp_path / "b.toml").write_text(group(name='"b"') + group())
    lines = refused('include = ["a.toml", "b.toml"]\n' + CORP + group(name='"c"', zzz="1"))
    assert lines == [
        "FILE: forward[1].zzz: is not a known key (known here: name, domains, answer, "
        "fallback_to_default, servers, strategy, timeout, attempts, trust_ad)",
        "DIR/a.toml: forward[0].attempts: is 0; must be at least 1",
    ]
    (tmp_path / "a.toml").write_text(group(name='"a"'))
    assert refused('include = ["a.toml", "b.toml"]\n' + CORP) == [
        "DIR/b.toml: forward[1].name: is the name of another group as well (choose another one)"
    ]


def test_empty_list_in_a_later_file_takes_all_groups_away(
    loaded: Callable[[str], Config], tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text("forward = []\n")
    assert loaded('include = ["a.toml"]\n' + CORP).forward == ()
