"""Servers that have lists, and the names under which they are found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support.download_server import CERTIFICATE, DownloadServer
from ..support.false_upstream import Asked, FalseUpstream, answer_a


def here(asked: Asked) -> None:
    """This machine, for names of list servers: by IPv4 only."""
    if asked.name.to_text().endswith("lists.example.") and asked.rdtype == 1:
        asked.answer("@ 300 IN A 127.0.0.1")
    else:
        answer_a(asked)


@pytest.fixture(scope="module")
def resolver() -> Iterator[FalseUpstream]:
    with FalseUpstream(here) as server:
        yield server


@pytest.fixture
def web() -> Iterator[DownloadServer]:
    with DownloadServer() as server:
        yield server


@pytest.fixture
def secure_web(monkeypatch: pytest.MonkeyPatch) -> Iterator[DownloadServer]:
    """One over TLS, whose certificate this process and its children believe."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with DownloadServer(tls=True) as server:
        yield server
