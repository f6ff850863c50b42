"""Rules and protection on the way of a query, also when a reload comes in the middle."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.rcode
import pytest
from environments import ago, front_on, value_of, write_disk
from messages import (
    AAAA,
    CNAME,
    GENEROUS,
    A,
    Front,
    address,
    answer_from,
    good,
    key,
    name,
    query,
    record,
    reply,
    ttl_of,
)
from test_local import built

from fastdns._groups import Group
from fastdns.config.load import load
from fastdns.policy.compile import compile_domains

Use = Callable[..., None]
IF_NO_A = '[[rule]]\nnames = ["www.example", "b.corp.example"]\naaaa = "if-no-a"\n'
REBIND = "[protect]\nrebind = true\n"
CORP = '[[forward]]\nname = "corp"\ndomains = ["corp.example"]\nservers = ["192.0.2.53"]\n'
DENIAL = (
    b"\0"
    + b"\0\6\0\1"
    + (60).to_bytes(4, "big")
    + (22).to_bytes(2, "big")
    + bytes(18)
    + b"\0\0\0\x3c"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


@pytest.fixture
def front(place: Path) -> Front:
    return Front(place, stale=1000)


@pytest.fixture
def use(front: Front, tmp_path: Path) -> Use:
    """Give the front a configuration; its groups ask the same upstream."""
    return user(front, tmp_path)


def user(front: Front, tmp_path: Path) -> Use:
    def use_config(text: str = "", *records: str) -> None:
        file = tmp_path / "fastdns.toml"
        file.write_text(text)
        config = load(file, state=tmp_path)
        for one in config.forward:
            group = Group(GENEROUS, attempts=1, number=one.number)
            group.use([front.known])
            front.forward.add_group(group)
            front.cache.set_group(one.number, 77)
        front.cache.use_policy(compile_domains(config).policy(built(*records)))

    return use_config


def told(wire: bytes | None) -> list[str]:
    assert wire is not None
    return [str(one) for rrset in dns.message.from_wire(wire).answer for one in rrset]


def cname(to: str) -> bytes:
    return record(CNAME, name(to))


def aaaa(owner: str) -> bytes:
    return record(AAAA, socket.inet_pton(socket.AF_INET6, "2001:db8::1"), owner=name(owner))


def no_data(qname: str, qtype: int) -> bytes:
    return reply(authority=(DENIAL,), qname=qname, qtype=qtype)


# --- what was cached before -----------------------------------------------------------------------


def test_disk_says_nothing_about_a_name_that_is_local_now(place: Path, tmp_path: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    front = front_on(place, warm=False)
    user(front, tmp_path)("", "www.example 60 CNAME other.example.")
    assert front.ask(query()) is None
    front.fail()
    wire = front.heard()
    assert wire is not None
    assert wire[3] & 15 == dns.rcode.SERVFAIL
    assert front.memory.count == 1  # the failure


def test_stale_answer_of_other_upstreams_is_inspected_as_well(front: Front, use: Use) -> None:
    front.learn(key(), answer_from(reply(record(A, bytes((10, 0, 0, 1))))))
    front.cache.set_group(0, 5)
    use(REBIND)
    assert front.cache.stale_answer(key(), 30) is None
