"""Block lists as text: which names each format means, what is left out, and what is faulty."""

from __future__ import annotations

import pytest

from fastdns._block_set import ALLOWS, IMPORTANT, ITSELF, UNDER, BlockSet, BlockSetBuilder
from fastdns._list_reader import LineFinder, ListReader

BOTH = ITSELF | UNDER
LONG = "a" * 63


def wire(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


class Read:
    """A list that was read."""

    def __init__(self, text: str | bytes, part: int = 1 << 20) -> None:
        octets = text.encode() if isinstance(text, str) else text
        builder = BlockSetBuilder()
        self.reader = ListReader(builder, check_pattern=lambda _: None)
        for at in range(0, len(octets), part):
            self.reader.feed(octets[at : at + part])
        self.reader.finish()
        self.lists = BlockSet(builder.compile())

    def flags(self, name: str) -> int:
        """What the list says of this domain, and of no other."""
        for found in self.lists.find(wire(name)):
            if found.is_whole:
                return found.entries[0].flags
        return 0

    def says(self) -> tuple[int, dict[str, int], int]:
        return self.reader.taken, self.reader.left_out, self.reader.faulty


# ---- which names a line means


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("a.demo", ITSELF),
        ("A.Demo.", ITSELF),
        ("  a.demo \t", ITSELF),
        ("a.demo # a comment", ITSELF),
        ("*.a.demo", UNDER),
        (".a.demo", BOTH),
        ("0.0.0.0 a.demo", ITSELF),
        ("127.0.0.1\ta.demo", ITSELF),
        ("127.0.1.1 a.demo", ITSELF),
        ("0 a.demo", ITSELF),
        (":: a.demo", ITSELF),
        ("::1 a.demo # a comment", ITSELF),
        ("0:0:0:0:0:0:0:0 a.demo", ITSELF),
        ("0.0.0.0 localhost b.demo a.demo", ITSELF),
        ("||a.demo^", BOTH),
        ("||a.demo", BOTH),
        ("||a.demo^|", BOTH),
        ("|a.demo^", ITSELF),
        ("|a.demo|", ITSELF),
        ("||*.a.demo^", UNDER),
        ("*.a.demo^", UNDER),
        (".a.demo^", UNDER),
        ("@@||a.demo^", BOTH | ALLOWS),
        ("@@|a.demo^", ITSELF | ALLOWS),
        ("@@a.demo", ITSELF | ALLOWS),
        ("||a.demo^$important", BOTH | IMPORTANT),
        ("@@||a.demo^|$important", BOTH | ALLOWS | IMPORTANT),
        ("a.demo$important", ITSELF | IMPORTANT),
        ("address=/a.demo/", BOTH),
        ("address=/a.demo/0.0.0.0", BOTH),
        ("address=/a.demo/127.0.0.1", BOTH),
        ("address=/a.demo/::", BOTH),
        ("address=/a.demo/#", BOTH),
        ("address=/.a.demo/", BOTH),
        ("address=/*.a.demo/", UNDER),
        ("address=/b.demo/a.demo/c.demo/0.0.0.0", BOTH),
        ("server=/a.demo/", BOTH),
        ("server=/a.demo/192.0.2.1#5353", BOTH),
        ("local=/a.demo/ # a comment", BOTH),
    ],
)
def test_line_means_the_name_or_what_is_under_it_as_its_format_has_it(
    line: str, flags: int
) -> None:
    read = Read(line)
    assert read.flags("a.demo") == flags
    assert read.reader.left_out == {}
    assert read.reader.faulty == 0


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_marks_and_line_ends_of_any_system_make_no_difference(line_end: str, mark: str) -> None:
    text = mark + line_end.join(["# made by", "a.demo", "", "||b.demo^", "0.0.0.0 c.demo"])
    read = Read(text)
    assert read.says() == (3, {}, 0)
    assert [read.flags(f"{name}.demo") for name in "abc"] == [ITSELF, BOTH, ITSELF]


def test_parts_of_any_size_are_read_as_the_whole() -> None:
    text = "\ufeff# x\na.demo\r\n||b.demo^$dnstype=A\n/ad[0-9]/\nbad line\n0.0.0.0 c.demo d.demo"
    whole = Read(text)
    for part in (1, 2, 3, 7, 16):
        read = Read(text, part)
        assert read.says() == whole.says() == (5, {}, 1)
        assert read.reader.lines == 6
        assert read.reader.first_faulty == whole.reader.first_faulty
        assert read.lists.patterns == whole.lists.patterns


def test_name_in_letters_of_any_language_is_read_as_its_a_labels() -> None:
    read = Read("bücher.demo\n||Bücher.test^\n\udcff.demo".encode("utf-8", "surrogateescape"))
    assert read.flags("xn--bcher-kva.demo") == ITSELF
    assert read.flags("xn--bcher-kva.test") == BOTH
    assert read.reader.faulty == 1


def test_names_of_the_machine_itself_are_passed_over() -> None:
    read = Read(
        "127.0.0.1 localhost\n127.0.0.1 localhost.localdomain\n255.255.255.255 broadcasthost\n"
        "::1 ip6-localhost ip6-loopback\nfe80::1%lo0 localhost\nff02::1 ip6-allnodes\n"
        "0.0.0.0 0.0.0.0\n127.0.0.1 local\nlocalhost\n"
    )
    assert read.says() == (0, {}, 0)


# ---- comments, and what is left out


@pytest.mark.parametrize(
    "line",
    ["# x", "## Public", "#", "! x", "!", "[Adblock Plus 2.0]", "; x", "", "   ", "\t# x", "####"],
)
def test_comment_says_nothing(line: str) -> None:
    assert Read(f"{line}\n").says() == (0, {}, 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("192.0.2.1 a.demo", "a name with the address of a host"),
        ("2001:db8::1 a.demo", "a name with the address of a host"),
        ("address=/a.demo/192.0.2.1", "a name with the address of a host"),
        ("192.0.2.1", "an address, not a domain"),
        ("||192.0.2.1^", "an address, not a domain"),
        ("a.demo##.ad", "a cosmetic rule"),
        ("a.demo#@#.ad", "a cosmetic rule"),
        ("a.demo,b.demo#?#div:has(.ad)", "a cosmetic rule"),
        ("a.demo#$#body { x: y }", "a cosmetic rule"),
        ("##.ad-banner", "a cosmetic rule"),
        ("||a.demo^$client=192.0.2.1", "$client"),
        ("||a.demo^$important,client=~x", "$client"),
        ("||a.demo^$ctag=device_tv", "$ctag"),
        ("||a.demo^$dnsrewrite=NOERROR;A;192.0.2.1", "$dnsrewrite"),
        ("||a.demo^$denyallow=b.a.demo", "$denyallow"),
        ("||a.demo^$badfilter", "$badfilter"),
        ("||a.demo^$third-party", "$third-party"),
        ("||a.demo^$~third-party", "$third-party"),
        ("||a.demo^$x=y", "an option that is not for names"),
        ("||a.demo^$dnstype=NONSENSE", "$dnstype with types that are not known"),
        ("||a.demo/ads/*", "a rule for addresses of pages"),
        ("||a.demo:8080^", "a rule for addresses of pages"),
        ("/banner/ads.", "a rule for addresses of pages"),
        ("||*^", "a rule for all names"),
        ("address=/#/0.0.0.0", "a rule for all names"),
        ("server=/a.demo/#", "server=/…/#, an exception"),
        ("server=192.0.2.1", "another setting of dnsmasq"),
        ("bogus-nxdomain=192.0.2.1", "another setting of dnsmasq"),
        ("cname=a.demo,b.demo", "another setting of dnsmasq"),
    ],
)
def test_line_that_does_not_block_a_name_for_all_is_left_out_and_counted(
    line: str, reason: str
) -> None:
    read = Read(f"{line}\n")
    assert read.says() == (0, {reason: 1}, 0)
    assert len(read.lists) == 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("two words", "is not a domain"),
        ("0.0.0.0 a..demo", "empty label"),
        (f"{LONG}a.demo", "63 bytes"),
        (".".join([LONG] * 4) + ".demo", "255 bytes"),
        ("https://a.demo/", "is not a domain"),
        ("<html>", "is not a domain"),
        ("a\0.demo", "is not a domain"),
        ("||a demo^", "is not a domain"),
        ("address=a.demo/0.0.0.0", "names no domain"),
        ("address=//", "is not a domain"),
        ("xn--\udcff.demo", "ASCII"),
    ],
)
def test_line_that_is_wrong_is_told_with_its_number(line: str, problem: str) -> None:
    read = Read(f"# x\n{line}\nb.demo\n".encode("utf-8", "surrogateescape"))
    assert read.says() == (1, {}, 1)
    ((number, text, told),) = read.reader.first_faulty
    assert number == 2
    assert len(text) <= 100
    assert problem in told


def test_only_the_first_faulty_lines_are_told_and_all_are_counted() -> None:
    read = Read("not a domain\n" * 5000)
    assert read.reader.faulty == 5000
    assert [number for number, _, _ in read.reader.first_faulty] == list(range(1, 11))


@pytest.mark.parametrize("part", [1000, 1 << 20])
def test_line_without_end_is_faulty_once_and_the_next_is_read(part: int) -> None:
    read = Read(b"a.demo\n" + b"x" * 300_000 + b"\nb.demo\n" + b"y" * 100_000, part)
    assert read.says() == (2, {}, 2)
    assert read.reader.lines == 4
    assert all(len(text) <= 100 for _, text, _ in read.reader.first_faulty)


def test_many_domains_on_a_line_of_dnsmasq_are_all_read() -> None:
    names = [f"n{number}.demo" for number in range(3000)]
    read = Read(f"address=/{'/'.join(names)}/\n")
    assert len(read.lists) == 3000


# ---- types and expressions


@pytest.mark.parametrize(
    ("option", "types"),
    [
        ("dnstype=A", (1,)),
        ("dnstype=AAAA|a|HTTPS", (1, 28, 65)),
        ("dnstype=~AAAA", (-28,)),
        ("dnstype=~A|~AAAA", (-28, -1)),
        ("dnstype=A|~AAAA", (1,)),
        ("dnstype=TYPE64", (64,)),
    ],
)
def test_rule_for_some_types_keeps_them(option: str, types: tuple[int, ...]) -> None:
    read = Read(f"||a.demo^${option}")
    assert [
        entry.types for found in read.lists.find(wire("a.demo")) for entry in found.entries
    ] == [types]


@pytest.mark.parametrize(
    ("line", "expression", "flags", "types"),
    [
        ("/^ad[sx]?[0-9]*\\./", "^ad[sx]?[0-9]*\\.", BOTH, ()),
        ("/banner/$important", "banner", BOTH | IMPORTANT, ()),
        ("@@/x\\/y|z$/$dnstype=A", "x\\/y|z$", BOTH | ALLOWS, (1,)),
        ("||ad*.demo^", "(?:^|\\.)ad.*\\.demo$", BOTH, ()),
        ("||a*b*c*d.demo^", "(?:^|\\.)a(?>.*?b)(?>.*?c).*d\\.demo$", BOTH, ()),
        ("|ad*-x", "^ad(?>.*?\\-x)", BOTH, ()),
        ("ads.demo^", "ads\\.demo$", BOTH, ()),
        ("|ads.", "^ads\\.", BOTH, ()),
        ("||ads.*", "(?:^|\\.)ads\\.", BOTH, ()),
        ("-banner-*", "\\-banner\\-", BOTH, ()),
    ],
)
def test_rule_that_is_not_for_a_domain_becomes_a_regular_expression(
    line: str, expression: str, flags: int, types: tuple[int, ...]
) -> None:
    read = Read(line)
    assert read.lists.patterns == [(expression, 0, flags, 0, types)]
    assert read.says() == (1, {}, 0)


def test_list_with_hundreds_of_sets_of_types_takes_little_memory() -> None:
    read = Read("".join(f"||a.demo^$dnstype=TYPE{number}\n" for number in range(1, 3001)))
    assert read.says() == (31, {"more sets of types than there may be": 2969}, 0)
    (found,) = read.lists.find(wire("a.demo"))
    assert [entry.types for entry in found.entries] == [(number,) for number in range(1, 32)]
    assert len(read.lists.types_of(31)) == 1


def test_domains_with_ever_more_sets_of_types_make_no_large_file() -> None:
    """Each time that the domains are sorted, each has one more: all that it had before is kept."""
    others = (f"||other{number}.demo^" for number in range(768))
    rules = (
        f"||a{number}.demo^$dnstype=TYPE{(number * 37 + turn) % 250 + 1}"
        for turn in range(250)
        for number in range(256)
    )
    text = "\n".join([*others, *rules])
    builder = BlockSetBuilder()
    reader = ListReader(builder, 0)
    reader.feed(text.encode())
    reader.finish()
    assert len(builder.compile()) < len(text)


def test_refused_expression_is_faulty_with_the_reason() -> None:
    reader = ListReader(BlockSetBuilder(), check_pattern=lambda text: f"is {len(text)} long")
    reader.feed(b"a.demo\n/abc/\n")
    reader.finish()
    assert reader.first_faulty == [(2, "abc", "is 3 long")]


def test_expressions_are_left_out_where_nobody_checks_them() -> None:
    reader = ListReader(BlockSetBuilder())
    reader.feed(b"/abc/\n")
    assert reader.left_out == {"a regular expression": 1}


# ---- looking for a line


LIST = b"""# x
a.demo
0.0.0.0 x.a.demo other.demo
||a.demo^
*.a.demo
@@||x.a.demo^$important
/^x\\./
a.demo##.ad
"""


def found_lines(name: str | None = None, pattern: str | None = None) -> list[int]:
    finder = LineFinder(name=wire(name) if name else None, pattern=pattern)
    finder.feed(LIST)
    finder.finish()
    return [line.number for line in finder.found]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("a.demo", [2, 4]),
        ("x.a.demo", [3, 4, 5, 6]),
        ("y.a.demo", [4, 5]),
        ("other.demo", [3]),
        ("xa.demo", []),
        ("demo", []),
    ],
)
def test_lines_that_concern_a_name_are_found(name: str, numbers: list[int]) -> None:
    assert found_lines(name) == numbers


def test_line_with_an_expression_is_found() -> None:
    assert found_lines(pattern="^x\\.") == [7]


def test_line_is_told_as_it_stands_with_the_domain_and_what_it_means() -> None:
    finder = LineFinder(name=wire("x.a.demo"))
    finder.feed(b"b.demo\n  @@||a.demo^$important\r\n")
    finder.finish()
    assert finder.found == [(2, "@@||a.demo^$important", 2, BOTH | ALLOWS | IMPORTANT)]


def test_no_more_lines_are_found_than_wanted() -> None:
    finder = LineFinder(name=wire("a.demo"), most=3)
    finder.feed(b"a.demo\n" * 10)
    assert [line.number for line in finder.found] == [1, 2, 3]
