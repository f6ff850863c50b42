"""Groups of upstreams by domain: each name goes to its own, and to no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import dns.rcode
import pytest

from ..support.client import ask, data, eventually
from ..support.commands import fastdns
from ..support.daemon import Fastdns, address_of
from ..support.false_upstream import FalseUpstream, answer_a, answer_private, silence

Start = Callable[..., Fastdns]


def group(corp: FalseUpstream, *domains: str, name: str = "corp", more: str = "") -> str:
    return (
        f'[[forward]]\nname = "{name}"\ndomains = {json.dumps(domains)}\n'
        f'servers = ["{address_of(corp)}"]\n{more}'
    )


@pytest.mark.parametrize(
    ("name", "rdtype"),
    [
        ("corp.demo", "A"),
        ("www.corp.demo", "A"),
        ("a.b.corp.demo", "AAAA"),
        ("CORP.demo", "MX"),
        ("corp.demo", "DS"),
        ("7.0.0.10.in-addr.arpa", "PTR"),
        ("10.in-addr.arpa", "SOA"),
    ],
)
def test_every_type_of_every_name_under_a_domain_goes_to_its_group_alone(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream, name: str, rdtype: str
) -> None:
    daemon = start_fastdns(upstream=[default], config=group(corp, "corp.demo", "10.in-addr.arpa"))
    ask(daemon, name, rdtype)
    assert corp.asked(name)
    assert not default.asked(name)


@pytest.mark.parametrize("name", ["xcorp.demo", "demo", "corp.demo.example", "1.9.in-addr.arpa"])
def test_other_names_go_to_the_default_group(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream, name: str
) -> None:
    daemon = start_fastdns(upstream=[default], config=group(corp, "corp.demo", "10.in-addr.arpa"))
    ask(daemon, name)
    assert default.asked(name)
    assert not corp.asked(name)


def test_longest_domain_wins_whatever_the_order(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    with FalseUpstream() as lab:
        daemon = start_fastdns(
            upstream=[default],
            config=group(corp, "corp.demo", "x.lab.corp.demo")
            + group(lab, "lab.corp.demo", name="lab"),
        )
        for name, upstream in (
            ("www.corp.demo", corp),
            ("www.lab.corp.demo", lab),
            ("www.x.lab.corp.demo", corp),
        ):
            ask(daemon, name)
            assert upstream.asked(name)
        assert not lab.asked("www.corp.demo")
        assert not corp.asked("www.lab.corp.demo")
        assert not lab.asked("www.x.lab.corp.demo")


def test_root_as_a_domain_takes_all_but_special_names(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[default], config=group(corp, "."))
    assert data(ask(daemon, "www.demo")) == ["10.0.0.7"]
    assert data(ask(daemon, "localhost")) == ["127.0.0.1"]
    assert ask(daemon, "1.0.0.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN
    assert not default.asked("www.demo")


def test_answer_of_a_group_is_cached_and_survives_a_restart(
    tmp_path: Path, default: FalseUpstream, corp: FalseUpstream
) -> None:
    config = group(corp, "corp.demo")
    with Fastdns(tmp_path / "state", upstream=[default], config=config) as daemon:
        for _ in range(3):
            assert data(ask(daemon, "www.corp.demo")) == ["10.0.0.7"]
    with Fastdns(tmp_path / "state", upstream=[default], config=config) as daemon:
        assert data(ask(daemon, "www.corp.demo")) == ["10.0.0.7"]
    assert len(corp.asked("www.corp.demo")) == 1


def test_group_answers_while_the_default_group_is_dead(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    default.otherwise = silence
    daemon = start_fastdns(upstream=[default], config=group(corp, "corp.demo"))
    while "does not answer" not in daemon.tail():
        ask(daemon, default.new_name())
    assert data(ask(daemon, "www.corp.demo")) == ["10.0.0.7"]


def test_dead_group_fails_and_nothing_of_it_goes_to_the_default_group(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.otherwise = silence
    daemon = start_fastdns(
        upstream=[default], config=group(corp, "corp.demo", more='timeout = "0.1s"\n')
    )
    for number in range(4):
        answer = ask(daemon, f"n{number}.corp.demo")
        assert answer.rcode() == dns.rcode.SERVFAIL
        assert not default.asked(f"n{number}.corp.demo")
    assert data(ask(daemon, default.new_name())) == ["192.0.2.1"]


def test_with_fallback_the_default_group_is_asked_while_the_own_one_is_dead_and_not_after(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.otherwise = silence
    more = 'timeout = "0.1s"\nfallback_to_default = true\n'
    daemon = start_fastdns(upstream=[default], config=group(corp, "corp.demo", more=more))
    numbers = iter(range(1000))

    def asked_anew() -> list[str]:
        return data(ask(daemon, f"n{next(numbers)}.corp.demo"))

    eventually(asked_anew, lambda answer: answer == ["192.0.2.1"])
    corp.otherwise = answer_private
    eventually(asked_anew, lambda answer: answer == ["10.0.0.7"])
    ask(daemon, "last.corp.demo")
    assert not default.asked("last.corp.demo")


def test_group_with_an_answer_of_its_own_asks_nobody(
    start_fastdns: Start, default: FalseUpstream
) -> None:
    daemon = start_fastdns(
        upstream=[default],
        config='[[forward]]\nname = "none"\ndomains = ["ads.demo"]\nanswer = "nxdomain"\n',
    )
    for name in ("ads.demo", "x.ads.demo", "x.ads.demo"):
        answer = ask(daemon, name)
        assert answer.rcode() == dns.rcode.NXDOMAIN
        assert str(answer.authority[0].name) == "ads.demo."
        assert not default.asked(name)
    assert data(ask(daemon, default.new_name())) == ["192.0.2.1"]
    assert daemon.counter("cache_hits_total") >= 1


def test_reload_asks_anew_for_what_it_moves_to_another_group_and_keeps_the_rest(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[default], config=group(corp, "corp.demo"))
    for name in ("www.corp.demo", "www.moved.demo", "www.stays.demo"):
        ask(daemon, name)
    asked = len(corp.asked("www.corp.demo")), len(default.asked("www.stays.demo"))
    daemon.configure(group(corp, "corp.demo", "moved.demo"))
    done = daemon.reload()
    assert done.returncode == 0
    told = ["forward: 2 domains in 1 group", "group corp: 2 domains (1 before)"]
    assert done.stdout.splitlines()[1:] == told
    for line in told:
        daemon.wait_for_log(f"INFO: {re.escape(line)}$")
    assert data(ask(daemon, "www.moved.demo")) == ["10.0.0.7"]
    assert data(ask(daemon, "www.corp.demo")) == ["10.0.0.7"]
    assert data(ask(daemon, "www.stays.demo")) == ["192.0.2.1"]
    assert (len(corp.asked("www.corp.demo")), len(default.asked("www.stays.demo"))) == asked


def test_list_of_dnsmasq_is_read_as_it_is_and_wrong_lines_are_named(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream, tmp_path: Path
) -> None:
    listed = tmp_path / "list.conf"
    listed.write_text(
        "# of somebody\r\nserver=/one.demo/two.demo/192.0.2.9#53\r\nthree.demo\nno domain\n"
    )
    listed.chmod(0o644)
    daemon = start_fastdns(upstream=[default], config=group(corp, f"file:{listed}"))
    for name in ("www.one.demo", "two.demo", "www.three.demo"):
        assert data(ask(daemon, name)) == ["10.0.0.7"]
    daemon.wait_for_log(f'WARNING: {listed}:4: "no domain" is not a domain')
    daemon.wait_for_log("INFO: forward: 3 domains in 1 group$")


def test_upstreams_of_a_group_are_shown_with_its_name(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[default], config=group(corp, "corp.demo"))
    ask(daemon, "www.corp.demo")
    shown = fastdns("stats", "--json", "--state", str(daemon.state_dir))
    names = [one["name"] for one in json.loads(shown.stdout)["upstreams"]]
    assert names == [address_of(default), f"{address_of(corp)} (corp)"]


def test_answer_that_an_upstream_gave_for_a_name_of_the_default_group_is_not_given_in_a_group(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[default], config="workers = 1\n")
    assert data(ask(daemon, "www.corp.demo")) == ["192.0.2.1"]
    corp.otherwise = silence
    daemon.configure(group(corp, "corp.demo", more='timeout = "0.1s"\n'))
    assert daemon.reload().returncode == 0
    answer = ask(daemon, "www.corp.demo")
    assert (answer.rcode(), data(answer)) == (dns.rcode.SERVFAIL, [])


def test_same_server_in_two_groups_is_asked_by_both(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream
) -> None:
    corp.otherwise = answer_a
    daemon = start_fastdns(
        upstream=[default],
        config=group(corp, "one.demo", name="one") + group(corp, "two.demo", name="two"),
    )
    for name in ("www.one.demo", "www.two.demo"):
        assert data(ask(daemon, name)) == ["192.0.2.1"]


def test_list_that_has_vanished_at_a_reload_keeps_its_domains(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream, tmp_path: Path
) -> None:
    listed = tmp_path / "list"
    listed.write_text("one.demo\ntwo.demo\n")
    listed.chmod(0o644)
    daemon = start_fastdns(upstream=[default], config=group(corp, f"file:{listed}"))
    listed.unlink()
    done = daemon.reload()
    assert done.stdout.splitlines()[1:] == ["forward: 2 domains in 1 group, as before"]
    problem = (
        f"{listed}: cannot be read: No such file or directory; its former 2 domains stay in use"
    )
    daemon.wait_for_log(f"WARNING: {problem}")
    assert (done.returncode, done.stderr) == (0, f"warning: {problem}\n")
    assert data(ask(daemon, "www.two.demo")) == ["10.0.0.7"]


def test_reload_tells_the_first_problems_of_lists_and_files_and_how_many_more(
    start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream, tmp_path: Path
) -> None:
    listed = tmp_path / "list"
    listed.write_text("one.demo\n")
    listed.chmod(0o644)
    rest = f'[local]\nhosts = ["{tmp_path}/hosts"]\n'
    daemon = start_fastdns(upstream=[default], config=rest + group(corp, f"file:{listed}"))
    listed.write_text("one.demo\n" + "no domain\n" * 9)
    done = daemon.reload()
    assert done.returncode == 0
    *lines, last = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"{listed}:{n}" for n in range(2, 11)]
    assert last == f"warning: {tmp_path}/hosts: cannot be read: No such file or directory"
    listed.write_text("one.demo\n" + "no domain\n" * 20)
    *lines, last = daemon.reload().stderr.splitlines()
    assert len(lines) == 10
    assert last == "warning: and 2 more (fastdns check and the log name them)"


def test_check_shows_how_many_domains_each_group_has_and_warns_of_lists(tmp_path: Path) -> None:
    listed, servers = tmp_path / "list", tmp_path / "servers"
    listed.write_text("".join(f"n{number}.demo\n" for number in range(2000)) + "no domain\n")
    servers.write_text("192.0.2.1\nno address\n")
    file = tmp_path / "fastdns.toml"
    file.write_text(
        '[upstream]\nservers = ["192.0.2.53"]\n'
        f'[[forward]]\nname = "corp"\ndomains = ["a.demo", "file:{listed}"]\n'
        f'servers = ["file:{servers}"]\n'
        '[[forward]]\nname = "lab"\ndomains = ["lab.demo", "file:/none"]\nanswer = "nxdomain"\n'
    )
    done = fastdns("check", "-c", str(file), "--state", str(tmp_path / "state"))
    assert done.returncode == 0
    assert "\n# corp: 2,001 domains\n# lab: 1 domain\n" in done.stdout
    for line in (
        f'{listed}:2001: "no domain" is not a domain',
        "/none: cannot be read: No such file or directory",
        f'{servers}:2: "no address" is not an IP address',
    ):
        assert line in done.stderr
