"""`fastdns why`: what is answered to a name and why, with the daemon running, hung or stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..support.client import ask, data, eventually
from ..support.commands import cache, fastdns
from ..support.daemon import Fastdns, address_of
from ..support.false_upstream import Asked, FalseUpstream, silence
from ..support.stock import entry, fill
from .conftest import places_of, told, why

Start = Callable[..., Fastdns]


def line(text: str, name: str) -> str:
    """The first line of a detail."""
    found = re.search(rf"^{name} +(.*)", text, re.M)
    assert found, text
    return found[1]


@contextmanager
def hung(daemon: Fastdns) -> Iterator[None]:
    """Stop all of its processes."""
    for pid in daemon.process_ids():
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in daemon.process_ids():
            os.kill(pid, signal.SIGCONT)


# --- what is decided ------------------------------------------------------------------------------


def test_special_name_is_answered_here(daemon: Fastdns) -> None:
    printed = why(daemon, "localhost")
    assert printed.splitlines()[0] == (
        "localhost. A is answered here with 127.0.0.1: a special name, which no upstream is "
        "asked for "
        "(RFC 6761 section 6.3)"
    )
    assert "upstreams" not in printed


def test_name_of_a_group_is_told_with_the_domain_and_its_place(
    daemon: Fastdns, tmp_path: Path
) -> None:
    printed = why(daemon, "www.corp.demo")
    assert printed.splitlines()[0] == (
        "www.corp.demo. A is asked from group corp (domain corp.demo, forward[0].domains[0]), "
        "not in the cache on disk"
    )
    assert line(why(daemon, "x.line.demo", "MX"), "decision") == (
        f"group corp: domain line.demo, {tmp_path}/list:3"
    )
    story = told(daemon, "x.lab.demo", "-t", "AAAA")
    assert (story["name"], story["type"]) == ("x.lab.demo.", "AAAA")
    assert story["outcome"] == "upstream"
    assert story["decision"] == {
        "verdict": "forward",
        "group": "corp",
        "domain": "lab.demo.",
        "where": f"{tmp_path}/list",
        "line": 2,
        "special": None,
        "rule": None,
        "rule_where": None,
        "rule_line": None,
        "target": None,
        "records": [],
        "ede": None,
        "filtering": None,
    }


def test_list_and_rule_that_block_a_name_are_told_for_the_clients_of_a_view(tmp_path: Path) -> None:
    (tmp_path / "ads").write_text("# ads\n||ads.demo^\n")
    config = tmp_path / "fastdns.toml"
    config.write_text(
        f'state_dir = "{tmp_path}/state"\n[block]\nlists = ["file:{tmp_path}/ads"]\n'
        '[[view]]\nname = "kids"\nclients = ["192.0.2.1"]\nallow = ["ok.ads.demo"]\n'
        'safe_search = true\nservers = ["192.0.2.53"]\n'
    )
    place = ["-c", str(config)]
    assert fastdns("lists", "update", *place).returncode == 0
    for arguments, decision in (
        (["x.ads.demo"], f"blocked by list file:{tmp_path}/ads, line 2: ||ads.demo^"),
        (["www.google.de", "--view", "kids"], "safe search: the name of a search engine"),
        (["ok.ads.demo", "--view", "kids"], "the servers of view kids: view[0].servers"),
    ):
        done = fastdns("why", *arguments, *place)
        assert (done.returncode, done.stderr) == (0, "")
        assert decision in " ".join(done.stdout.split()), done.stdout
    assert "allowed by your rule for ok.ads.demo. (view[0].allow[0])" in done.stdout
    done = fastdns("why", "x.ads.demo", "--view", "kid", *place)
    assert done.returncode == 1
    assert 'view "kid" is not in the configuration (there are kids)' in done.stderr


def test_local_names_are_told_with_their_places(
    start_fastdns: Start, default: FalseUpstream, tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text("192.168.1.11 printer.lan printer\n")
    daemon = start_fastdns(
        upstream=[default],
        config=f'[local]\ndomain = "lan"\nhosts = ["{tmp_path}/hosts"]\n'
        'records = ["nas.lan. A 192.168.1.10", "www.lan. CNAME www.demo."]\n',
    )
    assert why(daemon, "printer.lan").startswith(
        f"printer.lan. A is answered here with 192.168.1.11: local records ({tmp_path}/hosts:1)"
    )
    assert why(daemon, "nas.lan", "AAAA").startswith(
        "nas.lan. AAAA is answered here with no data: local records"
    )
    assert why(daemon, "x.lan").startswith(
        "x.lan. A is answered here with NXDOMAIN: a name of the local domain without a record"
    )
    assert told(daemon, "www.lan")["decision"]["target"] == "www.demo."
    for name, address in (("printer.lan", "192.168.1.11"), ("nas.lan", "192.168.1.10")):
        assert told(daemon, name)["decision"]["records"][0]["data"] == address
        assert data(ask(daemon, name)) == [address]
    (tmp_path / "hosts").write_text("\n192.168.1.12 printer.lan\n")
    assert told(daemon, "printer.lan")["decision"]["records"] == [
        {
            "type": "A",
            "ttl": 60,
            "data": "192.168.1.12",
            "where": f"{tmp_path}/hosts",
            "line": 2,
        }
    ]


def test_name_that_a_group_denies_is_told(daemon: Fastdns) -> None:
    assert why(daemon, "x.ads.demo", "AAAA").startswith(
        "x.ads.demo. AAAA is answered here with NXDOMAIN: group ads (domain ads.demo, "
    )
    assert told(daemon, "x.ads.demo")["outcome"] == "here"


def test_rules_are_told_with_their_effects(start_fastdns: Start, default: FalseUpstream) -> None:
    daemon = start_fastdns(
        upstream=[default],
        config='[[rule]]\nnames = ["*.dyn.demo"]\ncache = false\n'
        '[[rule]]\nnames = ["www.demo"]\nmax_ttl = "1m"\nstale = "2d"\nblock_types = ["HTTPS"]\n',
    )
    assert why(daemon, "www.demo", "HTTPS").startswith(
        "www.demo. HTTPS is answered here with no data: rule[1].names[0]\n"
    )
    ask(daemon, "www.demo")
    printed = why(daemon, "www.demo")
    assert 'rule[1].names[0]: max_ttl = "1m", stale = "2d", block_types = ["HTTPS"]' in printed
    assert " of its TTL of 1 min (rule[1].max_ttl)" in line(printed, "entry")
    assert told(daemon, "www.demo")["outcome"] == "cache"
    ask(daemon, "x.dyn.demo")
    printed = why(daemon, "x.dyn.demo")
    assert line(printed, "entry") == "none: answers are not cached (rule[0].names[0])"
    assert told(daemon, "x.dyn.demo")["decision"]["rule"] == "rule[0]"
    assert why(daemon, "www.demo", "ANY").startswith(
        'www.demo. ANY is answered here with HINFO "RFC8482" "": one record in place of all '
        "records (protect.minimal_any"
    )


def test_places_in_included_files_are_told_with_the_file(
    start_fastdns: Start, default: FalseUpstream, tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text(
        '[[forward]]\nname = "a"\ndomains = ["a.demo"]\nanswer = "nxdomain"\n'
        '[[rule]]\nnames = ["a.example"]\nmax_ttl = "1m"\n'
    )
    (tmp_path / "b.toml").write_text(
        '[[forward]]\nname = "b"\ndomains = ["b.demo"]\nanswer = "nxdomain"\n'
        '[[rule]]\nnames = ["b.example"]\nblock_types = ["A"]\n'
        '[local]\nrecords = ["nas.lan. A 192.168.1.10"]\n'
    )
    daemon = start_fastdns(upstream=[default], config=f'include = ["{tmp_path}/?.toml"]\n')
    for name, place in (
        ("b.demo", "forward[0].domains[0]"),
        ("b.example", "rule[0].names[0]"),
        ("nas.lan", "local.records[0]"),
    ):
        assert f"{tmp_path}/b.toml: {place}" in why(daemon, name).splitlines()[0]
    assert told(daemon, "b.demo")["decision"]["where"] == "forward[1].domains[0]"
    assert told(daemon, "b.example")["decision"]["rule"] == "rule[1]"


def test_rule_that_decides_by_the_other_address_is_in_the_first_line(
    start_fastdns: Start, default: FalseUpstream
) -> None:
    daemon = start_fastdns(
        upstream=[default], config='[[rule]]\nnames = ["www.demo"]\naaaa = "if-no-a"\n'
    )
    told_first = (
        'www.demo. AAAA has data only if the name has no A record (aaaa = "if-no-a", '
        "rule[0].names[0]); it is "
    )
    assert why(daemon, "www.demo", "AAAA").startswith(f"{told_first}asked from the default group")
    ask(daemon, "www.demo", "AAAA")
    assert why(daemon, "www.demo", "AAAA").startswith(f"{told_first}answered from the cache")
    assert "if-no-a" not in why(daemon, "www.demo").splitlines()[0]


def test_cache_commands_say_what_is_never_cached_or_not_served(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    default.on("private.demo", lambda asked: asked.answer("@ 300 IN A 10.0.0.7"))
    daemon = start_fastdns(
        upstream=[default], config='[local]\nrecords = ["tv.lan. A 192.168.1.11"]\n'
    )
    for name in ("private.demo", "nas.lan", "moved.demo", "well.demo"):
        ask(daemon, name)
    ask(daemon, "well.demo", "AAAA")
    daemon.configure(
        '[local]\nrecords = ["nas.lan. A 192.168.1.10", "tv.lan. A 192.168.1.11"]\n'
        '[protect]\nrebind = true\n[[rule]]\nnames = ["dyn.demo"]\ncache = false\n'
        '[[rule]]\nnames = ["well.demo"]\nblock_types = ["AAAA"]\n'
        '[[forward]]\nname = "corp"\ndomains = ["moved.demo"]\n'
        f'servers = ["{address_of(corp)}"]\n'
        '[[forward]]\nname = "ads"\ndomains = ["ads.demo"]\nanswer = "nxdomain"\n'
    )
    assert daemon.reload().returncode == 0
    places = places_of(daemon)
    for name, problem in (
        ("private.demo", "it has an address of a private network (protect.rebind)"),
        ("nas.lan", "fastdns itself answers it now"),
        ("moved.demo", "another group of upstreams is asked for this name now"),
    ):
        shown = fastdns("cache", "get", name, "A", *places).stdout
        assert ";; NOERROR, fresh, but not served: TTL 300 s, " in shown
        assert f";; not served: {problem} (see fastdns why)\n" in shown
    assert "NOERROR, fresh: TTL " in fastdns("cache", "get", "well.demo", "A", *places).stdout
    assert "but not served" in fastdns("cache", "get", "well.demo", "AAAA", *places).stdout
    for name, reason in (
        ("tv.lan", "fastdns itself answers it"),
        ("x.ads.demo", "fastdns itself answers it"),
        ("dyn.demo", "by a rule, its answers are not cached"),
    ):
        why_not = f"{reason} (see fastdns why {name}.)\n"
        for command in ("get", "refresh"):
            done = fastdns("cache", command, name, *places)
            assert (done.returncode, done.stderr) == (
                1,
                f"fastdns: no entry for {name}.: {why_not}",
            )
        done = fastdns("cache", "ls", name, *places)
        assert (done.returncode, done.stderr) == (1, f"fastdns: no entry matches: {why_not}")
    done = fastdns("cache", "get", "other.demo", *places)
    assert done.stderr.endswith("the daemon may have it in memory\n")


@pytest.mark.parametrize("arguments", [["192.168.1.11"], ["192.168.1.11", "PTR"]])
def test_address_stands_for_its_reverse_name(
    start_fastdns: Start, default: FalseUpstream, arguments: list[str]
) -> None:
    daemon = start_fastdns(
        upstream=[default], config='[local]\nrecords = ["11.1.168.192.in-addr.arpa PTR tv.lan."]\n'
    )
    assert why(daemon, *arguments).startswith(
        "11.1.168.192.in-addr.arpa. PTR is answered here with tv.lan.: local records"
    )
    assert told(daemon, "fd00::1")["name"].endswith(".d.f.ip6.arpa.")
    assert told(daemon, "192.168.1.11", "MX")["name"] == "192.168.1.11."


def test_story_is_not_certain_while_a_file_cannot_be_read(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream, tmp_path: Path
) -> None:
    hosts, listed = tmp_path / "hosts", tmp_path / "list"
    hosts.write_text("192.168.1.11 printer.lan\n")
    listed.write_text("one.demo\n")
    daemon = start_fastdns(
        upstream=[default],
        config=f'[local]\nhosts = ["{hosts}"]\n[[forward]]\nname = "ads"\n'
        f'domains = ["file:{listed}"]\nanswer = "nxdomain"\n',
    )
    assert "certain" not in why(daemon, "printer.lan")
    listed.unlink()
    hosts.unlink()
    printed = why(daemon, "printer.lan")
    first = printed.splitlines()[0]
    assert first.endswith(f"(not certain: {listed} and 1 more cannot be read)")
    for path in (listed, hosts):
        assert (
            f"{path}: cannot be read: No such file or directory; a running daemon may still use "
            "its former content"
        ) in " ".join(printed.split())
    assert data(ask(daemon, "printer.lan")) == ["192.168.1.11"]


@pytest.mark.parametrize(
    ("protect", "obstacle"),
    [
        ('rebind = true\nrebind_allow = ["other.demo"]', "(protect.rebind)"),
        ('bogus_answers = ["10.0.0.0/8"]', "protect.bogus_answers"),
    ],
)
def test_entry_that_the_protection_does_not_let_through_is_told(
    daemon: Fastdns, default: FalseUpstream, protect: str, obstacle: str
) -> None:
    default.on("www.demo", lambda asked: asked.answer("@ 300 IN A 10.0.0.7"))
    assert data(ask(daemon, "www.demo")) == ["10.0.0.7"]
    assert told(daemon, "www.demo")["outcome"] == "cache"
    text = daemon.state_dir.with_suffix(".toml").read_text()
    daemon.configure(f"{text}[protect]\n{protect}\n")
    assert daemon.reload().returncode == 0
    story = told(daemon, "www.demo")
    assert story["outcome"] == "upstream"
    assert story["entries"][0]["obstacle"].endswith(obstacle)
    assert "not served: it has an address" in why(daemon, "www.demo")


def test_name_whose_answer_leads_to_a_blocked_name_is_told_with_the_list_and_its_line(
    start_fastdns: Start, default: FalseUpstream, tmp_path: Path
) -> None:
    def lead(asked: Asked) -> None:
        asked.answer("@ 300 IN CNAME x.blocked.demo.", "x.blocked.demo. 300 IN A 192.0.2.1")

    default.on("fresh.demo", lead)
    (tmp_path / "own").write_text("# mine\n||blocked.demo^\n")
    daemon = start_fastdns(upstream=[default], config='[block]\ndeny = ["denied.demo"]\n')
    assert data(ask(daemon, "fresh.demo"))[-1] == "192.0.2.1"
    text = daemon.state_dir.with_suffix(".toml").read_text()
    daemon.configure(f'{text}\nlists = ["file:{tmp_path}/own"]\n')
    assert daemon.reload().returncode == 0
    assert fastdns("lists", "update", *places_of(daemon)).returncode == 0
    reason = (
        "leads to x.blocked.demo., which is blocked by list "
        f"file:{tmp_path}/own, line 2: ||blocked.demo^"
    )

    printed = " ".join(why(daemon, "fresh.demo", "--live").split())
    story = told(daemon, "fresh.demo")

    assert printed.startswith(f"fresh.demo. A is blocked: its answer {reason} client ")
    assert f"not served: it {reason}" in printed
    assert printed.endswith(f"blocked: the answer {reason}")
    assert story["outcome"] == "blocked"
    target = story["entries"][0]["blocked_target"]
    assert (target["name"], target["filtering"]["line"]) == ("x.blocked.demo.", 2)
    maybe = "if its answer leads to a name that is blocked, it is blocked as well (--live asks)"
    assert maybe in " ".join(why(daemon, "other.demo").split())
    assert maybe not in printed
    assert fastdns("allow", "fresh.demo", *places_of(daemon)).returncode == 0
    assert "answered from the cache" in why(daemon, "fresh.demo")


def test_pause_is_told_with_what_blocks_the_name_otherwise(
    tmp_path: Path,
) -> None:
    config = tmp_path / "fastdns.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n[block]\ndeny = ["ads.demo"]\n')
    assert fastdns("pause", "1h", "-c", str(config)).returncode == 0

    done = fastdns("why", "www.ads.demo", "-c", str(config))

    assert done.returncode == 0
    assert done.stdout.splitlines()[0].endswith("; blocking is paused")
    until = r"blocking is paused until [-0-9: ]+; otherwise "
    blocked = r"it is blocked by your rule for ads\.demo\. \(block\.deny\[0\]\)"
    assert re.search(until + blocked, " ".join(done.stdout.split())), done.stdout
    done = fastdns("why", "www.demo", "-c", str(config))
    assert re.search(until + "this name is not blocked either", " ".join(done.stdout.split()))
    shown = json.loads(fastdns("why", "www.ads.demo", "--json", "-c", str(config)).stdout)
    assert shown["pause"]["filtering"]["where"] == "block.deny[0]"
    assert shown["pause"]["until"] > time.time()


def test_other_name_is_of_the_default_group(daemon: Fastdns, default: FalseUpstream) -> None:
    printed = why(daemon, "www.demo")
    assert printed.startswith("www.demo. A is asked from the default group, not in the cache")
    assert line(printed, "upstreams").startswith(address_of(default))


@pytest.mark.parametrize(
    ("client", "may_ask", "rule"),
    [
        ("127.0.0.1", True, 'access.allow has "loopback"'),
        ("::1", True, 'access.allow has "loopback"'),
        ("::ffff:127.0.0.1", True, 'access.allow has "loopback"'),
        ("203.0.113.9", False, "access.allow does not contain it"),
        ("192.0.2.77", False, 'access.deny has "192.0.2.77"'),
        ("192.0.2.78", True, 'access.allow has "192.0.2.0/24"'),
    ],
)
def test_client_is_admitted_or_refused_by_a_rule(
    start_fastdns: Start, default: FalseUpstream, client: str, may_ask: bool, rule: str
) -> None:
    daemon = start_fastdns(
        upstream=[default],
        config='[access]\nallow = ["loopback", "192.0.2.0/24"]\ndeny = ["192.0.2.77"]\n',
    )
    story = told(daemon, "www.demo", "--client", client)
    assert (story["client"]["may_ask"], story["client"]["rule"]) == (may_ask, rule)
    assert (story["outcome"] == "refused") is not may_ask
    if not may_ask:
        first = why(daemon, "www.demo", "--client", client).splitlines()[0]
        assert first == f"www.demo. A: client {client} is refused ({rule})"


# --- the entry ------------------------------------------------------------------------------------


def test_answer_that_was_given_is_found_at_once(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    for name, upstream, address in (
        ("www.demo", default, "192.0.2.1"),
        ("www.corp.demo", corp, "10.0.0.7"),
    ):
        assert data(ask(daemon, name)) == [address]
        asked = len(upstream.queries)
        story = told(daemon, name)
        assert story["outcome"] == "cache"
        (kept,) = story["entries"]
        assert kept["records"] == [
            {"name": f"{name}.", "type": "A", "ttl": kept["ttl"], "data": address}
        ]
        assert (kept["state"], kept["obstacle"]) == ("fresh", None)
        assert kept["upstream"] == address_of(upstream)
        printed = why(daemon, name)
        assert " is answered from the cache, 4 min 5" in printed or "5 min left" in printed
        assert f"from {address_of(upstream)} in " in printed
        assert len([one for one in upstream.queries if str(one.name) != "."]) <= asked


def test_looking_does_not_make_the_keeper_write(daemon: Fastdns) -> None:
    ask(daemon, "once.demo")
    assert told(daemon, "once.demo")["entries"][0]["tier"] == "ring"
    cache(daemon.state_dir, "get", "once.demo")
    assert told(daemon, "once.demo")["entries"][0]["tier"] == "disk"


def test_answer_that_a_command_has_removed_is_not_told(daemon: Fastdns) -> None:
    ask(daemon, "www.demo")
    assert told(daemon, "www.demo")["outcome"] == "cache"
    with hung_keeper(daemon):
        cache(daemon.state_dir, "rm", "www.demo", status=None)
        assert told(daemon, "www.demo")["entries"] == []


@contextmanager
def hung_keeper(daemon: Fastdns) -> Iterator[None]:
    keeper = daemon.keeper
    os.kill(keeper, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_entry_for_clients_with_do_is_told_as_such(daemon: Fastdns) -> None:
    ask(daemon, "www.demo", do=True)
    printed = why(daemon, "www.demo")
    assert "(for clients that set DO)" in line(printed, "entry")
    assert told(daemon, "www.demo")["outcome"] == "upstream"


def test_negative_answer_is_told(daemon: Fastdns) -> None:
    ask(daemon, "www.demo", "MX")
    assert "NODATA: no such records" in why(daemon, "www.demo", "MX")


def test_stale_expired_and_foreign_entries_are_told(tmp_path: Path) -> None:
    state = tmp_path / "state"
    fill(
        state,
        [
            entry("stale.demo", "A", "192.0.2.1", ttl=3600, age=6.5 * 3600),
            entry("old.demo", "A", "192.0.2.1", ttl=60, age=90_000),
        ],
    )
    where = ["--state", str(state), "-c", "/dev/null"]
    done = fastdns("why", "stale.demo", *where)
    assert "its entry in the cache is stale, and served only if no upstream answers" in done.stdout
    assert "its TTL of 1 h ended 5 h 30 min ago" in done.stdout
    done = fastdns("why", "old.demo", *where)
    assert "its entry in the cache is not served" in done.stdout
    assert "not served: it is too old to be served" in done.stdout


def test_entry_of_other_upstreams_is_served_only_in_an_outage(
    daemon: Fastdns, corp: FalseUpstream
) -> None:
    ask(daemon, "www.demo")
    cache(daemon.state_dir, "get", "www.demo")
    text = daemon.state_dir.with_suffix(".toml").read_text()
    daemon.stop()
    with Fastdns(daemon.state_dir, upstream=[corp], config=text) as other:
        kept = told(other, "www.demo")
    assert kept["outcome"] == "upstream"
    assert "came from other upstreams" in kept["entries"][0]["obstacle"]


def test_ttl_that_a_setting_has_limited_is_told(
    start_fastdns: Start, default: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[default], config='[cache]\nmax_ttl = "2m"\n')
    ask(daemon, "www.demo")
    assert " of its TTL of 2 min (cache.max_ttl)" in line(why(daemon, "www.demo"), "entry")


# --- the daemon -----------------------------------------------------------------------------------


def test_story_is_the_same_while_the_daemon_hangs_and_after_its_stop(daemon: Fastdns) -> None:
    ask(daemon, "www.corp.demo")
    before = told(daemon, "www.corp.demo")
    assert before["daemon"] == {"pid": daemon.pid, "responds": True}
    with hung(daemon):
        begun = time.monotonic()
        during = told(daemon, "www.corp.demo")
        assert time.monotonic() - begun < 6
    daemon.stop()
    after = told(daemon, "www.corp.demo")

    for story in (during, after):
        assert story["decision"] == before["decision"]
        assert story["outcome"] == "cache"
        assert story["entries"][0]["stored_at"] == before["entries"][0]["stored_at"]
    assert during["daemon"] == {"pid": daemon.pid, "responds": False}
    assert during["upstreams"][0]["name"] == before["upstreams"][0]["name"]
    assert after["daemon"] is None
    assert after["upstreams"] == [
        {"name": before["upstreams"][0]["name"], "alive": None, "state": None}
    ]


def test_dead_upstream_is_told(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream, config: str
) -> None:
    corp.otherwise = silence
    daemon = start_fastdns(upstream=[default], config=config)
    while "does not answer" not in daemon.tail():
        ask(daemon, f"{time.monotonic_ns()}.corp.demo")
    state = eventually(
        lambda: told(daemon, "www.corp.demo")["upstreams"][0], lambda one: not one["alive"]
    )
    assert (state["name"], state["state"]) == (address_of(corp), "dead")
    assert "dead, asked in vain " in line(why(daemon, "www.corp.demo"), "upstreams")
    assert told(daemon, "www.demo")["upstreams"][0]["name"] == address_of(default)


def test_order_of_several_upstreams_and_the_fall_back_are_told(tmp_path: Path) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text(
        '[upstream]\nservers = ["192.0.2.1", "192.0.2.2"]\nstrategy = "round-robin"\n'
        '[[forward]]\nname = "corp"\ndomains = ["corp.demo"]\n'
        'servers = ["192.0.2.3", "192.0.2.4"]\nfallback_to_default = true\n'
    )
    where = ["-c", str(file), "--state", str(tmp_path / "state")]
    assert "each one in its turn" in fastdns("why", "www.demo", *where).stdout
    printed = fastdns("why", "www.corp.demo", *where).stdout
    assert "the first one that is alive is asked first" in printed
    assert "those of the default group are asked" in printed


def test_configuration_that_was_changed_since_is_named(daemon: Fastdns) -> None:
    assert told(daemon, "www.demo")["notes"] == []
    text = daemon.state_dir.with_suffix(".toml").read_text()
    daemon.configure(text + '[[forward]]\nname = "new"\ndomains = ["demo"]\nanswer = "nxdomain"\n')
    story = told(daemon, "www.demo")
    assert story["outcome"] == "here"
    assert [one.partition(" has changed since")[0] for one in story["notes"]] == [
        str(daemon.state_dir.with_suffix(".toml"))
    ]
    assert daemon.reload().returncode == 0
    assert told(daemon, "www.demo")["notes"] == []


# --- use ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["www.demo", "--client", "lap top"], '"lap top" is not an address, a hardware'),
        (["www.demo", "NOTYPE"], '"NOTYPE" is not a record type'),
        (["www.demo", "A", "-t", "MX"], "two types are given"),
        (["a..demo"], "has an empty label"),
        (["https://www.demo/x"], '"https://www.demo/x" is a URL, not a name (write "www.demo")'),
        (["www.demo", "AXFR"], "queries of type AXFR are refused, whatever the name is"),
    ],
)
def test_bad_use_is_one_line(tmp_path: Path, arguments: list[str], problem: str) -> None:
    done = fastdns("why", *arguments, "--state", str(tmp_path / "state"))
    assert done.returncode == 2
    assert problem in done.stderr


def test_bad_configuration_is_named_with_status_2(tmp_path: Path) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text('[cache]\nmemory = "much"\n')
    done = fastdns("why", "www.demo", "-c", str(file), "--state", str(tmp_path / "state"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "cache.memory" in done.stderr


def test_without_a_cache_and_a_daemon_the_decision_is_told(tmp_path: Path) -> None:
    done = fastdns("why", "www.demo", "-c", "/dev/null", "--state", str(tmp_path / "state"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "daemon      none runs: this is what it would do" in done.stdout


# The command as a user to whom nothing belongs, who need not be able to read our Python.
AS_STRANGER = """
import difflib, encodings.utf_8_sig, importlib, os, pkgutil, sys
import fastdns.browse, fastdns.cli.why, fastdns.policy
from fastdns.cli import main
for package in (fastdns.cli.why, fastdns.policy, fastdns.browse):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
os.setgroups([])
os.setresgid(65533, 65533, 65533)
os.setresuid(65533, 65533, 65533)
sys.exit(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_user_who_may_not_see_the_cache_is_told_the_decision(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (tmp_path / "fastdns.toml").write_text(f'state_dir = "{state}"\n')
    done = subprocess.run(
        [
            *(sys.executable, "-c", AS_STRANGER),
            *("why", "www.demo", "-c", str(tmp_path / "fastdns.toml")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "www.demo. A is asked from the default group, if the cache does not have it\n"
    )
    assert "daemon      not known" in done.stdout
    assert "Permission denied" in done.stdout
