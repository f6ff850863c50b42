"""Answers on their way to the keeper: in order, complete, and across the death of either side."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from messages import REPLY, answer_from, answer_of_size, key, name, reply, soa

from fastdns._answer import Answer, failure
from fastdns._clock import Moment
from fastdns._entry import DiskEntry, pack
from fastdns._ring import RECORD_ANSWER, RECORD_HITS, RECORD_REMOVAL, RING_OCTETS, Ring

HEAD_PAGE = 4096
HEAD_AT, TAIL_AT = 64, 128
RECORD_HEAD = 16
SMALL = 1 << 16
ALL = 1 << 30
NOW = Moment(1_760_000_000_000, 77_000, 5)
NEGATIVE = reply(authority=(soa(300, 300),), flags=REPLY | 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ring.0"


@pytest.fixture
def answer() -> Answer:
    return answer_of_size(200)


def drained(ring: Ring) -> list[tuple[int, int, bytes, bytes]]:
    """All records, their space given back."""
    records = []
    while batch := ring.records(1 << 14):
        records += batch
    ring.consume()
    return records


def number_key(number: int) -> bytes:
    return key(f"n{number}.example")


@contextlib.contextmanager
def page(path: Path) -> Iterator[mmap.mmap]:
    """The file of a ring, to damage it."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        yield memory


@contextlib.contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """A process that does that work; killed in the end if it still does."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def at_work(pid: int) -> bool:
    """False when the child has ended, so that nobody waits for it for ever."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


# ---- what comes out


def test_answer_comes_out_as_it_would_be_stored(answer: Answer) -> None:
    ring = Ring.open(None)
    assert ring.put(key(), answer, 9, NOW, origin=4, upstream="192.0.2.1:53", rtt_us=800)
    (record,) = ring.records(ALL)
    value = pack(answer, NOW, origin=4, upstream="192.0.2.1:53", rtt_us=800)
    assert record == (RECORD_ANSWER, 9, key(), value)


def test_count_of_hits_comes_out_as_it_went_in() -> None:
    ring = Ring.open(None)
    assert ring.put_hits_of(key(), 2**32 - 1)
    assert ring.records(ALL) == [(RECORD_HITS, 0, key(), struct.pack("=I", 2**32 - 1))]


def test_new_ring_holds_nothing(path: Path) -> None:
    ring = Ring.open(path)
    assert (ring.used, ring.capacity, ring.records(ALL)) == (0, RING_OCTETS, [])


def test_records_come_out_in_the_order_in_which_they_went_in(answer: Answer) -> None:
    ring = Ring.open(None)
    for number in range(100):
        ring.put(number_key(number), answer, number, NOW)
        ring.put_hits_of(number_key(number), number)
    keys = [record[2] for record in ring.records(ALL)]
    assert keys == [number_key(number // 2) for number in range(200)]


def test_longest_key_and_largest_answer_come_out_whole() -> None:
    ring = Ring.open(None)
    answer = answer_of_size(65535)
    longest = key(".".join(["x" * 63] * 3 + ["y" * 61]))
    assert ring.put(longest, answer, 2**64 - 1, NOW)
    ((_, epoch, under, value),) = ring.records(ALL)
    assert (epoch, under, DiskEntry.parse(value).message) == (2**64 - 1, longest, answer.message)


def test_reader_gets_about_as_many_octets_as_it_asked_for(answer: Answer) -> None:
    ring = Ring.open(None)
    for number in range(50):
        ring.put(number_key(number), answer, number, NOW)
    a_record = ring.used // 50
    assert len(ring.records(a_record * 10)) == 10
    assert len(ring.records(1)) == 1
    assert ring.records(0) == []
    assert [record[1] for record in ring.records(ALL)] == list(range(11, 50))


def test_padding_at_the_end_does_not_look_like_the_last_record(path: Path) -> None:
    ring = Ring.open(path, SMALL)
    answer = answer_of_size(SMALL // 3)
    for number in range(30):
        assert ring.put(key(), answer, number, NOW)
        assert [record[1] for record in ring.records(1)] == [number]
        ring.consume()


def test_space_is_given_back_only_for_what_was_read(answer: Answer) -> None:
    ring = Ring.open(None)
    for number in range(10):
        ring.put(number_key(number), answer, number, NOW)
    before = ring.used
    ring.records(1)
    assert ring.used == before
    ring.consume()
    assert ring.used == before // 10 * 9
    ring.consume()
    assert ring.used == before // 10 * 9
    drained(ring)
    assert ring.used == 0


def test_rewound_reader_starts_with_what_was_not_given_back(answer: Answer) -> None:
    ring = Ring.open(None)
    for number in range(10):
        ring.put(number_key(number), answer, number, NOW)
    ring.records(1)
    ring.consume()
    ring.records(ALL)
    ring.rewind()
    assert [record[1] for record in ring.records(ALL)] == list(range(1, 10))


@pytest.mark.parametrize("seed", range(4))
def test_ring_gives_out_what_a_queue_would_over_many_rounds(seed: int) -> None:
    rng = random.Random(seed)
    ring = Ring.open(None, SMALL)
    sizes = [*range(60, 76), 500, 4000, 15000]
    answers = {size: answer_of_size(size) for size in sizes}
    waiting: deque[tuple[int, bytes, int]] = deque()
    written = 0
    for number in range(6000):
        size = rng.choice(sizes)
        under = key("x" * rng.randrange(1, 20))
        if ring.put(under, answers[size], number, NOW):
            waiting.append((number, under, size))
            written += size
        if rng.random() < 0.1:
            for _, epoch, out, value in ring.records(rng.randrange(1 << 17)):
                assert (epoch, out, len(DiskEntry.parse(value).message)) == waiting.popleft()
            ring.consume()
    assert [record[1] for record in drained(ring)] == [number for number, _, _ in waiting]
    assert written > 20 * SMALL


# ---- what does not go in


def test_full_ring_sheds_and_goes_on_when_there_is_room_again(answer: Answer) -> None:
    ring = Ring.open(None, SMALL)
    number = 0
    while ring.put(number_key(number), answer, number, NOW):
        number += 1
    assert ring.used > SMALL * 0.99
    assert [record[1] for record in drained(ring)] == list(range(number))
    assert ring.put(key(), answer, 7, NOW)
    assert [record[1] for record in drained(ring)] == [7]


def test_answer_larger_than_the_ring_is_shed() -> None:
    ring = Ring.open(None, 4096)
    assert not ring.put(key(), answer_of_size(5000), 0, NOW)
    assert ring.used == 0


@pytest.mark.parametrize(
    "least", [answer_of_size(200, ttl=59), answer_from(NEGATIVE)], ids=["short-lived", "negative"]
)
def test_least_valuable_answers_are_shed_first(answer: Answer, least: Answer) -> None:
    ring = Ring.open(None, SMALL)
    while ring.capacity - ring.used >= ring.capacity // 4:
        assert ring.put(key(), least, 0, NOW)
    assert not ring.put(key(), least, 0, NOW)
    assert ring.put(key(), answer_of_size(200, ttl=60), 0, NOW)
    drained(ring)
    assert ring.put(key(), least, 0, NOW)


def test_counts_of_hits_wait_when_more_than_three_quarters_are_used(answer: Answer) -> None:
    ring = Ring.open(None, SMALL)
    while ring.used <= ring.capacity * 3 // 4:
        assert ring.put_hits_of(key(), 1)
        ring.put(key(), answer, 0, NOW)
    assert not ring.put_hits_of(key(), 1)
    drained(ring)
    assert ring.put_hits_of(key(), 1)


def test_failure_does_not_go_in_and_is_not_shed() -> None:
    ring = Ring.open(None)
    assert ring.put(key(), failure(key(), 2, None, 5), 0, NOW)
    assert ring.used == 0


def test_answer_that_must_not_be_kept_travels_as_a_removal() -> None:
    ring = Ring.open(None)
    assert ring.put(key(), answer_of_size(200, ttl=0), 0, NOW)
    [(kind, _, where, value)] = ring.records(1 << 20)
    assert (kind, where, DiskEntry.parse(value).ttl) == (RECORD_REMOVAL, key(), 0)


@pytest.mark.parametrize("bad", [b"", b"\0", name("www.example"), key() + b"\0", key().upper()])
def test_what_is_no_key_is_refused(answer: Answer, bad: bytes) -> None:
    ring = Ring.open(None)
    with pytest.raises(ValueError, match="not the key"):
        ring.put(bad, answer, 0, NOW)
    with pytest.raises(ValueError, match="not the key"):
        ring.put_hits_of(bad, 1)


@pytest.mark.parametrize("capacity", [0, 1, 2048, 4097, 3 << 20])
def test_capacity_that_is_no_power_of_two_is_refused(path: Path, capacity: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Ring.open(path, capacity)


# ---- the file


def test_what_was_not_consumed_is_there_after_a_restart(path: Path, answer: Answer) -> None:
    ring = Ring.open(path)
    for number in range(10):
        ring.put(number_key(number), answer, number, NOW)
    ring.records(1)
    ring.consume()
    ring.records(ALL)
    del ring
    again = Ring.open(path)
    assert [record[1] for record in again.records(ALL)] == list(range(1, 10))
    assert again.put(key(), answer, 10, NOW)
    assert [record[1] for record in again.records(ALL)] == [10]


def test_ring_is_its_owners_alone(path: Path) -> None:
    Ring.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_ring_takes_the_room_it_may_need_at_once(path: Path) -> None:
    Ring.open(path, SMALL)
    assert path.stat().st_blocks * 512 >= HEAD_PAGE + SMALL


def test_holes_in_an_old_file_are_filled_before_it_is_used(path: Path) -> None:
    Ring.open(path, SMALL)
    with path.open("r+b") as file:
        head = file.read(HEAD_PAGE)
        file.truncate(0)
        file.write(head)
        file.truncate(HEAD_PAGE + SMALL)
    assert path.stat().st_blocks * 512 < SMALL
    Ring.open(path, SMALL)
    assert path.stat().st_blocks * 512 >= HEAD_PAGE + SMALL


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, b"fastdnsC"),
        (8, struct.pack("=I", 99)),  # the version
        (16, struct.pack("=Q", SMALL * 2)),  # the capacity
        (HEAD_AT, struct.pack("=Q", 2**63)),
        (TAIL_AT, struct.pack("=Q", 2**63)),
        (TAIL_AT, struct.pack("=Q", 8)),  # more given back than was ever written
    ],
)
def test_ring_of_another_version_or_damaged_is_made_anew(
    path: Path, answer: Answer, at: int, octets: bytes
) -> None:
    Ring.open(path, SMALL)
    with page(path) as memory:
        memory[at : at + len(octets)] = octets
    ring = Ring.open(path, SMALL)
    assert (ring.used, ring.records(ALL)) == (0, [])
    assert ring.put(key(), answer, 1, NOW)
    assert [record[1] for record in Ring.open(path, SMALL).records(ALL)] == [1]


def test_ring_of_another_size_is_made_anew(path: Path, answer: Answer) -> None:
    Ring.open(path, SMALL).put(key(), answer, 0, NOW)
    ring = Ring.open(path, SMALL * 2)
    assert (ring.used, ring.capacity) == (0, SMALL * 2)
    os.truncate(path, 100)
    assert Ring.open(path, SMALL * 2).used == 0


def test_ring_without_room_is_an_error_and_leaves_nothing(path: Path) -> None:
    script = f"""
import resource
from fastdns._ring import Ring
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    Ring.open({str(path)!r})
except OSError as error:
    print(error.strerror)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert "large" in run.stdout
    assert list(path.parent.iterdir()) == []


def test_symbolic_link_is_replaced_and_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(bytes(HEAD_PAGE + SMALL))
    path.symlink_to(victim)
    Ring.open(path, SMALL)
    assert not path.is_symlink()
    assert victim.read_bytes() == bytes(HEAD_PAGE + SMALL)


def test_pipe_in_the_place_of_the_ring_does_not_block(path: Path) -> None:
    os.mkfifo(path)
    assert Ring.open(path, SMALL).used == 0
    assert path.is_file()


# ---- damage while it is used


def damaged(path: Path, ring: Ring, at: int, octets: bytes) -> None:
    """Damage the ring; reading it says so, and it can be used as before."""
    with page(path) as memory:
        memory[at : at + len(octets)] = octets
    with pytest.raises(ValueError, match="damaged"):
        ring.records(ALL)
    assert (ring.used, ring.records(ALL)) == (0, [])
    assert ring.put(key(), answer_of_size(300), 8, NOW)
    assert ring.put(key(), answer_of_size(300), 9, NOW)
    assert drained(ring)[-1][1] == 9


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, struct.pack("=I", 0)),  # the size
        (0, struct.pack("=I", 15)),
        (0, struct.pack("=I", RECORD_HEAD + len(key()))),
        (0, struct.pack("=I", SMALL)),
        (0, struct.pack("=I", 2**32 - 1)),
        (4, struct.pack("=H", 0)),  # the kind: no padding ends here
        (4, struct.pack("=H", 2)),  # hits are four octets
        (4, struct.pack("=H", 5)),
        (6, struct.pack("=H", 0)),  # the length of the key
        (6, struct.pack("=H", 65535)),
        (RECORD_HEAD, b"\x3f"),  # a label of the key
        (RECORD_HEAD + 60, b"\xff"),  # the value
    ],
)
def test_record_that_cannot_be_empties_the_ring(
    path: Path, answer: Answer, at: int, octets: bytes
) -> None:
    ring = Ring.open(path, SMALL)
    ring.put(key(), answer, 0, NOW)
    damaged(path, ring, HEAD_PAGE + at, octets)


@pytest.mark.parametrize("word", [HEAD_AT, TAIL_AT])
@pytest.mark.parametrize("number", [1, 3, 16, SMALL * 3, 2**63 + 5, 2**64 - 9])
def test_damaged_word_empties_the_ring(path: Path, answer: Answer, word: int, number: int) -> None:
    ring = Ring.open(path, SMALL)
    ring.put(key(), answer, 0, NOW)
    damaged(path, ring, word, struct.pack("=Q", number))


def test_what_stands_before_the_damage_is_not_lost(path: Path, answer: Answer) -> None:
    ring = Ring.open(path, SMALL)
    for number in range(5):
        ring.put(number_key(number), answer, number, NOW)
    with page(path) as memory:
        memory[HEAD_PAGE + ring.used // 5 * 3] ^= 1
    assert [record[1] for record in ring.records(ALL)] == [0, 1, 2]
    with pytest.raises(ValueError, match="damaged"):
        ring.records(ALL)
    assert ring.used == 0


def test_no_damage_does_more_than_empty_the_ring(path: Path) -> None:
    rng = random.Random(5)
    ring = Ring.open(path, 4096)
    answers = [answer_of_size(size) for size in (60, 61, 100, 700)]
    emptied = 0
    with page(path) as memory:
        for _ in range(4000):
            while ring.put(key("x" * rng.randrange(1, 9)), rng.choice(answers), 0, NOW):
                pass
            for _damage in range(rng.randrange(3)):
                place = rng.choice((HEAD_AT, TAIL_AT, HEAD_PAGE + 8 * rng.randrange(512)))
                memory[place + rng.randrange(8)] = rng.choice((0, 1, 8, 255, rng.randrange(256)))
            try:
                drained(ring)
            except ValueError:
                emptied += 1
    assert emptied > 100
    assert ring.used == 0
    drop_rest(ring)
    assert ring.put(key(), answers[0], 3, NOW)
    assert drained(ring)[-1][1] == 3


def drop_rest(ring: Ring) -> None:
    """A word that was damaged last shows with the next record."""
    ring.put_hits_of(key(), 1)
    with contextlib.suppress(ValueError):
        drained(ring)


# ---- two processes


def test_forked_processes_share_a_ring_without_a_file(answer: Answer) -> None:
    ring = Ring.open(None)
    with child(lambda: print(ring.put(key(), answer, 4, NOW))) as pid:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert [record[1] for record in drained(ring)] == [4]


def test_consumer_forked_anew_goes_on_where_the_last_one_ended(answer: Answer) -> None:
    ring = Ring.open(None)
    for number in range(10):
        ring.put(number_key(number), answer, number, NOW)

    def consume_some() -> None:
        ring.records(ring.used // 2)
        ring.consume()

    with child(consume_some) as pid:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert [record[1] for record in ring.records(ALL)] == [5, 6, 7, 8, 9]


def produce(path: Path, first: int, answers: list[Answer]) -> None:
    """Put numbered answers for ever."""
    ring = Ring.open(path, 1 << 18)
    number = first
    while True:
        if ring.put(number_key(number), answers[number % len(answers)], number, NOW):
            number += 1
        else:
            os.sched_yield()


def test_producer_killed_at_any_instant_leaves_whole_records_without_a_gap(path: Path) -> None:
    rng = random.Random(6)
    # Large ones, so that a kill mostly comes while a record is written.
    answers = [answer_of_size(size) for size in (60_000, 40_000, 100, 65_535)]
    ring = Ring.open(path, 1 << 18)
    for start in range(0, 40_000, 1000):
        seen: list[int] = []
        enough = rng.randrange(1, 40)
        with child(lambda first=start: produce(path, first, answers)) as pid:
            while len(seen) < enough:
                assert at_work(pid)
                seen += check_numbered(ring, answers)
        while batch := check_numbered(ring, answers):
            seen += batch
        assert seen == list(range(start, start + len(seen)))


def check_numbered(ring: Ring, answers: list[Answer]) -> list[int]:
    numbers = []
    for _, epoch, under, value in ring.records(1):
        assert under == number_key(epoch)
        assert DiskEntry.parse(value).message == answers[epoch % len(answers)].message
        numbers.append(epoch)
    ring.consume()
    return numbers


def consume_and_tell(path: Path, to: int) -> None:
    """Take records for ever; tell their numbers before giving space back, as a commit would."""
    ring = Ring.open(path, SMALL)
    while True:
        for _, epoch, _, _ in ring.records(1000):
            os.write(to, struct.pack("=Q", epoch))
        ring.consume()


def test_consumer_killed_at_any_instant_loses_nothing(path: Path, answer: Answer) -> None:
    rng = random.Random(7)
    ring = Ring.open(path, SMALL)
    seen: list[int] = []
    number = 0
    for _ in range(30):
        while ring.put(number_key(number), answer, number, NOW):
            number += 1
        reader, writer = os.pipe()
        with open(reader, "rb", buffering=0) as told:
            with child(lambda to=writer: consume_and_tell(path, to)):
                os.close(writer)
                for _wanted in range(rng.randrange(1, 100)):
                    seen += struct.unpack("=Q", told.read(8))  # short if the child has ended
            rest = told.read()
            seen += struct.unpack(f"={len(rest) // 8}Q", rest)
    seen += [record[1] for record in drained(ring)]
    assert sorted(set(seen)) == list(range(number))
    # Each time it starts again somewhere before, never after.
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(seen))


def test_producer_and_consumer_may_run_at_the_same_time(path: Path) -> None:
    answers = [answer_of_size(size) for size in (100, 140, 201, 333)]
    ring = Ring.open(path, 1 << 18)
    seen: list[int] = []
    with child(lambda: produce(path, 0, answers)) as pid:
        while len(seen) < 20_000:
            assert at_work(pid)
            for _, epoch, under, value in ring.records(1 << 14):
                assert under == number_key(epoch)
                assert DiskEntry.parse(value).message == answers[epoch % 4].message
                seen.append(epoch)
            ring.consume()
    assert seen == list(range(len(seen)))
