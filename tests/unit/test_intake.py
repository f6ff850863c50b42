"""How the keeper handles rings: what it writes and when, outdated answers, hit counts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from messages import key, name
from test_store import hits, update, value_of

from fastdns._clock import Moment
from fastdns._control import (
    CHANGE_ALL,
    CHANGE_NAME,
    CHANGE_REFRESH,
    CHANGE_UNDER,
    Control,
    change_covers,
)
from fastdns._entry import DiskEntry
from fastdns._intake import CHOOSE_ALL, CHOOSE_DUE, CHOOSE_LAST
from fastdns._key import disk_key
from fastdns._ring import Ring
from fastdns._rings import Rings
from fastdns.store.changes import Changes
from fastdns.store.hits import DECAY_SECONDS, PENDING_LIMIT, RATES_LIMIT, Hits, Rates
from fastdns.store.intake import Intake
from fastdns.store.store import Store

START = 1000.0


@pytest.fixture
def control() -> Control:
    return Control.open(None, "/nowhere")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "cache", 8 << 20)
    yield opened
    opened.close()


WAIT = 3300.0  # about an hour
SHORT, WORTH, LONG = 60, 3000, 86400  # TTLs


class Keeper:
    """Takes from rings and commits, as the keeper does, at moments of the test's."""

    def __init__(self, store: Store, control: Control, *rings: Ring) -> None:
        self.store = store
        self.rings = rings or (Ring.open(None, 1 << 20),)
        self.ring = self.rings[0]
        self.control = control
        self.start = Moment.now()
        self.intake = Intake(self.rings, control, START)

    def at(self, seconds: float) -> Moment:
        gone = round(seconds * 1000)
        start = self.start
        return Moment(start.wall_ms + gone, start.boot_ms + gone, start.boot)

    def put(self, qname: str, ttl: int = WORTH, at: float = 0, *, ring: Ring | None = None) -> bool:
        answer = DiskEntry.parse(value_of(qname, ttl=ttl)).answer()
        return (ring or self.ring).put(key(qname), answer, 0, self.at(at))

    def hit(self, qname: str, count: int = 1) -> None:
        assert self.ring.put_hits_of(key(qname), count)

    def commit(self, at: float = 0, choice: int = CHOOSE_DUE) -> int:
        self.intake.take_in(START + at)
        self.intake.choose(self.store, self.at(at), choice)
        return self.intake.commit(self.store, self.at(at), None, [])

    def stored(self, qname: str) -> float | None:
        """When the answer that is on disk came, in seconds of the test's."""
        value = self.store.get(disk_key(key(qname)))
        if value is None:
            return None
        return (DiskEntry.parse(value).stored_wall_ms - self.start.wall_ms) / 1000


@pytest.fixture
def keeper(store: Store, control: Control) -> Keeper:
    return Keeper(store, control)


@pytest.fixture
def two(store: Store, control: Control) -> Keeper:
    """With the rings of two workers."""
    return Keeper(store, control, Ring.open(None, 1 << 16), Ring.open(None, 1 << 16))


# ---- which answers are written, and when


def test_answer_that_was_asked_for_again_is_written_with_the_next_commit(keeper: Keeper) -> None:
    keeper.put("again.demo")
    keeper.put("once.demo")
    keeper.hit("again.demo", 3)
    assert keeper.commit(30) == 1
    assert keeper.stored("again.demo") == 0
    assert keeper.stored("once.demo") is None
    assert hits(keeper.store, "again.demo") == 3


def test_answer_that_was_asked_for_once_waits_and_is_written_when_it_is_asked_for_again(
    keeper: Keeper,
) -> None:
    keeper.put("a.demo")
    assert keeper.commit(30) == keeper.commit(600) == 0
    keeper.hit("a.demo")
    assert keeper.commit(630) == 1


def test_answer_that_is_over_in_minutes_is_not_worth_a_page_of_its_own(keeper: Keeper) -> None:
    keeper.put("a.demo", SHORT)
    keeper.hit("a.demo")
    assert keeper.commit(30) == 0
    assert keeper.commit(WAIT) == 1  # good for a stale answer yet


def test_after_an_hour_what_nobody_asked_for_again_is_written_if_it_lives_long(
    keeper: Keeper,
) -> None:
    keeper.put("long.demo", LONG)
    keeper.put("short.demo")
    keeper.put("later.demo", LONG, WAIT * 0.8)
    assert keeper.commit(WAIT - 1) == 0
    assert keeper.commit(WAIT) == 1
    assert keeper.stored("long.demo") == 0
    assert keeper.intake.spared == 1
    assert keeper.intake.waits(key("later.demo"))
    assert not keeper.intake.waits(key("short.demo"))


def test_answer_that_is_spared_leaves_nothing_older_on_disk(keeper: Keeper) -> None:
    """What it has replaced must not come back."""
    keeper.put("a.demo", SHORT)
    keeper.commit(0, CHOOSE_ALL)
    keeper.put("a.demo", SHORT, 100)
    assert keeper.commit(100 + WAIT) == 1
    assert keeper.stored("a.demo") == 100


def test_at_a_stop_all_that_could_be_missed_is_written_and_the_rest_waits(keeper: Keeper) -> None:
    for qname, ttl in (("a.demo", WORTH), ("b.demo", SHORT), ("c.demo", SHORT)):
        keeper.put(qname, ttl)
    keeper.hit("c.demo")
    assert keeper.commit(30, CHOOSE_LAST) == 2
    assert keeper.intake.waits(key("b.demo"))
    assert Keeper(keeper.store, keeper.control, keeper.ring).commit(31, CHOOSE_ALL) == 1


def test_all_is_written_for_who_wants_to_see_it(keeper: Keeper) -> None:
    for number in range(100):
        keeper.put(f"n{number}.demo", SHORT)
    assert keeper.commit(0, CHOOSE_ALL) == 100
    assert keeper.ring.used == 0


def test_last_answer_of_a_name_is_the_one_that_is_written(keeper: Keeper) -> None:
    for at in range(5):
        keeper.put("a.demo", at=at)
    assert keeper.commit(9, CHOOSE_ALL) == 1
    assert keeper.stored("a.demo") == 4


def test_answer_that_was_written_waits_no_more(keeper: Keeper) -> None:
    keeper.put("first.demo", SHORT)
    keeper.put("a.demo")
    keeper.hit("a.demo")
    assert keeper.commit(30) == 1
    keeper.hit("a.demo")
    assert keeper.commit(60) == 0
    assert Rings(keeper.rings).look(key("a.demo")) is None  # it is on disk
    assert Rings(keeper.rings).look(key("first.demo")) is not None


def test_mark_outlives_the_keeper(keeper: Keeper) -> None:
    keeper.put("a.demo")
    keeper.hit("a.demo")
    keeper.intake.take_in(START)
    assert Keeper(keeper.store, keeper.control, keeper.ring).commit(1) == 1


def test_answer_that_two_workers_have_asked_for_was_asked_for_twice(two: Keeper) -> None:
    two.put("a.demo")
    two.put("a.demo", at=5, ring=two.rings[1])
    assert two.commit(30) == 1
    assert two.stored("a.demo") == 5
    assert [ring.used for ring in two.rings] == [0, 0]


@pytest.mark.parametrize("newer", [0, 1])
def test_newest_of_two_workers_answers_counts_whichever_ring_it_came_through(
    two: Keeper, newer: int
) -> None:
    two.put("a.demo", at=9, ring=two.rings[newer])
    two.put("a.demo", at=1, ring=two.rings[1 - newer])
    two.commit(30, CHOOSE_ALL)
    assert two.stored("a.demo") == 9
    assert two.ring.used == two.rings[1].used == 0


@pytest.mark.parametrize("later", [0, 1])
def test_of_an_answer_and_a_removal_in_two_rings_the_later_counts(two: Keeper, later: int) -> None:
    two.put("a.demo")
    two.commit(0, CHOOSE_ALL)
    two.put("a.demo", 0, 5, ring=two.rings[later])
    two.put("a.demo", WORTH, 9, ring=two.rings[1 - later])
    two.put("b.demo", WORTH, 5, ring=two.rings[later])
    two.put("b.demo", 0, 9, ring=two.rings[1 - later])
    two.commit(30, CHOOSE_ALL)
    assert two.stored("a.demo") == 9
    assert two.stored("b.demo") is None


def test_removal_does_not_wait(keeper: Keeper) -> None:
    keeper.put("a.demo")
    keeper.commit(0, CHOOSE_ALL)
    keeper.put("a.demo", 0, 5)
    keeper.intake.take_in(START)
    assert keeper.intake.has_ended
    assert keeper.commit(6) == 1
    assert keeper.stored("a.demo") is None
    assert not keeper.intake.has_ended


# ---- a ring that presses


def fill(keeper: Keeper, ttl: int, marked: int = 0, label: str = "n") -> int:
    """Put answers until the ring presses, and ask again for one of so many; return how many."""
    count = 0
    while not keeper.intake.presses:
        assert keeper.put(f"{label}{count}.demo", ttl)
        count += 1
        if marked and count % marked == 0:
            keeper.hit(f"{label}{count - 1}.demo")
    return count


def test_ring_that_presses_has_room_again_and_what_was_asked_for_again_is_written(
    store: Store, control: Control
) -> None:
    keeper = Keeper(store, control, Ring.open(None, 1 << 18))
    count = fill(keeper, SHORT, 10)
    written = keeper.commit(1)
    assert 0 < written <= count // 10
    # Keys whose hashes collide are forgotten; the hash is another one in each process.
    asked = [keeper.stored(f"n{number}9.demo") for number in range(1, 21)]
    assert asked.count(0) > 15
    assert [keeper.stored(f"n{number}8.demo") for number in range(1, 21)] == [None] * 20
    assert keeper.intake.spared > count // 3
    assert keeper.ring.used <= keeper.ring.capacity // 4
    assert keeper.intake.waits(key(f"n{count - 1}.demo"))


@pytest.mark.parametrize("ttl", [WORTH, 120])
def test_what_lives_a_while_is_written_from_a_ring_that_presses_as_fast_as_is_reasonable(
    store: Store, control: Control, ttl: int
) -> None:
    keeper = Keeper(store, control, Ring.open(None, 1 << 22))
    fill(keeper, ttl)
    assert keeper.commit(1) == 4000
    assert keeper.intake.spared > 100
    fill(keeper, ttl, label="m")
    assert keeper.commit(1.5) == 500


# ---- rings


def test_hit_counts_alone_do_not_stay_in_the_ring(keeper: Keeper) -> None:
    keeper.hit("a.demo", 3)
    keeper.intake.take_in(START)
    assert keeper.ring.used == 0
    assert keeper.intake.hits.of(key("a.demo")) == 3


def test_hits_are_counted_once_though_their_ring_waits_for_a_commit(keeper: Keeper) -> None:
    keeper.put("a.demo")
    keeper.hit("a.demo", 3)
    keeper.intake.take_in(START)
    keeper.intake.take_in(START + 1)
    again = Keeper(keeper.store, keeper.control, keeper.ring)
    again.intake.take_in(START + 1)
    assert (keeper.intake.hits.of(key("a.demo")), again.intake.hits.of(key("a.demo"))) == (3, 0)


def test_hits_of_what_waits_are_not_forgotten(keeper: Keeper) -> None:
    keeper.put("a.demo", SHORT)
    keeper.hit("a.demo", 3)
    keeper.intake.take_in(START)
    assert keeper.intake.counts(keeper.store, 100, only_doubled=False) == []
    keeper.commit(0, CHOOSE_ALL)
    assert hits(keeper.store, "a.demo") == 3


def test_ring_more_than_half_full_presses(control: Control) -> None:
    ring = Ring.open(None, 1 << 14)
    intake = Intake([ring], control, START)
    answer = DiskEntry.parse(value_of("a.demo")).answer()
    for number in range(1000):
        was_full = ring.used > ring.capacity // 2
        assert intake.presses == was_full
        if was_full:
            break
        assert ring.put(key(f"n{number}.demo"), answer, 0, Moment.now())
    assert intake.presses


def test_key_of_an_entry_that_a_worker_could_not_use_is_told(keeper: Keeper) -> None:
    assert keeper.ring.put_spoiled_key(key("a.demo"))
    keeper.intake.take_in(START)
    assert keeper.intake.spoiled == {disk_key(key("a.demo"))}
    keeper.commit()
    assert keeper.intake.spoiled == set()


def test_damaged_ring_loses_what_it_has_and_no_other(
    tmp_path: Path, store: Store, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ring"
    keeper = Keeper(store, control, Ring.open(path, 1 << 16), Ring.open(None, 1 << 16))
    keeper.put("a.demo")
    keeper.put("b.demo", ring=keeper.rings[1])
    with path.open("r+b") as file:
        file.seek(4096 + 4)
        file.write(b"\x09")  # no kind of record
    assert keeper.commit(0, CHOOSE_ALL) == 1
    assert "damaged" in caplog.text
    assert keeper.stored("b.demo") == 0
    keeper.put("c.demo")
    assert keeper.commit(0, CHOOSE_ALL) == 1


def test_value_that_is_damaged_is_not_written_and_costs_no_other(
    tmp_path: Path, store: Store, control: Control
) -> None:
    path = tmp_path / "ring"
    keeper = Keeper(store, control, Ring.open(path, 1 << 16))
    keeper.put("a.demo")
    keeper.put("b.demo")
    with path.open("r+b") as file:
        file.seek(4096 + keeper.ring.used // 2 - 20)
        file.write(b"\xff\xff")
    assert keeper.commit(0, CHOOSE_ALL) == 1
    assert keeper.stored("b.demo") == 0
    assert keeper.ring.used == 0


# ---- changes


def test_answers_asked_for_before_a_change_are_dropped_by_name_and_type(keeper: Keeper) -> None:
    keeper.put("a.demo")
    keeper.put("b.demo")
    keeper.control.post(CHANGE_NAME, name("a.demo"), 28)  # AAAA: another entry
    keeper.control.post(CHANGE_NAME, name("b.demo"), 1)
    assert keeper.commit(0, CHOOSE_ALL) == 1
    assert keeper.stored("a.demo") == 0
    assert keeper.stored("b.demo") is None
    assert keeper.ring.used == 0


def test_request_for_a_refresh_overtakes_nothing(control: Control) -> None:
    control.post(CHANGE_REFRESH, name("a.demo"), 1)
    assert not Changes(control, 0).overtook(key("a.demo"), 0)


def test_changes_sorted_by_name_say_the_same_as_one_by_one(control: Control) -> None:
    rng = random.Random(7)
    labels = ["a", "b", "test", "xa"]
    names = [".".join(rng.choices(labels, k=rng.randrange(4))) for _ in range(200)]
    posted = []
    for one in names:
        kind = rng.choice([CHANGE_NAME, CHANGE_UNDER, CHANGE_REFRESH])
        qtype = rng.choice([0, 1, 28])
        change = (kind, qtype, name(one))
        if rng.random() < 0.01:
            change = (CHANGE_ALL, 0, b"")
        posted.append((*change, control.post(change[0], change[2], change[1])))
    for one in names:
        for epoch in range(0, 201, 10):
            expected = any(
                counter > epoch and change_covers(kind, qtype, changed, key(one))
                for kind, qtype, changed, counter in posted
            )
            assert Changes(control, epoch).overtook(key(one), epoch) == expected


# ---- hit counts


def test_counts_are_written_on_top_of_what_the_disk_has(keeper: Keeper) -> None:
    store, intake = keeper.store, keeper.intake
    list(store.apply([update("a.demo", hits=10)], Moment.now()))
    keeper.hit("a.demo", 9)
    keeper.hit("absent.demo", 9)
    intake.take_in(START)
    assert intake.counts(store, 100, only_doubled=True) == []
    assert intake.hits.of(key("absent.demo")) == 0  # nowhere to keep it
    counts = intake.counts(store, 100, only_doubled=False)
    assert intake.commit(store, keeper.at(0), None, counts) == 0
    assert hits(store, "a.demo") == 19
    assert intake.counts(store, 100, only_doubled=False) == []


def test_count_that_has_not_doubled_is_not_looked_up_again() -> None:
    counted = Hits()
    counted.add(b"a", 3)
    counted.learn(b"a", 10)
    assert counted.doubled(10) == []
    counted.add(b"a", 7)
    assert counted.doubled(10) == [(b"a", 10)]


def test_greatest_counts_come_first() -> None:
    counted = Hits()
    for number in range(100):
        counted.add(b"%d" % number, number)
    assert counted.greatest(3) == [(b"99", 99), (b"98", 98), (b"97", 97)]
    assert counted.doubled(2) == [(b"99", 99), (b"98", 98)]


def test_hits_that_came_while_others_were_written_stay() -> None:
    counted = Hits()
    counted.add(b"a", 3)
    counted.add(b"a", 2)
    counted.settle(b"a", 3)
    assert counted.of(b"a") == 2
    counted.settle(b"a", 2)
    assert len(counted) == 0


def test_counts_that_wait_are_bounded_and_the_least_go() -> None:
    counted = Hits()
    for number in range(PENDING_LIMIT + 1):
        counted.add(b"%d" % number, 1 + (number == 5))
    assert len(counted) <= PENDING_LIMIT
    assert counted.of(b"5") == 2


def test_rate_of_a_steady_name_is_told_from_the_first_minute_on() -> None:
    rates = Rates(START)
    for second in range(5, 300, 5):
        rates.add_all([(b"a", 50), (b"b", 5)], START + second)
        (a, rate_a), (b, rate_b) = rates.busiest(10)
        assert (a, b) == (b"a", b"b")
        assert rate_a == pytest.approx(10, rel=0.05)
        assert rate_b == pytest.approx(1, rel=0.05)


def test_rate_of_a_name_that_nobody_asks_any_more_falls() -> None:
    rates = Rates(START)
    rates.add_all([(b"a", 100)], START + 10)
    rates.add_all([(b"b", 10)], START + 10 + 5 * DECAY_SECONDS)
    assert [key for key, _ in rates.busiest(10)] == [b"b", b"a"]


def test_rates_are_bounded() -> None:
    rates = Rates(START)
    rates.add_all([(b"%d" % n, 1 + (n == 7)) for n in range(3 * RATES_LIMIT)], START + 1)
    assert len(rates.busiest(3 * RATES_LIMIT)) <= RATES_LIMIT
    assert rates.busiest(1)[0][0] == b"7"
