"""Changes to the cache by others: commands remove entries, files are damaged, cut, exchanged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from environments import (
    ago,
    fetch,
    front_on,
    in_a_child,
    open_here,
    value_of,
    write_disk,
    write_raw,
)
from messages import AAAA, SOURCE, A, Front, answer_for, good, key, name, query

from fastdns._control import CHANGE_ALL, CHANGE_NAME, CHANGE_REFRESH, CHANGE_UNDER
from fastdns._disk import Disk
from fastdns._key import disk_key
from fastdns._ring import RECORD_SPOILED
from fastdns.store.warm import most_used

# ---- what commands change


@pytest.mark.parametrize(
    ("kind", "where", "qtype", "gone"),
    [
        (CHANGE_NAME, "www.example", 0, {"www.example A", "www.example AAAA"}),
        (CHANGE_NAME, "www.example", AAAA, {"www.example AAAA"}),
        (CHANGE_UNDER, "example", 0, {"www.example A", "www.example AAAA", "example A"}),
        (CHANGE_ALL, "", 0, {"www.example A", "www.example AAAA", "example A", "wwwexample A"}),
    ],
)
def test_change_by_a_command_takes_from_memory_what_it_names(
    place: Path, kind: int, where: str, qtype: int, gone: set[str]
) -> None:
    front = front_on(place)
    held = {
        "www.example A": ("www.example", A),
        "www.example AAAA": ("www.example", AAAA),
        "example A": ("example", A),
        "wwwexample A": ("wwwexample", A),
    }
    for qname, of_type in held.values():
        front.keep(good(), key(qname, of_type))
    front.control.post(kind, name(where) if kind != CHANGE_ALL else b"", qtype)
    missing = {text for text, (qname, t) in held.items() if front.ask(query(qname, t)) is None}
    assert missing == gone
    assert front.count("invalidations_total") == 1


def test_more_changes_than_are_kept_take_everything(place: Path) -> None:
    front = front_on(place)
    front.keep(good())
    for _ in range(1025):
        front.control.post(CHANGE_NAME, name("other"))
    assert front.ask(query()) is None


def test_answer_that_was_under_way_when_a_command_removed_it_is_not_kept(place: Path) -> None:
    front = front_on(place)
    ticket = front.cache.ticket()
    front.control.post(CHANGE_UNDER, name("example"))
    front.cache.keep(key(), good(), ticket, SOURCE, 0.0)
    front.cache.keep(key("other"), answer_for("other"), ticket, SOURCE, 0.0)
    assert front.ask(query()) is None
    assert front.ask(query("other")) is not None
    assert [record[2] for record in front.ring.records(1 << 20)] == [key("other")]


def test_answer_asked_for_after_the_change_is_kept(place: Path) -> None:
    front = front_on(place)
    front.control.post(CHANGE_ALL)
    assert front.ask(query()) is None
    front.learn(key(), good())
    assert front.ask(query()) is not None
    assert [record[1] for record in front.ring.records(1 << 20)] == [1]


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "posted"])
def test_value_that_a_thread_read_before_a_command_removed_it_is_not_adopted(
    place: Path, *, applied: bool
) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place, warm=False)
    ticket = front.cache.ticket()
    value = front.cache.fetch(key())
    front.control.post(CHANGE_NAME, name("www.example"))
    if applied:
        front.cache.look_at_control()
    assert front.cache.adopt(key(), value, ticket) is None
    assert front.memory.count == 0


def test_value_that_a_thread_read_for_former_upstreams_is_not_adopted(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1), origin=7)})
    front = front_on(place, warm=False)
    ticket = front.cache.ticket()
    value = front.cache.fetch(key())
    front.cache.set_group(0, 7)
    assert front.cache.adopt(key(), value, ticket) is None
    assert fetch(front) is not None


def test_answer_of_former_upstreams_that_comes_late_is_not_kept(place: Path) -> None:
    front = front_on(place)
    ticket = front.cache.ticket()
    front.cache.set_group(0, 9)
    front.cache.keep(key(), good(), ticket, SOURCE, 0.0)
    assert front.ask(query()) is None
    assert front.ring.records(1 << 20) == []


def test_command_that_wants_a_name_renewed_has_all_its_variants_renewed(place: Path) -> None:
    front = front_on(place)
    front.keep(good())
    front.control.post(CHANGE_REFRESH, name("www.example"), A, 0b11)  # without DO, and with it
    front.control.post(CHANGE_REFRESH, name("unknown"), AAAA)
    assert set(front.cache.look_at_control()) == {key(), key(do=True), key("unknown", AAAA)}
    assert front.ask(query()) is not None  # nothing has been removed


# ---- damage


def damaged(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


def test_damaged_entry_is_a_miss_and_the_keeper_is_told(place: Path) -> None:
    write_disk(place, {key(): damaged(value_of(good(), ago(1)))})
    front = front_on(place)
    assert front.ask(query()) is None
    assert told_spoiled(front) == [key()]
    assert front.count("disk_damaged_total") == 1
    assert not front.control.suspect


def told_spoiled(front: Front) -> list[bytes]:
    """The keys under which the keeper is to look."""
    found = [record[2] for record in front.ring.records(1 << 20) if record[0] == RECORD_SPOILED]
    front.ring.consume()
    return found


@pytest.mark.parametrize("at", range(0, 200, 7))
def test_flipped_bit_costs_one_entry_and_others_are_read_on(place: Path, at: int) -> None:
    """Wherever it is in the value: header, message, offsets."""
    value = bytearray(value_of(good(), ago(1)))
    value[at % len(value)] ^= 0x10
    other = value_of(answer_for("other"), ago(1))
    write_disk(place, {key(): bytes(value), key("other"): other})
    front = front_on(place)
    assert front.ask(query()) is None
    assert front.ask(query("other")) is not None
    assert told_spoiled(front) == [key()]
    assert not front.control.suspect
    assert front.cache.disk.is_open


def test_damaged_entry_that_is_asked_for_again_and_again_is_told_once(place: Path) -> None:
    write_disk(place, {key(): damaged(value_of(good(), ago(1)))})
    front = front_on(place)
    for _ in range(100):
        assert front.ask(query()) is None
    assert told_spoiled(front) == [key()]
    front.cache.look_at_control()  # a second later, should it still be there
    assert front.ask(query()) is None
    assert told_spoiled(front) == [key()]


def test_damaged_entry_that_a_thread_has_fetched_is_a_miss_and_told(place: Path) -> None:
    write_disk(place, {key(): damaged(value_of(good(), ago(1)))})
    front = front_on(place)
    assert fetch(front) is None
    assert told_spoiled(front) == [key()]
    assert front.count("disk_damaged_total") == 1
    assert not front.control.suspect


def test_damaged_entry_does_not_end_the_warming_up(place: Path) -> None:
    values = {key(f"n{n}"): value_of(answer_for(f"n{n}"), ago(1), hits=5) for n in range(10)}
    values[key("n3")] = damaged(values[key("n3")])
    write_disk(place, values)
    front = front_on(place)
    front.cache.warm(most_used(front.cache.disk, 100))
    assert front.count("warmed_total") == 9
    assert told_spoiled(front) == [key("n3")]


def test_answer_to_another_question_than_its_key_is_damage(place: Path) -> None:
    write_raw(place, {disk_key(key("other")): value_of(good(), ago(1))})
    front = front_on(place)
    assert front.ask(query("other")) is None
    assert told_spoiled(front) == [key("other")]


def test_suspected_disk_is_not_read_until_the_keeper_has_looked(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    front.control.suspect = True
    assert front.ask(query()) is None
    front.control.suspect = False
    front.control.advance_generation()
    assert front.ask(query()) is not None


def test_file_that_somebody_cuts_is_no_crash(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    os.truncate(place / "data.mdb", 100)
    assert front.ask(query()) is None
    assert front.control.suspect


def grown(place: Path) -> Front:
    """A fast path whose file has grown since it was opened."""
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    values = {key(f"n{n}"): value_of(answer_for(f"n{n}"), ago(1)) for n in range(5000)}
    write_disk(place, values)
    assert front.ask(query("n0")) is not None
    os.truncate(place / "data.mdb", (place / "data.mdb").stat().st_size // 2)
    return front


def test_file_that_is_cut_after_it_grew_is_no_crash(place: Path) -> None:
    front = grown(place)

    def ask() -> None:
        for n in range(1, 4000):  # fewer than can be in flight
            assert front.ask(query(f"n{n}")) is None
        assert front.control.suspect

    assert in_a_child(ask) == 0


@pytest.mark.parametrize("how", ["fetch", "scan", "touch"])
def test_file_that_is_cut_is_no_crash_for_threads_either(place: Path, how: str) -> None:
    disk = grown(place).cache.disk

    def read() -> None:
        keys = [key(f"n{n}") for n in range(1, 5000)]
        if how == "fetch":
            for wanted in keys:
                with pytest.raises(ValueError, match="truncated"):
                    disk.fetch(wanted)
        elif how == "scan":
            assert disk.scan(b"", 5000, 0) == ([], None)
        else:
            disk.touch([disk_key(wanted) for wanted in keys])

    assert in_a_child(read) == 0


def test_threads_leave_a_suspected_disk_alone_too(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1), hits=3)})
    disk = front_on(place).cache.disk
    disk.suspend()
    assert disk.fetch(key()) is None
    assert disk.scan(b"", 10, 0) == ([], None)
    disk.touch([disk_key(key())])


def test_disk_that_could_not_be_opened_is_tried_again(place: Path) -> None:
    front = Front(place)
    write_disk(place, {key(): value_of(good(), ago(1))})
    front.cache.look_at_control()
    assert front.cache.disk.is_open


@pytest.mark.parametrize("octets", [0, 100, 8192])
def test_file_that_is_cut_already_is_not_opened(place: Path, octets: int) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    os.truncate(place / "data.mdb", octets)
    assert not Front(place).cache.disk.is_open


def test_file_that_is_no_database_is_not_opened(place: Path) -> None:
    (place / "data.mdb").write_bytes(bytes(65536))
    (place / "lock.mdb").write_bytes(bytes(8192))
    assert not Front(place).cache.disk.is_open


def test_reading_creates_no_file(place: Path) -> None:
    with pytest.raises(OSError, match=r"data\.mdb"):
        Disk(place).open()
    assert [path.name for path in place.iterdir()] == []


# ---- a file that grows or is exchanged


def test_file_whose_map_was_enlarged_is_opened_again(place: Path) -> None:
    write_raw(place, {disk_key(key()): value_of(good(), ago(1))}, map_octets=1 << 20)
    front = front_on(place)
    write_raw(place, {b"%d" % n: bytes(1500) for n in range(2000)})
    assert front.ask(query()) is None
    assert not front.control.suspect
    front.cache.look_at_control()
    assert front.ask(query()) is not None


def test_change_made_in_a_file_that_is_not_yet_announced_counts(
    tmp_path: Path, place: Path
) -> None:
    """The keeper has exchanged the file, and a command was faster than its word of that."""
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    place.rename(tmp_path / "former")
    place.mkdir()
    write_disk(place, {})
    front.control.post(CHANGE_NAME, name("www.example"))
    assert front.ask(query()) is None
    front.control.advance_generation()
    assert front.ask(query()) is None


def test_thread_that_finds_the_map_enlarged_has_the_file_opened_again(place: Path) -> None:
    write_raw(place, {disk_key(key()): value_of(good(), ago(1))}, map_octets=1 << 20)
    front = front_on(place, warm=False)
    write_raw(place, {b"%d" % n: bytes(1500) for n in range(2000)})
    assert fetch(front) is None
    front.cache.look_at_control()
    assert fetch(front) is not None


def test_reader_that_was_given_up_for_dead_reads_again(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    with open_here(place):  # at its end LMDB clears what this process has in lock.mdb
        pass
    assert front.ask(query()) is None
    front.control.advance_generation()  # the keeper finds nothing wrong
    front.control.suspect = False
    assert front.ask(query()) is not None
    assert not front.control.suspect


def test_reader_is_where_writers_look_for_it_when_the_lock_file_is_another(place: Path) -> None:
    write_disk(place, {key(): value_of(good(), ago(1))})
    front = front_on(place)
    (place / "lock.mdb").unlink()
    write_disk(place, {})
    front.control.advance_generation()
    assert front.ask(query()) is not None
    us = os.getpid()

    def look() -> None:
        with open_here(place) as environment:
            assert str(us) in environment.readers()

    assert in_a_child(look) == 0


def test_new_file_in_its_place_is_read_at_the_next_generation(tmp_path: Path, place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(1))})
    front = front_on(place)
    place.rename(tmp_path / "aside")
    place.mkdir()
    write_disk(place, {key("other"): value_of(answer_for("other"), ago(1))})
    front.control.advance_generation()
    assert front.ask(query("other")) is not None
    assert front.ask(query()) is None
