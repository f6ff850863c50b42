"""The memory cache: what it finds, for how long, and what it evicts."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from messages import OPAQUE, A, address, answer_from, answer_of_size, key, reply

from fastdns._answer import Answer, failure
from fastdns._hotcache import HotCache

SMALLEST = 65536
TTL = 300
EVICTIONS_MAX = 64  # that one insert may cost


@pytest.fixture
def cache() -> HotCache:
    return HotCache(1 << 20)


@pytest.fixture
def answer() -> Answer:
    return answer_from(reply(address(TTL)))


def full_cache(answer: Answer, capacity: int = 1 << 20) -> tuple[HotCache, int]:
    """A cache that has had to evict once, and how many entries went in: names 0, 1, 2 …"""
    cache = HotCache(capacity)
    for number in range(1 << 20):
        if cache.evictions:
            return cache, number
        assert cache.insert(key(str(number)), answer, 0)
    raise AssertionError("it is never full")


# ---- finding


def test_entry_is_found_until_its_ttl(cache: HotCache, answer: Answer) -> None:
    cache.insert(key(), answer, 5_000)
    assert cache.look_up(key(), 5_000) == (answer.message, 0)
    assert cache.look_up(key(), 5_000 + TTL * 1000 - 1) == (answer.message, TTL - 1)


def test_entry_at_its_ttl_is_a_miss(cache: HotCache, answer: Answer) -> None:
    cache.insert(key(), answer, 5_000)
    assert cache.look_up(key(), 5_000 + TTL * 1000) is None
    assert cache.look_up(key(), 1 << 62) is None


def test_ttl_of_32_bits_does_not_wrap(cache: HotCache) -> None:
    assert cache.insert(key(), failure(key(), 2, None, 0xFFFFFFFF), 1000)
    assert cache.look_up(key(), 1000 + 0xFFFFFFFF * 1000 - 1) is not None
    assert cache.look_up(key(), 1000 + 0xFFFFFFFF * 1000) is None


@pytest.mark.parametrize(
    "other",
    [
        key("wwx.example"),
        key("example"),
        key("a.www.example"),
        key(qtype=28),
        key(qtype=A + 256),
        key(qclass=3),
        key(qclass=257),
        key(do=True),
        key(cd=True),
        key()[:-1] + b"\1",
        key()[:-2] + b"\1\0",
        key()[:-1],
        key() + b"\0",
        b"",
    ],
    ids=lambda octets: octets.hex(),
)
def test_every_octet_of_the_key_counts(cache: HotCache, answer: Answer, other: bytes) -> None:
    cache.insert(key(), answer, 0)
    assert cache.look_up(other, 0) is None
    assert cache.look_up(key(), 0) is not None


def test_sixteen_types_that_differ_in_one_bit_are_sixteen_entries(cache: HotCache) -> None:
    answers = {}
    for bit in range(16):
        answers[bit] = failure(key(qtype=1 << bit), 2, None, 60)
        cache.insert(key(qtype=1 << bit), answers[bit], 0)
    assert cache.count == 16
    for bit, answer in answers.items():
        assert cache.look_up(key(qtype=1 << bit), 0) == (answer.message, 0)


def test_longest_key_and_largest_answer_are_kept_whole(cache: HotCache) -> None:
    longest = bytes([63]) + b"a" * 63
    longest = longest * 3 + bytes([61]) + b"a" * 61 + b"\0" + key()[-7:]
    answer = answer_of_size(65535, filler=7)
    assert cache.insert(longest, answer, 0)
    assert cache.look_up(longest, 0) == (answer.message, 0)
    assert len(answer.message) == 65535


def test_answer_without_a_ttl_is_not_kept(cache: HotCache) -> None:
    assert not cache.insert(key(), answer_from(reply(address(0))), 0)
    assert cache.count == 0


def test_what_is_kept_outlives_the_objects_it_came_from(cache: HotCache) -> None:
    for number in range(200):
        cache.insert(key(str(number)), answer_of_size(500, filler=number), 0)
    noise = [bytes(500) for _ in range(1000)]
    for number in range(200):
        found = cache.look_up(key(str(number)), 0)
        assert found is not None
        assert found[0][-100:] == bytes([number]) * 100
    del noise


# ---- replacing


def test_newer_answer_takes_the_place_of_the_older(cache: HotCache, answer: Answer) -> None:
    cache.insert(key(), answer, 0)
    once = cache.octets
    other = answer_of_size(len(answer.message), 20)
    assert cache.insert(key(), other, 7_000)
    assert cache.look_up(key(), 7_000) == (other.message, 0)
    assert cache.look_up(key(), 27_000) is None
    assert (cache.count, cache.evictions) == (1, 0)
    assert abs(cache.octets - once) < 64


def test_failure_never_takes_the_place_of_a_good_fresh_answer(
    cache: HotCache, answer: Answer
) -> None:
    cache.insert(key(), answer, 0)
    assert not cache.insert(key(), failure(key(), 2, None, 5), TTL * 1000 - 1)
    assert cache.look_up(key(), TTL * 1000 - 1) == (answer.message, TTL - 1)
    assert cache.count == 1


def test_failure_takes_the_place_of_an_expired_answer(cache: HotCache, answer: Answer) -> None:
    cache.insert(key(), answer, 0)
    broken = failure(key(), 2, None, 5)
    assert cache.insert(key(), broken, TTL * 1000)
    assert cache.look_up(key(), TTL * 1000) == (broken.message, 0)


def test_good_answer_takes_the_place_of_a_failure(cache: HotCache, answer: Answer) -> None:
    cache.insert(key(), failure(key(), 2, None, 5), 0)
    assert cache.insert(key(), answer, 1)
    assert cache.look_up(key(), 1) == (answer.message, 0)


def test_failure_takes_the_place_of_a_failure(cache: HotCache) -> None:
    cache.insert(key(), failure(key(), 2, None, 5), 0)
    refused = failure(key(), 5, None, 5)
    assert cache.insert(key(), refused, 1)
    assert cache.look_up(key(), 1) == (refused.message, 0)


def test_answer_of_more_than_half_the_capacity_can_be_renewed() -> None:
    cache = HotCache(SMALLEST)
    large, renewed = answer_of_size(40_000, filler=1), answer_of_size(40_000, filler=2)
    assert cache.insert(key(), large, 0)
    assert cache.insert(key(), renewed, TTL * 1000)
    assert cache.look_up(key(), TTL * 1000) == (renewed.message, 0)
    assert cache.octets <= cache.capacity


# ---- room


@pytest.mark.parametrize("capacity", [0, 1, SMALLEST - 1])
def test_capacity_too_small_for_anything_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="65,536"):
        HotCache(capacity)


def test_octets_count_every_entry_and_the_table() -> None:
    cache = HotCache(1 << 20)
    table = cache.octets
    assert table > 0
    for number in range(100):
        cache.insert(key(str(number)), answer_of_size(1000), 0)
    assert cache.octets - table > 100 * (1000 + len(key("0")))
    assert cache.octets - table < 100 * (1000 + 200)


def test_capacity_is_held_under_answers_of_all_sizes() -> None:
    random_ = random.Random(64)
    cache = HotCache(1 << 20)
    sizes = [random_.choice((60, 100, 200, 500, 1_500, 9_000, 65_535)) for _ in range(300)]
    answers = [answer_of_size(size) for size in sizes]
    for number in range(20_000):
        cache.insert(key(str(number)), random_.choice(answers), number)
        assert cache.octets <= cache.capacity
    assert cache.evictions > 10_000
    assert cache.octets > cache.capacity // 2


MEASURE = """
import random, sys
sys.path.insert(0, {folder!r})
from messages import answer_of_size, key
from fastdns._hotcache import HotCache

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

random_ = random.Random(3)
answers = [answer_of_size(random_.randrange(60, 600)) for _ in range(200)]
answers += [answer_of_size(random_.randrange(600, 5000)) for _ in range(20)]
answers.append(answer_of_size(65535))
before = resident()
cache = HotCache(16 << 20)
for number in range(150_000):
    cache.insert(key(str(number)), random_.choice(answers), 0)
assert cache.evictions > 50_000
print((resident() - before) / cache.capacity)
"""


def test_memory_of_the_process_grows_by_hardly_more_than_the_capacity() -> None:
    program = MEASURE.format(folder=str(__file__).rpartition("/")[0])
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 0.5 < float(run.stdout) < 1.25


def test_small_cache_of_a_large_capacity_takes_little_memory() -> None:
    """The table grows with what is in it."""
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(__file__).rpartition('/')[0]!r})\n"
        "from messages import answer_of_size, key\n"
        "from fastdns._hotcache import HotCache\n"
        "def resident():\n"
        "    with open('/proc/self/statm') as file:\n"
        "        return int(file.read().split()[1]) * 4096\n"
        "answer = answer_of_size(60)\n"
        "before = resident()\n"
        "cache = HotCache(64 << 20)\n"
        "for number in range(5_000):\n"
        "    cache.insert(key(str(number)), answer, 0)\n"
        "print(resident() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert int(run.stdout) < 5_000 * 400 + (1 << 20)


def test_nothing_is_lost_while_the_table_grows(answer: Answer) -> None:
    """Some are replaced, asked for and evicted by their age meanwhile, moved or not moved yet."""
    cache = HotCache(32 << 20)
    reserved = cache.octets
    other = answer_of_size(100)
    random_ = random.Random(11)
    kept: dict[int, Answer] = {}
    grew = 0
    for number in range(120_000):
        before = cache.octets
        assert cache.insert(key(str(number)), answer, 0)
        grew += cache.octets - before > 50_000  # two tables, for a while
        kept[number] = answer
        if number % 3 == 0:
            again = random_.randrange(number + 1)
            assert cache.insert(key(str(again)), other, 0)
            kept[again] = other
        one = random_.randrange(number + 1)
        assert cache.look_up(key(str(one)), 0) == (kept[one].message, 0)
    assert grew == 2
    assert cache.evictions == 0
    assert cache.count == len(kept)
    for number, one in kept.items():
        assert cache.look_up(key(str(number)), 0) == (one.message, 0)
    assert cache.octets - reserved < len(kept) * 400


def test_full_cache_evicts_also_while_its_table_grows() -> None:
    cache = HotCache(4 << 20)
    small = failure(key(""), 2, None, 60)
    kept = set()
    for number in range(60_000):
        assert cache.insert(key(str(number)), small, 0)
        assert cache.octets <= cache.capacity
        kept.add(number)
    found = [number for number in kept if cache.look_up(key(str(number)), 0) is not None]
    assert len(found) == cache.count == 60_000 - cache.evictions
    assert found == list(range(60_000 - len(found), 60_000))


def test_one_insert_evicts_at_most_64_entries() -> None:
    cache, _ = full_cache(answer_of_size(100))  # of octets; of small ones on 32 bits, of slots
    before, count = cache.evictions, cache.count
    assert not cache.insert(key("large"), answer_of_size(65_535), 0)
    assert cache.evictions - before == EVICTIONS_MAX
    assert cache.count == count - EVICTIONS_MAX


def test_large_answer_comes_in_after_a_few_tries(answer: Answer) -> None:
    cache, _ = full_cache(answer)
    large = answer_of_size(65_535)
    assert any(cache.insert(key("large"), large, 0) for _ in range(20))
    assert cache.look_up(key("large"), 0) == (large.message, 0)


def test_answer_that_can_never_fit_evicts_nothing(answer: Answer) -> None:
    cache, _ = full_cache(answer, SMALLEST)
    before = cache.evictions
    assert not cache.insert(key("large"), answer_of_size(65_535), 0)
    assert cache.evictions == before


def test_room_is_made_even_when_everything_was_asked_for(answer: Answer) -> None:
    cache, entered = full_cache(answer)
    for number in range(entered):
        cache.look_up(key(str(number)), 0)
    assert cache.insert(key("new"), answer, 0)
    assert cache.look_up(key("new"), 0) is not None


def test_full_table_of_smallest_entries_still_takes_and_finds() -> None:
    """Names of one or two octets: more entries for the octets there are than anything real."""
    cache = HotCache(SMALLEST)
    slots = cache.octets // 8
    tiny = failure(key(""), 2, None, 60)
    keys = [bytes((high, low)) for high in range(8) for low in range(256)]
    for one in keys:
        assert cache.insert(one, tiny, 0)
        assert cache.look_up(one, 0) == (tiny.message, 0)
    assert cache.count == len(keys) - cache.evictions
    assert cache.count <= slots - slots // 4  # more, and looking up takes long
    assert cache.look_up(b"never", 0) is None


# ---- SIEVE


def scan(cache: HotCache, answer: Answer, hot: range, names: range) -> Iterator[int]:
    """Insert names that nobody asks for again, while the hot ones are; yield the hot ones lost."""
    for number in names:
        cache.insert(key(str(number)), answer, 0)
        if number % 200 == 0:
            yield sum(cache.look_up(key(str(one)), 0) is None for one in hot)


def test_what_is_asked_for_survives_a_scan(answer: Answer) -> None:
    cache, entered = full_cache(answer)
    hot = range(entered - 500, entered - 460)
    assert [one for one in hot if cache.look_up(key(str(one)), 0) is None] == []
    lost = list(scan(cache, answer, hot, range(entered, entered * 6)))
    assert cache.evictions > entered * 4
    assert lost == [0] * len(lost)


def test_of_many_that_are_asked_for_a_scan_takes_few(answer: Answer) -> None:
    """Each insert walks over 64 of them at most, so that one in 64 goes in a round of the hand."""
    cache, entered = full_cache(answer)
    hot = range(entered - 1500, entered - 500)
    assert [one for one in hot if cache.look_up(key(str(one)), 0) is None] == []
    lost = list(scan(cache, answer, hot, range(entered, entered * 3)))
    assert lost[-1] < 60


def test_what_nobody_asks_for_does_not_survive_a_scan(answer: Answer) -> None:
    cache, entered = full_cache(answer)
    for number in range(entered, entered * 3):
        cache.insert(key(str(number)), answer, 0)
    assert [one for one in range(entered) if cache.look_up(key(str(one)), 0)] == []


def fill_until_one_goes(cache: HotCache, answer: Answer, now_ms: int) -> None:
    number = 0
    while not cache.evictions:
        cache.insert(key(str(number)), answer, now_ms)
        number += 1


def test_oldest_goes_first_unless_it_was_asked_for(answer: Answer) -> None:
    cache = HotCache(1 << 20)
    cache.insert(key("asked"), answer, 0)
    cache.insert(key("forgotten"), answer, 0)
    cache.look_up(key("asked"), 0)
    fill_until_one_goes(cache, answer, 0)
    assert cache.look_up(key("forgotten"), 0) is None
    assert cache.look_up(key("asked"), 0) is not None
    assert cache.look_up(key("0"), 0) is not None


def test_renewed_answer_still_counts_as_asked_for(answer: Answer) -> None:
    cache = HotCache(1 << 20)
    for name in ("asked", "forgotten"):
        cache.insert(key(name), answer, 0)
    cache.look_up(key("asked"), 0)
    for name in ("asked", "forgotten"):
        cache.insert(key(name), answer, 0)
    fill_until_one_goes(cache, answer, 0)
    assert cache.look_up(key("forgotten"), 0) is None
    assert cache.look_up(key("asked"), 0) is not None


def test_expired_entry_goes_though_it_was_asked_for(answer: Answer) -> None:
    cache = HotCache(1 << 20)
    brief = answer_from(reply(address(1)))
    cache.insert(key("brief"), brief, 0)
    cache.insert(key("other"), answer, 0)
    cache.look_up(key("brief"), 0)
    fill_until_one_goes(cache, answer, 1000)
    assert cache.look_up(key("brief"), 0) is None
    assert cache.look_up(key("other"), 0) is not None


# ---- against a model


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("capacity", [SMALLEST, 3 * SMALLEST])
def test_nothing_wrong_is_returned_and_nothing_lost_uncounted(seed: int, capacity: int) -> None:
    random_ = random.Random(seed)
    cache = HotCache(capacity)
    answers = [
        *(answer_of_size(random_.randrange(35, 300), random_.randrange(1, 60)) for _ in range(60)),
        answer_of_size(20_000, 30),
        *(failure(key(), rcode, None, 5) for rcode in (2, 5)),
    ]
    keys = [bytes((length,)) * length for length in (1, 7, 8, 9, 40, 255)]
    keys += [key(str(number), OPAQUE) for number in range(900)]
    kept: dict[bytes, tuple[Answer, int]] = {}  # what the last insert of a key was, and when
    entered = now = 0
    for step in range(12_000):
        now += random_.randrange(40)
        one = random_.choice(keys)
        if random_.random() < 0.5:
            assert_found_is_right(cache, kept, one, now)
            continue
        answer = random_.choice(answers)
        # In the past, before anything expires, look_up tells what is there at all.
        was_there = cache.look_up(one, 0) is not None
        hidden = was_there and answer.is_failure and is_good_and_fresh(kept[one], now)
        if cache.insert(one, answer, now):
            assert not hidden
            kept[one] = (answer, now)
            entered += not was_there
            assert cache.look_up(one, now) == (answer.message, 0)
        elif was_there:
            assert cache.look_up(one, 0) is not None
        assert cache.octets <= capacity
        assert cache.count == entered - cache.evictions
        if step % 1000 == 0:
            assert sum(cache.look_up(other, 0) is not None for other in keys) == cache.count
    assert sum(cache.look_up(other, 0) is not None for other in keys) == cache.count
    assert cache.evictions > 100
    for other in keys:
        assert_found_is_right(cache, kept, other, now)


def is_good_and_fresh(entry: tuple[Answer, int], now: int) -> bool:
    answer, stored = entry
    return not answer.is_failure and now < stored + answer.ttl * 1000


def assert_found_is_right(
    cache: HotCache, kept: dict[bytes, tuple[Answer, int]], one: bytes, now: int
) -> None:
    found = cache.look_up(one, now)
    if found is None:
        if one in kept and cache.look_up(one, 0) is not None:  # there, but too old
            answer, stored = kept[one]
            assert now >= stored + answer.ttl * 1000
        return
    answer, stored = kept[one]
    assert found == (answer.message, (now - stored) // 1000)
    assert now < stored + answer.ttl * 1000
