"""A daemon's directories, by user and configuration."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from fastdns.config import places
from fastdns.config.places import Places, decide, is_own_name, which_one
from fastdns.errors import ConfigError

HOME = {"HOME": "/home/ann"}


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("as_root")
def test_root_has_the_system_directories() -> None:
    assert decide(environment=HOME) == Places(Path("/var/lib/fastdns"), Path("/run/fastdns"))


@pytest.mark.usefixtures("as_user")
def test_account_of_the_system_has_the_system_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    its = pwd.struct_passwd(("fastdns", "x", 1000, 1000, "", "/var/lib/fastdns", ""))
    monkeypatch.setattr(pwd, "getpwuid", {1000: its}.__getitem__)
    assert decide(environment=HOME) == Places(Path("/var/lib/fastdns"), Path("/run/fastdns"))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("environment", "state"),
    [
        (HOME, "/home/ann/.local/state/fastdns"),
        ({**HOME, "XDG_STATE_HOME": "/state"}, "/state/fastdns"),
        ({"XDG_STATE_HOME": "/state"}, "/state/fastdns"),
        ({**HOME, "XDG_STATE_HOME": ""}, "/home/ann/.local/state/fastdns"),
        ({**HOME, "XDG_STATE_HOME": "relative"}, "/home/ann/.local/state/fastdns"),
    ],
)
def test_user_has_directories_of_the_xdg_specification(
    environment: dict[str, str], state: str
) -> None:
    assert decide(environment=environment) == Places(Path(state), Path(state) / "run")


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "home"}])
def test_user_without_a_home_is_told_the_remedy(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^state_dir: HOME is not set, .* --state DIR"):
        decide(environment=environment)


@pytest.mark.usefixtures("as_root")
def test_flag_stands_for_both_directories_and_wins() -> None:
    places = decide(flag=Path("/srv/dns"), state_dir=Path("/a"), run_dir=Path("/b"))
    assert places == Places(Path("/srv/dns"), Path("/srv/dns/run"))


@pytest.mark.usefixtures("as_root")
def test_configured_directories_are_taken() -> None:
    assert decide(state_dir=Path("/a"), run_dir=Path("/b")) == Places(Path("/a"), Path("/b"))


@pytest.mark.usefixtures("as_root")
def test_configured_state_dir_alone_brings_its_own_run_dir() -> None:
    assert decide(state_dir=Path("/a")) == Places(Path("/a"), Path("/a/run"))


@pytest.mark.usefixtures("as_root")
def test_configured_run_dir_alone_changes_nothing_else() -> None:
    assert decide(run_dir=Path("/b")) == Places(Path("/var/lib/fastdns"), Path("/b"))


def test_daemon_and_commands_meet_at_lock_and_counters() -> None:
    places = Places(Path("/a"), Path("/b"))
    assert places.lock == Path("/a/lock")
    assert places.counters == Path("/b/counters")


def test_environment_lies_in_the_state_directory_and_without_a_disk_in_the_other() -> None:
    places = Places(Path("/a"), Path("/b"))
    assert places.environment(256) == Path("/a/cache")
    assert places.environment(0) == Path("/b/cache")


def test_every_file_of_a_daemon_is_known_as_its_own() -> None:
    places = Places(Path("/a"), Path("/b"))
    made = [places.lock, places.cache, places.counters, places.control, places.ring(12)]
    made += [places.keeper, places.supervisor]
    assert all(is_own_name(path.name) for path in (*made, places.keeper, places.small_cache))
    assert is_own_name("control.new")  # half made, when it was killed
    assert not any(map(is_own_name, ["notes.txt", "ring", "cache.old", ""]))


@pytest.mark.usefixtures("as_user")
def test_user_is_sent_to_root_for_the_daemon_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(places, "SYSTEM_STATE", tmp_path)
    assert "sudo" in which_one(decide())
    assert "sudo" not in which_one(decide(flag=tmp_path))
    monkeypatch.setattr(places, "SYSTEM_STATE", tmp_path / "not installed")
    assert "sudo" not in which_one(decide())


@pytest.mark.usefixtures("as_root")
def test_root_is_asked_which_daemon_is_meant() -> None:
    assert which_one(decide()) == "(choose one with -c or --state)"


def test_nobody_is_asked_to_name_what_they_have_named(tmp_path: Path) -> None:
    assert which_one(decide(flag=tmp_path)) == "(fastdns doctor names the daemons that run)"
