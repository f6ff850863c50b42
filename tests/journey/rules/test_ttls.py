"""[[rule]]: other TTLs, no cache at all, and for how long an answer may be stale."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import dns.rcode
import pytest

from ..support.client import ask, data, eventually, ttls
from ..support.commands import fastdns
from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream, silence
from .conftest import Start


def rule(names: str, *settings: str) -> str:
    return "\n".join(["[[rule]]", f"names = {json.dumps(names.split())}", *settings, ""])


def count(upstream: FalseUpstream, name: str) -> int:
    return len(upstream.asked(name))


@pytest.mark.parametrize(
    ("name", "ttl"),
    [
        ("www.short.example", 20),
        ("a.b.short.example", 20),
        ("short.example", 300),  # "*.x" is not x
        ("long.example", 900),
        ("www.long.example", 300),
        ("long.short.example", 900),  # a name before a wildcard
        ("www.deep.short.example", 60),  # the longest
        ("www.SHORT.example", 20),
        ("other.example", 300),
    ],
)
def test_ttl_is_that_of_the_rule_with_the_longest_name(start: Start, name: str, ttl: int) -> None:
    daemon = start(
        rule("*.short.example", 'max_ttl = "20s"')
        + rule("long.example long.short.example", 'min_ttl = "15m"')
        + rule("*.deep.short.example", 'max_ttl = "1m"')
    )
    assert ttls(ask(daemon, name)) == [ttl]


def test_rule_counts_more_than_the_limits_of_the_cache(start: Start) -> None:
    daemon = start(
        '[cache]\nmin_ttl = "100s"\nmax_ttl = "200s"\n'
        + rule("low.example", 'max_ttl = "20s"')
        + rule("high.example", 'min_ttl = "250s"')
    )
    told = [ttls(ask(daemon, name)) for name in ("low.example", "high.example", "x.example")]
    assert told == [[20], [250], [200]]


def test_negative_answer_has_the_limits_of_its_rule(start: Start) -> None:
    daemon = start(rule("*.rules.demo", 'max_ttl = "20s"'))
    assert ttls(ask(daemon, "www.rules.demo", "TXT")) == [20]
    assert ttls(ask(daemon, "www.demo", "TXT")) == [300]


def test_answer_of_a_rule_without_cache_is_asked_for_each_time(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon = start('[cache]\nmin_ttl = "1h"\n' + rule("*.dyn.example", "cache = false"))
    for number in range(3):
        upstream.otherwise = lambda asked, number=number: asked.answer(f"@ 2 IN A 192.0.2.{number}")
        answer = ask(daemon, "host.dyn.example")
        assert (data(answer), ttls(answer)) == ([f"192.0.2.{number}"], [2])
    assert count(upstream, "host.dyn.example") == 3
    assert daemon.counter("cache_inserts_total") == 0
    upstream.otherwise = silence
    assert ask(daemon, "host.dyn.example").rcode() == dns.rcode.SERVFAIL


def test_clients_that_ask_together_share_a_query_even_without_cache(
    start: Start, upstream: FalseUpstream
) -> None:
    def answer_late(asked: object) -> None:
        time.sleep(0.3)
        asked.answer("@ 60 IN A 192.0.2.1")

    upstream.otherwise = answer_late
    daemon = start(rule("*.dyn.example", "cache = false"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: data(ask(daemon, "h.dyn.example")), range(8)))
    assert answers == [["192.0.2.1"]] * 8
    assert count(upstream, "h.dyn.example") < 4


def test_what_was_cached_is_not_served_once_a_rule_forbids_it(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon = start(rule("*.dyn.example", 'max_ttl = "1h"'))
    for _ in range(2):
        ask(daemon, "h.dyn.example")
        ask(daemon, "www.example")
    daemon.configure(rule("*.dyn.example", "cache = false"))
    assert daemon.reload().returncode == 0
    upstream.otherwise = lambda asked: asked.answer("@ 300 IN A 192.0.2.9")
    assert data(ask(daemon, "h.dyn.example")) == ["192.0.2.9"]
    upstream.otherwise = silence
    assert ask(daemon, "h.dyn.example").rcode() == dns.rcode.SERVFAIL
    assert data(ask(daemon, "www.example")) == ["192.0.2.1"]
    assert count(upstream, "www.example") == 1


def test_reload_asks_again_for_exactly_what_another_rule_changes(
    start: Start, upstream: FalseUpstream
) -> None:
    names = ["a.one.example", "a.two.example", "www.example"]
    daemon = start(
        rule("*.one.example", 'max_ttl = "1h"') + rule("*.two.example", 'max_ttl = "2h"')
    )
    for name in names * 2:
        ask(daemon, name)
    assert [count(upstream, name) for name in names] == [1, 1, 1]
    daemon.configure(
        rule("*.two.example", 'max_ttl = "2h"')  # another number, the same settings
        + rule("*.one.example", 'max_ttl = "30s"')
        + rule("other.example", "cache = false")
    )
    done = daemon.reload()
    assert done.returncode == 0
    assert "rules: 3 (1 changed, 1 new)" in done.stdout + "\n".join(daemon.log)
    answers = {name: ttls(ask(daemon, name))[0] for name in names}
    assert [count(upstream, name) for name in names] == [2, 1, 1]
    assert answers["a.one.example"] == 30
    for name in names:
        ask(daemon, name)
    assert [count(upstream, name) for name in names] == [2, 1, 1]


def test_commands_know_what_a_rule_has_made_useless(start: Start) -> None:
    def get(daemon: Fastdns, name: str) -> str:
        words = ("cache", "get", name, "--state", str(daemon.state_dir))
        done = fastdns(*words, "-c", f"{daemon.state_dir}.toml")
        assert done.returncode == 0, done.stderr
        return done.stdout

    daemon = start(rule("*.one.example", 'max_ttl = "1h"'))
    for name in ["a.one.example", "www.example"] * 3:
        ask(daemon, name)
    assert "not served" not in get(daemon, "a.one.example")
    daemon.configure(rule("*.one.example", 'max_ttl = "30s"'))
    assert daemon.reload().returncode == 0
    assert "not served while an upstream answers" in get(daemon, "a.one.example")
    assert "not served" not in get(daemon, "www.example")


def test_stale_answer_is_used_as_long_as_its_rule_says(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon = start(
        '[cache]\nstale_wait = "0s"\nstale = "0s"\n'
        + rule("*.kept.example", 'stale = "1d"')
        + rule("*.gone.example", 'stale = "0s"')
    )
    upstream.otherwise = lambda asked: asked.answer("@ 1 IN A 192.0.2.1")
    names = ["a.kept.example", "a.gone.example", "www.example"]
    for name in names:
        assert data(ask(daemon, name)) == ["192.0.2.1"]
    upstream.otherwise = lambda asked: asked.answer(rcode="SERVFAIL")
    time.sleep(1.2)
    told = {name: dns.rcode.to_text(ask(daemon, name).rcode()) for name in names}
    assert told == {
        "a.kept.example": "NOERROR",
        "a.gone.example": "SERVFAIL",
        "www.example": "SERVFAIL",
    }


def test_failure_is_remembered_where_nothing_may_be_stale(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon = start(rule("*.gone.example", 'stale = "0s"'))
    upstream.otherwise = lambda asked: asked.answer("@ 1 IN A 192.0.2.1")
    ask(daemon, "a.gone.example")
    upstream.otherwise = lambda asked: asked.answer(rcode="SERVFAIL")
    time.sleep(1.2)
    for _ in range(3):
        assert ask(daemon, "a.gone.example").rcode() == dns.rcode.SERVFAIL
    assert count(upstream, "a.gone.example") == 2


def test_answer_under_a_rule_is_loaded_from_disk_after_a_restart(
    start: Start, upstream: FalseUpstream
) -> None:
    text = rule("*.example", 'min_ttl = "1h"')
    daemon = start(text)
    for _ in range(3):
        ask(daemon, "www.example")
    daemon.stop()
    with Fastdns(daemon.state_dir, upstream=[upstream], config=text) as again:
        eventually(lambda: again.counter("warmed_total"), lambda count: count == 1)
        assert data(ask(again, "www.example")) == ["192.0.2.1"]
        assert again.counter("cache_hits_total") == 1
    assert count(upstream, "www.example") == 1


def test_names_come_from_a_list(start: Start, tmp_path: object) -> None:
    (tmp_path / "names").write_text("one.example\nserver=/two.example/192.0.2.53\nnot a name!\n")
    daemon = start(rule(f"file:{tmp_path}/names", 'max_ttl = "20s"'))
    told = [ttls(ask(daemon, name))[0] for name in ("one.example", "a.two.example", "x.example")]
    assert told == [20, 20, 300]
    daemon.wait_for_log("names:3: .* is not a domain")
