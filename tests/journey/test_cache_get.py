"""`fastdns cache get`: the entries of one name, including odd ones, with records and details."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fastdns._clock import Moment

from .support import stock
from .support.commands import cache, names
from .support.stock import entry, fill


def test_get_shows_records_as_dig_does_and_the_story_of_the_entry(state: Path) -> None:
    lines = cache(state, "get", "WWW.example", "A").stdout.splitlines()
    assert lines[0] == ";; www.example. IN A, DO 0, CD 0"
    assert re.fullmatch(r";; NOERROR, fresh: TTL 300 s, (19\d|200) s left, age 10\d s", lines[1])
    assert re.fullmatch(r";; stored 20[\d-]+ [\d:+]+, hits 7, size \d+ bytes", lines[2])
    assert lines[3] == f";; upstream {stock.UPSTREAM}, round trip 1.5 ms"
    assert lines[4] == ";; ANSWER"
    assert sorted(line.split("\t")[::2] for line in lines[5:]) == [
        ["www.example.", "IN", "192.0.2.1"],
        ["www.example.", "IN", "192.0.2.2"],
    ]


def test_get_shows_all_types_and_all_variants_of_exactly_that_name(state: Path) -> None:
    fill(
        state,
        [
            entry("www.example", "A", "192.0.2.1", do=True),
            entry("www.example", "A", "192.0.2.1", cd=True),
            entry("www.example", "CAA", '0 issue "ca.example"'),
            entry("www.example", "TYPE65280", r"\# 1 00"),
            entry("www.example", "TXT", '"chaos"', rclass="CH"),
            entry("a.www.example", "A", "192.0.2.7"),
            entry(r"\000\001\002\000\000\000\000.www.example", "A", "192.0.2.7"),
        ],
    )
    found = [
        json.loads(line)
        for line in cache(state, "get", "www.example", "--json").stdout.splitlines()
    ]
    assert sorted((one["type"], one["class"], one["do"], one["cd"]) for one in found) == [
        ("A", "IN", False, False),
        ("A", "IN", False, True),
        ("A", "IN", True, False),
        ("AAAA", "IN", False, False),
        ("CAA", "IN", False, False),
        ("TXT", "CH", False, False),
        ("TYPE65280", "IN", False, False),
    ]
    assert {one["name"] for one in found} == {"www.example."}
    only = cache(state, "get", "www.example", "TYPE257", "--json").stdout.splitlines()
    assert [json.loads(line)["type"] for line in only] == ["CAA"]


def test_get_of_a_negative_answer_shows_its_soa(state: Path) -> None:
    printed = cache(state, "get", "gone.example").stdout
    assert ";; NXDOMAIN, fresh" in printed
    assert re.search(r";; AUTHORITY\nexample\.\t5\d\tIN\tSOA\tns\.example\. ", printed)


def test_age_that_no_clock_can_tell_is_null_and_the_entry_stale(state: Path) -> None:
    tomorrow = Moment(Moment.now().wall_ms + 86_400_000, 0, 0)
    fill(state, [entry("future.example", "A", "192.0.2.1", stored=tomorrow)])
    found = json.loads(cache(state, "get", "future.example", "--json").stdout)
    assert (found["age"], found["expires_at"], found["ttl"]) == (None, None, 0)
    assert found["state"] == "stale"
    assert "age unknown" in cache(state, "get", "future.example").stdout


ODD_NAMES = [
    r"nul\000octet.example.",
    ".".join(["x" * 63] * 3 + ["y" * 61]) + ".",
    r"with\.dot.example.",
    r"\255\000.example.",
    "MiXeD.Example",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_name_is_an_entry_of_its_own_found_by_get_and_removed_by_rm(
    state: Path, name: str
) -> None:
    fill(state, [entry(name, "A", "192.0.2.9")])
    found = json.loads(cache(state, "get", name, "--json").stdout)
    assert found["name"] == (name if name.endswith(".") else f"{name}.").lower()
    assert cache(state, "rm", name).stdout == f"removed 1 entry of {found['name']}\n"
    cache(state, "get", name, status=1)
    assert len(names(state)) == 7


def test_hostile_names_and_records_do_not_reach_the_terminal(state: Path) -> None:
    fill(
        state,
        [
            entry(r"a\027[2Jb\000\200c.example", "A", "192.0.2.1"),
            entry("uri.example", "URI", r'1 1 "http\027[2J"'),
            entry("txt.example", "TXT", r'"\027]0;x\007"'),
            entry("odd.example", "TYPE65280", r"\# 4 1b5b324a"),
        ],
    )
    for command in (["ls"], ["ls", "--json"], ["get", "uri.example"], ["get", "txt.example"]):
        printed = cache(state, *command).stdout
        assert printed.replace("\n", "").replace("\t", "").isprintable()
        assert printed.isascii()
    assert r"a\027[2jb\000\200c.example." in cache(state, "ls").stdout
    assert r"\# 4 1b5b324a" in cache(state, "get", "odd.example").stdout


def test_get_of_what_is_absent_is_one_line_with_status_1(state: Path) -> None:
    assert cache(state, "get", "nope.example", status=1).stderr == (
        "fastdns: no entry for nope.example.\n"
    )
    assert cache(state, "get", "www.example", "MX", status=1).stderr == (
        "fastdns: no entry for www.example. MX\n"
    )
