"""The memory with certificate and key: written by one process, read by others."""

from __future__ import annotations

import logging
import mmap
import os

import pytest

from fastdns.listen.streams import Streams
from fastdns.server.certificate_page import (
    PAGE_OCTETS,
    PAIR_MAX,
    CertificatePage,
    Pair,
    WorkersCertificate,
)

PAIR = Pair(b"a chain", b"its key")
OTHER = Pair(b"another", b"key")


class Connections(Streams):
    """Has no sockets, and notes what it is given."""

    def __init__(self) -> None:
        self.used: list[Pair] = []

    def use_certificate(self, chain: bytes, key: bytes, tickets: mmap.mmap) -> None:
        assert len(tickets) == mmap.PAGESIZE
        if key == b"weak":
            raise ValueError("this key is too small for libssl")
        self.used.append(Pair(chain, key))


def worker(page: CertificatePage, streams: Streams) -> WorkersCertificate:
    return WorkersCertificate(page, mmap.mmap(-1, mmap.PAGESIZE), streams)


def test_there_is_nothing_at_first() -> None:
    page = CertificatePage()
    assert page.read() is None
    page.clear()
    assert page.generation == 0


def test_child_sees_what_is_written_after_its_fork() -> None:
    page = CertificatePage()
    asked, ask = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ask)
        os.read(asked, 1)  # ends when the parent has written
        os._exit(0 if page.read() == PAIR and page.generation == 1 else 1)
    page.write(PAIR)
    os.close(ask)
    os.close(asked)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_octet_of_a_former_key_stays_in_memory() -> None:
    page = CertificatePage()
    page.write(Pair(b"c" * 1000, b"secret" * 100))
    page.write(PAIR)
    assert page.read() == PAIR
    assert b"secret" not in page._page[:PAGE_OCTETS]
    page.clear()
    assert page.read() is None
    assert b"key" not in page._page[:PAGE_OCTETS]


def test_pair_that_is_just_being_written_is_not_read() -> None:
    page = CertificatePage()
    page.write(PAIR)
    page._page[24] ^= 1
    assert page.read() is None


def test_pair_that_is_too_large_leaves_the_former() -> None:
    page = CertificatePage()
    page.write(PAIR)
    with pytest.raises(ValueError, match="at most"):
        page.write(Pair(bytes(PAIR_MAX), b"k"))
    assert page.read() == PAIR
    page.write(Pair(bytes(PAIR_MAX - 1), b"k"))
    assert page.read() == Pair(bytes(PAIR_MAX - 1), b"k")


def test_worker_uses_each_pair_once() -> None:
    page, streams = CertificatePage(), Connections()
    page.write(PAIR)
    certificate = worker(page, streams)
    certificate.look()
    assert streams.used == [PAIR]
    page.write(OTHER)
    certificate.look()
    certificate.look()
    assert streams.used == [PAIR, OTHER]


def test_worker_waits_for_the_first_pair() -> None:
    page, streams = CertificatePage(), Connections()
    certificate = worker(page, streams)
    assert streams.used == []
    page.write(PAIR)
    certificate.look()
    assert streams.used == [PAIR]


def test_pair_that_libssl_refuses_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    page, streams = CertificatePage(), Connections()
    page.write(Pair(b"chain", b"weak"))
    with caplog.at_level(logging.ERROR):
        worker(page, streams).look()
    assert [one.getMessage() for one in caplog.records] == [
        "listen.certificate, listen.key: this key is too small for libssl; not used"
    ]
