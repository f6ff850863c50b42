"""A connection that this machine has no descriptor for."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from messages import GENEROUS, key
from scenes import Scene

from fastdns.config.schema import Address, Server
from fastdns.errors import LocalShortage
from fastdns.upstream.endpoint import Endpoint
from fastdns.upstream.exchange import Desk, new_arrivals
from fastdns.upstream.reply import Reader
from fastdns.upstream.request import Request


def test_upstream_is_not_to_blame_for_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    counters = scene.front.pages.counters(0)
    desk = Desk(Reader(GENEROUS), counters, scene.front.forward.flights)
    at = Address(*scene.upstream.getsockname())
    endpoint = Endpoint(Server("tcp", at), 0.4, desk)
    monkeypatch.setattr("fastdns.upstream.tcp.socket.socket", refuse)
    for _ in range(3):
        arrivals = new_arrivals()
        endpoint.ask_by_tcp(Request(key(), trust_ad=False), arrivals)
        _, outcome = arrivals.get(timeout=2.0)
        assert isinstance(outcome, LocalShortage)
    assert (endpoint.alive, endpoint.state.failures) == (True, 0)
