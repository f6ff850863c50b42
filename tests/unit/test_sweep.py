"""Which entries are removed when the disk cache is full or they have expired, and which stay."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
from environments import ago, write_raw
from messages import answer_of_size
from test_store import MIB, fill, place_of, update

from fastdns._clock import Moment
from fastdns._entry import pack
from fastdns._writer import FULL, ROOMY
from fastdns.errors import Damaged
from fastdns.store.lock import LockHeld, writer_lock
from fastdns.store.store import Store, Update
from fastdns.store.sweep import Sweeper

STALE = 3600


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "cache", 2 * MIB)
    yield opened
    opened.close()


def sweeper(store: Store) -> Sweeper:
    def writing() -> AbstractContextManager[None]:
        return writer_lock(store.place, 1.0)

    return Sweeper(store, STALE, writing)


def left(store: Store) -> set[bytes]:
    return {place for found in store.slices() for place, _ in found}


def put(store: Store, qname: str, **knobs: object) -> None:
    knobs = {"stored": Moment.now()} | knobs
    list(store.apply([update(qname, **knobs)], Moment.now()))


def fill_up(store: Store, domain: str = "test", **knobs: object) -> int:
    """Put entries until it is as full as it may become; return how many."""
    count, knobs = 0, {"stored": Moment.now()} | knobs
    while store.usage().share < FULL:
        batch = [update(f"n{number}.{domain}", **knobs) for number in range(count, count + 50)]
        for _ in store.apply(sorted(batch), Moment.now()):
            pass
        count += 50
    return count


def test_entry_goes_when_it_is_past_its_ttl_and_the_time_for_stale_answers(store: Store) -> None:
    put(store, "fresh.demo", stored=ago(299), ttl=300)
    put(store, "stale.demo", stored=ago(300 + STALE - 5), ttl=300)
    put(store, "expired.demo", stored=ago(300 + STALE + 5), ttl=300)
    put(store, "used.demo", stored=ago(300 + STALE + 5), ttl=300, hits=1000)
    assert sum(sweeper(store).expire()) == 2
    assert left(store) == {place_of("fresh.demo"), place_of("stale.demo")}


def test_age_over_a_boot_goes_by_the_wall_clock(store: Store) -> None:
    now = Moment.now()

    def of_another_boot(seconds: int) -> Moment:
        return Moment(now.wall_ms - seconds * 1000, 5, now.boot ^ 1)

    put(store, "stale.demo", stored=of_another_boot(300 + STALE - 60))
    put(store, "expired.demo", stored=of_another_boot(300 + STALE + 60))
    put(store, "future.demo", stored=of_another_boot(-10_000_000))
    put(store, "unset.demo", stored=Moment(1000, 5, now.boot ^ 1))  # 1970
    sum(sweeper(store).expire())
    assert left(store) == {place_of(f"{name}.demo") for name in ("stale", "future", "unset")}


def damage(store: Store, *names: str) -> None:
    values = {}
    for name in names:
        value = bytearray(store.get(place_of(name)))
        value[-1] ^= 1
        values[place_of(name)] = bytes(value)
    write_raw(store.place, values, map_octets=0)


def test_damaged_entry_is_found_by_the_way_and_removed(store: Store) -> None:
    fill(store, 100)
    damage(store, "n7.demo")
    write_raw(store.place, {b"no key": b"no value"}, map_octets=0)
    found = sweeper(store)
    sum(found.expire())
    assert found.spoiled == 2
    assert left(store) == {place_of(f"n{number}.demo") for number in range(100) if number != 7}
    sum(found.expire())
    assert found.spoiled == 0


@pytest.mark.parametrize(
    ("entries", "damaged", "is_borne"),
    [(10, 10, True), (20, 17, False), (1000, 16, True), (1700, 17, True), (1700, 18, False)],
)
def test_more_damage_than_in_a_hundredth_is_a_matter_of_the_whole(
    store: Store, entries: int, damaged: int, is_borne: bool
) -> None:
    fill(store, entries)
    damage(store, *(f"n{number}.demo" for number in range(damaged)))
    with nullcontext() if is_borne else pytest.raises(Damaged, match=f"of {entries}"):
        sum(sweeper(store).expire())


def test_sweep_ends_when_there_is_room(store: Store) -> None:
    rng = random.Random(1)
    while store.usage().share < FULL:  # in batches: each is a commit, which waits for the disk
        batch = [
            update(f"{rng.randbytes(6).hex()}.demo", stored=Moment.now(), hits=rng.randrange(10))
            for _ in range(20)
        ]
        list(store.apply(sorted(batch), Moment.now()))
    count = store.usage().entries
    freed = sum(sweeper(store).make_room())
    assert store.usage().share <= ROOMY
    assert store.usage().entries == count - freed
    assert freed < count * 0.75  # LMDB joins pages late; but it is no clearance


@pytest.mark.parametrize("octets", [100, 900, 2500])
@pytest.mark.parametrize("mib", [1, 2, 4])
def test_small_map_is_swept_no_further_than_a_large_one(
    tmp_path: Path, mib: int, octets: int
) -> None:
    store, rng = Store.open(tmp_path / "small", mib * MIB), random.Random(1)
    sweeps, answer = sweeper(store), answer_of_size(octets)
    for _ in range(2):
        while store.usage().share < FULL:
            values = {
                rng.randbytes(6): pack(answer, Moment.now(), hits=rng.choice([0, 0, 0, 1, 5]))
                for _ in range(20)
            }
            updates = [Update(place_of(f"{name.hex()}.demo"), values[name]) for name in values]
            list(store.apply(sorted(updates), Moment.now()))
        sum(sweeps.make_room())
        assert ROOMY - 0.05 < store.usage().share <= ROOMY
    store.close()


def test_entries_used_most_stay(store: Store) -> None:
    used = [f"n{number}.{domain}" for number in range(50) for domain in ("aaa", "zzz")]
    for name in used:
        put(store, name, hits=1, stored=ago(10_000), ttl=86400)
    fill_up(store, "middle")
    sum(sweeper(store).make_room())
    assert set(map(place_of, used)) <= left(store)


def test_of_entries_used_alike_the_oldest_go_first(store: Store) -> None:
    new = [f"n{number}.{domain}" for number in range(50) for domain in ("aaa", "zzz")]
    for name in new:
        put(store, name)
    fill_up(store, "middle", stored=ago(7200), ttl=86400)
    sum(sweeper(store).make_room())
    assert set(map(place_of, new)) <= left(store)


def test_expired_entries_go_before_any_other(store: Store) -> None:
    fill_up(store, stored=ago(300 + STALE + 60), hits=50)
    for number in range(50):
        put(store, f"fresh{number}.demo")
    sum(sweeper(store).make_room())
    assert {place_of(f"fresh{number}.demo") for number in range(50)} <= left(store)


def test_sweeps_of_entries_that_rank_alike_go_around(store: Store) -> None:
    """Else those whose names come first would never live long."""
    sweeps = sweeper(store)
    fill_up(store, "middle")
    sum(sweeps.make_room())
    first = {place_of(f"n{number}.aaa") for number in range(50)}
    for number in range(50):
        put(store, f"n{number}.aaa")
    fill_up(store, "zzz")
    sum(sweeps.make_room())
    assert first <= left(store)


def test_entry_that_cannot_be_read_makes_room_first(store: Store) -> None:
    fill_up(store, hits=5)
    write_raw(store.place, {place_of("n7.demo"): b"garbage"}, map_octets=0)
    sum(sweeper(store).make_room())
    assert place_of("n7.demo") not in left(store)
    assert store.usage().share <= ROOMY


def test_sweep_yields_after_every_slice_so_that_others_can_write(store: Store) -> None:
    fill_up(store)
    sweep = sweeper(store).make_room()
    for number, _ in enumerate(sweep):
        put(store, f"meanwhile{number}.example")
    assert any(place.startswith(b"example\0meanwhile") for place in left(store))


def test_entry_that_was_refreshed_meanwhile_stays(store: Store) -> None:
    put(store, "a.demo", stored=ago(300 + STALE + 60))

    @contextmanager
    def writing() -> Iterator[None]:
        put(store, "a.demo")  # between the look at it and its removal
        yield

    assert sum(Sweeper(store, STALE, writing).expire()) == 0
    assert left(store) == {place_of("a.demo")}


def test_lock_held_by_a_command_puts_off_the_removal(store: Store) -> None:
    put(store, "a.demo", stored=ago(300 + STALE + 60))

    def writing() -> AbstractContextManager[None]:
        raise LockHeld(store.place / "writer", 1)

    assert sum(Sweeper(store, STALE, writing).expire()) == 0
    assert left(store) == {place_of("a.demo")}
