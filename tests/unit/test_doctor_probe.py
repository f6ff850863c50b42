"""What doctor asks of an upstream, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fastdns.config.values import Address, Server
from fastdns.doctor.probe import ROOT_NS, ask_upstream


@contextmanager
def upstream(reply: Callable[[bytes], bytes | None]) -> Iterator[Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                query, client = server.recvfrom(4096)
                if query == b"end":
                    return
                wire = reply(query)
                if wire is not None:
                    server.sendto(wire, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Server("udp", Address(*server.getsockname()))
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", server.getsockname())
            thread.join()


def answer(query: bytes, rcode: int = 0) -> bytes:
    question = query[12:17]
    return query[:2] + bytes((0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, 0)) + question


@pytest.mark.parametrize("to_opt", [lambda query: answer(query, 1), lambda _: None])
def test_upstream_without_edns_is_said_to_answer_without(
    to_opt: Callable[[bytes], bytes | None],
) -> None:
    with upstream(lambda query: to_opt(query) if query[11] else answer(query)) as server:
        reply, has_edns = ask_upstream(server, ROOT_NS, 0.2)
    assert reply.is_good
    assert not has_edns


@pytest.mark.parametrize("rcode", [0, 3, 5])
def test_answer_that_is_the_same_with_and_without_opt_is_no_lack_of_edns(rcode: int) -> None:
    with upstream(lambda query: answer(query, rcode)) as server:
        reply, has_edns = ask_upstream(server, ROOT_NS, 1.0)
    assert (reply.rcode, has_edns) == (rcode, True)


def test_silence_is_silence_with_and_without_opt() -> None:
    with upstream(lambda _: None) as server, pytest.raises(OSError, match="timed out"):
        ask_upstream(server, ROOT_NS, 0.1)
