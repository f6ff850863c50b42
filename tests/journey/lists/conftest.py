"""Servers that have lists, and the names under which they are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
def secure_web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DownloadServer]:
    """One over TLS, whose certificate this process and its children believe."""
    believed = tmp_path / "believed.pem"  # the checkout may be closed to who gives up root
    believed.write_bytes(CERTIFICATE.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(believed))
    with DownloadServer(tls=True) as server:
        yield server
