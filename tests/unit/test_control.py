"""The control page: communication between processes, and the traces of a writer that dies."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from messages import AAAA, CHAOS, TXT, A, key, name

from fastdns._control import (
    CHANGE_ALL,
    CHANGE_NAME,
    CHANGE_REFRESH,
    CHANGE_UNDER,
    Control,
    change_covers,
)

EPOCH_AT = 64
SLOTS_AT, SLOT_OCTETS, SLOTS = 4096, 320, 1024
CACHE = Path("/var/lib/fastdns/cache")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def control(path: Path) -> Control:
    return Control.open(path, CACHE)


@contextlib.contextmanager
def page(path: Path) -> Iterator[mmap.mmap]:
    """The file, to damage it."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        yield memory


# ---- the file


def test_new_page_says_that_nothing_has_happened(control: Control) -> None:
    assert control.is_new
    assert (control.epoch, control.generation, control.suspect, control.tally) == (0, 0, False, 0)
    assert control.since(0) == []


def test_commands_learn_where_the_cache_is(path: Path, control: Control) -> None:
    assert Control.attach(path).cache_path == CACHE
    assert control.cache_path == CACHE


def test_page_goes_on_after_a_restart(path: Path, control: Control) -> None:
    control.post(CHANGE_NAME, name("www.example"))
    control.advance_generation()
    control.ask_tally()
    control.suspect = True
    again = Control.open(path, CACHE)
    assert not again.is_new
    assert (again.epoch, again.generation, again.suspect, again.tally) == (1, 1, True, 1)
    assert again.post(CHANGE_ALL) == 2
    assert again.since(0) == [(CHANGE_NAME, 0, name("www.example"), 1), (CHANGE_ALL, 0, b"", 2)]


def test_page_goes_on_when_the_cache_has_moved(path: Path, control: Control) -> None:
    control.post(CHANGE_ALL)
    moved = Control.open(path, CACHE / "elsewhere")
    assert not moved.is_new
    assert (moved.cache_path, moved.epoch) == (CACHE / "elsewhere", 1)
    assert moved.since(0) == [(CHANGE_ALL, 0, b"", 1)]
    assert Control.attach(path).cache_path == CACHE / "elsewhere"
    back = Control.open(path, CACHE)
    assert back.cache_path == Control.attach(path).cache_path == CACHE


def test_path_of_any_octets_is_told_as_it_is(path: Path) -> None:
    strange = Path(os.fsdecode(b"/tmp/\xff \xc3\xa4\n/" + b"x" * 2000))
    Control.open(path, strange)
    assert Control.attach(path).cache_path == strange


def test_path_that_is_too_long_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="2048"):
        Control.open(path, "/" + "x" * 2048)


def test_page_is_its_owners_alone(path: Path, control: Control) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_forked_processes_share_a_page_without_a_file() -> None:
    control = Control.open(None, CACHE)
    pid = os.fork()
    if pid == 0:
        control.post(CHANGE_UNDER, name("example"))
        os._exit(0)
    os.waitpid(pid, 0)
    assert control.since(0) == [(CHANGE_UNDER, 0, name("example"), 1)]


def test_command_without_a_daemon_gets_an_os_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Control.attach(path)
    assert not path.exists()


@pytest.mark.parametrize("octets", [0, 1, 4096, SLOTS_AT + SLOTS * SLOT_OCTETS - 1])
def test_file_of_another_size_is_refused_by_commands_and_made_anew_by_the_daemon(
    path: Path, octets: int
) -> None:
    path.write_bytes(bytes(octets))
    with pytest.raises(ValueError, match="another version"):
        Control.attach(path)
    assert Control.open(path, CACHE).is_new
    assert Control.attach(path).epoch == 0


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, b"fastdnsR"),
        (8, struct.pack("=I", 2)),  # the version
        (12, struct.pack("=I", 0)),  # the length of the path
        (12, struct.pack("=I", 2049)),
        (12, struct.pack("=I", 2**32 - 1)),
        (2048, b"\0"),
    ],
)
def test_page_of_another_version_is_refused_by_commands_and_made_anew_by_the_daemon(
    path: Path, control: Control, at: int, octets: bytes
) -> None:
    control.post(CHANGE_ALL)
    with page(path) as memory:
        memory[at : at + len(octets)] = octets
    with pytest.raises(ValueError, match="another version"):
        Control.attach(path)
    again = Control.open(path, CACHE)
    assert (again.is_new, again.epoch, again.cache_path) == (True, 0, CACHE)


# ---- words


def test_words_are_seen_by_everybody_at_once(path: Path, control: Control) -> None:
    command = Control.attach(path)
    assert command.ask_tally() == 1
    assert command.ask_tally() == 2
    assert control.advance_generation() == 1
    control.suspect = True
    assert (control.tally, command.generation, command.suspect) == (2, 1, True)
    command.suspect = False
    assert control.suspect is False


def test_condemned_page_is_suspect_until_it_is_put_aside(tmp_path: Path) -> None:
    control = Control.open(None, tmp_path)
    control.condemn()
    control.suspect = True  # somebody else finds damage
    assert (control.suspect, control.condemned) == (True, True)
    control.suspect = False
    assert (control.suspect, control.condemned) == (False, False)


# ---- changes


def test_changes_are_told_oldest_first_from_any_epoch(control: Control) -> None:
    posted = [
        (CHANGE_NAME, A, name("www.example"), 1),
        (CHANGE_UNDER, 0, name("example"), 2),
        (CHANGE_ALL, 0, b"", 3),
        (CHANGE_REFRESH, AAAA, name("www.example"), 4),
        (CHANGE_UNDER, 0, b"\0", 5),
    ]
    for kind, qtype, where, counter in posted:
        assert control.post(kind, where, qtype) == counter
        assert control.epoch == counter
    for epoch in range(6):
        assert control.since(epoch) == posted[epoch:]


def test_longest_name_and_every_octet_of_it_are_told(control: Control) -> None:
    longest = b"".join(bytes((size,)) + b"\0" * size for size in (63, 63, 63, 61)) + b"\0"
    control.post(CHANGE_NAME, longest, 65535)
    assert control.since(0) == [(CHANGE_NAME, 65535, longest, 1)]


def test_reader_who_is_too_far_behind_is_told_so(control: Control) -> None:
    for _ in range(SLOTS):
        control.post(CHANGE_ALL)
    changes = control.since(0)
    assert changes is not None
    assert [change[3] for change in changes] == list(range(1, SLOTS + 1))
    control.post(CHANGE_ALL)
    assert control.since(0) is None
    assert len(control.since(1) or ()) == SLOTS
    for _ in range(5 * SLOTS):
        control.post(CHANGE_ALL)
    assert control.since(1) is None
    assert control.since(control.epoch) == []


def test_epoch_of_another_page_is_taken_for_one_too_far_behind(control: Control) -> None:
    control.post(CHANGE_ALL)
    assert control.since(2) is None
    assert control.since(2**64 - 1) is None


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        (0, name("example")),
        (5, name("example")),
        (-1, name("example")),
        (65537, name("example")),
        (CHANGE_NAME, b""),
        (CHANGE_NAME, b"\3com"),
        (CHANGE_NAME, name("Example")),
        (CHANGE_UNDER, b"\xc0\x0c"),
        (CHANGE_UNDER, b"\1x" * 127 + b"\0\0"),
        (CHANGE_REFRESH, b"\1x" * 40_000 + b"\0"),
        (CHANGE_ALL, b"\0"),
    ],
)
def test_what_is_no_change_is_refused(control: Control, kind: int, where: bytes) -> None:
    with pytest.raises(ValueError, match="not a change"):
        control.post(kind, where)
    with pytest.raises(ValueError, match="not a change"):
        change_covers(kind, 0, where, key())
    assert (control.epoch, control.since(0)) == (0, [])


# ---- which answers a change covers


@pytest.mark.parametrize(
    ("kind", "qtype", "where", "under", "expected"),
    [
        (CHANGE_NAME, A, "www.example", key(), True),
        (CHANGE_NAME, A, "www.example", key(do=True, cd=True), True),
        (CHANGE_NAME, TXT, "www.example", key(qtype=TXT, qclass=CHAOS), True),
        (CHANGE_NAME, AAAA, "www.example", key(), False),
        (CHANGE_NAME, A | 0x100, "www.example", key(), False),
        (CHANGE_NAME, 0, "www.example", key(qtype=AAAA), True),
        (CHANGE_NAME, A, "example", key(), False),
        (CHANGE_NAME, 0, "a.www.example", key(), False),
        (CHANGE_NAME, 0, "", key(), False),
        (CHANGE_NAME, 0, "", key(""), True),
        (CHANGE_UNDER, 0, "example", key(), True),
        (CHANGE_UNDER, 0, "www.example", key(), True),
        (CHANGE_UNDER, A, "example", key(qtype=AAAA), True),
        (CHANGE_UNDER, 0, "", key(), True),
        (CHANGE_UNDER, 0, "ample", key(), False),
        (CHANGE_UNDER, 0, "a.www.example", key(), False),
        (CHANGE_REFRESH, A, "www.example", key(), False),
    ],
)
def test_change_covers_its_name_or_all_under_it(
    kind: int, qtype: int, where: str, under: bytes, expected: bool
) -> None:
    assert change_covers(kind, qtype, name(where), under) is expected


def test_change_of_all_covers_everything() -> None:
    assert change_covers(CHANGE_ALL, 0, b"", key())
    assert change_covers(CHANGE_ALL, A, b"", key("", AAAA))


@pytest.mark.parametrize("bad", [b"", name("www.example"), key().upper()])
def test_what_is_no_key_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="not the key"):
        change_covers(CHANGE_ALL, 0, b"", bad)


# ---- damage and death


def slot_at(counter: int) -> int:
    return SLOTS_AT + counter % SLOTS * SLOT_OCTETS


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, struct.pack("=Q", 0)),  # as a writer leaves it that dies in the midst
        (0, struct.pack("=Q", 3)),
        (0, struct.pack("=Q", 2 + SLOTS)),
        (8, struct.pack("=H", 0)),  # the kind
        (8, struct.pack("=H", 77)),
        (8, struct.pack("=H", CHANGE_ALL)),  # all, yet with a name
        (12, struct.pack("=H", 0)),  # the length of the name
        (12, struct.pack("=H", 12)),
        (12, struct.pack("=H", 65535)),
        (14, b"\xff"),  # its first label
        (15, b"W"),
    ],
)
def test_change_that_cannot_be_read_means_that_all_may_have_changed(
    path: Path, control: Control, at: int, octets: bytes
) -> None:
    for _ in range(3):
        control.post(CHANGE_NAME, name("www.example"))
    with page(path) as memory:
        memory[slot_at(2) + at : slot_at(2) + at + len(octets)] = octets
    assert control.since(0) is None
    assert control.since(1) is None
    assert len(control.since(2) or ()) == 1


@pytest.mark.parametrize("number", [2, 1000, 2**63, 2**64 - 1])
def test_damaged_epoch_means_that_all_may_have_changed(
    path: Path, control: Control, number: int
) -> None:
    control.post(CHANGE_ALL)
    with page(path) as memory:
        memory[EPOCH_AT : EPOCH_AT + 8] = struct.pack("=Q", number)
    assert control.since(0) is None
    control.post(CHANGE_ALL)


def test_any_damage_leaves_a_page_that_can_be_used(path: Path, control: Control) -> None:
    rng = random.Random(8)
    domain = name("x" * 60)
    for _ in range(2 * SLOTS):
        control.post(CHANGE_UNDER, domain)
    told = 0
    with page(path) as memory:
        whole = memory[:]
        for _ in range(300):
            memory[:] = whole
            for _damage in range(rng.randrange(1, 9)):
                at = rng.choice((EPOCH_AT, slot_at(rng.randrange(SLOTS))))
                memory[at + rng.randrange(80)] = rng.randrange(256)
            for _, _, where, _ in control.since(max(0, control.epoch - 600)) or ():
                assert change_covers(CHANGE_UNDER, 0, where, key()) in (True, False)
                told += 1
            control.post(CHANGE_ALL)
    assert told > 600


def counted(counter: int) -> bytes:
    """A name of 255 octets that are all made of the counter."""
    octet = b"0123456789abcdef"[counter % 16 : counter % 16 + 1]
    return b"".join(bytes((size,)) + octet * size for size in (63, 63, 63, 61)) + b"\0"


def post_for_ever(path: Path) -> None:
    """Post changes whose name tells their counter."""
    control = Control.open(path, CACHE)
    names = [counted(counter) for counter in range(16)]
    counter = control.epoch
    while True:
        counter += 1
        control.post(CHANGE_NAME, names[counter % 16], counter % 65536)


@contextlib.contextmanager
def writer(path: Path) -> Iterator[int]:
    """A process that posts for ever, killed in the end."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            post_for_ever(path)
        os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def at_work(pid: int) -> bool:
    """False when the child has ended, so that nobody waits for it for ever."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def assert_whole(changes: list[tuple[int, int, bytes, int]], epoch: int) -> None:
    for counter, change in enumerate(changes, start=epoch + 1):
        assert change == (CHANGE_NAME, counter % 65536, counted(counter), counter)


def test_reader_beside_a_writer_gets_whole_changes_or_is_told_that_it_is_behind(
    path: Path, control: Control
) -> None:
    for _ in range(SLOTS):
        control.post(CHANGE_NAME, counted(control.epoch + 1), control.epoch + 1)
    got = behind = 0
    with writer(path) as pid:
        while got < 2000 or not behind:
            assert at_work(pid)
            # The first that is read is the next to be overwritten.
            epoch = control.epoch - SLOTS
            changes = control.since(epoch)
            if changes is None:
                behind += 1
            else:
                assert len(changes) == SLOTS
                assert_whole(changes[:16], epoch)
                got += 1


def test_writer_killed_at_any_instant_leaves_whole_changes_and_the_next_goes_on(
    path: Path, control: Control
) -> None:
    rng = random.Random(9)
    for _ in range(50):
        before = control.epoch
        with writer(path) as pid:
            enough = before + rng.randrange(1, 2000)
            while control.epoch < enough:
                assert at_work(pid)
                os.sched_yield()
        epoch = control.epoch
        # The oldest may be gone, whose slot the unfinished one was to take.
        start = max(0, epoch - SLOTS + 1)
        changes = control.since(start)
        assert changes is not None
        assert len(changes) == epoch - start
        assert_whole(changes, start)
