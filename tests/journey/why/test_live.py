"""`fastdns why --live`: asks as the daemon would, and shows what happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.rcode
import pytest

from ..support.client import ask, data
from ..support.commands import FASTDNS, cache, fastdns
from ..support.daemon import Fastdns, address_of
from ..support.false_upstream import Asked, FalseUpstream, silence
from ..support.ports import free_port
from .conftest import told, why

Start = Callable[..., Fastdns]
Live = dict[str, Any]


ANSWERS = {1: "@ 300 IN A 192.0.2.1", 28: "@ 300 IN AAAA 2001:db8::1"}


def truncate(asked: Asked) -> None:
    """What an upstream does with an answer that does not fit."""
    if asked.tcp:
        asked.answer("@ 300 IN A 192.0.2.9")
    else:
        asked.answer(flags=dns.flags.TC)


def refuse(asked: Asked) -> None:
    asked.answer(rcode="REFUSED")


def refer(asked: Asked) -> None:
    """What a server does that does not recurse."""
    message = asked.response(authority=["demo. 300 IN NS ns.demo."])
    message.flags &= ~dns.flags.RA
    asked.send(message.to_wire())


def lead_to_corp(asked: Asked) -> None:
    asked.answer("@ 300 IN CNAME www.corp.demo.")


def reject_opt(asked: Asked) -> None:
    if asked.message.edns >= 0:
        message = asked.response(rcode="FORMERR")
        message.use_edns(False)
        asked.send(message.to_wire())
    else:
        asked.answer("@ 300 IN A 192.0.2.8")


def live(daemon: Fastdns, name: str, *arguments: str) -> Live:
    found: Live = told(daemon, name, *arguments, "--live")["live"]
    return found


def happened(found: Live) -> list[tuple[str, str | None]]:
    return [(one["what"], one["upstream"]) for one in found["events"]]


def addresses(found: Live) -> list[str]:
    return [one["data"] for one in found["records"] if one["type"] == "A"]


def test_answer_comes_now_and_the_daemon_learns_nothing(
    daemon: Fastdns, default: FalseUpstream
) -> None:
    found = live(daemon, "www.demo")
    upstream = address_of(default)
    assert happened(found) == [("disk", None), ("asked", upstream), ("replied", upstream)]
    assert (found["rcode"], addresses(found)) == ("NOERROR", ["192.0.2.1"])
    times = [one["ms"] for one in found["events"]] + [found["ms"]]
    assert times == sorted(times)
    assert told(daemon, "www.demo")["entries"] == []
    assert daemon.counter("cache_entries") == 0
    assert len(default.asked("www.demo")) == 1


def test_name_in_the_cache_is_asked_for_nevertheless_and_stays(
    daemon: Fastdns, default: FalseUpstream
) -> None:
    ask(daemon, "www.demo")
    cache(daemon.state_dir, "get", "www.demo")
    before = told(daemon, "www.demo")["entries"][0]["stored_at"]
    default.on("www.demo", lambda asked: asked.answer("@ 300 IN A 192.0.2.99"))
    found = live(daemon, "www.demo")
    assert "an entry that is fresh" in found["events"][0]["detail"]
    assert addresses(found) == ["192.0.2.99"]
    assert data(ask(daemon, "www.demo")) == ["192.0.2.1"]
    assert told(daemon, "www.demo")["entries"][0]["stored_at"] == before


@pytest.fixture
def upstreams(default: FalseUpstream, corp: FalseUpstream) -> tuple[FalseUpstream, FalseUpstream]:
    return default, corp


@pytest.fixture
def two(start_fastdns: Start, default: FalseUpstream, corp: FalseUpstream) -> Fastdns:
    """A daemon whose group has two upstreams."""
    return start_fastdns(upstream=[default, corp], config="\n")


@pytest.mark.parametrize(
    ("behaviour", "events", "address"),
    [
        (refuse, [("asked", 0), ("replied", 0), ("asked", 1), ("replied", 1)], "192.0.2.1"),
        (refer, [("asked", 0), ("lame", 0), ("asked", 1), ("replied", 1)], "192.0.2.1"),
        (silence, [("asked", 0), ("asked", 1), ("replied", 1)], "192.0.2.1"),
        (truncate, [("asked", 0), ("truncated", 0), ("asked", 0), ("replied", 0)], "192.0.2.9"),
        (reject_opt, [("asked", 0), ("replied", 0), ("asked", 0), ("replied", 0)], "192.0.2.8"),
    ],
    ids=["refused", "lame", "slow", "truncated", "without EDNS"],
)
def test_fall_backs_are_shown_in_their_order(
    two: Fastdns,
    upstreams: tuple[FalseUpstream, FalseUpstream],
    behaviour: Callable[[Asked], None],
    events: list[tuple[str, int]],
    address: str,
) -> None:
    default, corp = upstreams
    default.otherwise = behaviour
    corp.on("www.demo", lambda asked: asked.answer("@ 300 IN A 192.0.2.1"))
    found = live(two, "www.demo")
    names = [address_of(default), address_of(corp)]
    assert happened(found)[1:] == [(what, names[place]) for what, place in events]
    assert addresses(found) == [address]
    details = [one["detail"] for one in found["events"] if one["what"] == "asked"]
    assert details[0] == "over UDP"
    if behaviour is truncate:
        assert details[1] == "over TCP"
    if behaviour is reject_opt:
        assert details[1] == "over UDP, sending 2, without EDNS"


def test_chain_is_followed_into_another_group(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    default.on("chain.demo", lead_to_corp)
    found = live(daemon, "chain.demo")
    first, second = address_of(default), f"{address_of(corp)} (corp)"
    assert happened(found)[1:] == [
        *(("asked", first), ("replied", first), ("followed", None)),
        *(("asked", second), ("replied", second)),
    ]
    assert found["events"][3]["detail"] == "the chain leads to www.corp.demo., of group corp"
    assert addresses(found) == ["10.0.0.7"]
    assert not default.asked("www.corp.demo")


def test_forged_reply_is_shown_and_ignored(start_fastdns: Start, default: FalseUpstream) -> None:
    def forge(asked: Asked) -> None:
        asked.answer("@ 300 IN A 203.0.113.66")
        asked.answer("@ 300 IN A 192.0.2.1")

    default.on("www.demo", forge)
    daemon = start_fastdns(
        upstream=[default], config='[protect]\nbogus_answers = ["203.0.113.66"]\n'
    )
    found = live(daemon, "www.demo")
    assert [what for what, _ in happened(found)] == ["disk", "asked", "forged", "replied"]
    assert addresses(found) == ["192.0.2.1"]


def test_forged_replies_alone_are_told_as_such(
    start_fastdns: Start, default: FalseUpstream
) -> None:
    default.on("www.demo", lambda asked: asked.answer("@ 300 IN A 203.0.113.66"))
    daemon = start_fastdns(
        upstream=[default], config='[protect]\nbogus_answers = ["203.0.113.66"]\n'
    )
    found = live(daemon, "www.demo")
    failed = next(one for one in found["events"] if one["what"] == "failed")
    assert failed["detail"].startswith("forged replies only after ")


def test_refused_client_is_named_where_an_answer_is_shown(daemon: Fastdns) -> None:
    printed = why(daemon, "www.demo", "--client", "203.0.113.9", "--live")
    assert printed.startswith("www.demo. A: client 203.0.113.9 is refused")
    assert (
        "live        asked now, without the cache, as for a client that may ask "
        "(203.0.113.9 is refused):"
    ) in printed
    assert "as for a client" not in why(daemon, "www.demo", "--live")


def test_condition_of_a_rule_is_shown(start_fastdns: Start, default: FalseUpstream) -> None:
    default.on("www.demo", lambda asked: asked.answer(ANSWERS[asked.rdtype]))
    daemon = start_fastdns(
        upstream=[default], config='[[rule]]\nnames = ["www.demo"]\naaaa = "if-no-a"\n'
    )
    found = live(daemon, "www.demo", "AAAA")
    assert [what for what, _ in happened(found)] == [
        *("disk", "asked", "replied", "compared", "asked", "replied"),
    ]
    assert found["events"][4]["detail"] == "over UDP for www.demo. A"
    assert (found["rcode"], found["ede"]) == ("NOERROR", ["15 (blocked)"])


def test_silence_ends_in_time_outs_and_servfail(daemon: Fastdns, default: FalseUpstream) -> None:
    default.on("www.demo", silence)
    found = live(daemon, "www.demo")
    assert happened(found)[-1] == ("late", address_of(default))
    assert (found["rcode"], found["ede"]) == ("SERVFAIL", ["22 (no reachable authority)"])
    assert 1000 < found["ms"] < 4500


def test_port_without_a_listener_is_told_with_its_reason(start_fastdns: Start) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    daemon = start_fastdns(upstream=[nobody], config="\n")
    found = live(daemon, "www.demo")
    failed = next(one for one in found["events"] if one["what"] == "failed")
    assert (failed["upstream"], failed["detail"].partition(" after")[0]) == (
        nobody,
        "Connection refused",
    )


def test_upstream_that_the_daemon_knows_to_be_dead_is_left_out(
    two: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    default.otherwise = silence
    while "does not answer" not in two.tail():
        ask(two, f"{time.monotonic_ns()}.demo")
    found = live(two, "www.demo")
    assert {name for _, name in happened(found)[1:]} == {address_of(corp)}


def test_what_is_answered_here_asks_nobody(
    daemon: Fastdns, default: FalseUpstream, corp: FalseUpstream
) -> None:
    found = live(daemon, "localhost")
    assert (found["events"], addresses(found)) == ([], ["127.0.0.1"])
    found = live(daemon, "x.ads.demo")
    assert (found["events"], found["rcode"]) == ([], "NXDOMAIN")
    assert not default.asked("localhost") + corp.asked("x.ads.demo")


def test_timeline_without_a_daemon_is_that_of_the_configuration(
    tmp_path: Path, config: str, corp: FalseUpstream
) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text(config)
    done = fastdns(
        *("why", "www.corp.demo", "--live"), "-c", str(file), "--state", str(tmp_path / "none")
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    at = lines.index("live        asked now, without the cache:")
    assert [line.split()[2] for line in lines[at + 1 : -1]] == ["disk", "asks", "replied", "answer"]
    assert lines[-1].split() == ["www.corp.demo.", "300", "A", "10.0.0.7"]
    assert address_of(corp) in lines[at + 2]


def test_ctrl_c_ends_it_without_a_word(default: FalseUpstream, tmp_path: Path) -> None:
    default.otherwise = silence
    file = tmp_path / "fastdns.toml"
    file.write_text(f'[upstream]\nservers = ["{address_of(default)}"]\n')
    command = [*FASTDNS, "why", "www.demo", "--live", "-c", str(file), "--state", str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as asking:
        default.wait_for("www.demo")
        os.killpg(asking.pid, signal.SIGINT)
        assert "".join(asking.communicate(timeout=20)).strip() == ""
    assert asking.returncode == 130


def test_timeline_is_readable(daemon: Fastdns, default: FalseUpstream) -> None:
    default.on("www.demo", refuse)
    lines = why(daemon, "www.demo", "--live").splitlines()
    assert re.fullmatch(r" +[\d.]+ ms  answer +REFUSED", lines[-1])
