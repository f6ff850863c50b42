"""Keys of session tickets: one page for all processes, kept over a restart."""

from __future__ import annotations

import mmap
import os

import pytest
from tls_peers import Client, client_context, server_context

from fastdns._ticket_keys import TICKET_OCTETS, TicketKeys


def test_session_that_one_process_began_is_resumed_by_another() -> None:
    page = mmap.mmap(-1, TICKET_OCTETS)
    TicketKeys(page).rotate()
    context = client_context()
    client = Client(server_context("dot", TicketKeys(page)), context).connect()
    server = server_context("dot", TicketKeys(page))

    assert Client(server, context, session=client.session()).connect().server.is_resumed


def test_rotation_by_another_process_is_seen_at_once() -> None:
    page = mmap.mmap(-1, TICKET_OCTETS)
    TicketKeys(page).rotate()
    mine = TicketKeys(page)
    before = mine.saved()
    child = os.fork()
    if child == 0:
        TicketKeys(page).rotate()
        os._exit(0)
    os.waitpid(child, 0)

    assert mine.saved()[80:] == before[:160]
    assert mine.saved()[:80] not in before


def test_keys_are_the_same_after_a_restart() -> None:
    before, after = TicketKeys(), TicketKeys(mmap.mmap(-1, TICKET_OCTETS))
    context = client_context()
    client = Client(server_context("dot", before), context).connect()
    after.restore(before.saved())
    assert after.saved() == before.saved()

    back = Client(server_context("dot", after), context, session=client.session()).connect()
    assert back.server.is_resumed


def test_page_without_keys_has_nothing_to_save() -> None:
    assert TicketKeys(mmap.mmap(-1, TICKET_OCTETS)).saved() == b""


@pytest.mark.parametrize("saved", [b"", bytes(239), bytes(241)])
def test_what_is_not_three_keys_changes_nothing(saved: bytes) -> None:
    keys = TicketKeys()
    before = keys.saved()
    with pytest.raises(ValueError, match="not the keys"):
        keys.restore(saved)
    assert keys.saved() == before


def test_page_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        TicketKeys(memoryview(bytearray(TICKET_OCTETS - 1)))


def test_all_keys_are_random() -> None:
    saved = TicketKeys().saved() + TicketKeys().saved()
    assert len({saved[at : at + 80] for at in range(0, 480, 80)}) == 6
