"""The secrets of DNS cookies in state_dir: kept, renewed, and replaced if they are damaged."""

from __future__ import annotations

import logging
import stat
import time
from pathlib import Path

import pytest

from fastdns._cookies import Cookies
from fastdns.server.cookie_secrets import CookieSecrets

PEER = ("198.51.100.100", 5353)
CLIENT = b"12345678"
DAY = 86400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cookie_secrets"


def started(path: Path, later: float = 0.0) -> tuple[CookieSecrets, Cookies]:
    """A daemon with these secrets, which starts so many seconds from now, and its cookies."""
    cookies = Cookies()
    return CookieSecrets(path, cookies, time.time() + later), cookies


def cookie_of(cookies: Cookies) -> bytes:
    return cookies.answer(CLIENT, PEER, int(time.time()))[0]


def accepts(cookies: Cookies, cookie: bytes) -> bool:
    return cookies.answer(cookie, PEER, int(time.time()))[1]


def test_cookies_of_before_a_restart_are_good(path: Path) -> None:
    mine = cookie_of(started(path)[1])
    assert accepts(started(path)[1], mine)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_missing_file_is_made_and_the_log_says_so(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    started(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: new secrets for DNS cookies"
    ]
    started(path)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("damage", [b"", b"\n", b"zz" * 40, b"ab" * 16 + b"\n", b"ab" * 5000])
def test_damaged_file_is_replaced_and_the_log_says_so(
    path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    path.write_bytes(damage)
    mine = cookie_of(started(path)[1])
    assert "is damaged" in caplog.text
    caplog.clear()
    assert accepts(started(path)[1], mine)
    assert caplog.text == ""


def secrets(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_secret_of_a_day_is_renewed_and_the_former_one_still_good(path: Path) -> None:
    mine = cookie_of(started(path)[1])
    before = secrets(path)
    assert accepts(started(path, DAY + 5)[1], mine)
    assert secrets(path) == [secrets(path)[0], before[0]]
    assert not accepts(started(path, 2 * DAY + 10)[1], mine)


def test_secret_of_less_than_a_day_stays(path: Path) -> None:
    started(path)
    before = secrets(path)
    daemon, _ = started(path, DAY - 60)
    daemon.look(time.time() + DAY - 30)
    assert secrets(path) == before


def test_running_daemon_renews_it(path: Path) -> None:
    daemon, cookies = started(path)
    mine = cookie_of(cookies)
    daemon.look(time.time() + DAY + 1)
    assert cookie_of(cookies) != mine
    assert accepts(cookies, mine)
    after = secrets(path)
    daemon.look(time.time() + DAY + 2)
    assert secrets(path) == after
    assert cookie_of(started(path)[1]) == cookie_of(cookies)


def test_clock_that_was_never_set_renews_nothing(path: Path) -> None:
    started(path)
    before = secrets(path)
    daemon, _ = started(path, -time.time() + 1000)
    daemon.look(2000.0)
    assert secrets(path) == before


@pytest.mark.parametrize("obstacle", ["directory", "link", "no place"])
def test_daemon_without_a_usable_file_has_secrets_of_its_own(
    path: Path, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    if obstacle == "directory":
        path.mkdir()
    elif obstacle == "link":
        path.symlink_to(path.parent / "elsewhere" / "file")
    else:
        path = path / "nowhere" / "cookie_secrets"
    daemon, cookies = started(path)
    assert accepts(cookies, cookie_of(cookies))
    daemon.look(time.time() + DAY + 1)
    daemon.look(time.time() + 2 * DAY + 2)
    assert caplog.text.count("cannot be read") == (obstacle != "no place")
    assert caplog.text.count("cannot be written") == (obstacle != "link")
