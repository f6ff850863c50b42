"""Entries after changes of rules or upstreams, or by commands."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from environments import ago, fetch, front_on, value_of, write_disk
from messages import (
    AAAA,
    GENEROUS,
    SOURCE,
    A,
    Front,
    address,
    answer_for,
    answer_from,
    good,
    key,
    name,
    query,
    reply,
    ttl_of,
)

from fastdns._answer import failure
from fastdns._cache import Cache
from fastdns._control import (
    CHANGE_ALL,
    CHANGE_NAME,
    CHANGE_REFRESH,
    CHANGE_UNDER,
    Control,
    change_covers,
)
from fastdns._disk import Disk
from fastdns._groups import Group
from fastdns._hotcache import HotCache
from fastdns._key import disk_key
from fastdns._policy import Policy
from fastdns._ring import RECORD_HITS, Ring

CHANGES_KEPT = 1024
DAY_MS = 86_400_000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


@pytest.fixture
def front(place: Path) -> Front:
    return front_on(place)


def others(front: Front, count: int) -> None:
    """Let commands remove so many other names."""
    for number in range(count):
        front.control.post(CHANGE_NAME, name(f"n{number}.other"))


def stale(front: Front, of: bytes | None = None, *, in_outage: bool = False) -> bytes | None:
    answer = front.cache.stale_answer(key() if of is None else of, 30, in_outage)
    return None if answer is None else answer.message


# ---- commands


@pytest.mark.parametrize(
    ("kind", "where", "qtype"),
    [
        (CHANGE_NAME, "example", 0),
        (CHANGE_NAME, "www.example", AAAA),
        (CHANGE_NAME, "a.www.example", 0),
        (CHANGE_UNDER, "w.example", 0),
        (CHANGE_UNDER, "ww.example", 0),
        (CHANGE_UNDER, "a.www.example", 0),
        (CHANGE_REFRESH, "www.example", A),
    ],
)
def test_entry_that_no_change_names_stays(front: Front, kind: int, where: str, qtype: int) -> None:
    front.keep(good())
    front.control.post(kind, name(where), qtype)
    assert front.ask(query()) is not None


@pytest.mark.parametrize("where", ["www.example", "example", ""])
def test_entry_under_what_was_flushed_goes(front: Front, where: str) -> None:
    front.keep(good())
    others(front, 5)
    front.control.post(CHANGE_UNDER, name(where))
    others(front, 5)
    assert front.ask(query()) is None
    assert front.memory.count == 0


def test_memory_is_not_walked_through_for_a_change(front: Front) -> None:
    for number in range(50):
        front.keep(answer_for(f"n{number}"), key(f"n{number}"))
    front.control.post(CHANGE_ALL)
    assert front.ask(query("n1")) is None
    assert front.memory.count == 49


def test_entry_of_a_label_of_63_octets_or_a_long_name_is_found_among_the_changes(
    front: Front,
) -> None:
    for qname in ("a" * 63, ".".join(["b"] * 126)):
        front.keep(answer_for(qname), key(qname))
        front.control.post(CHANGE_NAME, name(qname))
        assert front.ask(query(qname)) is None


def test_removed_entry_is_not_told_as_stale_either(front: Front) -> None:
    front.keep(good(), age_ms=400_000)
    assert stale(front) is not None
    front.control.post(CHANGE_NAME, name("www.example"))
    front.cache.look_at_control()
    assert stale(front) is None


def test_removed_entry_of_another_do_is_not_lent_in_an_outage(front: Front) -> None:
    front.keep(good(), key(do=True), age_ms=400_000)
    front.control.post(CHANGE_NAME, name("www.example"))
    front.cache.look_at_control()
    assert stale(front, in_outage=True) is None


def test_removed_entry_is_not_told_at_once_in_an_outage(front: Front) -> None:
    front.keep(good(), age_ms=400_000)
    front.group.use([])
    assert front.ask(query()) is not None
    front.control.post(CHANGE_UNDER, name("example"))
    front.ask(query())
    assert front.count("cache_stale_total") == 1


def test_removed_entry_is_not_told_though_it_was_held(front: Front) -> None:
    front.keep(good(), age_ms=400_000)
    front.cache.hold_stale(key(), 60)
    assert front.ask(query()) is not None
    front.control.post(CHANGE_NAME, name("www.example"))
    assert front.ask(query()) is None


def test_failure_hides_no_stale_answer_after_a_change_of_another_name(front: Front) -> None:
    front.keep(good(), age_ms=400_000)
    others(front, 1)
    front.learn(key(), failure(key(), 2, None, 5))
    assert stale(front) is not None


def test_failure_is_kept_where_a_removed_answer_was(front: Front) -> None:
    front.keep(good(), age_ms=400_000)
    front.control.post(CHANGE_NAME, name("www.example"))
    front.cache.look_at_control()
    front.learn(key(), failure(key(), 2, None, 5))
    response = front.ask(query())
    assert response is not None
    assert response[3] & 15 == 2
    assert stale(front) is None


@pytest.mark.parametrize("at_once", [True, False])
def test_entry_that_is_as_many_changes_behind_as_are_kept_stays(
    front: Front, *, at_once: bool
) -> None:
    front.keep(good())
    for part in [CHANGES_KEPT] if at_once else [CHANGES_KEPT // 2] * 2:
        others(front, part)
        front.cache.look_at_control()
    assert front.ask(query()) is not None


@pytest.mark.parametrize("at_once", [True, False])
def test_entry_that_is_further_behind_goes(front: Front, *, at_once: bool) -> None:
    front.keep(good())
    for part in [CHANGES_KEPT + 1] if at_once else [CHANGES_KEPT // 2 + 1] * 2:
        others(front, part)
        front.cache.look_at_control()
    assert front.ask(query()) is None
    assert stale(front) is None


def test_entry_that_is_asked_for_now_and_then_stays_whatever_changes(front: Front) -> None:
    front.keep(good())
    for _ in range(10):
        others(front, CHANGES_KEPT)
        assert front.ask(query()) is not None


def test_change_is_found_among_many_that_came_before_and_after(front: Front) -> None:
    for turn in range(8):  # the table of changes is made anew on the way
        others(front, 400)
        front.cache.look_at_control()
        front.keep(good())
        front.keep(answer_for("stays"), key("stays"))
        others(front, 300)
        front.control.post(CHANGE_NAME, name("www.example"))
        for number in range(300):
            front.control.post(CHANGE_NAME, name(f"m{turn}.{number}"))
        front.cache.look_at_control()
        assert front.ask(query()) is None
        assert front.ask(query("stays")) is not None


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_is_what_no_change_since_covers(front: Front, seed: int) -> None:
    rng = random.Random(seed)
    names = ["", "a", "b.a", "c.b.a", "aa", "b", "a.b", "x.c.b.a"]
    learned: dict[bytes, int] = {}  # the epoch at which it was kept
    changes: list[tuple[int, int, bytes]] = []
    for _ in range(2500):
        qname, qtype = rng.choice(names), rng.choice([A, AAAA])
        one = key(qname, qtype)
        if rng.random() < 0.3 and len(changes) < CHANGES_KEPT:
            kind = rng.choices([CHANGE_NAME, CHANGE_UNDER, CHANGE_ALL], [20, 5, 1])[0]
            of_type = rng.choice([0, qtype]) if kind == CHANGE_NAME else 0
            changes.append((kind, of_type, b"" if kind == CHANGE_ALL else name(qname)))
            front.control.post(kind, changes[-1][2], of_type)
        elif rng.random() < 0.5:
            front.cache.look_at_control()
            front.keep(good(), one)
            learned[one] = len(changes)
        else:
            found = front.ask(query(qname, qtype)) is not None
            since = changes[learned[one] :] if one in learned else [(CHANGE_ALL, 0, b"")]
            assert found == (not any(change_covers(*change, one) for change in since))


def test_name_that_was_learned_again_after_its_removal_stays(front: Front) -> None:
    front.keep(good())
    front.control.post(CHANGE_NAME, name("www.example"))
    assert front.ask(query()) is None
    front.learn(key(), good(200))
    others(front, 3)
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 200


def test_hits_of_a_removed_entry_are_not_reported(front: Front) -> None:
    for qname in ("www.example", "other"):
        front.keep(answer_for(qname), key(qname))
        assert front.ask(query(qname)) is not None
    front.control.post(CHANGE_NAME, name("www.example"))
    front.cache.look_at_control()
    assert front.cache.report_hits(10)
    told = [record[2] for record in front.ring.records(1 << 20) if record[0] == RECORD_HITS]
    assert told == [key("other")]


def test_name_that_was_removed_is_warmed_up_from_disk_again(place: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100), hits=5)})
    front = front_on(place)
    front.keep(good(300))
    front.control.post(CHANGE_NAME, name("www.example"))
    front.cache.look_at_control()
    front.cache.warm([disk_key(key())])
    assert front.count("warmed_total") == 1


# ---- refresh


@pytest.fixture
def workers(tmp_path: Path, front: Front) -> list[Cache]:
    """Two that share a control page."""
    page = tmp_path / "control"
    Control.open(page, tmp_path)
    return [
        Cache(
            HotCache(1 << 20),
            front.pages.counters(0),
            Disk(tmp_path),
            Ring.open(None),
            Control.attach(page),
        )
        for _ in range(2)
    ]


def test_name_that_a_command_wants_renewed_is_asked_for_by_one_worker(
    tmp_path: Path, workers: list[Cache]
) -> None:
    control = Control.attach(tmp_path / "control")
    for number in range(10):
        control.post(CHANGE_REFRESH, name(f"n{number}"), A)
    first, second = (worker.look_at_control() for worker in workers)
    assert first == [key(f"n{number}") for number in range(10)]
    assert second == []
    control.post(CHANGE_REFRESH, name("late"), A)
    assert [worker.look_at_control() for worker in reversed(workers)] == [[key("late")], []]


def test_what_was_said_of_special_names_is_not_renewed(front: Front) -> None:
    front.control.post(CHANGE_REFRESH, name("localhost"), A)
    assert front.cache.look_at_control() == []


# ---- upstreams and rules


def test_same_upstreams_set_again_change_nothing(front: Front) -> None:
    front.learn(key(), good())
    generation = front.cache.changes.policy.generation
    front.cache.set_group(0, 0)
    assert front.cache.changes.policy.generation == generation
    assert front.ask(query()) is not None


def test_upstreams_of_another_group_change_nothing_for_the_default_one(front: Front) -> None:
    front.learn(key(), good())
    begin_group(front, 3)
    front.cache.set_group(3, 77)
    assert front.ask(query()) is not None


def test_answer_of_former_upstreams_is_good_for_stale_ones_however_much_changes(
    front: Front,
) -> None:
    front.learn(key(), good())
    front.cache.set_group(0, 8)
    for _ in range(3):
        others(front, CHANGES_KEPT)
        assert front.ask(query()) is None
        assert stale(front) is not None
    front.control.post(CHANGE_NAME, name("www.example"))
    assert front.ask(query()) is None
    assert stale(front) is None


def begin_group(front: Front, number: int) -> None:
    """Let a group of this number ask the same upstream."""
    group = Group(GENEROUS, number=number)
    group.use([front.known])
    front.forward.add_group(group)


def test_name_that_another_group_is_asked_for_now_is_a_miss(front: Front) -> None:
    begin_group(front, 3)
    front.cache.set_group(3, 77)
    front.learn(key(), good())
    front.cache.use_policy(Policy(3))
    assert front.ask(query()) is None
    assert stale(front) is not None
    front.cache.use_policy(Policy())
    assert front.ask(query()) is not None


def test_policy_that_decides_the_same_leaves_entries_in_place(front: Front) -> None:
    begin_group(front, 3)
    front.cache.set_group(3, 77)
    front.cache.use_policy(Policy(3))
    front.cache.keep(key(), good(), front.cache.ticket(key()), SOURCE, 0.01)
    front.cache.use_policy(Policy(3))
    assert front.ask(query()) is not None


def test_answer_of_a_group_that_is_no_longer_asked_is_not_kept(front: Front) -> None:
    ticket = front.cache.ticket()
    front.cache.use_policy(Policy(3))
    front.cache.keep(key(), good(), ticket, SOURCE, 0.01)
    assert front.memory.count == 0


def test_answer_of_a_group_that_nobody_asks_any_more_is_not_kept(front: Front) -> None:
    front.cache.use_policy(Policy(3))
    ticket = front.cache.ticket(key())
    front.cache.use_policy(Policy())
    front.cache.keep(key(), good(), ticket, SOURCE, 0.01)
    assert front.memory.count == 0


def test_thread_that_reads_a_cold_disk_reads_what_its_group_said(place: Path) -> None:
    write_disk(place, {key()[:-2] + b"\0\3": value_of(good(200), ago(100), origin=77)})
    front = front_on(place, warm=False)
    begin_group(front, 3)
    front.cache.set_group(3, 77)
    assert fetch(front) is None
    front.cache.use_policy(Policy(3))
    found = fetch(front)
    assert found is not None
    assert ttl_of(found.message) == 100


def test_on_disk_each_group_has_its_own_answer(place: Path) -> None:
    of_group = key()[:-2] + b"\0\3"
    write_disk(
        place,
        {
            key(): value_of(good(300), ago(100)),
            of_group: value_of(good(200), ago(100), origin=77),
        },
    )
    front = front_on(place)
    begin_group(front, 3)
    front.cache.set_group(3, 77)
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 200
    front.cache.use_policy(Policy(3))
    response = front.ask(query())
    assert response is not None
    assert ttl_of(response) == 100


def test_answer_of_a_group_goes_to_the_disk_under_its_number(front: Front) -> None:
    begin_group(front, 3)
    front.cache.set_group(3, 77)
    front.cache.use_policy(Policy(3))
    front.cache.keep(key(), good(), front.cache.ticket(key()), SOURCE, 0.01)
    assert front.ask(query()) is not None
    front.cache.report_hits(10)
    front.cache.keep(key(), answer_from(reply(address(0))), front.cache.ticket(key()), SOURCE, 0.01)
    assert {record[2] for record in front.ring.records(1 << 20)} == {key()[:-2] + b"\0\3"}
