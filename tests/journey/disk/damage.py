"""Kinds of damage to the files of the cache, and what must work afterwards."""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import lmdb

from ..support.cache import Disk
from ..support.client import ask, data, eventually
from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream

Start = Callable[[str], tuple[Fastdns, Disk]]
Again = Callable[..., Fastdns]
ROOT = os.geteuid() == 0
PAGE = 4096


def overwrite(path: Path, where: str) -> None:
    """Do to a file what `dd conv=notrunc` does; `cut` takes its second half away."""
    size = path.stat().st_size
    if where == "cut":
        os.truncate(path, size // 2 // PAGE * PAGE)
        return
    begin, length = {
        "start": (0, 4 * PAGE),
        "middle": (size // 4, size // 2),
        "end": (size * 3 // 4, size // 4),
        "all": (0, size),
    }[where]
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(random.Random(where).randbytes(length))


def replace_by(path: Path, what: str) -> None:
    """Put something else where data.mdb was."""
    if what == "directory":
        path.unlink()
        path.mkdir(mode=0o755)
        (path / "something").write_text("here")
    elif what == "text":
        path.write_text("This is no database.\n" * 1000)
    elif what == "few octets":
        path.write_bytes(path.read_bytes()[:5000])
    elif what == "another format":
        rewrite(path, b"about", b"format", b"2")
    elif what == "another program's":
        path.unlink()
        with lmdb.open(str(path.parent), max_dbs=4) as env, env.begin(write=True) as other:
            other.put(b"key", b"value", db=env.open_db(b"others", txn=other))
        give_to_daemon(path)
        give_to_daemon(path.with_name("lock.mdb"))


def rewrite(path: Path, database: bytes, key: bytes, value: bytes) -> None:
    with (
        lmdb.open(str(path.parent), map_size=0, max_dbs=2) as env,
        env.begin(write=True, db=env.open_db(database)) as transaction,
    ):
        transaction.put(key, value)


def give_to_daemon(path: Path) -> None:
    owner = path.parent.stat()
    if ROOT:
        os.chown(path, owner.st_uid, owner.st_gid)


def ask_twice(daemon: Fastdns, name: str) -> dns.message.Message:
    """As a resolver in libc does: the worker that reads a page that is gone dies with a query."""
    try:
        return ask(daemon, name, timeout=2)
    except TimeoutError:
        return ask(daemon, name)


def assert_works(daemon: Fastdns, disk: Disk, upstream: FalseUpstream) -> None:
    """Answers are given and kept on disk."""
    name = upstream.new_name()
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    eventually(lambda: disk.take_in() and disk.holds(name), bool, 15)


def flip_a_bit(disk: Disk, name: str) -> None:
    """Have this name's answer hold another address, behind everybody's back."""
    wire = dns.name.from_text(name).to_wire()
    with disk.data.open("r+b") as file:
        content, at = file.read(), -1
        while (at := content.find(wire, at + 1)) >= 0:  # LMDB may have left an older copy
            file.seek(content.index(bytes((192, 0, 2, 1)), at) + 3)
            file.write(b"\x03")


def shorten(disk: Disk) -> int:
    """Have LMDB leave the file shorter than the pages it has given out; return where those end."""
    rng = random.Random(1)
    with lmdb.open(str(disk.place), map_size=0, max_dbs=2) as env:
        about = env.open_db(b"about")
        for number in range(5000):
            with env.begin(write=True, db=about) as transaction:
                transaction.put(b"large%d" % (number % 7), bytes(rng.randrange(20) * PAGE))
                transaction.delete(b"large%d" % rng.randrange(7))
            reached: int = (env.info()["last_pgno"] + 1) * PAGE
            if disk.data.stat().st_size < reached:
                break
        return reached


def send_round(data: Path, *, only_top: bool = False) -> None:
    """Have LMDB search the branch pages, or those above branch pages, without an end.

    It takes their keys for keys of one length, and their number, which is less than none, for one
    that overflows: BRANCH and LEAF2 in the flags, `lower` before the end of the page's head.
    """
    octets = data.read_bytes()

    def is_branch(page: int) -> bool:
        return bool(octets[page * PAGE + 10] & 1)

    def first_child(page: int) -> int:
        (at,) = struct.unpack_from("=H", octets, page * PAGE + 16)
        return int.from_bytes(octets[page * PAGE + at :][:4], sys.byteorder)

    with data.open("r+b") as file:
        for page in range(2, len(octets) // PAGE):
            if is_branch(page) and (not only_top or is_branch(first_child(page))):
                (flags,) = struct.unpack_from("=H", octets, page * PAGE + 10)
                file.seek(page * PAGE + 10)
                file.write(struct.pack("=HH", flags | 0x20, 2))
