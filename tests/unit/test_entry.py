"""Answers outside of a process: what a value states, how old it is; all damage is noticed."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import time

import pytest
from messages import (
    DO,
    EDE,
    OPAQUE,
    QR,
    RA,
    RD,
    REPLY,
    address,
    answer_from,
    answer_of_size,
    key,
    name,
    opt,
    option,
    question,
    record,
    reply,
    soa,
)

from fastdns._answer import Answer, failure
from fastdns._clock import PLAUSIBLE_MS, Moment
from fastdns._entry import DiskEntry, newer, pack, peek, with_hits
from fastdns._siphash import siphash

HEADER_OCTETS = 80
DAY_MS = 86_400_000
WALL = PLAUSIBLE_MS + DAY_MS
BOOT = 0x1234_5678_9ABC_DEF0
STORED = Moment(WALL, 50_000, BOOT)
THIS_BOOT = Moment.now().boot


def later(seconds: float, boot: int = BOOT) -> Moment:
    """So long after STORED, on both clocks."""
    return Moment(WALL + int(seconds * 1000), 50_000 + int(seconds * 1000), boot)


def after_a_reboot(seconds: float) -> Moment:
    """So long after STORED on the wall clock, shortly after another boot."""
    return Moment(WALL + int(seconds * 1000), 10, BOOT + 1)


def sealed(value: bytes | bytearray) -> bytes:
    """The value with the checksum that it should have."""
    checksum = siphash(bytes(16), bytes(value[4:])) & 0xFFFFFFFF
    return struct.pack("=I", checksum) + bytes(value[4:])


def changed(value: bytes, at: int, layout: str, number: int) -> bytes:
    """The value with another number in it, sealed."""
    copy = bytearray(value)
    struct.pack_into("=" + layout, copy, at, number)
    return sealed(copy)


def header(length: int, ttl_count: int, options_length: int) -> bytes:
    head = bytearray(HEADER_OCTETS)
    head[4] = 1
    struct.pack_into("=HHH", head, 52, length, ttl_count, options_length)
    return bytes(head)


@pytest.fixture
def answer() -> Answer:
    ede = option(EDE, b"\0\3stale")
    wire = reply(address(300), address(200), additional=(opt(ede, ttl=DO),))
    return answer_from(wire)


@pytest.fixture
def value(answer: Answer) -> bytes:
    return pack(answer, STORED, origin=2**64 - 1, upstream="127.0.0.1:5300", rtt_us=1500, hits=7)


# ---- what a value says


def test_value_says_all_that_was_put_into_it(answer: Answer, value: bytes) -> None:
    entry = DiskEntry.parse(value)
    assert entry.message == answer.message
    assert entry.edns_options == option(EDE, b"\0\3stale")
    assert (entry.rcode, entry.ttl, entry.negative) == (0, 200, False)
    assert (entry.origin, entry.upstream) == (2**64 - 1, "127.0.0.1:5300")
    assert (entry.rtt_us, entry.hits, entry.size) == (1500, 7, len(value))
    assert (entry.stored_wall_ms, entry.stored_boot_ms, entry.boot) == (WALL, 50_000, BOOT)
    assert [entry.message[at : at + 4] for at in entry.ttl_offsets] == [
        struct.pack("!I", 300),
        struct.pack("!I", 200),
    ]


def test_answer_comes_back_as_it_was(answer: Answer, value: bytes) -> None:
    back = DiskEntry.parse(value).answer()
    assert back.message == answer.message
    assert back.edns_options == answer.edns_options
    assert (back.rcode, back.ttl, back.is_failure) == (answer.rcode, answer.ttl, False)


def test_answer_that_came_back_can_be_stored_again(value: bytes) -> None:
    entry = DiskEntry.parse(value)
    again = pack(
        entry.answer(), STORED, origin=entry.origin, upstream=entry.upstream, rtt_us=1500, hits=7
    )
    assert again == value


@pytest.mark.parametrize("age", [0, 1, 199, 200, 201, 300, 2**32 - 1])
def test_answer_of_an_age_has_ttls_that_are_lower_by_it(value: bytes, age: int) -> None:
    entry = DiskEntry.parse(value)
    aged = entry.answer(age)
    ttls = [struct.unpack_from("!I", aged.message, at)[0] for at in entry.ttl_offsets]
    assert ttls == [max(0, 300 - age), max(0, 200 - age)]
    assert aged.ttl == max(0, 200 - age)


def test_value_is_read_at_any_address(value: bytes) -> None:
    for shift in range(9):
        padded = memoryview(bytearray(bytes(shift) + value))[shift:]
        assert DiskEntry.parse(padded).ttl_offsets == DiskEntry.parse(value).ttl_offsets
        assert peek(padded) == peek(value)


def test_entry_outlives_the_memory_it_was_read_from(answer: Answer, value: bytes) -> None:
    memory = bytearray(value)
    entry = DiskEntry.parse(memory)
    memory[:] = bytes(len(memory))
    assert entry.message == answer.message


def test_largest_answer_is_kept_whole() -> None:
    answer = answer_of_size(65535)
    entry = DiskEntry.parse(pack(answer, STORED))
    assert entry.message == answer.message
    assert entry.size == HEADER_OCTETS + 2 + 65535


def test_answer_of_as_many_records_as_fit_is_kept_whole() -> None:
    room = 65535 - len(reply(qtype=OPAQUE))
    tiny = record(OPAQUE, b"", owner=b"\0")
    wire = reply(authority=(tiny,) * (room // len(tiny)), qtype=OPAQUE)
    answer = answer_from(wire, of=key(qtype=OPAQUE))
    entry = DiskEntry.parse(pack(answer, STORED))
    assert len(entry.ttl_offsets) == room // len(tiny) > 5900
    assert entry.answer().message == answer.message


@pytest.mark.parametrize(
    ("wire", "negative"),
    [
        (reply(address()), False),
        (reply(authority=(soa(300, 300),)), True),
        (reply(authority=(soa(300, 300),), flags=REPLY | 3), True),
        # NXDOMAIN for the end of a chain (RFC 6604 section 3)
        (reply(record(5, name("other.example")), authority=(soa(9, 9),), flags=REPLY | 3), True),
        (reply(record(5, name("other.example"))), False),
    ],
)
def test_negative_is_nxdomain_or_no_record(wire: bytes, negative: bool) -> None:
    assert DiskEntry.parse(pack(answer_from(wire), STORED)).negative is negative


def test_failure_has_no_value() -> None:
    with pytest.raises(ValueError, match="failure"):
        pack(failure(key(), 2, None, 5), STORED)


@pytest.mark.parametrize(
    ("upstream", "shown"),
    [
        (None, None),
        ("192.0.2.1:53", "192.0.2.1:53"),
        ("tcp://192.0.2.1:65535", "tcp://192.0.2.1:65535"),
        ("[2620:fe::fe]:53", "[2620:fe::fe]:53"),
        ("tcp://[::1]:53", "tcp://[::1]:53"),
        ("[fe80::1%eth0]:53", "[fe80::1]:53"),
    ],
)
def test_upstream_is_shown_as_the_configuration_spells_it(
    answer: Answer, upstream: str | None, shown: str | None
) -> None:
    assert DiskEntry.parse(pack(answer, STORED, upstream=upstream)).upstream == shown


@pytest.mark.parametrize(
    "upstream",
    ["", "example:53", "192.0.2.1", "192.0.2.256:53", "[::1:53", "::1:53", "192.0.2.1:65536"],
)
def test_upstream_that_is_no_address_is_refused(answer: Answer, upstream: str) -> None:
    with pytest.raises(ValueError, match="not the address of an upstream"):
        pack(answer, STORED, upstream=upstream)


def test_hits_change_and_nothing_else(value: bytes) -> None:
    more = with_hits(value, 8)
    assert DiskEntry.parse(more).hits == 8
    assert with_hits(more, 7) == value
    assert DiskEntry.parse(value).hits == 7


def test_hits_stay_at_the_largest_number_that_can_be_kept(answer: Answer, value: bytes) -> None:
    assert DiskEntry.parse(with_hits(value, 2**40)).hits == 2**32 - 1
    assert DiskEntry.parse(pack(answer, STORED, hits=2**40)).hits == 2**32 - 1


def test_glance_tells_what_the_entry_tells(value: bytes) -> None:
    entry = DiskEntry.parse(value)
    assert peek(value) == (
        *(entry.stored_wall_ms, entry.stored_boot_ms, entry.boot),
        *(entry.ttl, entry.hits, entry.origin),
    )


# ---- to which question it is the answer


def test_entry_answers_its_own_question_only(value: bytes) -> None:
    entry = DiskEntry.parse(value)
    assert entry.answers(key())
    assert entry.answers(key(do=True, cd=True))
    assert not entry.answers(key(qtype=28))
    assert not entry.answers(key("wwx.example"))
    assert not entry.answers(key("example"))
    assert not entry.answers(key("a.www.example"))
    assert not entry.answers(key("a" * 60 + ".very.long.name.that.the.message.has.no.room.for"))
    assert not entry.answers(b"")


def test_case_of_the_question_in_the_message_does_not_matter(value: bytes) -> None:
    spelled = bytearray(value)
    at = value.index(b"\3www\7example")
    spelled[at : at + 11] = b"\3WwW\7eXaMpL"
    assert DiskEntry.parse(sealed(spelled)).answers(key())


def test_message_without_a_question_answers_none(value: bytes) -> None:
    at = value.index(b"\3www\7example") - 12
    silent = bytearray(value)
    silent[at + 4 : at + 6] = b"\0\0"
    assert not DiskEntry.parse(sealed(silent)).answers(key())


def test_question_has_to_lie_in_the_message() -> None:
    head = header(12, 0, len(question()))
    cut = sealed(head + reply(address())[:12] + question())
    assert DiskEntry.parse(cut).edns_options == question()
    assert not DiskEntry.parse(cut).answers(key())


# ---- damage


def test_damage_to_any_octet_is_seen(value: bytes) -> None:
    for at in range(len(value)):
        for bit in range(8):
            damaged = bytearray(value)
            damaged[at] ^= 1 << bit
            with pytest.raises(ValueError, match="damaged entry"):
                DiskEntry.parse(damaged)
            with pytest.raises(ValueError, match="damaged entry"):
                with_hits(bytes(damaged), 1)


def test_value_of_any_other_length_is_seen(value: bytes) -> None:
    for length in range(len(value)):
        with pytest.raises(ValueError, match="damaged entry"):
            DiskEntry.parse(memoryview(value)[:length])
    for more in (1, 2, 80, 65536):
        with pytest.raises(ValueError, match="do not add up"):
            DiskEntry.parse(sealed(value + bytes(more)))


@pytest.mark.parametrize(
    ("at", "layout", "number", "fault"),
    [
        (4, "B", 0, "another version"),
        (4, "B", 2, "another version"),
        (6, "H", 16, "impossible"),  # RCODE
        (52, "H", 65535, "do not add up"),  # the message
        (52, "H", 0, "do not add up"),
        (54, "H", 65535, "do not add up"),  # TTL offsets
        (56, "H", 65535, "do not add up"),  # EDNS options
        (HEADER_OCTETS, "H", 0, "impossible"),  # the first TTL offset
        (HEADER_OCTETS, "H", 11, "impossible"),
        (HEADER_OCTETS, "H", 61 - 3, "impossible"),
        (HEADER_OCTETS + 2, "H", 65535, "impossible"),
        (HEADER_OCTETS + 2, "H", 65533, "impossible"),
    ],
)
def test_value_that_leads_astray_is_refused_though_its_checksum_is_right(
    value: bytes, at: int, layout: str, number: int, fault: str
) -> None:
    assert len(DiskEntry.parse(value).message) == 61
    with pytest.raises(ValueError, match=fault):
        DiskEntry.parse(changed(value, at, layout, number))


@pytest.mark.parametrize("length", [0, 11])
def test_message_shorter_than_a_dns_header_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        DiskEntry.parse(sealed(header(length, 0, 0) + bytes(length)))
    assert DiskEntry.parse(sealed(header(12, 0, 0) + bytes(12))).message == bytes(12)


def test_more_offsets_than_a_message_has_records_are_refused() -> None:
    offsets = struct.pack("=H", 12)
    with pytest.raises(ValueError, match="impossible"):
        DiskEntry.parse(sealed(header(65535, 5958, 0) + offsets * 5958 + bytes(65535)))
    most = DiskEntry.parse(sealed(header(65535, 5957, 0) + offsets * 5957 + bytes(65535)))
    assert most.ttl_offsets == (12,) * 5957


def test_any_value_is_refused_or_stays_within_itself(value: bytes) -> None:
    rng = random.Random(4)
    taken = 0
    for _ in range(20_000):
        damaged = bytearray(value)
        for _damage in range(rng.randrange(1, 4)):
            damaged[rng.randrange(4, len(damaged))] = rng.choice((0, 1, 255, rng.randrange(256)))
        try:
            entry = DiskEntry.parse(sealed(damaged))
        except ValueError:
            continue
        taken += 1
        assert all(12 <= at <= len(entry.message) - 4 for at in entry.ttl_offsets)
        assert len(entry.answer(1).message) == len(entry.message)
        assert entry.state(later(1), 0) in ("fresh", "stale", "expired")
        str(entry.upstream)
    assert taken > 5000


def test_glance_refuses_what_is_too_short_or_of_another_version(value: bytes) -> None:
    with pytest.raises(ValueError, match="shorter than its header"):
        peek(value[: HEADER_OCTETS - 1])
    with pytest.raises(ValueError, match="shorter than its header"):
        peek(b"")
    with pytest.raises(ValueError, match="another version"):
        peek(changed(value, 4, "B", 9))


# ---- age


@pytest.mark.parametrize("now", [later, after_a_reboot])
def test_age_is_the_time_since_storing(value: bytes, now: object) -> None:
    assert callable(now)
    entry = DiskEntry.parse(value)
    assert entry.age(now(0)) == 0
    assert entry.age(now(1.5)) == 1.5
    assert entry.age(now(10 * 365 * 86400)) == 10 * 365 * 86400


def test_within_a_boot_the_wall_clock_does_not_matter(value: bytes) -> None:
    for wall in (0, -(2**63), WALL - DAY_MS, 2**63 - 1):
        assert DiskEntry.parse(value).age(Moment(wall, 53_000, BOOT)) == 3


def test_age_of_what_comes_from_the_future_is_unknown(value: bytes) -> None:
    entry = DiskEntry.parse(value)
    assert entry.age(Moment(WALL + DAY_MS, 49_999, BOOT)) is None
    assert entry.age(Moment(WALL - 1, 60_000, BOOT + 1)) is None


def test_age_by_a_wall_clock_that_was_never_set_is_unknown(answer: Answer) -> None:
    early = Moment(PLAUSIBLE_MS - 1000, 50_000, BOOT)
    assert DiskEntry.parse(pack(answer, early)).age(after_a_reboot(0)) is None
    assert DiskEntry.parse(pack(answer, STORED)).age(Moment(1000, 5, BOOT + 1)) is None
    both = Moment(PLAUSIBLE_MS - 500, 60_000, BOOT + 1)
    assert DiskEntry.parse(pack(answer, early)).age(both) is None


def test_boots_that_are_not_known_are_not_the_same(answer: Answer) -> None:
    entry = DiskEntry.parse(pack(answer, Moment(WALL, 50_000, 0)))
    assert entry.age(Moment(WALL + 9000, 51_000, 0)) == 9


@pytest.mark.parametrize("number", [-(2**63), -1, 2**63 - 1])
def test_damaged_clocks_make_an_unknown_age(answer: Answer, number: int) -> None:
    entry = DiskEntry.parse(pack(answer, Moment(number, number, BOOT)))
    assert entry.age(later(0)) is None
    assert entry.age(Moment(WALL, 2**62, BOOT + 1)) is None


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (0, "fresh"),
        (199.999, "fresh"),
        (200, "stale"),
        (200 + 86400 - 0.001, "stale"),
        (200 + 86400, "expired"),
    ],
)
def test_entry_is_fresh_to_its_ttl_then_stale_then_expired(
    value: bytes, age: float, state: str
) -> None:
    assert DiskEntry.parse(value).state(later(age), 86400) == state
    assert DiskEntry.parse(value).state(after_a_reboot(age), 86400) == state


def test_entry_of_unknown_age_is_stale(value: bytes) -> None:
    assert DiskEntry.parse(value).state(Moment(0, 0, 1), 0) == "stale"


def test_without_stale_answers_an_entry_expires_at_its_ttl(value: bytes) -> None:
    assert DiskEntry.parse(value).state(later(200), 0) == "expired"


# ---- which of two is newer


def value_of(moment: Moment) -> bytes:
    return pack(answer_from(reply(address())), moment)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (later(1), STORED, True),
        (STORED, STORED, False),
        (STORED, later(1), False),
        # One boot: its clock, though the wall clock was put back.
        (Moment(WALL - DAY_MS, 50_001, BOOT), STORED, True),
        # Two boots: the wall clock.
        (after_a_reboot(1), STORED, True),
        (STORED, after_a_reboot(1), False),
        (Moment(WALL + 1, 5, 0), Moment(WALL, 500, 0), True),
        # A router without a clock of its own, just started: what it learns now is newer.
        (Moment(30_000, 30_000, THIS_BOOT), STORED, True),
        (STORED, Moment(30_000, 30_000, THIS_BOOT), False),
        (Moment(WALL + 1, 5, THIS_BOOT), Moment(WALL, 500, BOOT), True),
        (Moment(WALL, 5, THIS_BOOT), Moment(WALL + 1, 500, BOOT), False),
    ],
)
def test_newer_is_what_was_stored_later(one: Moment, other: Moment, expected: bool) -> None:
    assert newer(value_of(one), value_of(other)) is expected


def test_anything_is_newer_than_what_cannot_be_read(value: bytes) -> None:
    assert newer(value, b"")
    assert newer(value, changed(value, 4, "B", 9))
    with pytest.raises(ValueError, match="damaged entry"):
        newer(b"", value)


# ---- now


def test_now_is_what_the_clocks_say() -> None:
    before = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    now = Moment.now()
    after = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    assert int(before[0] * 1000) <= now.wall_ms <= after[0] * 1000
    assert int(before[1] * 1000) <= now.boot_ms <= after[1] * 1000


def test_every_process_of_a_boot_has_the_same_number_for_it() -> None:
    script = "import json; from fastdns._clock import Moment; print(json.dumps(Moment.now().boot))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(run.stdout) == THIS_BOOT


@pytest.mark.skipif(
    not os.path.exists("/proc/sys/kernel/random/boot_id"), reason="no boot id in /proc"
)
def test_boot_has_a_number() -> None:
    assert THIS_BOOT != 0


def test_flags_that_come_with_the_answer_are_kept() -> None:
    answer = answer_from(reply(address(), flags=QR | RD | RA))
    assert DiskEntry.parse(pack(answer, STORED)).message[2:4] == struct.pack("!H", QR | RD | RA)
