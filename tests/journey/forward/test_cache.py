"""`fastdns cache` and groups of upstreams: which one has an entry, and is it served?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..support.client import ask, data, eventually
from ..support.commands import fastdns
from ..support.daemon import Fastdns, address_of
from ..support.false_upstream import FalseUpstream

Start = Callable[..., Fastdns]


def group(*servers: FalseUpstream, name: str = "corp", domain: str = "corp.demo") -> str:
    listed = json.dumps([address_of(one) for one in servers])
    return f'[[forward]]\nname = "{name}"\ndomains = ["{domain}"]\nservers = {listed}\n'


def run(daemon: Fastdns, *words: str) -> str:
    done = fastdns(*words, "--state", str(daemon.state_dir))
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(daemon: Fastdns) -> dict[str, dict[str, Any]]:
    entries = map(json.loads, run(daemon, "cache", "ls", "--json").splitlines())
    return {one["name"]: one for one in entries}


@pytest.fixture
def daemon(start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream) -> Fastdns:
    """One with an entry of a group and one of the default group."""
    daemon = start_fastdns(upstream=[default], config=group(corp))
    for name in ("www.corp.demo", "www.demo"):
        for _ in range(3):
            ask(daemon, name)
    eventually(lambda: listed(daemon), lambda entries: len(entries) == 2)
    return daemon


def test_entry_of_a_group_is_shown_with_its_name_and_is_served(daemon: Fastdns) -> None:
    shown = run(daemon, "cache", "get", "www.corp.demo")
    assert ";; www.corp.demo. IN A, DO 0, CD 0, group corp\n" in shown
    assert "not served" not in shown
    assert "group" not in run(daemon, "cache", "get", "www.demo")


def test_json_names_the_group(daemon: Fastdns) -> None:
    entries = listed(daemon)
    assert entries["www.corp.demo."]["group"] == "corp"
    assert entries["www.corp.demo."]["view"] > 0
    assert (entries["www.demo."]["group"], entries["www.demo."]["view"]) == (None, 0)
    keys = list(entries["www.demo."])
    assert keys.index("group") == keys.index("view") + 1


def test_list_has_a_column_of_groups_where_there_are_some(daemon: Fastdns) -> None:
    heading, *lines = run(daemon, "cache", "ls").splitlines()
    assert heading.split()[-2:] == ["GROUP", "NAME"]
    assert {tuple(line.split()[-2:]) for line in lines} == {
        ("corp", "www.corp.demo."),
        ("-", "www.demo."),
    }


def test_stats_count_entries_of_each_group(daemon: Fastdns) -> None:
    told = json.loads(run(daemon, "cache", "stats", "--json"))
    counts = {one["group"]: one["entries"] for one in told["origins"]}
    assert counts == {None: 1, "corp": 1}


def test_entry_of_former_servers_of_a_group_is_told_to_be_of_no_use(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    daemon.configure(group(corp, default))
    assert daemon.reload().returncode == 0
    shown = run(daemon, "cache", "get", "www.corp.demo")
    assert ";; not served while an upstream answers" in shown
    assert "not served" not in run(daemon, "cache", "get", "www.demo")


def test_change_of_a_file_of_servers_is_seen_by_commands(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream, tmp_path: Path
) -> None:
    servers = tmp_path / "servers"
    servers.write_text(address_of(corp) + "\n")
    config = f'[[forward]]\nname = "corp"\ndomains = ["corp.demo"]\nservers = ["file:{servers}"]\n'
    daemon = start_fastdns(upstream=[default], config=config)
    ask(daemon, "www.corp.demo")
    ask(daemon, "www.corp.demo")
    assert "not served" not in run(daemon, "cache", "get", "www.corp.demo")
    servers.write_text(f"{address_of(corp)}\n{address_of(default)}\n")
    eventually(
        lambda: run(daemon, "cache", "get", "www.corp.demo"), lambda text: "not served" in text
    )


def test_entry_of_a_group_that_is_gone_has_its_number_and_is_told_to_be_of_no_use(
    daemon: Fastdns, corp: FalseUpstream
) -> None:
    number = listed(daemon)["www.corp.demo."]["view"]
    daemon.configure(group(corp, name="other", domain="other.demo"))
    assert daemon.reload().returncode == 0
    shown = run(daemon, "cache", "get", "www.corp.demo")
    assert f"CD 0, group number {number}\n" in shown
    assert ";; not served: the daemon has no such group of upstreams\n" in shown
    entry = listed(daemon)["www.corp.demo."]
    assert (entry["group"], entry["view"]) == (None, number)


def test_names_of_groups_are_those_of_the_configuration_when_no_daemon_runs(
    daemon: Fastdns,
) -> None:
    daemon.stop()
    shown = run(daemon, "cache", "get", "www.corp.demo", "-c", f"{daemon.state_dir}.toml")
    assert "CD 0, group corp\n" in shown
    assert "not served" not in shown
    assert "CD 0, group number " in run(daemon, "cache", "get", "www.corp.demo")


def test_refresh_asks_the_group_and_rm_forgets_its_answer_everywhere(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.otherwise = lambda asked: asked.answer("@ 300 IN A 10.0.0.8")
    assert "new answer" in run(daemon, "cache", "refresh", "www.corp.demo")
    assert data(ask(daemon, "www.corp.demo")) == ["10.0.0.8"]
    corp.otherwise = lambda asked: asked.answer("@ 300 IN A 10.0.0.9")
    assert run(daemon, "cache", "rm", "www.corp.demo") == "removed 1 entry of www.corp.demo.\n"
    assert data(ask(daemon, "www.corp.demo")) == ["10.0.0.9"]
    assert not default.asked("www.corp.demo")


def test_flush_under_a_domain_forgets_what_a_ring_has_of_a_group(
    daemon: Fastdns, corp: FalseUpstream
) -> None:
    ask(daemon, "once.corp.demo")
    run(daemon, "cache", "flush", "--under", "corp.demo")
    ask(daemon, "once.corp.demo")
    assert len(corp.asked("once.corp.demo")) == 2


def test_export_of_a_group_is_taken_in_by_that_group(
    daemon: Fastdns,
    start_fastdns: Start,
    tmp_path: Path,
    default: FalseUpstream,
    corp: FalseUpstream,
) -> None:
    exported = run(daemon, "cache", "export", "-")
    file = tmp_path / "exported.json"
    file.write_text(exported)
    file.chmod(0o644)
    other = start_fastdns(upstream=[default], config=group(corp))
    assert run(other, "cache", "import", str(file)) == "imported 2 entries\n"
    assert data(ask(other, "www.corp.demo")) == ["10.0.0.7"]
    assert data(ask(other, "www.demo")) == ["192.0.2.1"]
    assert len(corp.asked("www.corp.demo")) == 1
    assert len(default.asked("www.demo")) == 1
    assert "not served" not in run(other, "cache", "get", "www.corp.demo")


def test_import_refuses_what_is_no_name_of_a_group(daemon: Fastdns, tmp_path: Path) -> None:
    lines = map(json.loads, run(daemon, "cache", "export", "-").splitlines())
    file = tmp_path / "exported.json"
    file.write_text("".join(json.dumps(one | {"group": 'Corp"\n'}) + "\n" for one in lines))
    done = fastdns("cache", "import", str(file), "--state", str(daemon.state_dir))
    assert done.returncode == 1
    assert 'exported.json:1: group: "Corp\\"\\u000a" is not a name of a group\n' in done.stderr
