"""`fastdns cache`, as its users meet it: what is printed, what is changed, the exit status."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import resource
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fastdns import _control
from fastdns._control import Control
from fastdns._entry import Moment
from fastdns._ring import Ring

from .support import stock
from .support.client import eventually
from .support.commands import COMMANDS, FASTDNS, FIELDS, cache, listed, names, on_terminal
from .support.stock import entry, fill, put_raw


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The directory of a daemon that was stopped, with some entries."""
    directory = tmp_path / "state"
    fill(
        directory,
        [
            entry("example", "SOA", f"{stock.SOA} 60", ttl=3600, age=10),
            entry("www.example", "A", "192.0.2.1", "192.0.2.2", ttl=300, age=100, hits=7),
            entry("www.example", "AAAA", "2001:db8::1", ttl=60, age=100, hits=2),
            entry("mail.example", "MX", "10 mx.example.", ttl=600, age=90_000),
            entry("gone.example", "A", ttl=60, age=5, rcode="NXDOMAIN", hits=40),
            entry("notexample", "A", "192.0.2.3", ttl=900, age=1),
            entry("www.test", "TXT", '"one" "two"', ttl=120, age=20),
        ],
    )
    return directory


# ---- ls


def test_ls_lists_every_entry_a_domain_and_what_is_under_it_together(state: Path) -> None:
    assert listed(state) == [
        ("example.", "SOA"),
        ("gone.example.", "A"),
        ("mail.example.", "MX"),
        ("www.example.", "A"),
        ("www.example.", "AAAA"),
        ("notexample.", "A"),
        ("www.test.", "TXT"),
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


def test_ls_draws_a_table_on_a_terminal_and_cuts_no_name(state: Path) -> None:
    long_name = ".".join(["x" * 60] * 4) + ".example."
    fill(state, [entry(long_name, "A", "192.0.2.9")])
    status, seen = on_terminal(state, "ls")
    assert status == 0
    assert seen.count("STATE") == 1
    assert long_name in seen.replace("\r\n", "")
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


def test_age_that_no_clock_can_tell_is_null_and_the_entry_stale(state: Path) -> None:
    tomorrow = Moment(Moment.now().wall_ms + 86_400_000, 0, 0)
    fill(state, [entry("future.example", "A", "192.0.2.1", stored=tomorrow)])
    found = json.loads(cache(state, "get", "future.example", "--json").stdout)
    assert (found["age"], found["expires_at"], found["ttl"]) == (None, None, 0)
    assert found["state"] == "stale"
    assert "age unknown" in cache(state, "get", "future.example").stdout


def test_ls_that_fits_nothing_says_so_with_status_1(state: Path) -> None:
    done = cache(state, "ls", "*.nowhere", status=1)
    assert (done.stdout, done.stderr) == ("", "fastdns: no entry fits\n")


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


def many(count: int) -> list[stock.Entry]:
    return [entry(f"n{number}.many", "A", "192.0.2.1", age=1) for number in range(count)]


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
        [sys.executable, "-X", "importtime", *FASTDNS[1:], "cache", "ls", "--state", str(state)],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(re.findall(r"\| +([a-z]+)", done.stderr))
    assert not imported & {"gevent", "rich", "dns", "dnslib"}


# ---- get


def test_get_shows_records_as_dig_does_and_the_story_of_the_entry(state: Path) -> None:
    lines = cache(state, "get", "WWW.example", "A").stdout.splitlines()
    assert lines[0] == ";; www.example. IN A, DO 0, CD 0"
    assert re.fullmatch(
        r";; NOERROR, fresh: TTL 300 s, (19\d|200) s left, age 10\d s, stored 20.*", lines[1]
    )
    assert re.fullmatch(
        rf";; hits 7, size \d+ octets, upstream {stock.UPSTREAM}, round trip 1\.5 ms", lines[2]
    )
    assert lines[3] == ";; ANSWER"
    assert sorted(line.split("\t")[::2] for line in lines[4:]) == [
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


def test_get_of_what_is_absent_is_one_line_with_status_1(state: Path) -> None:
    assert cache(state, "get", "nope.example", status=1).stderr == (
        "fastdns: no entry for nope.example.\n"
    )
    assert cache(state, "get", "www.example", "MX", status=1).stderr == (
        "fastdns: no entry for www.example. MX\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["get"], "Missing argument 'NAME'"),
        (["get", "a..b"], '"a..b" has an empty label'),
        (["get", "münchen.de"], "is not in ASCII"),
        (["get", "x" * 64], "has a label of 64 octets"),
        (["get", r"a\300.example"], r'"a\300.example": \300 is no octet'),
        (["get", "A", "www.example"], '"www.example" is no type of records'),
        (["get", "www.example", "65"], "try TYPE65"),
        (["ls", "--type", "TYPE65536"], '"TYPE65536" is no type of records'),
        (["ls", "--under", ""], "is empty"),
        (["ls", "--limit", "0"], "0 is not in the range"),
        (["ls", "--sort", "name"], "'name' is not one of"),
        (["ls", "a", "b"], "unexpected extra argument"),
        (["flush"], "say --yes, or --under DOMAIN"),
        (["flush", "--under", "."], "say --yes, or --under DOMAIN"),
        (["nonsense"], "No such command 'nonsense'"),
        (["export"], "Missing argument 'FILE'"),
        ([], "Missing command"),
    ],
)
def test_bad_use_is_told_with_status_2(state: Path, arguments: Sequence[str], problem: str) -> None:
    done = cache(None if not arguments else state, *arguments, status=2)
    assert done.stdout == ""
    assert problem in done.stderr


@pytest.mark.parametrize("command", [*COMMANDS, ["refresh", "x"]])
def test_without_a_cache_a_command_is_one_line_with_status_1_and_creates_nothing(
    tmp_path: Path, command: Sequence[str]
) -> None:
    done = cache(tmp_path / "state", *command, status=1)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith("(say which one with -c or --state)\n")
    assert list(tmp_path.iterdir()) == []


def test_reading_leaves_no_file_behind(state: Path) -> None:
    (state / "cache" / "lock.mdb").unlink()
    (state / "cache" / "writer").unlink()
    before = sorted(path.name for path in state.rglob("*"))
    for command in (["ls"], ["get", "www.example"], ["stats"], ["verify"], ["export", "-"]):
        cache(state, *command)
    assert sorted(path.name for path in state.rglob("*")) == before


def test_configuration_that_is_being_edited_does_not_keep_from_looking(
    state: Path, tmp_path: Path
) -> None:
    config = tmp_path / "fastdns.toml"
    config.write_text(f'state_dir = "{state}"\nlog_level = "loud"\n')
    done = cache(None, "ls", "-c", str(config))
    assert "www.example." in done.stdout
    assert "log_level" in done.stderr
    config.write_text(f'state_dir = "{state}"\n[cache]\nstale = "0s"\n')
    lines = cache(None, "ls", "--json", "www.example", "-c", str(config)).stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["fresh", "expired"]


# ---- beside a daemon


@pytest.fixture
def hung(state: Path) -> Iterator[Path]:
    """The directory of a daemon that runs, by its lock, and does not answer."""
    with (state / "lock").open("w") as lock:
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield state


def test_reading_beside_a_daemon_that_does_not_answer_goes_on_and_says_so(hung: Path) -> None:
    done = cache(hung, "get", "www.example")
    assert "192.0.2.1" in done.stdout
    assert done.stderr == (
        "warning: the running daemon did not take in its newest answers; they may be missing here\n"
    )


def test_answers_that_a_dead_daemon_left_in_a_ring_are_counted(state: Path) -> None:
    ring = Ring.open(state / "run" / "ring.2")
    for number in range(3):
        key, value = entry(f"r{number}.example", "A", "192.0.2.1")
        stock.hand_over(ring, key, value)
    before = (state / "run" / "ring.2").read_bytes()
    done = cache(state, "ls")
    assert done.stderr == (
        "warning: 3 answers of the daemon that ran wait for its next start to be taken in\n"
    )
    assert (state / "run" / "ring.2").read_bytes() == before


def test_cache_is_found_where_the_control_page_says(state: Path, tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", [entry("there.example", "A", "192.0.2.1")])
    Control.open(state / "run" / "control", tmp_path / "elsewhere" / "cache")
    assert names(state) == ["there.example."]


@pytest.fixture
def held(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the write lock and is stopped."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom fastdns.cache.lock import writer_lock\n"
        "with writer_lock(Path(sys.argv[1]), 5):\n print(flush=True)\n time.sleep(100)\n"
    )
    command = [sys.executable, "-c", script, str(state / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


@pytest.mark.parametrize("command", [["rm", "www.example"], ["flush", "--yes"]])
def test_change_while_a_stopped_process_holds_the_lock_names_its_pid(
    state: Path, held: subprocess.Popen[bytes], command: Sequence[str]
) -> None:
    began = time.monotonic()
    done = cache(state, *command, status=1)
    assert 2 <= time.monotonic() - began < 6
    assert done.stderr == (
        f"fastdns: the write lock of {state}/cache is held by pid {held.pid} (stopped?)\n"
    )
    assert len(names(state)) == 7


def test_removal_is_told_to_the_daemon_after_the_disk_has_it(state: Path) -> None:
    control = Control.open(state / "run" / "control", state / "cache")
    cache(state, "rm", "www.example", "AAAA")
    cache(state, "rm", "www.example")
    cache(state, "flush", "--under", "Example.")
    cache(state, "flush", "--yes")
    www, example = b"\3www\7example\0", b"\7example\0"
    changes = control.since(0)
    assert changes is not None
    assert [change[:3] for change in changes] == [
        (_control.CHANGE_NAME, 28, www),
        (_control.CHANGE_NAME, 0, www),
        (_control.CHANGE_UNDER, 0, example),
        (_control.CHANGE_ALL, 0, b""),
    ]


def test_name_that_the_disk_lacks_is_still_forgotten_by_the_daemon(hung: Path) -> None:
    control = Control.open(hung / "run" / "control", hung / "cache")
    done = cache(hung, "rm", "other.example")  # it may be in memory: nobody says that it is not
    assert "on disk; what is not taken in yet is forgotten, too" in done.stdout
    assert control.epoch == 1


def test_removal_beside_a_daemon_that_cannot_be_told_is_refused(hung: Path) -> None:
    done = cache(hung, "rm", "www.example", status=1)
    assert "the running daemon cannot be told" in done.stderr
    assert len(names(hung)) == 7


def test_refresh_beside_a_daemon_that_cannot_be_told_does_not_say_that_none_runs(
    hung: Path,
) -> None:
    done = cache(hung, "refresh", "www.example", status=1)
    assert "the running daemon cannot be told" in done.stderr


def test_refresh_without_a_daemon_is_one_line_with_status_1(state: Path) -> None:
    assert cache(state, "refresh", "www.example", status=1).stderr == (
        f"fastdns: no daemon runs with state_dir {state} to ask upstream "
        "(say which one with -c or --state)\n"
    )


def test_refresh_that_brings_nothing_newer_leaves_the_entry_with_status_1(hung: Path) -> None:
    control = Control.open(hung / "run" / "control", hung / "cache")
    done = cache(hung, "refresh", "www.example", "A", status=1)
    assert done.stderr.splitlines()[-1] == (
        "fastdns: www.example. A: no newer answer came within 5 s; the old entry stays"
    )
    changes = control.since(0)
    assert changes is not None
    assert [change[:3] for change in changes] == [(_control.CHANGE_REFRESH, 1, b"\3www\7example\0")]
    assert ("www.example.", "A") in listed(hung)


# ---- rm and flush


def test_rm_removes_only_what_it_names(state: Path) -> None:
    fill(state, [entry("www.example", "A", "192.0.2.1", do=True)])
    fill(state, [entry("a.www.example", "A", "192.0.2.1")])
    assert cache(state, "rm", "www.example", "A").stdout == (
        "removed 2 entries of www.example. A\n"
    )
    left = listed(state)
    assert ("www.example.", "AAAA") in left
    assert ("a.www.example.", "A") in left
    assert len(left) == 7


def test_rm_of_what_is_absent_is_one_line_with_status_1(state: Path) -> None:
    assert cache(state, "rm", "nope.example", status=1).stderr == (
        "fastdns: no entry for nope.example.\n"
    )


def test_flush_of_a_domain_takes_what_is_under_it_and_nothing_else(state: Path) -> None:
    assert cache(state, "flush", "--under", "example").stdout == (
        "removed 5 entries under example.\n"
    )
    assert names(state) == ["notexample.", "www.test."]


def test_flush_under_the_root_with_yes_removes_everything(state: Path) -> None:
    assert cache(state, "flush", "--under", ".", "--yes").stdout == "removed 7 entries under .\n"
    assert names(state) == []


@pytest.mark.parametrize("everything", [[], ["--under", "."]])
def test_flush_of_everything_asks_on_a_terminal(state: Path, everything: list[str]) -> None:
    status, seen = on_terminal(state, "flush", *everything, typed="n\n")
    assert status == 1
    assert f"Remove all of {state}/cache? [y/N]: " in seen
    assert "fastdns: nothing was removed" in seen
    assert len(names(state)) == 7
    status, seen = on_terminal(state, "flush", *everything, typed="y\n")
    assert (status, "removed 7 entries" in seen) == (0, True)
    done = cache(state, "ls")
    assert (done.stdout, done.stderr) == ("", f"the cache {state}/cache is empty\n")


# ---- stats


def test_stats_sums_up_as_json(state: Path) -> None:
    found = json.loads(cache(state, "stats", "--json").stdout)
    assert found["path"] == str(state / "cache")
    assert [found[name] for name in ("entries", "fresh", "stale", "expired")] == [7, 5, 1, 1]
    assert (found["negative"], found["negative_share"]) == (1, round(1 / 7, 4))
    assert (found["hits"], found["damaged"]) == (49, 0)
    assert 90_000 <= found["oldest_seconds"] < 90_060
    assert found["map_bytes"] == stock.MAP_OCTETS
    assert 0 < found["live_bytes"] <= found["file_bytes"]
    histogram = {one["from"]: one["entries"] for one in found["ttl_histogram"]}
    assert histogram == {0: 1, 60: 2, 300: 1, 900: 1, 3600: 0, 21600: 0, 86400: 0}
    assert found["origins"] == [{"origin": "0000000000000001", "entries": 7}]


def test_stats_prints_a_name_and_a_value_a_line_into_a_pipe(state: Path) -> None:
    lines = dict(line.split() for line in cache(state, "stats").stdout.splitlines())
    assert (lines["entries"], lines["stale"], lines["ttl_from_60"]) == ("7", "1", "2")


def test_stats_draws_tables_on_a_terminal(state: Path) -> None:
    status, seen = on_terminal(state, "stats")
    assert status == 0
    assert re.search(r"entries\W+7\W", seen)
    assert re.search(r"under 60\W+1\W+#", seen)


# ---- damage


def test_verify_of_a_sound_cache_says_how_much_it_has_read(state: Path) -> None:
    assert cache(state, "verify").stdout == "7 entries, all sound\n"


def test_verify_names_each_damaged_entry_and_others_are_still_shown(state: Path) -> None:
    key, value = entry("bad.example", "A", "192.0.2.1")
    other, _ = entry("swapped.example", "A", "192.0.2.1")
    put_raw(
        state / "cache",
        [(key, value[:-1] + b"\xff"), (other, value), (b"\x01\x07nonsense", b"x")],
    )
    done = cache(state, "verify", status=1)
    assert sorted(done.stderr.splitlines()) == [
        "bad.example. A: its checksum is wrong",
        f"fastdns: 3 of 10 entries of {state}/cache are damaged",
        "key 01076e6f6e73656e7365: not a key of this cache",
        "swapped.example. A: its message does not answer its question",
    ]
    shown = cache(state, "ls")
    assert len(shown.stdout.splitlines()) == 1 + 8
    assert "2 damaged entries were left out" in shown.stderr
    assert "checksum is wrong" in cache(state, "get", "bad.example", status=1).stderr


def cut_short(data: Path) -> None:
    os.truncate(data, 12288)


def overwritten_with_zeros(data: Path) -> None:
    with data.open("r+b") as file:
        file.seek(8192)
        file.write(bytes(65536))


def overwritten_with_ones(data: Path) -> None:
    with data.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 65536)


def another_file(data: Path) -> None:
    data.write_bytes(b"not a database " * 1000)


@pytest.mark.parametrize(
    "damage", [cut_short, overwritten_with_zeros, overwritten_with_ones, another_file]
)
def test_damaged_file_is_one_line_with_status_1_whatever_is_asked(
    state: Path, damage: object
) -> None:
    fill(state, many(500))
    data = state / "cache" / "data.mdb"
    damage(data)
    for command in COMMANDS:
        done = cache(state, *command, status=1)
        assert f"the disk cache {state}/cache" in done.stderr or "is damaged" in done.stderr
        assert "signal" not in done.stderr


def test_cache_of_another_version_is_one_line(state: Path) -> None:
    def change() -> None:
        store = stock.Store.open_existing(state / "cache")
        with store.env.begin(write=True, db=store.about) as transaction:
            transaction.put(b"format", b"2")
        store.close()

    stock.in_child(change)
    assert cache(state, "ls", status=1).stderr == (
        f"fastdns: the disk cache {state}/cache was written by another version of fastdns\n"
    )


# ---- export and import


def exported(state: Path) -> list[dict[str, object]]:
    lines = cache(state, "export", "-").stdout.splitlines()
    return [json.loads(line) for line in lines]


def kept(found: dict[str, object]) -> dict[str, object]:
    """What does not change from one moment and one configuration to the next."""
    moving = {"ttl", "age", "records", "stored_at", "expires_at", "state"}
    return {name: value for name, value in found.items() if name not in moving}


def test_export_into_import_moves_a_cache_and_keeps_ages(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "entries.json"
    cache(state, "export", str(file))
    other = tmp_path / "other"
    done = cache(other, "import", str(file), "--upstream", "192.0.2.53")
    assert done.stdout == "imported 6 entries, 1 left out (expired, or not to be kept)\n"
    theirs = [one for one in exported(state) if one["state"] != "expired"]
    ours = exported(other)
    assert list(map(kept, ours)) == list(map(kept, theirs))
    assert [one["state"] for one in ours] == [one["state"] for one in theirs]
    for one, source in zip(ours, theirs, strict=True):
        assert one["stored_at"] == pytest.approx(source["stored_at"], abs=0.01)
    assert list(ours[0]) == [*FIELDS, "wire"]


def test_import_never_replaces_what_is_newer(state: Path, tmp_path: Path) -> None:
    lines = cache(state, "export", "-").stdout
    other = tmp_path / "other"
    cache(other, "import", "-", text_in=lines)
    newer = exported(other)[-1] | {"hits": 77, "age": 0.0, "stored_at": time.time()}
    assert cache(other, "import", "-", text_in=json.dumps(newer)).stdout.startswith("imported 1 ")
    done = cache(other, "import", "-", text_in=lines)
    assert done.stdout.startswith("imported 0 entries, 6 were not newer than ours")
    assert exported(other)[-1]["hits"] >= 77


def test_import_takes_the_place_of_what_other_upstreams_gave(state: Path) -> None:
    lines = cache(state, "export", "-").stdout
    fill(state, [entry("www.example", "A", "192.0.2.77")])
    assert cache(state, "import", "-", text_in=lines).stdout.startswith("imported 6 entries")
    assert "192.0.2.77" not in cache(state, "get", "www.example", "A").stdout


def test_import_of_an_age_that_is_unknown_makes_a_stale_entry(state: Path, tmp_path: Path) -> None:
    one = next(one for one in exported(state) if one["name"] == "notexample.")
    other = tmp_path / "other"
    cache(other, "import", "-", text_in=json.dumps(one | {"age": None}))
    found = json.loads(cache(other, "get", "notexample", "--json").stdout)
    assert (found["state"], found["age"]) == ("stale", None)


def wire_of(state: Path, name: str) -> bytes:
    return next(
        base64.b64decode(str(one["wire"])) for one in exported(state) if one["name"] == name
    )


def test_bad_line_names_its_number_and_stops_nothing_else(state: Path, tmp_path: Path) -> None:
    good = next(one for one in exported(state) if one["name"] == "notexample.")

    def changed(**fields: object) -> str:
        return json.dumps(good | fields)

    wire = wire_of(state, "notexample.")
    failure = base64.b64encode(wire[:3] + bytes((wire[3] & 0xF0 | 2,)) + wire[4:]).decode()
    cut = base64.b64encode(wire[:-1]).decode()
    lines = [
        ("{", "is not a line of JSON"),
        ("[]", "is not a JSON object"),
        ("[" * 100_000, "is too deeply nested"),
        ("\udcff", "is not a line of JSON"),
        (changed(name="a..b"), 'name: "a..b" has an empty label (two dots in a row)'),
        (changed(name=None), "name: is missing"),
        (changed(type=1), "type: is not a text"),
        (changed(type="BOGUS"), 'type: "BOGUS" is no type of records (try AAAA or TYPE65280)'),
        (changed(name="other.example"), "wire: is no well-formed answer to this question"),
        (changed(wire=cut), "wire: is no well-formed answer to this question"),
        (changed(wire=failure), "wire: is a failure (SERVFAIL), which is not kept"),
        (changed(wire="?"), "wire: is not base64"),
        (changed(wire=None), "wire: is missing (fastdns cache export writes it)"),
        (changed(stored_at="now"), "stored_at: is not a number of seconds"),
        (changed(stored_at=float("nan")), "stored_at: is not a time"),
        (changed(do=1), "do: is not true or false"),
        (changed(view=-1), "view: is not an integer from 0 to 65535"),
        (changed(hits=1.5), "hits: is not an integer from 0 to 9223372036854775808"),
        (changed(rtt_ms=-1), "rtt_ms: is not a round trip"),
        (changed(upstream=["x"]), "upstream: a list is not the address of an upstream"),
    ]
    text = "\n".join([line for line, _ in lines] + ["", json.dumps(good), ""])
    file = tmp_path / "lines"
    file.write_text(text, errors="surrogateescape")
    other = tmp_path / "other"
    done = cache(other, "import", str(file), status=1)
    assert done.stderr.splitlines() == [
        f"{file}:{number}: {problem}" for number, (_, problem) in enumerate(lines, 1)
    ]
    assert done.stdout == f"imported 1 entry, {len(lines)} bad\n"
    assert names(other) == ["notexample."]


def test_bad_lines_without_end_are_told_twenty_times_and_then_counted(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("{\n" * 500)
    done = cache(tmp_path / "other", "import", str(file), status=1)
    *told, last = done.stderr.splitlines()
    assert told == [f"{file}:{number}: is not a line of JSON" for number in range(1, 21)]
    assert last == f"{file}: further bad lines are only counted"
    assert done.stdout == "imported 0 entries, 500 bad\n"


DUMP = """\
START_RRSET_CACHE
;rrset 600 1 0 8 0
www.example.test.	600	IN	A	192.0.2.80
END_RRSET_CACHE
START_MSG_CACHE
msg www.example.test. IN A 33152 1 600 0 1 0 0
www.example.test. IN A 0
END_MSG_CACHE
EOF
"""


@pytest.mark.parametrize(("octets", "line"), [(-4, 8), (DUMP.index("END_MSG"), 7)])
def test_dump_that_was_cut_is_taken_in_as_far_as_it_goes_and_told_with_status_1(
    tmp_path: Path, octets: int, line: int
) -> None:
    done = cache(tmp_path / "other", "import", "-", text_in=DUMP[:octets], status=1)
    assert done.stderr == f"fastdns: -: the dump ends early (line {line})\n"
    assert done.stdout == "imported 1 entry\n"
    assert cache(tmp_path / "whole", "import", "-", text_in=DUMP).stderr == ""


def test_import_says_when_the_cache_is_full(state: Path, tmp_path: Path) -> None:
    lines = cache(state, "export", "-").stdout.splitlines()
    one = json.loads(next(line for line in lines if '"notexample."' in line))
    wire = base64.b64decode(one["wire"])
    config = tmp_path / "fastdns.toml"
    config.write_text(f'state_dir = "{tmp_path}/other"\n[cache]\ndisk = "3MiB"\n')
    text = []
    for number in range(20_000):
        label = f"{number:010d}".encode()  # as long as the label that it replaces
        changed = wire.replace(b"notexample", label)
        name = label.decode()
        text.append(json.dumps(one | {"name": name, "wire": base64.b64encode(changed).decode()}))
    done = cache(None, "import", "-", "-c", str(config), text_in="\n".join(text), status=1)
    assert re.fullmatch(
        rf"fastdns: the disk cache {tmp_path}/other/cache is full \(cache.disk says how large\)"
        r"(; imported \d+ entries, the rest was left out)?\n",
        done.stderr,
    )
    # As full as the keeper lets it be, so that it can still write.
    told = json.loads(cache(None, "stats", "--json", "-c", str(config)).stdout)
    assert 0.8 <= told["map_use"] < 0.9


@pytest.mark.parametrize("command", ["export", "import"])
def test_file_that_cannot_be_opened_is_one_line(state: Path, command: str) -> None:
    done = cache(state, command, str(state), status=1)
    assert "Is a directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_export_that_fails_leaves_what_the_file_held(tmp_path: Path) -> None:
    file = tmp_path / "entries.json"
    file.write_text("precious\n")
    cache(tmp_path / "state", "export", str(file), status=1)
    assert file.read_text() == "precious\n"
    assert list(tmp_path.iterdir()) == [file]


def limit_files() -> None:
    """Let no file grow beyond 64 KiB, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))


def test_export_for_which_there_is_no_room_leaves_what_the_file_held(
    state: Path, tmp_path: Path
) -> None:
    fill(state, many(3000))
    file = tmp_path / "entries.json"
    file.write_text("precious\n")
    before = set(tmp_path.iterdir())
    done = subprocess.run(
        [*FASTDNS, "cache", "export", str(file), "--state", str(state)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=limit_files,
    )
    assert done.returncode == 1
    assert done.stderr == f"fastdns: cannot write {file}: File too large\n"
    assert file.read_text() == "precious\n"
    assert set(tmp_path.iterdir()) == before


def test_export_that_is_killed_leaves_what_the_file_held(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "entries.json"
    file.write_text("precious\n")
    before = set(tmp_path.iterdir())
    # The new file is there before the configuration is read: here it is read from a pipe.
    os.mkfifo(state / "config")
    command = [*FASTDNS, "cache", "export", str(file), "-c", str(state / "config")]
    process = subprocess.Popen(command, start_new_session=True)
    eventually(lambda: set(tmp_path.iterdir()) - before, bool)
    process.terminate()  # which it hands on to who writes
    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    eventually(lambda: set(tmp_path.iterdir()), lambda found: found == before)
    assert file.read_text() == "precious\n"


def test_exported_file_is_a_new_one_for_its_owner_only_behind_a_link_as_well(
    state: Path, tmp_path: Path
) -> None:
    file, link = tmp_path / "entries.json", tmp_path / "link"
    file.write_text("old\n")
    link.symlink_to(file)
    with file.open() as before:
        cache(state, "export", str(link))
        assert before.read() == "old\n"
    assert link.is_symlink()
    assert len(file.read_text().splitlines()) == 7
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_export_writes_into_pipes_and_devices_as_they_are(state: Path, tmp_path: Path) -> None:
    assert len(cache(state, "export", "/dev/stdout").stdout.splitlines()) == 7
    os.mkfifo(tmp_path / "pipe")
    command = [*FASTDNS, "cache", "export", str(tmp_path / "pipe"), "--state", str(state)]
    with subprocess.Popen(command) as process:
        assert len((tmp_path / "pipe").read_text().splitlines()) == 7
    assert (process.returncode, (tmp_path / "pipe").is_fifo()) == (0, True)
    assert "No space left" in cache(state, "export", "/dev/full", status=1).stderr


def test_export_to_standard_output_that_is_a_file_adds_to_it(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "entries.json"
    shell = f"(echo first; {' '.join(FASTDNS)} cache export /dev/stdout --state {state}) >> {file}"
    subprocess.run(["sh", "-c", shell], check=True)
    lines = file.read_text().splitlines()
    assert (lines[0], len(lines)) == ("first", 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_root_exports_to_where_the_owner_of_the_cache_may_not_write(
    state: Path, tmp_path: Path
) -> None:
    owned, place = tmp_path / "owned", tmp_path / "place"
    owned.mkdir()
    place.mkdir(mode=0o700)
    os.chown(owned, 65534, 65534)
    cache(owned, "import", "-", text_in=cache(state, "export", "-").stdout)
    cache(owned, "export", str(place / "entries.json"))
    assert [path.name for path in place.iterdir()] == ["entries.json"]
    assert len((place / "entries.json").read_text().splitlines()) == 6


# The command as a user to whom nothing belongs, who need not be able to read our Python.
AS_STRANGER = """
import importlib, os, sys
from fastdns.cli import main
for command in ("ls", "get", "rm", "refresh", "flush", "stats", "verify", "export"):
    importlib.import_module(f"fastdns.cli.cache.{command}")
os.setgroups([])
os.setresgid(65533, 65533, 65533)
os.setresuid(65533, 65533, 65533)
sys.exit(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user take root to make")
@pytest.mark.parametrize("closed", ["state", "run/control", "cache"])
def test_user_who_may_not_look_is_told_whose_the_cache_is_in_one_line(
    hung: Path, closed: str
) -> None:
    if closed == "run/control":
        Control.open(hung / "run" / "control", hung / "cache")
    for path in (hung, *hung.rglob("*")):
        os.chown(path, 65534, 65534)
    place = hung if closed == "state" else hung / closed
    place.chmod(0o700 if place.is_dir() else 0o600)
    for command in (*COMMANDS, ["refresh", "www.example"]):
        done = subprocess.run(
            [sys.executable, "-c", AS_STRANGER, "cache", *command, "--state", str(hung)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "",
            f"fastdns: {place} cannot be read by this user: it belongs to user nobody; "
            "try as that user or as root\n",
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_root_makes_and_reads_a_cache_as_its_owner(state: Path, tmp_path: Path) -> None:
    lines = cache(state, "export", "-").stdout
    owned = tmp_path / "owned"
    owned.mkdir()
    os.chown(owned, 65534, 65534)
    cache(owned, "import", "-", text_in=lines)
    made = [owned / "cache", *(owned / "cache").iterdir()]
    assert {path.stat().st_uid for path in made} == {65534}
    (owned / "cache" / "data.mdb").chmod(0o000)
    done = cache(owned, "ls", status=1)
    assert done.stderr == (
        f"fastdns: the disk cache {owned}/cache cannot be read: Permission denied\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's files take root to make")
def test_cache_of_a_root_that_has_no_directory_yet_is_one_that_the_daemon_can_use(
    state: Path, tmp_path: Path
) -> None:
    lines = cache(state, "export", "-").stdout
    fresh = tmp_path / "fresh"
    cache(fresh, "import", "-", text_in=lines)
    assert fresh.stat().st_uid == (fresh / "cache" / "data.mdb").stat().st_uid != 0


def test_interrupted_command_ends_with_status_130_and_no_traceback(state: Path) -> None:
    os.mkfifo(state / "pipe")
    process = subprocess.Popen(
        [*FASTDNS, "cache", "import", str(state / "pipe"), "--state", str(state)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with (state / "pipe").open("w") as pipe:
        pipe.write("{}\n")
        pipe.flush()
        assert process.stderr is not None
        assert select.select([process.stderr], [], [], 0.5)[0] == []
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said.strip()) == (130, "")
