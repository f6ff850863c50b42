"""`servers = ["file:…"]`: one upstream a line, followed as it changes, and never lost."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .support.client import ask, data, eventually
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream

Start = Callable[..., Fastdns]


def second_answer(asked: Asked) -> None:
    asked.answer("@ 300 IN A 192.0.2.2")


@pytest.fixture
def first() -> Iterator[FalseUpstream]:
    with FalseUpstream() as server:
        yield server


@pytest.fixture
def second() -> Iterator[FalseUpstream]:
    with FalseUpstream(second_answer) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path, first: FalseUpstream) -> Path:
    """The file of upstreams, naming the first one."""
    path = tmp_path / "ip"
    path.write_text(f"{first.host}:{first.port}\n")
    return path


def config(file: Path) -> str:
    return f'[upstream]\nservers = ["file:{file}"]'


def replace(file: Path, text: str) -> None:
    """Write a new file and rename it over the old one, as editors and scripts do."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, file)


def wait_until_asked(daemon: Fastdns, server: FalseUpstream, answer: str) -> None:
    """Ask fresh names until this answer comes."""
    eventually(lambda: data(ask(daemon, server.new_name())), lambda got: got == [answer], 10)


def test_file_that_becomes_readable_again_is_read_again(
    start_fastdns: Start, first: FalseUpstream, second: FalseUpstream, file: Path
) -> None:
    daemon = start_fastdns(config=config(file))
    with file.open("r+") as opened:  # before, since that takes the right to
        file.chmod(0)
        opened.write(f"{second.host}:{second.port}\n")
        opened.truncate()
    daemon.wait_for_log("names no upstream any more; the previous ones stay in use", 10)
    assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]
    file.chmod(0o644)
    wait_until_asked(daemon, second, "192.0.2.2")


def test_file_of_upstreams_is_read_comments_and_all(
    start_fastdns: Start, first: FalseUpstream, file: Path
) -> None:
    file.write_text(
        "# our resolvers\n"
        "\n"
        f"   {first.host}:{first.port}   # the near one\n"
        "  # the far one is not there yet\n"
    )
    daemon = start_fastdns(config=config(file))
    assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]


def test_file_may_name_tcp_upstreams(
    start_fastdns: Start, first: FalseUpstream, file: Path
) -> None:
    file.write_text(f"tcp://{first.host}:{first.port}\n")
    daemon = start_fastdns(config=config(file))
    name = first.new_name()
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    assert [asked.tcp for asked in first.asked(name)] == [True]


def test_file_works_as_a_flag_too(start_fastdns: Start, first: FalseUpstream, file: Path) -> None:
    daemon = start_fastdns(upstream=[f"file:{file}"])
    assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]


def test_file_that_was_replaced_is_read_again(
    start_fastdns: Start, first: FalseUpstream, second: FalseUpstream, file: Path
) -> None:
    daemon = start_fastdns(config=config(file))
    assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]
    replace(file, f"{second.host}:{second.port}\n")
    wait_until_asked(daemon, first, "192.0.2.2")


def test_file_that_was_written_in_place_is_read_again(
    start_fastdns: Start, first: FalseUpstream, second: FalseUpstream, file: Path
) -> None:
    daemon = start_fastdns(config=config(file))
    assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]
    file.write_text(f"{second.host}:{second.port}\n")
    wait_until_asked(daemon, first, "192.0.2.2")


def test_bad_line_is_named_and_the_good_ones_are_used(
    start_fastdns: Start, first: FalseUpstream, second: FalseUpstream, file: Path
) -> None:
    file.write_text(f"not an upstream\n{first.host}:{first.port}\n")
    daemon = start_fastdns(config=config(file))
    daemon.wait_for_log(re.escape(f"{file}:1: "))
    assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]
    replace(file, f"{second.host}:{second.port}\n\nnor this\n")
    daemon.wait_for_log(re.escape(f"{file}:3: "), timeout=10)
    wait_until_asked(daemon, first, "192.0.2.2")


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        lambda file: replace(file, ""),
        lambda file: replace(file, "# nothing here any more\n"),
        lambda file: replace(file, "rubbish\n"),
    ],
    ids=["vanished", "empty", "only_comments", "only_rubbish"],
)
def test_file_without_upstreams_leaves_the_former_ones_in_use_and_is_named(
    start_fastdns: Start,
    first: FalseUpstream,
    second: FalseUpstream,
    file: Path,
    spoil: Callable[[Path], None],
) -> None:
    daemon = start_fastdns(config=config(file))
    lines = len(daemon.log)
    spoil(file)
    daemon.wait_for_log(re.escape(str(file)), timeout=10, after=lines)
    assert data(ask(daemon, first.new_name())) == ["192.0.2.1"]
    replace(file, f"{second.host}:{second.port}\n")
    wait_until_asked(daemon, first, "192.0.2.2")
