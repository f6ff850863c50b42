"""`fastdns lists`: without a daemon, in a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ..support.commands import FASTDNS, fastdns
from ..support.download_server import DownloadServer, missing, text
from ..support.false_upstream import FalseUpstream

GOOD = rb"""0.0.0.0 ads.test
||bad.test^
! a comment
@@||good.test^
/^track[0-9]+\./
no domain here
"""


class Commands:
    """The commands with one configuration."""

    def __init__(self, directory: Path, resolver: FalseUpstream) -> None:
        self.state = directory / "state"
        self.file = directory / "fastdns.toml"
        self._upstream = f"{resolver.host}:{resolver.port}"
        self.name()

    def name(self, *lists: str) -> None:
        self.file.write_text(
            f'[upstream]\nservers = ["{self._upstream}"]\n[block]\nlists = {json.dumps(lists)}\n'
        )

    def words(self, words: Sequence[str]) -> list[str]:
        return ["lists", *words, "-c", str(self.file), "--state", str(self.state)]

    def run(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = fastdns(*self.words(words))
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def told(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.run("--json").stdout)["lists"]
        return found

    def on_terminal(self, *words: str) -> str:
        """All that is written to a terminal of 80 columns."""
        child, ours = pty.fork()
        if child == 0:
            os.environ.update(COLUMNS="80", TERM="xterm")
            os.execv(FASTDNS[0], [*FASTDNS, *self.words(words)])
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            seen += part
        os.close(ours)
        os.waitpid(child, 0)
        return seen.decode()


@pytest.fixture
def lists(tmp_path: Path, resolver: FalseUpstream) -> Commands:
    return Commands(tmp_path, resolver)


def test_without_lists_one_line_says_how_to_name_some(lists: Commands) -> None:
    for words in ([], ["update"], ["test", "ads.test"]):
        done = lists.run(*words, status=1)
        assert done.stderr.startswith("fastdns: no block lists are configured (name some")
        assert done.stderr.count("\n") == 1


def test_lists_are_fetched_and_shown_without_a_daemon(lists: Commands, web: DownloadServer) -> None:
    good, bad = web.on("/good", text(GOOD)), web.on("/bad", missing)
    lists.name(good, bad)
    assert [one["state"] for one in lists.told()] == ["waiting", "waiting"]

    done = lists.run("update", status=1)

    assert done.stdout == f"{good}: 4 entries, 1 line is faulty\n"
    assert done.stderr == f"fastdns: {bad} answers 404 Not Found; there is no copy of it\n"
    first, second = lists.told()
    assert (first["state"], first["taken"], first["faulty"]) == ("fresh", 4, 1)
    assert first["first_faulty"][0]["line"] == 6
    assert (second["state"], second["error"]) == ("failed", "answers 404 Not Found")
    shown = lists.run().stdout
    assert re.search(rf"^fresh +\d+ s ago +4 +0 +1  {re.escape(good)}$", shown, re.M)
    assert re.search(rf"^failed +- +- +- +-  {re.escape(bad)}$", shown, re.M)
    assert "  line 6 " in shown
    assert "  last try: it answers 404 Not Found; next try in 4 min" in shown


def test_long_names_of_lists_have_a_line_of_their_own_on_a_terminal(
    lists: Commands, web: DownloadServer
) -> None:
    url = web.on("/a/list/whose/name/is/rather/long", text(GOOD))
    lists.name(url)
    lists.run("update")
    lines = [line.rstrip("\r") for line in lists.on_terminal().split("\n")]
    assert f"  {url}" in lines
    assert max(map(len, lines)) <= 80


def test_only_the_named_lists_are_fetched(lists: Commands, web: DownloadServer) -> None:
    first, second = web.on("/first", text(GOOD)), web.on("/second", text(GOOD))
    lists.name(first, second)

    lists.run("update", "second")

    assert (len(web.requests("/first")), len(web.requests("/second"))) == (0, 1)
    assert 'no list has "third" in its name: ' in lists.run("update", "third", status=1).stderr
    assert '2 lists have "lists.example"' in lists.run("update", "lists.example", status=1).stderr


def test_a_smaller_list_is_taken_on_demand(lists: Commands, web: DownloadServer) -> None:
    url = web.on("/hosts", text(b"".join(b"name%d.test\n" % one for one in range(2000))))
    lists.name(url)
    lists.run("update")
    web.on("/hosts", text(GOOD))

    told = lists.run("update", status=1).stderr
    assert "has shrunk from 2,000 entries to 4" in told
    assert f"(fastdns lists update --accept-smaller {url} takes it)" in told
    assert lists.told()[0]["taken"] == 2000
    lists.run("update", "--accept-smaller")
    assert lists.told()[0]["taken"] == 4


def test_a_name_is_found_in_each_line_that_has_it(
    lists: Commands, web: DownloadServer, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.write_text("# mine\nwww.bad.test\n")
    url = web.on("/hosts", text(GOOD))
    lists.name(url, f"file:{own}", web.on("/never", missing))
    lists.run("update", status=1)

    done = lists.run("test", "www.bad.test")

    assert done.stdout.splitlines() == [
        f"{url}, line 2: ||bad.test^",
        f"file:{own}, line 2: www.bad.test",
        "verdict: not blocked: a special name, which fastdns answers itself",
    ]
    assert "there is no copy of" in done.stderr
    assert lists.run("test", "track1.demo").stdout == (
        f"{url}, line 5: /^track[0-9]+\\./\nverdict: blocked by {url}\n"
    )
    assert lists.run("test", "fine.demo").stdout == (
        "no list has fine.demo.\nverdict: not blocked\n"
    )
    assert json.loads(lists.run("test", "good.test", "--json").stdout)["found"] == [
        {"list": url, "line": 4, "text": "@@||good.test^"}
    ]


def test_a_list_of_a_view_decides_for_its_clients_only(lists: Commands, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("games.demo\n")
    lists.name()
    with lists.file.open("a") as config:
        config.write(f'[[view]]\nname = "kids"\nclients = ["192.0.2.1"]\nlists = ["file:{own}"]\n')
    lists.run("update")
    found = f"file:{own}, line 1: games.demo\nonly clients of view kids use file:{own}\n"

    done = lists.run("test", "games.demo")
    of_view = lists.run("test", "games.demo", "--view", "kids")

    assert done.stdout == f"{found}verdict for clients in no view: not blocked\n"
    assert of_view.stdout == f"{found}verdict for clients of view kids: blocked by file:{own}\n"
    wrong = lists.run("test", "games.demo", "--view", "kid", status=1)
    assert 'view "kid" is not in the configuration (there are kids)' in wrong.stderr


def test_a_pause_is_told_with_what_is_blocked_otherwise(lists: Commands, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("games.demo\n")
    lists.name(f"file:{own}")
    lists.run("update")
    place = ["-c", str(lists.file), "--state", str(lists.state)]
    assert fastdns("pause", *place).returncode == 0

    assert lists.run("test", "games.demo").stdout.endswith(
        f"verdict: not blocked: blocking is paused; otherwise blocked by file:{own}\n"
    )


def test_a_url_is_not_a_name(lists: Commands) -> None:
    done = lists.run("test", "https://www.demo/x", status=2)
    assert '"https://www.demo/x" is a URL, not a name (write "www.demo")' in done.stderr


def test_a_terminal_shows_a_bar_and_a_pipe_none(lists: Commands, web: DownloadServer) -> None:
    def slow(request: object) -> None:
        body = b"a.test\n" * 100_000
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[:300_000])
        web.closing.wait(1.0)
        request.wfile.write(body[300_000:])

    lists.name(web.on("/hosts", slow))

    assert "━" in lists.on_terminal("update")
    done = lists.run("update")
    assert (done.stdout, done.stderr) == ("1 list has not changed\n", "")


def test_a_list_comes_over_tls(lists: Commands, secure_web: DownloadServer) -> None:
    lists.name(secure_web.on("/hosts", text(GOOD)))

    lists.run("update")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_what_root_fetches_belongs_to_the_owner_of_the_directory(
    lists: Commands, web: DownloadServer
) -> None:
    lists.state.mkdir()
    os.chown(lists.state, 65534, 65534)
    lists.name(web.on("/hosts", text(GOOD)))

    lists.run("update")

    files = list((lists.state / "lists").iterdir())
    assert len(files) >= 4
    assert {one.stat().st_uid for one in files} == {65534}


def test_options_in_front_of_a_command_are_bad_use(lists: Commands) -> None:
    done = fastdns("lists", "--json", "update")

    assert done.returncode == 2
    assert "write the options behind update" in done.stderr
