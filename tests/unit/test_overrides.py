"""Rules made at run time: what is in force when, and the file that keeps them."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from fastdns.config.names import parse_name
from fastdns.errors import FastdnsError
from fastdns.policy import override_file
from fastdns.policy.override_file import change, load, read, version_of, write
from fastdns.policy.overrides import RULES_MAX, Override, Overrides

NOW = 1767320000.0


def rule(
    text: str, *, allows: bool = False, view: str | None = None, until: float | None = None
) -> Override:
    return Override(parse_name(text), text, allows, view, until)


def denied(overrides: Overrides) -> list[str]:
    return [one.text for one in overrides.rules if not one.allows]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "overrides.toml"


# ---- what is in force


def test_rule_is_in_force_until_its_time_and_no_longer() -> None:
    overrides = Overrides((rule("a.example", until=NOW + 10), rule("b.example")))
    assert denied(overrides.at(NOW + 9.99)) == ["a.example", "b.example"]
    assert denied(overrides.at(NOW + 10)) == ["b.example"]


def test_pause_ends_at_its_time_and_one_without_a_time_does_not() -> None:
    assert Overrides().paused(NOW + 10).at(NOW + 9).is_paused
    ended = Overrides().paused(NOW + 10).at(NOW + 10)
    assert (ended.is_paused, ended.paused_until) == (False, None)
    assert Overrides().paused(None).at(NOW + 1e9).is_paused
    assert not Overrides().paused(None).resumed().is_paused


def test_next_change_is_the_next_end_of_a_rule_or_of_the_pause() -> None:
    rules = (
        rule("a.example", until=NOW + 10),
        rule("b.example", until=NOW + 20),
        rule("c.example"),
    )
    assert Overrides(rules).next_change(NOW) == NOW + 10
    assert Overrides(rules).next_change(NOW + 10) == NOW + 20
    assert Overrides(rules).next_change(NOW + 20) is None
    assert Overrides(rules).paused(NOW + 5).next_change(NOW) == NOW + 5
    assert Overrides().paused(None).next_change(NOW) is None


def test_rule_replaces_the_one_for_its_domain_and_view_and_keeps_its_place() -> None:
    overrides = Overrides((rule("a.example"), rule("b.example"), rule("a.example", view="kids")))
    changed = overrides.with_rule(rule("a.example", allows=True, until=NOW))
    assert changed.rules == (
        rule("a.example", allows=True, until=NOW),
        rule("b.example"),
        rule("a.example", view="kids"),
    )


def test_more_than_the_most_rules_are_refused_but_one_may_still_be_replaced() -> None:
    full = Overrides(tuple(rule(f"n{number}.example") for number in range(RULES_MAX)))
    with pytest.raises(OverflowError):
        full.with_rule(rule("one.more.example"))
    assert full.with_rule(rule("n7.example", allows=True)).rules[7].allows


# ---- the file


def test_what_was_written_is_read_again(file: Path) -> None:
    overrides = Overrides(
        (
            rule("ads.example", until=NOW + 0.5),
            rule("cdn.example", allows=True, view="kids"),
            rule(r"odd\034\\name.example"),
            rule("."),
        )
    )
    for one in (overrides, overrides.paused(None), overrides.paused(NOW), Overrides()):
        version = write(file, one)
        found = read(file)
        assert (found, found.problems, found.version) == (one, (), version)
        assert version == version_of(file) > 0


def test_file_has_its_rules_in_the_order_in_which_they_were_made(file: Path) -> None:
    write(
        file, Overrides((rule("z.example"), rule("a.example", allows=True, until=0.0))).paused(None)
    )
    assert file.read_text().splitlines()[1:] == [
        *("", "[pause]"),
        *("", "[[rule]]", 'deny = "z.example"'),
        *("", "[[rule]]", 'allow = "a.example"', "until = 1970-01-01T00:00:00Z"),
    ]


def test_no_file_has_no_rules(file: Path) -> None:
    found = read(file)
    assert (found, found.version, found.problems) == (Overrides(), 0, ())


def test_every_write_has_another_version_even_where_times_are_coarse(file: Path) -> None:
    versions = [write(file, Overrides()) for _ in range(20)]
    assert all(one != next_one for one, next_one in pairwise(versions))
    at = file.stat().st_mtime_ns + 10**12  # as if the next write would get the same time
    os.utime(file, ns=(at, at))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(override_file.time, "time_ns", lambda: at)
        assert write(file, Overrides()) != at & override_file.VERSION_MASK


def test_file_is_readable_for_all_whatever_the_umask_is(file: Path) -> None:
    former = os.umask(0o077)
    try:
        write(file, Overrides())
    finally:
        os.umask(former)
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_file_belongs_to_the_owner_of_its_directory(file: Path) -> None:
    os.chown(file.parent, 65534, 65534)
    change(file, lambda found: found.with_rule(rule("a.example")), NOW)
    assert {one.stat().st_uid for one in file.parent.iterdir()} == {65534}


# ---- a damaged file


def test_faulty_tables_are_named_with_their_line_and_the_others_are_used(file: Path) -> None:
    file.write_text(
        "\n".join(
            [
                "paused = true",  # 1
                "[[rule]]",
                'deny = "good.example"',
                "[[rule]]",
                'deny = "no end of a string',  # 5
                "[[rule]]",
                'deny = "*.wild.example"',  # 7
                "[[rule]]",
                'allow = "both.example"',
                'deny = "both.example"',
                "[[rule]]",  # 11
                'deny = "time.example"',
                "until = 5",  # 13
                "[[rule]]",
                'deny = "typo.example"',
                "untill = 2030-01-01T00:00:00Z",  # 16
                "[pause]",
                "until = true",  # 18
                "[[rule]]",
                'allow = "fine.example"',
            ]
        )
    )
    found = read(file)
    assert [one.text for one in found.rules] == ["good.example", "fine.example"]
    assert not found.is_paused
    begins = [line.removeprefix(f"{file}:").split(": ")[:2] for line in found.problems]
    assert begins == [
        ["1", "paused"],
        ["5", "is not valid TOML"],
        ["7", "rule.deny"],
        ["8", "rule"],
        ["13", "rule.until"],
        ["16", "rule.untill"],
        ["18", "pause.until"],
    ]
    assert all("\n" not in line and len(line) < 250 for line in found.problems)


@pytest.mark.parametrize(
    "content",
    [
        random.Random(1).randbytes(3000),
        b"[" * 100_000,
        b"[[rule]]\ndeny = " + b"[" * 50_000,
        b"\0" * 5000,
        b'[[rule]]\ndeny = "' + b"a" * 100_000 + b'"\n',
        b"rule = [1, 2]\n",
        b"[rule]\n",
        b"[[pause]]\n",
        b"[[rule]]\ndeny = 1979-05-27\n",
        b"[[rule]]\ndeny = 'file:/etc/passwd'\n",
        b"[[rule]]\ndeny = 'a.example'\nview = 'Not A View'\n",
        b"[[rule]]\ndeny = 'a.example'\nuntil = 07:32:00\n",
        b"[[rule]]\ndeny = 'a.example'\nuntil = 0001-01-01T00:00:00\n",
    ],
    ids=lambda content: repr(content[:30]),
)
def test_damage_of_any_kind_is_a_line_never_a_traceback(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    found = read(file)
    assert found.problems
    assert found.rules == ()
    assert all(line.startswith(str(file)) and line.isprintable() for line in found.problems)


def test_time_without_an_offset_is_in_this_machines_time(file: Path) -> None:
    file.write_text('[[rule]]\ndeny = "a.example"\nuntil = 2030-06-01 12:00:00\n')
    [found] = read(file).rules
    assert found.until == datetime(2030, 6, 1, 12).timestamp()


def test_faulty_file_is_kept_beside_it_when_it_is_changed(file: Path) -> None:
    faulty = '[[rule]]\ndeny = "good.example"\n[[rule]]\ndeny = oops\n'
    file.write_text(faulty)
    done = change(file, lambda found: found.with_rule(rule("new.example")), NOW)
    assert done.before.problems
    assert denied(read(file)) == ["good.example", "new.example"]
    assert read(file).problems == ()
    assert file.with_name("overrides.toml.damaged").read_text() == faulty


def test_link_pipe_and_file_of_another_user_are_not_read_nor_replaced(
    file: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text('[[rule]]\ndeny = "a.example"\n')
    file.symlink_to(elsewhere)
    assert "symbolic link" in read(file).problems[0]
    with pytest.raises(FastdnsError, match="symbolic link"):
        change(file, lambda found: found, NOW)
    assert file.is_symlink()
    file.unlink()
    os.mkfifo(file)
    assert "not a regular file" in read(file).problems[0]
    file.unlink()
    if os.geteuid() == 0:
        file.write_text('[[rule]]\ndeny = "a.example"\n')
        os.chown(file, 12345, 12345)
        assert "belongs to another user" in read(file).problems[0]


def test_file_that_cannot_be_written_stays_as_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file, Overrides((rule("a.example"),)))
    former = file.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(override_file.os, "fsync", full)
    with pytest.raises(FastdnsError, match="No space left on device; nothing has changed"):
        change(file, lambda found: found.with_rule(rule("b.example")), NOW)
    assert file.read_bytes() == former
    assert sorted(one.name for one in file.parent.iterdir()) == ["overrides.lock", file.name]


# ---- changes


def test_change_drops_what_has_ended(file: Path) -> None:
    write(file, Overrides((rule("a.example", until=NOW - 1), rule("b.example"))).paused(NOW - 1))
    done = change(file, lambda found: found, NOW)
    assert denied(done.before) == denied(load(file)) == ["b.example"]
    assert "pause" not in file.read_text().splitlines()


def test_change_that_changes_nothing_writes_nothing(file: Path) -> None:
    write(file, Overrides((rule("a.example"),)))
    before = file.stat()
    done = change(file, lambda found: found.with_rule(rule("a.example")), NOW)
    assert file.stat() == before
    assert done.after.version == version_of(file)


def test_many_processes_at_once_lose_nothing(file: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from fastdns.config.names import parse_name
from fastdns.policy.override_file import change
from fastdns.policy.overrides import Override
sys.stdin.read()
for number in range(8):
    text = f"n{{number}}.{{sys.argv[1]}}.example"
    rule = Override(parse_name(text), text, False)
    change(Path({str(file)!r}), lambda found: found.with_rule(rule), {NOW})
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", program, f"w{number}"], stdin=subprocess.PIPE)
        for number in range(3)
    ]
    for one in writers:
        assert one.stdin is not None
        one.stdin.close()  # all begin
    assert [one.wait(60) for one in writers] == [0] * 3
    found = read(file)
    assert found.problems == ()
    assert sorted(denied(found)) == sorted(
        f"n{number}.w{writer}.example" for number in range(8) for writer in range(3)
    )


def test_command_that_was_stopped_is_not_waited_for_for_ever(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(override_file, "LOCK_SECONDS", 0.05)
    program = (
        f"import fcntl, time; held = open({str(file.with_name('overrides.lock'))!r}, 'w'); "
        "fcntl.flock(held, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(FastdnsError, match="another command"):
            change(file, lambda found: found.with_rule(rule("a.example")), NOW)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    change(file, lambda found: found.with_rule(rule("a.example")), NOW)
    assert denied(read(file)) == ["a.example"]


def test_lock_that_is_another_file_under_a_second_name_is_not_used(file: Path) -> None:
    other = file.with_name("other")
    other.touch()
    os.link(other, file.with_name("overrides.lock"))
    with pytest.raises(FastdnsError, match="not a file of fastdns"):
        change(file, lambda found: found.paused(None), NOW)


def test_most_rules_are_read_in_a_moment(file: Path) -> None:
    many = tuple(
        rule(f"n{number}.example", view="kids", until=NOW + number) for number in range(RULES_MAX)
    )
    write(file, Overrides(many))
    begun = time.process_time()
    assert read(file).rules == many
    assert time.process_time() - begun < 5.0  # measured: 0.5 s
    file.write_text(file.read_text() + '[[rule]]\ndeny = "one.more.example"\n')
    found = read(file)
    assert found.rules == many
    assert "only the first 10,000" in found.problems[-1]
