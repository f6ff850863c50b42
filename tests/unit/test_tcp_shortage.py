"""A connection that this machine has no descriptor for."""

from __future__ import annotations

import errno
import os
import socket

import gevent
import pytest
from messages import opt, query
from scenes import Scene, readable

from fastdns.config.values import Address, Server
from fastdns.upstream.endpoint import Endpoint


def test_upstream_is_not_to_blame_for_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    at = Address(*scene.upstream.getsockname())
    endpoint = Endpoint(Server("tcp", at), "name", 0.4, scene.front.forward.flights, lambda: None)
    scene.use(endpoint.known)
    monkeypatch.setattr("fastdns.upstream.tcp.socket.socket", refuse)
    for number in range(3):
        scene.ask(query(f"n{number}.example", 1, 1, opt()))
        gevent.idle()  # the connection's greenlet
        scene.tick_until(lambda: readable(0, scene.client))
        assert scene.client.recv(4096)[3] & 15 == 2
    assert (endpoint.known.alive, endpoint.state.failures) == (True, 0)
