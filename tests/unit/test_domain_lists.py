"""Lists of domains: which a text names, and which of its lines name none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fastdns._domain_lists import find_domain, read_domains
from fastdns._domains import DomainHashes, DomainSet, DomainSetBuilder
from fastdns.config.names import parse_name
from fastdns.policy.domain_lists import DomainLists

Read = tuple[DomainSet, int, list[tuple[int, str, str]]]


def read(text: bytes, most: int = 10) -> Read:
    """Return what a list comes to: the set, how many lines are wrong, and the first of them."""
    builder = DomainSetBuilder()
    domains, wrong, problems = read_domains(text, builder.key, most)
    assert builder.add_all(domains, 1) == 0
    return DomainSet(builder.compile()), wrong, problems


def names(text: bytes, *expected: str) -> bool:
    """Whether a list names these domains, no other and nothing else."""
    domains, wrong, _ = read(text)
    found = all((name.count(".") + 1, 1) in domains.find(parse_name(name)) for name in expected)
    return found and len(domains) == len(expected) and wrong == 0


@pytest.mark.parametrize(
    "text",
    [
        b"a.example\nb.example\n",
        b"a.example\nb.example",
        b"a.example\r\nb.example\r\n",
        b"\xef\xbb\xbfa.example\nb.example\n",
        b"\t a.example \t\n\n \t\n  b.example\t# why\n",
        b"# comment\na.example # another\n#b\n\x0bb.example\x0c\n",
        b"A.EXAMPLE.\n.b.example\n",
        b"a.example\nb.example\na.example\n",
        b"server=/a.example/192.0.2.1\nserver=/b.example/192.0.2.1#5353\n",
        b"server=/a.example/b.example/192.0.2.1#53@eth0\n",
        b"local=/a.example/\naddress=/b.example/\n",
        b"ipset=/a.example/b.example/set1,set2\n",
        b"nftset=/a.example/b.example/4#inet#table#set\r\n",
        b"  server=/a.example/::1\n\tserver=/.b.example/2001:db8::1#53",
    ],
)
def test_list_names_two_domains(text: bytes) -> None:
    assert names(text, "a.example", "b.example")


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"\n\n\r\n", b"#", b"# all\n# of it", b"\xef\xbb\xbf", b" ", b"\t\r"]
)
def test_list_that_names_nothing_is_no_mistake(text: bytes) -> None:
    assert names(text)


def test_digits_hyphens_and_underscores_are_part_of_a_domain() -> None:
    assert names(
        b"_dmarc.x-1.123\nxn--bcher-kva.example\n", "_dmarc.x-1.123", "xn--bcher-kva.example"
    )


LONG = "a" * 63


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"no domain", "is not a domain"),
        (b"a.example,b.example", "is not a domain"),
        (b"||a.example^", "is not a domain"),
        (b"*.a.example", "is not a domain"),
        (b"http://a.example/", "is not a domain"),
        (b"a.example#why", "is not a domain"),
        (b"a\0.example", "is not a domain"),
        (b".", "is not a domain"),
        (b"..", "is not a domain"),
        (b"a..example", "has an empty label (two dots in a row)"),
        (b"a.example..", "has an empty label (two dots in a row)"),
        ("bücher.example".encode(), "is not in ASCII (write its A-labels, xn--…)"),
        (b"\xff\xfe", "is not in ASCII (write its A-labels, xn--…)"),
        (b"a" * 64, "has a label of more than 63 bytes"),
        (f"{LONG}.{LONG}.{LONG}.{LONG}".encode(), "has more than 255 bytes"),
        (b"server=192.0.2.1", "names no domain (server=/DOMAIN/ does)"),
        (b"server=/a.example", "is not a domain"),
        (b"server=//192.0.2.1", "is not a domain"),
        (b"server=/#/192.0.2.1", "stands for all names (use upstream.servers for these)"),
        (b"server=", "is not a domain"),
        (b"conf-dir=/etc/dnsmasq.d", "is not a domain"),
    ],
)
def test_line_that_names_no_domain_is_told_and_the_others_are_taken(
    line: bytes, problem: str
) -> None:
    domains, wrong, problems = read(b"one.example\n" + line + b"\ntwo.example\n")
    assert len(domains) == 2
    assert (wrong, [(number, what) for number, _, what in problems]) == (1, [(2, problem)])


def test_lists_of_domains_that_may_be_rebound_are_read_as_dnsmasq_has_them() -> None:
    assert names(
        b"rebind-domain-ok=/a.example/b.example/\nrebind-domain-ok=c.example\n",
        "a.example",
        "b.example",
        "c.example",
    )


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("*.ads.example", ' (write "ads.example", which covers all names under it)'),
        ("||ads.example^", ' (write "ads.example", which covers all names under it)'),
        ("||ads.example^$third-party", ' (write "ads.example", which covers all names under it)'),
        ("https://ads.example/x", ' (write "ads.example", which covers all names under it)'),
        ("0.0.0.0 ads.example", " (a hosts file belongs to local.hosts)"),
        ("::1 ads.example # x", " (a hosts file belongs to local.hosts)"),
        ("no domain", ""),
    ],
)
def test_line_in_the_form_of_others_is_told_with_what_to_do(
    tmp_path: Path, line: str, remedy: str
) -> None:
    file = tmp_path / "list"
    file.write_text(f"one.example\n{line}\n")
    part = line.partition(" # ")[0]
    told = list(DomainLists(DomainSetBuilder().key, {}).load(file))
    assert told == [f'{file}:2: "{part}" is not a domain{remedy}']


def test_longest_name_and_label_are_taken() -> None:
    longest = f"{LONG}.{LONG}.{LONG}.{'b' * 61}"
    assert names(longest.encode(), longest)
    assert names(longest.encode() + b".\n", longest)
    _, wrong, _ = read(longest.encode() + b"b\n")
    assert wrong == 1


def test_wrong_domain_among_others_of_a_line_is_told_alone() -> None:
    domains, wrong, problems = read(b"server=/a.example/b..example/c.example/192.0.2.1\n")
    assert len(domains) == 2
    assert (wrong, problems[0][:2]) == (1, (1, "b..example"))


def test_only_the_first_wrong_lines_are_told_and_all_are_counted() -> None:
    _, wrong, problems = read(b"?\n" * 1000, most=3)
    assert wrong == 1000
    assert [number for number, _, _ in problems] == [1, 2, 3]


def test_line_of_a_mebibyte_is_told_by_its_beginning() -> None:
    domains, wrong, problems = read(b"a.example\n" + b"x" * (1 << 20) + b"\nb.example")
    assert (len(domains), wrong) == (2, 1)
    assert problems == [(2, "x" * 100, "has a label of more than 63 bytes")]


def test_rubbish_is_told_and_never_more() -> None:
    chance = random.Random(14)
    alphabets = [bytes(range(256)), b"server=/#.a\n\r \t", b"a.\n", b"\xef\xbb\xbf/=\n"]
    for _ in range(2000):
        alphabet = chance.choice(alphabets)
        text = bytes(chance.choice(alphabet) for _ in range(chance.randrange(200)))
        domains, wrong, problems = read(text)
        assert len(problems) == min(wrong, 10)
        assert len(domains) <= text.count(b".") + text.count(b"/") + text.count(b"\n") + 1


def test_list_is_the_same_when_it_names_the_same_domains_and_only_then() -> None:
    key = DomainSetBuilder().key

    def listed(text: bytes, key: bytes = key) -> DomainHashes:
        return read_domains(text, key, 9)[0]

    one = listed(b"a.example\nb.example\n")
    assert one == listed(b"# why\nA.example\r\nb.example.")
    assert one != listed(b"a.example\n")
    assert one != listed(b"a.example\nc.example\n")
    assert one != listed(b"a.example\nb.example\n", DomainSetBuilder().key)
    assert one != 7


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("one.example", 2),
        ("two.example", 4),
        ("three.example", 4),
        ("www.one.example", None),
        ("example", None),
        ("comment.example", None),
        ("four.example", 6),
    ],
)
def test_line_that_names_a_domain_is_found(name: str, line: int | None) -> None:
    text = (
        b"\xef\xbb\xbf# comment.example\n"
        b"One.Example.\r\n"
        b"not_a domain\n"
        b"server=/two.example/three.example/192.0.2.1\n"
        b"one.example\n"
        b"  four.example  # comment.example"
    )
    assert find_domain(text, parse_name(name)) == line
