"""Workers follow the rules made at run time: their file, their ends, and a clock that is set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from fastdns.config.names import parse_name
from fastdns.policy import override_follower
from fastdns.policy.override_file import write
from fastdns.policy.override_follower import OverrideFollower
from fastdns.policy.overrides import Override, Overrides

NOW = 1767320000.0


def rule(text: str, until: float | None = None) -> Override:
    return Override(parse_name(text), text, allows=False, until=until)


class Followed:
    """A follower that runs, with a clock that the test sets."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.now = NOW
        self.used: list[Overrides] = []
        self._has_used = Event()
        self.follower = OverrideFollower(file, self._use, lambda: self.now)

    def start(self) -> None:
        self._greenlet = gevent.spawn(self.follower.follow, gevent.get_hub())

    def stop(self) -> None:
        self._greenlet.kill()

    def _use(self, overrides: Overrides) -> None:
        self.used.append(overrides)
        self._has_used.set()

    def await_rules(self, *names: str) -> Overrides:
        """Wait until the last call had exactly these rules."""
        with gevent.Timeout(10):
            while not self.used or [one.text for one in self.used[-1].rules] != list(names):
                self._has_used.wait()
                self._has_used.clear()
        return self.used[-1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Overrides | None], Followed]]:
    """Return a function that writes the file, if it is told what, and starts a follower."""
    begun: list[Followed] = []

    def begin(overrides: Overrides | None = None) -> Followed:
        file = tmp_path / "overrides.toml"
        if overrides is not None:
            write(file, overrides)
        followed = Followed(file)
        followed.start()
        begun.append(followed)
        return followed

    yield begin
    for one in begun:
        one.stop()


Start = Callable[..., Followed]


def test_rules_are_known_before_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "overrides.toml"
    version = write(file, Overrides((rule("a.example"), rule("b.example", NOW - 1))))
    follower = OverrideFollower(file, lambda _: None, lambda: NOW)
    assert [one.text for one in follower.current.rules] == ["a.example"]
    assert follower.current.version == version


def test_file_that_appears_changes_and_goes_is_followed(start: Start) -> None:
    followed = start()
    assert followed.follower.seconds_to_next_look() is None
    version = write(followed.file, Overrides((rule("a.example"),)))
    assert followed.await_rules("a.example").version == version
    version = write(followed.file, Overrides((rule("b.example"),)))
    assert followed.await_rules("b.example").version == version
    followed.file.unlink()
    assert followed.await_rules().version == 0


def test_look_finds_a_change_at_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the kernel's help: nothing but `look` tells it.
    monkeypatch.setattr(override_follower, "Watch", lambda *_: SimpleNamespace(stop=lambda: None))
    followed = start(Overrides())
    gevent.sleep(0)
    write(followed.file, Overrides((rule("a.example"),)))
    followed.follower.look()
    followed.await_rules("a.example")


def test_version_is_told_although_no_rule_is_another_one(start: Start) -> None:
    followed = start(Overrides((rule("a.example"),)))
    version = write(followed.file, Overrides((rule("a.example"),)))
    assert followed.await_rules("a.example").version == version


def test_rule_ends_by_itself(start: Start) -> None:
    followed = start(Overrides((rule("a.example", NOW + 0.1), rule("b.example"))))
    before = followed.follower.seconds_to_next_look()
    assert before is not None
    assert before < 0.2
    followed.now += 0.11
    followed.await_rules("b.example")


def test_clock_that_is_set_ends_rules_and_brings_them_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(override_follower, "CLOCK_SECONDS", 0.02)
    followed = start(Overrides((rule("a.example", NOW + 3600),)).paused(NOW + 7200))
    followed.now += 4000
    assert followed.await_rules().is_paused
    followed.now -= 4000
    assert followed.await_rules("a.example").is_paused
    followed.now += 10_000
    assert not followed.await_rules().is_paused


def test_file_that_cannot_be_read_any_more_keeps_the_rules(start: Start) -> None:
    followed = start(Overrides((rule("a.example"),)))
    followed.file.unlink()
    os.mkfifo(followed.file)
    followed.follower.look()
    with gevent.Timeout(10):
        while not followed.follower.problems:
            gevent.sleep(0.01)
    assert "stay in use" in followed.follower.problems[0]
    assert [one.text for one in followed.follower.current.rules] == ["a.example"]
    followed.file.unlink()
    write(followed.file, Overrides((rule("b.example"),)))
    followed.await_rules("b.example")
    assert followed.follower.problems == ()


def test_defect_in_using_rules_does_not_end_the_following(start: Start) -> None:
    followed = start(Overrides())
    use = followed.follower._use

    def fail(overrides: Overrides) -> None:
        use(overrides)
        raise ValueError("a defect of the test")

    followed.follower._use = fail
    write(followed.file, Overrides((rule("a.example"),)))
    followed.await_rules("a.example")
    write(followed.file, Overrides((rule("b.example"),)))
    followed.await_rules("b.example")
