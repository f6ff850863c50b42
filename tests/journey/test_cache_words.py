"""Words that people type: patterns for `rm`, filters for `flush`, words of unbound-control."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .support.client import ask
from .support.commands import cache, fastdns, names
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.stock import entry, fill


def test_rm_takes_a_pattern(state: Path) -> None:
    assert cache(state, "rm", "www.*").stdout == "removed 3 entries\n"
    assert names(state) == ["example.", "gone.example.", "mail.example.", "notexample."]
    done = cache(state, "rm", "www.*", status=1)
    assert done.stderr == "fastdns: no entry matches www.*\n"


def test_rm_of_a_star_behind_a_backslash_removes_the_wildcard_alone(state: Path) -> None:
    fill(state, [entry("*.example", "A", "192.0.2.9")])
    cache(state, "rm", r"\*.example")
    assert "*.example." not in names(state)
    assert "www.example." in names(state)


def test_rm_of_one_state_leaves_the_others(state: Path) -> None:
    assert cache(state, "rm", "www.example", "--state-is", "stale").stdout == "removed 1 entry\n"
    assert names(state, "www.example") == ["www.example."]


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (["--rcode", "NXDOMAIN"], {"gone.example."}),
        (["--negative"], {"gone.example.", "nodata.example."}),
        (["--state-is", "expired"], {"mail.example."}),
        (["--type", "TXT"], {"www.show."}),
        (["--under", "test", "--negative"], set()),
    ],
)
def test_flush_with_a_filter_removes_what_fits_and_asks_nothing(
    state: Path, options: list[str], gone: set[str]
) -> None:
    fill(state, [entry("nodata.example", "AAAA")])
    before = set(names(state))
    done = cache(state, "flush", *options)
    count = len(gone)
    assert done.stdout == f"removed {count} {'entry' if count == 1 else 'entries'}\n"
    assert set(names(state)) == before - gone


@pytest.mark.parametrize("count", [3, 600])
def test_what_a_pattern_removes_is_asked_for_again(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream, count: int
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    gone = [f"n{number}.gone{count}.demo." for number in range(count)]
    for name in [*gone, f"stays{count}.demo."]:
        ask(daemon, name)
    assert (
        cache(daemon.state_dir, "rm", f"*.gone{count}.demo").stdout == f"removed {count} entries\n"
    )
    for name in [*gone[:3], f"stays{count}.demo."]:
        ask(daemon, name)
    assert [len(upstream.asked(name)) for name in gone[:3]] == [2, 2, 2]
    assert len(upstream.asked(f"stays{count}.demo.")) == 1


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["flush_zone", "example"], {"notexample.", "www.show."}),
        (["flush_type", "www.example", "A"], None),
        (["flush_negative"], None),
    ],
)
@pytest.mark.parametrize("first", [[], ["cache"]])
def test_words_of_unbound_control_are_understood(
    state: Path, first: list[str], words: list[str], left: set[str] | None
) -> None:
    before = names(state)
    done = fastdns(*first, *words, "--state", str(state))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("removed ")
    assert len(names(state)) < len(before)
    assert left is None or set(names(state)) == left


def test_flush_zone_takes_options_before_the_domain_and_has_help(state: Path) -> None:
    assert fastdns("flush_zone", "--state", str(state), "example").stdout.startswith("removed ")
    assert set(names(state)) == {"notexample.", "www.show."}
    assert "--under DOMAIN" in fastdns("flush_zone", "--help").stdout
    bare = fastdns("flush_zone", "--state", str(state))
    assert (bare.returncode, "the domain is empty" in bare.stderr) == (2, True)


def test_dump_and_load_of_unbound_control_are_export_and_import(
    state: Path, tmp_path: Path
) -> None:
    dump = fastdns("dump_cache", "--state", str(state)).stdout
    assert dump.count("\n") == 7
    done = cache(tmp_path / "other", "load", "--upstream", "192.0.2.53", text_in=dump)
    assert done.stdout.startswith("imported 6 entries into a new cache at ")
    assert ", 1 left out (expired" in done.stdout


def test_lookup_of_unbound_control_shows_an_entry(state: Path) -> None:
    assert "192.0.2.1" in fastdns("lookup", "www.example", "--state", str(state)).stdout


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["version"], "run fastdns --version"),
        (["reload_keep_cache"], "run fastdns reload, which keeps the cache"),
        (["flush_bogus"], "fastdns cache flush --rcode SERVFAIL"),
        (["forward_add", "corp.demo", "10.0.0.53"], "edit the [[forward]] tables"),
        (["local_data", "x.demo A 192.0.2.1"], 'local.records = ["nas.lan. A 192.168.1.10"]'),
        (["local_zone", "x.demo", "static"], 'with answer = "nxdomain"'),
        (["import", "unbound.conf"], "fastdns import-config"),
        (["view_list"], "edit the [[view]] tables"),
        (["flush", "h1.example"], "fastdns cache rm NAME"),
        (["cache", "flush", "h1.example"], "fastdns cache flush --under h1.example"),
        (["dump_requestlist"], "fastdns stats counts them (in_flight)"),
        (["restart"], "systemctl restart fastdns"),
        (["rm", "*.example"], "fastdns cache rm"),
        (["cache", "rm", "*"], "this would remove every entry: run fastdns cache flush"),
        (["upstreams"], "fastdns status"),
        (["statsu"], "did you mean stats?"),
        (["cache", "lsit"], "did you mean ls?"),
    ],
)
def test_other_words_are_answered_with_what_to_type(words: list[str], answer: str) -> None:
    done = fastdns(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert answer in done.stderr
