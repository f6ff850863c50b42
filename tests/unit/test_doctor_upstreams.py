"""What doctor says about upstreams, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fastdns.config.groups import Forward, Upstream
from fastdns.config.schema import Config
from fastdns.config.values import Address, Domain, GroupName, Server
from fastdns.doctor import upstreams
from fastdns.doctor.commands import USUAL
from fastdns.doctor.findings import Finding
from journey.support.ports import bind_pair

END = b"end"


@contextmanager
def upstream(*, tcp: bool, rcode: int = 0) -> Iterator[Server]:
    """Answers over UDP; over TCP either as well, or never, as behind a firewall that drops it."""
    datagrams, streams = bind_pair()
    with datagrams, streams:

        def answer(query: bytes) -> bytes:
            return query[:2] + bytes((0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, 0)) + query[12:17]

        def serve_datagrams() -> None:
            while (received := datagrams.recvfrom(4096))[0] != END:
                datagrams.sendto(answer(received[0]), received[1])

        def serve_streams() -> None:
            while True:
                connection, _ = streams.accept()
                with connection:
                    query = connection.recv(4096)
                    if query == END:
                        return
                    reply = answer(query[2:])
                    connection.sendall(len(reply).to_bytes(2, "big") + reply)

        threads = [threading.Thread(target=serve_datagrams)]
        threads += [threading.Thread(target=serve_streams)] if tcp else []
        for thread in threads:
            thread.start()
        try:
            yield Server("udp", Address(*datagrams.getsockname()))
        finally:
            datagrams.sendto(END, datagrams.getsockname())
            if tcp:
                with socket.create_connection(streams.getsockname()) as last:
                    last.sendall(END)
            for thread in threads:
                thread.join()


def look(*servers: Server) -> list[Finding]:
    config = Config(
        state_dir=Path("/nowhere"), run_dir=Path("/nowhere"), upstream=Upstream(servers=servers)
    )
    return list(upstreams.look(config, None, USUAL))


def test_upstream_that_answers_over_udp_and_tcp_is_one_line() -> None:
    with upstream(tcp=True) as server:
        (found,) = look(server)
    assert found.state == "ok"


def test_upstreams_whose_tcp_is_dropped_are_all_found_within_one_time_limit() -> None:
    with ExitStack() as running:
        servers = [running.enter_context(upstream(tcp=False)) for _ in range(4)]
        begun = time.monotonic()
        found = look(*servers)
        took = time.monotonic() - begun

    assert [one.state for one in found] == ["ok"] * 4 + ["wrong"] * 4
    assert all("not over TCP (no answer in time)" in one.text for one in found[4:])
    assert took < 2 * upstreams.TCP_SECONDS


def test_upstream_without_tcp_beside_one_that_has_it_is_a_hint() -> None:
    with upstream(tcp=True) as good, upstream(tcp=False) as bad:
        found = look(good, bad)

    assert [one.state for one in found] == ["ok", "ok", "hint"]
    assert found[2].text.startswith(f"{bad} answers over UDP, but not over TCP")
    assert f"TCP from this machine to its port {bad.address.port}" in found[2].do


@pytest.mark.parametrize(
    ("falls_back", "has_other", "state"),
    [(False, False, "wrong"), (True, False, "hint"), (False, True, "hint")],
)
def test_dead_upstream_of_a_group_is_named_with_its_group(
    falls_back: bool, has_other: bool, state: str
) -> None:
    with upstream(tcp=True) as alive:
        with upstream(tcp=True) as dead:
            pass
        group = Forward(
            name=GroupName("corp"),
            domains=(Domain("corp.demo", b"\x04corp\x04demo\0"),),
            servers=(dead, alive) if has_other else (dead,),
            fallback_to_default=falls_back,
        )
        config = Config(state_dir=Path("/nowhere"), run_dir=Path("/nowhere"), forward=(group,))
        first, *others = upstreams.look_at_groups(config)
    assert first.state == state
    assert first.text == f"{dead} does not answer: Connection refused (of group corp)"
    assert first.do.startswith("name another one in the servers of group corp, or ")
    assert [one.state for one in others] == ["ok"] * has_other


def test_upstream_that_refuses_is_said_to_and_why() -> None:
    with upstream(tcp=True, rcode=5) as server:
        (found,) = look(server)
    assert found.state == "wrong"
    assert "answers REFUSED to . NS: it does not serve this address" in found.text
