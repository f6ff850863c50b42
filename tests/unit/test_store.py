"""How keeper and commands change the LMDB environment: which value, whose hits, how much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from itertools import islice
from pathlib import Path
from struct import calcsize

import pytest
from environments import write_raw
from messages import OPAQUE, address, answer_from, answer_of_size, key, reply

from fastdns._clock import Moment
from fastdns._disk import Disk
from fastdns._entry import DiskEntry, pack, peek
from fastdns._key import disk_key
from fastdns.browse.reader import CacheUnreadable, Reader
from fastdns.errors import CutOff, Damaged, MapFull
from fastdns.store import files
from fastdns.store.examine import Examination
from fastdns.store.files import GAP_PAGES, PAGE, check_length, put_aside
from fastdns.store.lock import LockHeld, writer_lock
from fastdns.store.store import Store, Update
from fastdns.store.sweep import ROOMY, Sweeper

MIB = 1 << 20
NOW = Moment.now()


def earlier(seconds: float, *, boot: int | None = None) -> Moment:
    passed = int(seconds * 1000)
    return Moment(NOW.wall_ms - passed, NOW.boot_ms - passed, NOW.boot if boot is None else boot)


def place_of(qname: str) -> bytes:
    return disk_key(key(qname))


def value_of(qname: str, stored: Moment = NOW, ttl: int = 300, hits: int = 0) -> bytes:
    answer = answer_from(reply(address(ttl), qname=qname), of=key(qname))
    return pack(answer, stored, hits=hits)


def update(qname: str, stored: Moment = NOW, hits: int = 0, ttl: int = 300) -> Update:
    return Update(place_of(qname), value_of(qname, stored, ttl), hits, key(qname))


def apply(store: Store, *updates: Update) -> list[Update]:
    return [one for done in store.apply(sorted(updates), NOW) for one in done]


def fill(store: Store, count: int, **knobs: object) -> None:
    apply(store, *(update(f"n{number}.demo", **knobs) for number in range(count)))


def put_raw(store: Store, disk_place: bytes, value: bytes) -> None:
    """Put it as it is, sound or not."""
    write_raw(store.place, {disk_place: value}, map_octets=0)


def hits(store: Store, qname: str) -> int | None:
    return store.hits_of([place_of(qname)])[0]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(tmp_path / "cache", 16 * MIB)
    yield opened
    opened.close()


def resident(path: Path) -> int:
    """Return the octets of a file that are mapped into this process, and there."""
    found, is_it = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.partition(" ")[0].endswith(":"):
            is_it = line.endswith(str(path))
        elif is_it and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


# ---- which value, whose hits


def test_newer_answer_replaces_and_keeps_the_hits(store: Store) -> None:
    apply(store, update("a.demo", earlier(10), hits=5))
    assert apply(store, update("a.demo", earlier(5), hits=2))
    assert peek(store.get(place_of("a.demo")))[:1] == (earlier(5).wall_ms,)
    assert hits(store, "a.demo") == 7


@pytest.mark.parametrize("age", [10, 20])
def test_answer_that_is_not_newer_changes_nothing(store: Store, age: int) -> None:
    """The same one comes twice when a keeper dies between its commit and the ring's release."""
    apply(store, update("a.demo", earlier(10), hits=5))
    assert apply(store, update("a.demo", earlier(age), hits=2)) == []
    assert hits(store, "a.demo") == 5


def test_entry_of_unknown_age_is_replaced_by_any(store: Store) -> None:
    apply(store, update("a.demo", earlier(-1000, boot=1)))  # from the future
    assert apply(store, update("a.demo", earlier(10)))
    assert peek(store.get(place_of("a.demo")))[0] == earlier(10).wall_ms


def test_value_that_cannot_be_read_is_replaced(store: Store) -> None:
    put_raw(store, place_of("a.demo"), b"garbage")
    assert hits(store, "a.demo") is None
    assert apply(store, update("a.demo"))
    assert DiskEntry.parse(store.get(place_of("a.demo"))).hits == 0


def test_hits_alone_are_added_to_an_entry_and_make_none(store: Store) -> None:
    apply(store, update("a.demo", hits=1))
    done = apply(
        store,
        Update(place_of("a.demo"), None, 41, b"a"),
        Update(place_of("b.demo"), None, 1, b"b"),
    )
    assert [one.key for one in done] == [b"a"]
    assert hits(store, "a.demo") == 42
    assert store.get(place_of("b.demo")) is None
    assert DiskEntry.parse(store.get(place_of("a.demo"))).ttl == 300


def test_damaged_entry_gets_no_new_checksum_with_its_hits(store: Store) -> None:
    """It would pass for a sound one from then on."""
    apply(store, update("a.demo", hits=1))
    value = bytearray(store.get(place_of("a.demo")))
    value[-1] ^= 1
    put_raw(store, place_of("a.demo"), bytes(value))
    assert apply(store, Update(place_of("a.demo"), None, 5)) == []
    assert store.get(place_of("a.demo")) == bytes(value)


def spoil(store: Store, qname: str, at: int = -1) -> None:
    value = bytearray(store.get(place_of(qname)))
    value[at] ^= 0x80
    put_raw(store, place_of(qname), bytes(value))


@pytest.mark.parametrize("at", range(0, 64, 3))
def test_damaged_entry_gives_way_to_any_answer_and_lends_it_no_hits(store: Store, at: int) -> None:
    """Its header may say that it is newer, or was asked for a billion times."""
    apply(store, update("a.demo", hits=1))
    spoil(store, "a.demo", at)
    fresh = update("a.demo", stored=earlier(60), hits=3)
    assert apply(store, fresh) == [fresh]
    assert hits(store, "a.demo") == 3
    assert DiskEntry.parse(store.get(place_of("a.demo"))).ttl == 300


def test_only_what_is_damaged_is_deleted_as_damaged(store: Store) -> None:
    """Another answer may have come since a worker has told of it."""
    fill(store, 3)
    spoil(store, "n1.demo")
    places = [place_of(f"n{number}.demo") for number in range(4)]
    assert store.delete_spoiled(places) == 1
    assert [store.get(place) is None for place in places] == [False, True, False, True]


def test_hits_of_an_imported_value_count(store: Store) -> None:
    apply(store, Update(place_of("a.demo"), value_of("a.demo", hits=9)))
    assert hits(store, "a.demo") == 9


# ---- how much at once


def test_many_updates_are_several_commits(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", 4 * MIB)
    updates = sorted(update(f"n{number}.demo") for number in range(store.step * 3))
    commits = list(store.apply(updates, NOW))
    assert [len(done) for done in commits] == [store.step] * 3
    assert store.usage().entries == store.step * 3
    store.close()


def test_transaction_that_does_not_fit_into_the_map_is_cut_smaller(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", MIB)
    store.step = 1000
    fill(store, 4000)
    store.step = 4000  # one transaction over all of it needs as many free pages again
    assert store.usage().share > 0.5
    fill(store, 4000, stored=Moment(NOW.wall_ms + 1, NOW.boot_ms + 1, NOW.boot))
    assert store.usage().entries == 4000
    store.close()


def test_full_map_is_an_error_of_its_own_and_room_can_be_made_in_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", MIB)
    with pytest.raises(MapFull):
        fill(store, 20_000)
    full = store.usage()
    assert full.share > 0.9
    keys = [place for found in store.slices() for place, _ in found]
    try:
        store.delete(keys[:100])
    except MapFull:
        assert store.grow()
        assert not store.grow()  # once is enough
        store.delete(keys[:100])
    assert store.usage().entries == full.entries - 100
    store.delete(keys)
    assert store.usage().entries == 0
    fill(store, 1000)
    store.close()


def giant(number: int, octets: int, stored: Moment = NOW) -> Update:
    name = f"g{number}.demo"
    value = pack(answer_of_size(octets, qname=name), stored)
    return Update(disk_key(key(name, OPAQUE)), value, 0, key(name))


def test_value_over_a_share_of_the_map_is_not_written_and_ends_what_it_replaces(
    tmp_path: Path,
) -> None:
    store = Store.open(tmp_path / "cache", 4 * MIB)
    before = [giant(number, 100, earlier(10)) for number in range(2)]
    apply(store, *before)
    done = apply(store, giant(1, 60_000), giant(2, 60_000), update("a.demo"))
    assert [one.key for one in done] == [key("a.demo")]
    assert store.refused == 2
    assert store.hits_of([one.disk_key for one in before]) == [0, None]
    store.close()


def write_all(store: Store, updates: list[Update]) -> None:
    """Write as the keeper does: after a sweep it goes on with what is not done."""
    left = dict.fromkeys(sorted(updates))
    for _ in range(10):
        try:
            for done in store.apply(list(left), NOW):
                for one in done:
                    del left[one]
        except MapFull:
            sum(Sweeper(store, 86_400, nullcontext).make_room())
        else:
            return
    pytest.fail("there is no room for ever")


@pytest.mark.parametrize(("size", "octets"), [(4 * MIB, 15_000), (18 * MIB, 60_000)])
def test_cache_that_giants_have_filled_takes_in_others(
    tmp_path: Path, size: int, octets: int
) -> None:
    """Pages that are free, but not in a row, are no room for a giant: it must stop nobody else."""
    place = tmp_path / "cache"
    for start in range(2):  # and so it is after a restart
        store = Store.open(place, size)
        for round_ in range(start * 100, start * 100 + 10):
            numbers = range(round_ * 200, round_ * 200 + 200)
            giants = [giant(number, octets - number * 997 % (octets // 2)) for number in numbers]
            others = [update(f"n{round_}-{number}.demo") for number in range(20)]
            write_all(store, [*giants, *others])
            assert hits(store, f"n{round_}-0.demo") == 0, round_
        store.close()
    assert examine(place) is None


def test_value_for_which_no_pages_follow_each_other_stops_no_other(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", 4 * MIB)
    filling = [giant(number, 3_000) for number in range(900)]
    with suppress(MapFull):
        for one in filling:  # one after another: their pages are as they are written
            apply(store, one)
    store.delete([one.disk_key for one in filling[::2]])
    assert store.usage().share < ROOMY
    large = [giant(number, 15_000) for number in range(1000, 1100)]
    done = apply(store, *large, update("a.demo"), update("n.demo"))
    assert store.refused > 50
    assert [hits(store, name) for name in ("a.demo", "n.demo")] == [0, 0]
    assert len(done) == 102 - store.refused
    store.close()


def test_size_of_an_open_environment_is_what_the_daemon_gave_it(tmp_path: Path) -> None:
    Store.open(tmp_path / "cache", 32 * MIB).close()
    store = Store.open_existing(tmp_path / "cache")
    assert store.size == 32 * MIB
    store.close()
    with pytest.raises(FileNotFoundError):
        Store.open_existing(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


# ---- reading and removing


def test_slices_are_all_entries_once_in_order(store: Store) -> None:
    fill(store, 2500)
    slices = list(store.slices(limit=1000))
    keys = [place for found in slices for place, _ in found]
    assert [len(found) for found in slices] == [1000, 1000, 500]
    assert keys == sorted(place_of(f"n{number}.demo") for number in range(2500))


def test_keys_out_of_order_are_damage_and_no_circle(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", MIB)
    fill(store, 2000)
    store.close()
    data = bytearray((store.place / "data.mdb").read_bytes())
    flags = calcsize("N") + 2  # behind the page's number
    leaves = [at for at in range(2 * PAGE, len(data), PAGE) if data[at + flags] & 2]
    data[leaves[len(leaves) // 2] + flags] |= 0x20  # LEAF2: a page whose keys have no lengths
    (store.place / "data.mdb").write_bytes(data)
    store = Store.open(store.place, MIB)
    with pytest.raises(Damaged, match="out of order"):
        list(islice(store.slices(limit=50), 100))
    with pytest.raises(Damaged, match="out of order"):
        store.keys_with(b"", 18)
    store.close()
    disk = Disk(store.place)
    disk.open()
    with pytest.raises(ValueError, match="out of order"):
        disk.scan(b"", 16_384, 0)
    disk.close()
    with Reader(store.place) as reader, pytest.raises(CacheUnreadable, match="damaged"):
        list(islice(reader.batches(), 100))


def test_range_is_removed_and_nothing_beside_it(store: Store) -> None:
    for name in ("a.demo", "b.a.demo", "c.b.a.demo", "ab.demo", "test", "a.testing"):
        apply(store, update(name))
    prefix = place_of("a.demo")[:-7]
    assert store.delete_range(prefix, lambda _: True) == 3
    assert store.delete_range(prefix, lambda _: True) == 0
    assert [name for name in ("ab.demo", "test", "a.testing") if hits(store, name) == 0] == [
        "ab.demo",
        "test",
        "a.testing",
    ]


def test_predicate_decides_within_a_range(store: Store) -> None:
    fill(store, 3000)
    wanted = {place_of(f"n{number}.demo") for number in range(0, 3000, 3)}
    assert store.delete_range(b"demo\0", wanted.__contains__) == 1000
    assert store.usage().entries == 2000


def test_entry_that_has_changed_is_not_the_one_to_be_removed(store: Store) -> None:
    apply(store, update("a.demo", earlier(10)), update("b.demo", earlier(10)))
    found = store.read_slice(b"")
    apply(store, update("a.demo", earlier(5)))
    assert store.delete_unchanged(found) == 1
    assert hits(store, "a.demo") == 0


def test_clear_leaves_nothing(store: Store) -> None:
    fill(store, 1000)
    assert store.clear() == 1000
    assert store.usage().entries == 0
    fill(store, 10)


def test_sum_of_what_was_written_is_kept(store: Store) -> None:
    assert store.written() == (0.0, 0)
    list(store.apply([update("a.demo")], NOW, (123.5, 4567)))
    assert store.written() == (123.5, 4567)
    fill(store, 10)
    assert store.written() == (123.5, 4567)


# ---- files


def test_lock_file_has_no_holes(store: Store) -> None:
    found = (store.place / "lock.mdb").stat()
    assert found.st_blocks * 512 >= files.LOCK_OCTETS == found.st_size


def test_lock_file_has_room_for_as_many_readers_as_asked(tmp_path: Path) -> None:
    """One that an older version has made is made longer, where nobody has it open."""
    place = tmp_path / "cache"
    for readers, expected in ((0, 254), (1000, 1000), (0, 1000)):
        store = Store.open(place, MIB, readers=readers)
        assert store.max_readers >= expected
        assert (place / "lock.mdb").stat().st_blocks * 512 >= 64 * expected
        store.close()


HOLD_OPEN = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=0, max_dbs=2, readonly=True)
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("commits", [1, 2, 3, 4, 5, 6])
def test_file_in_the_place_of_one_that_others_have_open_is_read_from_its_last_commit_on(
    store: Store, tmp_path: Path, commits: int
) -> None:
    """The lock file that they share counts the former one's transactions."""
    fill(store, 10)
    theirs = Store.open(tmp_path / "theirs", MIB)
    for number in range(commits):
        apply(theirs, update(f"theirs{number}.demo"))
    theirs.close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_OPEN, str(store.place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        store.close()
        os.replace(theirs.place / "data.mdb", store.place / "data.mdb")
        opened = Store.open(store.place, MIB)
        assert hits(opened, f"theirs{commits - 1}.demo") == 0
        apply(opened, update("new.demo"))
        assert opened.usage().entries == commits + 1
        opened.close()
        other.communicate()


def test_lock_file_that_others_have_open_keeps_its_length(store: Store) -> None:
    """They would be sent to slots behind the end of what they have mapped."""
    before = (store.place / "lock.mdb").stat()
    script = (
        "import sys; from pathlib import Path; from fastdns.store.files import allocate_lock\n"
        "allocate_lock(Path(sys.argv[1]), 5000)\n"
    )
    path = str(store.place / "lock.mdb")
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert (store.place / "lock.mdb").stat().st_size == before.st_size
    store.close()
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert (store.place / "lock.mdb").stat().st_size > 64 * 5000


def test_files_are_their_owners_alone(store: Store) -> None:
    fill(store, 1)
    with writer_lock(store.place, 1.0):
        modes = {path.name: path.stat().st_mode & 0o777 for path in store.place.iterdir()}
    assert modes == {"data.mdb": 0o600, "lock.mdb": 0o600, "writer": 0o600}
    assert store.place.stat().st_mode & 0o777 == 0o700


def test_new_environment_on_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """Half a file would pass for a damaged one at the next try."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from fastdns.store.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))\n"
        "try: Store.open(Path(sys.argv[1]), 1 << 20)\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    for limit in (4096, 8192, 12288):
        place = tmp_path / str(limit)
        place.mkdir()
        files.allocate_lock(place / "lock.mdb")  # which would not fit, either
        done = subprocess.run(
            [sys.executable, "-c", script, str(place), str(limit)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip(), limit
        assert not (place / "data.mdb").exists()
        Store.open(place, MIB).close()


def test_exchange_of_the_file_is_seen(store: Store, tmp_path: Path) -> None:
    assert store.is_in_place()
    other = Store.open(tmp_path / "other", MIB)
    other.close()
    os.replace(tmp_path / "other" / "data.mdb", store.place / "data.mdb")
    assert not store.is_in_place()


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
def test_loss_of_a_file_is_seen(store: Store, name: str) -> None:
    (store.place / name).unlink()
    assert not store.is_in_place()


def test_garbage_at_the_start_of_the_file_is_seen(store: Store) -> None:
    with (store.place / "data.mdb").open("r+b") as file:
        file.write(b"\xff" * 64)
    with pytest.raises(Damaged, match="LMDB file"):
        store.is_in_place()


def test_end_of_the_file_that_is_gone_is_seen(store: Store) -> None:
    fill(store, 1000)
    os.truncate(store.place / "data.mdb", 8192)
    with pytest.raises(CutOff):
        store.is_in_place()


def test_commit_leaves_the_file_as_long_as_its_pages(store: Store) -> None:
    """Also after large answers that came and went within one transaction."""
    for round_ in range(300):
        large = answer_of_size(20_000 + round_ * 37, qname="large.demo")
        apply(store, *(Update(place_of(f"n{round_ % 5}.demo"), pack(large, NOW)) for _ in "ab"))
        store.delete([place_of(f"n{(round_ * 3) % 5}.demo")])
        fill(store, 1)
        check_length(store, store.place)


def test_short_file_that_was_found_whole_is_in_order_until_it_gets_shorter(tmp_path: Path) -> None:
    """Also where no disk has the room to fill it up."""
    store = Store.open(tmp_path / "cache", MIB)
    fill(store, 1000)
    store.close()
    data = tmp_path / "cache" / "data.mdb"
    octets = data.stat().st_size
    cut = octets - (GAP_PAGES + 1) * 4096
    os.truncate(data, cut)
    with pytest.raises(CutOff):
        Store.open(tmp_path / "cache", MIB)
    store = Store.open(tmp_path / "cache", MIB, examined=True)
    assert store.is_in_place()
    os.truncate(data, cut - 4096)
    with pytest.raises(CutOff):
        store.is_in_place()
    store.close()


def test_file_that_lacks_a_few_pages_at_its_end_is_filled_up(tmp_path: Path) -> None:
    """LMDB had given them out and taken them back, when its writer was killed."""
    place = tmp_path / "cache"
    store = Store.open(place, MIB)
    fill(store, 1000)
    store.close()
    octets = (place / "data.mdb").stat().st_size
    os.truncate(place / "data.mdb", octets - GAP_PAGES * 4096)
    Store.open(place, MIB).close()
    assert (place / "data.mdb").stat().st_size == octets


def test_copy_without_free_pages_takes_the_place_of_the_file(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    store = Store.open(place, 4 * MIB)
    fill(store, 15_000)
    store.close()
    store = Store.open(place, MIB)
    assert store.is_oversized()
    assert store.grow()  # it has not one page left
    store.delete([disk_place for found in store.slices() for disk_place, _ in found][100:])
    assert store.is_oversized()  # LMDB gives nothing back by itself
    store.write_compact()
    store.close()
    files.put_in_place(place)
    store = Store.open(place, MIB)
    assert not store.is_oversized()
    assert store.usage().entries == 100
    fill(store, 200)
    assert store.usage().entries >= 200
    store.close()
    assert examine(place) is None


def test_directory_that_goes_takes_nothing_along_that_its_links_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_text("stays")
    place = tmp_path / "cache"
    aside = place / "data.mdb.damaged"
    (aside / "a" / "b").mkdir(parents=True)
    (aside / "a" / "b" / "file").write_text("")
    (aside / "a" / "folder").symlink_to(outside)
    (aside / "file").symlink_to(outside / "file")
    (aside / "nowhere").symlink_to("nonsense")
    (place / "data.mdb").write_text("damaged")
    put_aside(place)
    assert aside.read_text() == "damaged"
    assert (outside / "file").read_text() == "stays"
    assert (outside / "folder").is_dir()


def test_only_the_newest_is_kept_aside(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    for content in ("one", "two"):
        place.mkdir(exist_ok=True)
        (place / "data.mdb").write_text(content)
        assert put_aside(place) == place / "data.mdb.damaged"
    assert [path.read_text() for path in place.iterdir()] == ["two"]
    (place / "data.mdb").mkdir()
    (place / "data.mdb" / "x").write_text("")
    put_aside(place)
    (place / "data.mdb").write_text("three")
    put_aside(place)
    assert [path.read_text() for path in place.iterdir()] == ["three"]


# ---- the writer lock


HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from fastdns.store.lock import writer_lock\n"
    "with writer_lock(Path(sys.argv[1]), 1.0):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_lock_that_is_held_names_its_holder_even_a_stopped_one(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        with (
            pytest.raises(LockHeld, match=f"pid {holder.pid} ") as told,
            writer_lock(tmp_path, 0.1),
        ):
            pass
        assert told.value.pid == holder.pid
        os.kill(holder.pid, signal.SIGKILL)
        with writer_lock(tmp_path, 5.0):
            pass


def test_lock_without_a_directory_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writer_lock(tmp_path / "nowhere", 0.1):
        pass


# ---- examination


def examine(place: Path) -> str | None:
    examination = Examination(place)
    return examination.finish()


def test_examination_of_a_sound_cache_finds_nothing(store: Store) -> None:
    fill(store, 3000)
    store.close()
    assert examine(store.place) is None


def test_examination_of_no_cache_finds_nothing(tmp_path: Path) -> None:
    assert examine(tmp_path) is None


@pytest.mark.parametrize(
    ("disk_place", "value"),
    [
        (b"demo\0www\0" + bytes(7), b"garbage"),
        (b"not a key", value_of("a.demo")),
        (place_of("other.demo"), value_of("a.demo")),
    ],
    ids=["no entry", "no key", "of another name"],
)
def test_examination_counts_an_entry_that_is_none(
    store: Store, disk_place: bytes, value: bytes
) -> None:
    fill(store, 100)
    put_raw(store, disk_place, value)
    store.close()
    examination = Examination(store.place)
    assert examination.finish() is None
    assert examination.spoiled == 1


def test_examination_gives_up_what_has_many_of_those(store: Store) -> None:
    fill(store, 100)
    for number in range(20):
        spoil(store, f"n{number}.demo")
    store.close()
    assert "20 damaged entries" in examine(store.place)


def test_examination_survives_what_kills_its_process(store: Store) -> None:
    fill(store, 3000)
    place = store.place
    store.close()
    os.truncate(place / "data.mdb", 4096 * 10)
    assert "SIGBUS" in examine(place)


def test_examination_that_cannot_look_is_no_finding(store: Store) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may look anywhere")
    store.place.chmod(0)
    try:
        with pytest.raises(OSError, match="Permission denied"):
            examine(store.place)
    finally:
        store.place.chmod(0o700)


# ---- memory


def test_pages_that_were_looked_at_are_given_back(store: Store) -> None:
    fill(store, 5000)
    assert len(store.read_slice(b"", 1000)) == 1000
    assert resident(store.place / files.DATA) > 100_000
    store.release_pages()
    assert resident(store.place / files.DATA) == 0
    assert hits(store, "n4999.demo") == 0  # it is read again


def test_worker_gives_pages_back_that_it_looked_at(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_store import MIB, Disk, Store, fill, files
store = Store.open(Path({str(place)!r}), 16 * MIB)
fill(store, 5000)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    disk = Disk(place)
    disk.open()
    disk.scan(b"", 5000, 1)
    assert resident(place / files.DATA) > 100_000
    disk.release_pages()
    assert resident(place / files.DATA) == 0
    assert disk.fetch(key("n4999.demo")) is not None


def test_store_tells_how_many_pages_its_largest_commit_has_changed(store: Store) -> None:
    fill(store, 10)
    few = store.kept_pages
    fill(store, 3000, hits=1)
    assert 0 < few <= 10 < store.kept_pages
