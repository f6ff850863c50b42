"""The table of the clients that a worker has seen: bounded, and not displaced by a flood."""

from __future__ import annotations

import random
from ipaddress import ip_address
from pathlib import Path

import pytest
from messages import NAME, Front, StreamClient, query

from fastdns._clients import Access, span_value
from fastdns._seen_clients import FILE_OCTETS, ROWS_MAX, SeenClients, hash_of_view, read_seen
from fastdns.policy.views import wide

LAPTOP = wide(ip_address("192.0.2.1").packed)
MAC = bytes.fromhex("aabbccddeeff")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clients.0"


@pytest.fixture
def table(path: Path) -> SeenClients:
    made = SeenClients.create(path)
    made.use_views(["kids", "guests"])
    return made


def test_client_is_noted_with_what_it_has_asked(table: SeenClients, path: Path) -> None:
    table.note(LAPTOP, view=1, now=100.9)
    table.note(LAPTOP, view=2, is_blocked=True, now=160)
    table.note(LAPTOP, view=2, is_limited=True, now=150)
    table.set_mac(LAPTOP, 0, MAC)
    (row,) = read_seen(path)
    assert row == (LAPTOP, 0, MAC, hash_of_view("guests"), 100, 150, 3, 1, 1)


def test_client_in_no_view_or_in_one_that_is_gone_has_none(table: SeenClients, path: Path) -> None:
    table.note(LAPTOP, view=0)
    table.note(wide(bytes(4)), view=3)
    assert [row.view for row in read_seen(path)] == [0, 0]


def test_link_local_addresses_of_two_links_are_two_clients(table: SeenClients, path: Path) -> None:
    for link in (2, 3, 2):
        table.note(ip_address("fe80::1").packed, link)
    assert sorted((row.link, row.queries) for row in read_seen(path)) == [(2, 2), (3, 1)]


def test_flood_of_forged_addresses_displaces_hardly_a_client(
    table: SeenClients, path: Path
) -> None:
    chance = random.Random(3)
    household = [chance.randbytes(16) for _ in range(50)]
    for one in household:
        for _ in range(3):
            table.note(one, now=1)
    for number in range(50_000):
        table.note(chance.randbytes(16), now=2 + number // 1000)
    rows = read_seen(path)
    assert len(rows) <= ROWS_MAX
    assert path.stat().st_size == FILE_OCTETS
    seen = {row.address: row.queries for row in rows}
    assert [seen.get(one) for one in household] == [3] * 50


def test_client_that_has_not_asked_for_longest_makes_room(table: SeenClients, path: Path) -> None:
    chance = random.Random(4)
    many = [chance.randbytes(16) for _ in range(3 * ROWS_MAX)]
    for number, one in enumerate(many):
        for _ in range(2):
            table.note(one, now=number)
    kept = {row.address for row in read_seen(path)}
    places = [number for number, one in enumerate(many) if one in kept]
    assert len(places) > ROWS_MAX * 0.95
    # Sets of rows are not filled evenly, but hardly one has been asked for that little.
    assert sum(number < ROWS_MAX for number in places) < len(places) * 0.03


def test_clients_without_a_hardware_address_are_told_until_they_have_one(
    table: SeenClients,
) -> None:
    table.note(LAPTOP, now=100)
    table.note(wide(bytes(4)), now=10)
    assert table.without_mac(50) == [(LAPTOP, 0)]
    table.set_mac(LAPTOP, 0, MAC)
    table.set_mac(b"\xff" * 16, 0, MAC)  # not in the table
    assert table.without_mac(50) == []


def test_file_of_another_version_or_size_is_refused(table: SeenClients, path: Path) -> None:
    content = path.read_bytes()
    for wrong in (b"", content[:-1], content + b"x", content[:8] + b"\x09" + content[9:]):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="another version"):
            read_seen(path)


def test_every_answered_query_is_counted_once_and_strangers_are_not(
    tmp_path: Path, table: SeenClients, path: Path
) -> None:
    front = Front(tmp_path)
    front.fastpath.cache.counters.clients = table
    front.fastpath.admit_by(Access([(0xC0000200, span_value(True, 1)), (0xC0000210, 0)], []))
    for host in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.99"):
        front.clients.append(StreamClient(host))
        front.ask(query(NAME, flags=0))
        front.ask(query("localhost"))
    seen = {row.address: (row.queries, row.view) for row in read_seen(path)}
    view = hash_of_view("kids")
    assert seen == {LAPTOP: (4, view), wide(bytes([192, 0, 2, 2])): (2, view)}
