"""Block lists compiled into a file: what they say there is what they say as text."""

from __future__ import annotations

import gzip
import io
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastdns._block_set import ITSELF, UNDER, BlockSet
from fastdns.policy.block_lists.compile import ListSource, compile_sources

HOSTS = """# Title: a hosts file
127.0.0.1 localhost
::1 localhost
0.0.0.0 0.0.0.0

0.0.0.0 ads.shop.example
0.0.0.0 0.0.0.0.hits.example # as some lists have it
0.0.0.0 track.example www.track.example
"""
DOMAINS = "# one a line\nads.shop.example\nstats.blog.test\n"
ADBLOCK = """[Adblock Plus]
! Title: rules
||banner.example^
||cdn.banner.test^$important
@@||good.banner.example^
||gone.example^$client=192.0.2.7
shop.example##.ad
"""
DNSMASQ = "server=/search.test/192.0.2.1\naddress=/popup.test/#\nbogus-nxdomain=192.0.2.9\n"
ZONE = (
    "$TTL 60\n@ SOA . . 1 2 3 4 5\nphish.test CNAME .\n*.phish.test CNAME .\n*.odd.test CNAME .\n"
)


def wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def source(name: str, text: str | bytes) -> ListSource:
    octets = text.encode() if isinstance(text, str) else text
    return ListSource(name, lambda: io.BytesIO(octets))


def sources_with(lists: BlockSet, name: str) -> set[int]:
    """Which sources say something of a name."""
    return {
        entry.source
        for found in lists.find(wire(name))
        for entry in found.entries
        if entry.flags & (ITSELF if found.is_whole else UNDER)
    }


def read_independently(text: str) -> tuple[set[str], set[str]]:
    """Domains that are meant themselves, and those under which all names are: a dozen lines."""
    itself, under = set(), set()
    for line in text.splitlines():
        if match := re.fullmatch(r"(?:0\.0\.0\.0 )?((?:[\w-]+\.)+[a-z]+)(?: .*)?", line):
            itself.add(match[1])
        elif match := re.fullmatch(r"(?:\|\||address=/|server=/)([^^/]+)(?:\^|/.*)", line):
            itself.add(match[1])
            under.add(match[1])
        elif match := re.fullmatch(r"(\*\.)?(\S+) CNAME \.", line):
            (under if match[1] else itself).add(match[2])
    return itself, under


def test_each_name_of_each_list_is_found_and_those_beside_it_are_not(tmp_path: Path) -> None:
    drawn = random.Random(15)
    words = ("ad", "track", "cdn", "x1", "stats-7", "shop")
    names = sorted({".".join(drawn.choices(words, k=drawn.randint(1, 3))) for _ in range(900)})
    forms = ("0.0.0.0 {}", "{}", "||{}^", "address=/{}/0.0.0.0", "server=/{}/192.0.2.1#53")
    texts = [
        "\n".join(form.format(f"{name}.test") for name in names[n::6])
        for n, form in enumerate(forms)
    ]
    texts.append(
        "@ SOA . . 1 2 3 4 5\n"
        + "\n".join(f"{n}.test CNAME .\n*.{n}.test CNAME ." for n in names[5::6])
    )
    path = tmp_path / "compiled"
    compile_sources([source(str(number), text) for number, text in enumerate(texts)], path)
    lists = BlockSet(path.read_bytes())
    read = [read_independently(text) for text in texts]
    for name in names:
        for near in (name, f"www.{name}", name.partition(".")[2], f"x{name}", name[1:], f"{name}x"):
            labels = f"{near}.test".strip(".").split(".")
            parents = {".".join(labels[n:]) for n in range(1, len(labels))}
            expected = {
                number
                for number, (itself, under) in enumerate(read)
                if ".".join(labels) in itself or parents & under
            }
            if "" not in labels:
                assert sources_with(lists, ".".join(labels)) == expected, labels
    assert sources_with(lists, f"{names[0]}.example") == set()


def test_figures_say_what_was_taken_and_left_out_also_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "compiled"
    figures = compile_sources(
        [
            source("hosts", HOSTS),
            source("domains", DOMAINS),
            source("adblock", ADBLOCK)._replace(notes={"age": 7}),
            source("dnsmasq", DNSMASQ + "bad line\n"),
            source("zone", ZONE),
        ],
        path,
    )
    assert [(one.url, one.lines, one.taken, one.left_out, one.faulty) for one in figures] == [
        ("hosts", 8, 4, {}, 0),
        ("domains", 3, 2, {}, 0),
        ("adblock", 7, 3, {"$client": 1, "a cosmetic rule": 1}, 0),
        ("dnsmasq", 4, 2, {"another setting of dnsmasq": 1}, 1),
        ("zone", 5, 3, {}, 0),
    ]
    assert figures[3].first_faulty == [(4, "bad line", "is not a domain")]
    lists = BlockSet(path.read_bytes())
    assert lists.is_whole()
    assert [one["url"] for one in lists.sources] == [
        "hosts",
        "domains",
        "adblock",
        "dnsmasq",
        "zone",
    ]
    assert lists.sources[2]["age"] == 7
    assert lists.sources[3]["first_faulty"] == [[4, "bad line", "is not a domain"]]
    assert sources_with(lists, "ads.shop.example") == {0, 1}
    assert sources_with(lists, "www.ads.shop.example") == set()
    assert sources_with(lists, "a.cdn.banner.test") == {2}


def test_zone_that_does_not_name_itself_is_read_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "compiled"
    text = "phish.test.rpz.demo. 60 IN CNAME .\n"
    compile_sources([source("zone", text)._replace(zone=wire("rpz.demo"))], path)
    assert sources_with(BlockSet(path.read_bytes()), "phish.test") == {0}


def test_former_file_stays_when_a_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "compiled"
    compile_sources([source("a", "a.test\n")], path)
    former = path.read_bytes()

    def fails(number: int, octets: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_sources([source("b", "b.test\n")], path, fails)
    (tmp_path / "compiled.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        compile_sources([source("b", "b.test\n")], path)
    assert path.read_bytes() == former


def test_damaged_copy_counts_as_far_as_it_was_read_and_says_so(tmp_path: Path) -> None:
    packed = gzip.compress("".join(f"n{n}.test\n" for n in range(200_000)).encode())
    half = packed[: len(packed) // 2]
    path = tmp_path / "compiled"
    missing = ListSource("c", lambda: (tmp_path / "missing").open("rb"))
    good = source("b", "b.test\n")
    damaged = ListSource("a", lambda: gzip.GzipFile(fileobj=io.BytesIO(half)))
    figures = compile_sources([damaged, good, missing], path)
    assert 0 < figures[0].taken < 200_000
    assert figures[0].problem
    assert (figures[1].taken, figures[1].problem) == (1, None)
    assert "No such file" in str(figures[2].problem)
    assert sources_with(BlockSet(path.read_bytes()), "n7.test") == {0}


def test_progress_is_told_for_each_part_of_each_source(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    text = "x" * 63 + ".test\n"
    compile_sources(
        [source("a", text * 9000), source("b", text)],
        tmp_path / "compiled",
        lambda number, octets: told.append((number, octets)),
    )
    assert told[-2:] == [(0, 9000 * len(text)), (1, len(text))]
    assert len(told) > 2


MEASURE = """
import contextlib, sys
from pathlib import Path
from fastdns.policy.block_lists.compile import ListSource, compile_sources

class Text(contextlib.nullcontext):
    number = 0
    def __enter__(self): return self
    def read(self, most):
        if self.number == 400_000: return b""
        self.number += 1000
        return b"".join(b"||%x.ads.example^\\n" % (self.number + n) for n in range(1000))

def resident():
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmHWM"))

before = resident()
(figures,) = compile_sources([ListSource("a", Text)], Path(sys.argv[1]))
print(figures.taken, resident() - before)
"""


def test_memory_is_that_of_the_domains_and_not_of_the_lists(tmp_path: Path) -> None:
    path = tmp_path / "compiled"
    command = [sys.executable, "-c", MEASURE, str(path)]
    taken, kib = map(int, subprocess.check_output(command, timeout=300).split())
    assert taken == 400_000
    assert kib < 20 * 400_000 // 1024 + 2048  # bytes a domain; the list has 21
    assert path.stat().st_size < 12 * 400_000


@pytest.mark.parametrize("seed", range(3))
def test_rubbish_is_read_to_its_end_and_told_in_few_words(seed: int, tmp_path: Path) -> None:
    drawn = random.Random(seed)
    pieces = [HOSTS, DOMAINS, ADBLOCK, DNSMASQ, ZONE, "<html>\n<body>", "\0\0\n", "/(((/\n", "@@\n"]
    pieces += [
        "|\n||\n|||\n^\n$\n",
        "@@/\n/\n//\n",
        "*\n*.\n.\n..\n",
        "address=\nserver=/\n",
        "\ufeff",
    ]
    for _ in range(60):
        text = bytearray("".join(drawn.choices(pieces, k=12)).encode())
        for _ in range(drawn.randrange(40)):
            text[drawn.randrange(len(text))] = drawn.choice(b'\0\n\r\t |^$*/.#;()"\\@-\xff\xc3ax0:')
        (figures,) = compile_sources([source("a", bytes(text))], tmp_path / "compiled")
        assert len(figures.first_faulty) <= 10
        assert all(len(line) <= 100 for _, line, _ in figures.first_faulty)
        assert figures.lines in (text.count(b"\n"), text.count(b"\n") + 1)
        assert BlockSet((tmp_path / "compiled").read_bytes()).is_whole()
