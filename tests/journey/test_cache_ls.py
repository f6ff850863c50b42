"""`fastdns cache ls`: its entries, their order, as columns, a table or JSON, streamed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .support import stock
from .support.commands import FASTDNS, FIELDS, cache, listed, names, on_terminal
from .support.stock import entry, fill, many, put_raw


def test_ls_lists_every_entry_a_domain_and_what_is_under_it_together(state: Path) -> None:
    assert listed(state) == [
        ("example.", "SOA"),
        ("gone.example.", "A"),
        ("mail.example.", "MX"),
        ("www.example.", "A"),
        ("www.example.", "AAAA"),
        ("notexample.", "A"),
        ("www.show.", "TXT"),
    ]


def test_ls_prints_aligned_columns_under_a_heading_into_a_pipe(state: Path) -> None:
    lines = cache(state, "ls").stdout.splitlines()
    assert lines[0].split() == [
        "STATE",
        "TTL",
        "AGE",
        "HITS",
        "SIZE",
        "RCODE",
        "TYPE",
        "FLAGS",
        "NAME",
    ]
    at = lines[0].index("NAME")
    assert [line[at:] for line in lines[1:]] == names(state)
    www = next(line.split() for line in lines if " A " in line and "www" in line)
    assert (www[0], 195 <= int(www[1]) <= 200, www[3], www[5]) == ("fresh", True, "7", "NOERROR")


def test_ls_keeps_columns_straight_beside_a_type_without_a_name(state: Path) -> None:
    fill(state, [entry("odd.example", "TYPE65280", r"\# 1 00")])
    heading, *lines = cache(state, "ls").stdout.splitlines()
    assert {line[heading.index("FLAGS") :].split()[0] for line in lines} == {"-"}


LONG_NAME = ".".join(["x" * 60] * 4) + ".example."


def test_ls_fits_a_terminal_of_80_columns_with_any_name(state: Path) -> None:
    fill(state, [entry(LONG_NAME, "A", "192.0.2.9", hits=2_345_678)])
    fill(state, [entry("no.example", "A", rcode="NXDOMAIN"), entry("odd.example", "TYPE65280")])
    status, seen = on_terminal(state, "ls")
    assert status == 0
    heading, *lines = seen.replace("\r", "").splitlines()
    assert heading.split() == ["STATE", "TTL", "HITS", "TYPE", "ANSWER", "NAME"]
    assert max(map(len, [heading, *lines])) <= 80
    # A minute may begin between filling the cache and looking at it.
    rows = [re.split(" +", line.strip().replace(" 4m ", " 5m ")) for line in lines]
    [long] = [row for row in rows if "…" in row[-1]]
    assert long[:-1] == ["fresh", "5m", "2345k", "A"]
    assert re.fullmatch(r"x+…x+\.example\.", long[-1])
    assert ["fresh", "5m", "0", "A", "NXDOMAIN", "no.example."] in rows
    assert ["fresh", "5m", "0", "TYPE65280", "NODATA", "odd.example."] in rows
    assert ["expired", "-", "0", "MX", "mail.example."] in rows


def test_ls_long_draws_all_columns_on_a_terminal_and_cuts_no_name(state: Path) -> None:
    long_name = LONG_NAME
    fill(state, [entry(long_name, "A", "192.0.2.9")])
    status, seen = on_terminal(state, "ls", "--long")
    assert status == 0
    assert seen.count("STATE") == 1
    assert long_name in seen.replace("\r\n", "")
    assert " \r\n" not in seen  # a line as wide as the longest would wrap
    assert re.search(r"expired\s+0\s+900\d\d\s+0\s+\d+\s+NOERROR\s+MX\s+-\s+mail\.example\.", seen)


@pytest.mark.parametrize(
    "pattern", ["www.*", "WWW.*", "www.example", "www.example.", "w?w.e*", "www.[et]x*"]
)
def test_ls_takes_a_glob_in_any_case_with_and_without_the_final_dot(
    state: Path, pattern: str
) -> None:
    assert "www.example." in names(state, pattern)
    assert "notexample." not in names(state, pattern)


def test_ls_of_a_glob_lists_what_it_fits_wherever_that_lies(state: Path) -> None:
    assert names(state, "*example") == [
        *("example.", "gone.example.", "mail.example.", "www.example.", "www.example."),
        "notexample.",
    ]
    assert names(state, "*.example") == [
        *("gone.example.", "mail.example.", "www.example.", "www.example.")
    ]


def test_ls_under_a_domain_lists_it_and_all_below_and_no_other(state: Path) -> None:
    assert set(names(state, "--under", "Example.")) == {
        *("example.", "gone.example.", "mail.example.", "www.example.")
    }


def test_ls_of_one_type_and_of_one_state(state: Path) -> None:
    assert names(state, "--type", "a") == ["gone.example.", "www.example.", "notexample."]
    assert listed(state, "--state-is", "stale") == [("www.example.", "AAAA")]
    assert listed(state, "--state-is", "expired") == [("mail.example.", "MX")]
    assert ("www.example.", "A") in listed(state, "--state-is", "fresh")


def test_ls_of_negative_answers_and_of_one_rcode(state: Path) -> None:
    fill(state, [entry("no.example", "A", rcode="NXDOMAIN"), entry("nodata.example", "AAAA")])
    assert names(state, "--rcode", "nxdomain") == ["gone.example.", "no.example."]
    assert names(state, "--negative") == ["gone.example.", "no.example.", "nodata.example."]
    done = cache(state, "ls", "--rcode", "NXDOMIAN", status=2)
    assert '"NXDOMIAN" is not an RCODE (try NXDOMAIN)' in done.stderr


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("hits", [("gone.example.", "A"), ("www.example.", "A")]),
        ("size", [("gone.example.", "A"), ("example.", "SOA")]),
        ("age", [("mail.example.", "MX"), ("www.example.", "A")]),
        ("ttl", [("mail.example.", "MX"), ("www.example.", "AAAA")]),
    ],
)
def test_ls_sorts_with_and_without_a_limit(
    state: Path, sort: str, first: list[tuple[str, str]]
) -> None:
    everything = listed(state, "--sort", sort)
    assert len(everything) == 7
    assert listed(state, "--sort", sort, "--limit", "2") == everything[:2]
    if sort == "size":
        sizes = [
            json.loads(line)["size"]
            for line in cache(state, "ls", "--json", "--sort", sort).stdout.splitlines()
        ]
        assert sizes == sorted(sizes, reverse=True)
    else:
        assert everything[:2] == first


def test_ls_limit_stops_after_that_many(state: Path) -> None:
    assert names(state, "--limit", "2") == names(state)[:2]


def test_json_of_an_entry_has_the_documented_fields_in_their_order(state: Path) -> None:
    found = json.loads(cache(state, "ls", "www.example", "--type", "A", "--json").stdout)
    assert list(found) == FIELDS
    assert found["expires_at"] - found["stored_at"] == pytest.approx(300)
    assert abs(time.time() - found["stored_at"] - found["age"]) < 2
    assert 195 <= found["ttl"] <= 200
    left = {"ttl", "age", "stored_at", "expires_at", "size", "records"}
    assert {name: value for name, value in found.items() if name not in left} == {
        "name": "www.example.",
        "type": "A",
        "class": "IN",
        "do": False,
        "cd": False,
        "view": 0,
        "group": None,
        "rcode": "NOERROR",
        "hits": 7,
        "upstream": stock.UPSTREAM,
        "rtt_ms": 1.5,
        "state": "fresh",
    }
    assert sorted(found["records"], key=lambda one: one["data"]) == [
        {"name": "www.example.", "type": "A", "ttl": found["ttl"], "data": "192.0.2.1"},
        {"name": "www.example.", "type": "A", "ttl": found["ttl"], "data": "192.0.2.2"},
    ]


def test_ls_that_fits_nothing_says_so_with_status_1(state: Path) -> None:
    done = cache(state, "ls", "*.nowhere", status=1)
    assert (done.stdout, done.stderr) == ("", "fastdns: no entry matches\n")


def test_ls_streams_and_holds_no_page_of_the_map_while_its_reader_waits(state: Path) -> None:
    entries = many(3000)
    place = fill(state, entries)
    command = [*FASTDNS, "cache", "ls", "--json", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout is not None
        first = reading.stdout.readline()
        assert json.loads(first)["name"] == "example."
        assert reading.poll() is None  # the rest does not fit into the pipe
        sizes = []
        for _ in range(20):  # LMDB needs three times the room to write all of it anew
            put_raw(place, entries)
            sizes.append((place / "data.mdb").stat().st_size)
        assert sizes[-1] == sizes[4]
        rest = reading.stdout.readlines()
    assert len(rest) == 3006
    assert reading.returncode == 0


def test_reader_that_leaves_early_sees_no_traceback(state: Path) -> None:
    fill(state, many(3000))
    shell = f"{' '.join(FASTDNS)} cache ls --json --state {state} | head -n 1"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_full_disk_behind_standard_output_is_one_line(state: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*FASTDNS, "cache", "ls", "--state", str(state)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "fastdns: cannot write to standard output: No space left on device\n"


def test_ls_does_not_pay_for_libraries_that_it_does_not_need(state: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-X", "importtime", "-m", "fastdns"),
            *("cache", "ls", "--state", str(state)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(re.findall(r"\| +([a-z]+)", done.stderr))
    assert not imported & {"gevent", "rich", "dns", "dnslib"}
