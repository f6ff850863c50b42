"""`fastdns allow`, `deny`, `rules`, `pause`, `resume`: with a daemon and without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastdns.cli import main
from fastdns.policy.override_file import read, write
from fastdns.policy.overrides import RULES_MAX, Override, Overrides

from .support.client import eventually
from .support.commands import fastdns
from .support.daemon import Fastdns

CONFIG = """
[block]
deny = ["file-denied.example"]
allow = ["file-allowed.example"]

[[view]]
name = "kids"
clients = ["192.168.1.20"]
deny = ["games.example"]
"""


class Place:
    """A configuration with a state_dir; commands run with both."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.config = directory / "state.toml"
        self.config.write_text(CONFIG)
        self.file = self.state / "overrides.toml"

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own."""
        done = fastdns(*arguments, "-c", str(self.config), "--state", str(self.state))
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def rules(self) -> list[tuple[str, str, str | None]]:
        """Return the rules made at run time, as --json shows them."""
        shown = json.loads(self.run("rules", "--json").stdout)["rules"]
        return [(one["rule"], one["domain"], one["view"]) for one in shown if one["number"]]


class Stopped(Place):
    """One whose daemon does not run: no command becomes another user, so they run here."""

    def __init__(
        self, directory: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        super().__init__(directory)
        self.state.mkdir()
        self._patch = patch
        self._capsys = capsys

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        where = ["-c", str(self.config), "--state", str(self.state)]
        self._patch.setattr(sys, "argv", ["fastdns", *arguments, *where])
        found = main()
        shown = self._capsys.readouterr()
        assert found == status, shown
        return subprocess.CompletedProcess(sys.argv, found, shown.out, shown.err)

    def first(self, *arguments: str) -> str:
        """Return the first line that a command prints."""
        return self.run(*arguments).stdout.splitlines()[0]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Stopped:
    return Stopped(tmp_path, monkeypatch, capsys)


# ---- without a daemon


def test_rules_are_made_shown_replaced_and_removed(stopped: Stopped) -> None:
    done = stopped.run("deny", "Ads.Example.", "--for", "1h")
    assert done.stdout.startswith(
        "1 rule added: ads.example and all names under it are blocked for 1 h (until "
    )
    assert "this takes effect when it starts" in done.stdout
    replaced = "1 rule replaced: ads.example and all names under it are allowed"
    assert stopped.first("allow", "ads.example") == replaced
    assert stopped.first("allow", "ads.example") == replaced.replace(
        "1 rule replaced", "no rule changed"
    )
    assert stopped.first("allow", "ads.example", "--for", "2h").startswith("1 rule renewed: ")
    stopped.run("deny", "ads.example", "--view", "kids")
    stopped.run("deny", "b.example", "c.example")
    assert stopped.rules() == [
        ("allow", "ads.example", None),
        ("deny", "ads.example", "kids"),
        ("deny", "b.example", None),
        ("deny", "c.example", None),
    ]
    assert stopped.first("rules", "rm", "3") == (
        "1 rule removed: b.example and all names under it were blocked"
    )
    stopped.run("rules", "rm", "ads.example", "--view", "kids")
    stopped.run("rules", "rm", "1", "c.example")
    assert stopped.rules() == []


def test_rules_shows_those_of_the_configuration_which_have_a_key_and_no_number(
    stopped: Stopped,
) -> None:
    stopped.run("deny", "ads.example", "--view", "kids", "--for", "50h")
    lines = stopped.run("rules").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["no.", "rule", "domain", "view", "left", "from"],
        ["1", "deny", "ads.example", "kids", *lines[1].split()[4:-2], "run", "time"],
        ["-", "allow", "file-allowed.example", "all", "no", "end", "block.allow[0]"],
        ["-", "deny", "file-denied.example", "all", "no", "end", "block.deny[0]"],
        ["-", "deny", "games.example", "kids", "no", "end", "view[0].deny[0]"],
    ]
    assert "  2 d " in lines[1]
    first = json.loads(stopped.run("rules", "--json").stdout)["rules"][0]
    assert 179_000 < first.pop("seconds_left") <= 180_001
    assert first.pop("until") > time.time()
    assert first == {
        "number": 1,
        "rule": "deny",
        "domain": "ads.example",
        "view": "kids",
        "key": None,
    }


def test_rule_of_the_configuration_is_not_removed_and_named(stopped: Stopped) -> None:
    stopped.run("deny", "a.example")
    done = stopped.run("rules", "rm", "a.example", "games.example", status=1)
    assert "view[0].deny[0] of the configuration has it" in done.stderr
    assert stopped.rules() == [("deny", "a.example", None)]
    assert "there is no rule 2" in stopped.run("rules", "rm", "2", status=1).stderr
    assert "in view kids" in stopped.run("rules", "rm", "1", "--view", "kids", status=1).stderr


def test_pause_is_shown_and_ended(stopped: Stopped) -> None:
    assert stopped.first("pause", "5m").startswith("blocking is paused for 5 min (until ")
    assert stopped.first("rules").startswith("blocking is paused for ")
    assert "blocking is paused" in stopped.run("deny", "a.example").stderr
    shown = json.loads(stopped.run("rules", "--json").stdout)
    assert shown["paused"]
    assert shown["paused_until"] > time.time()
    assert stopped.first("resume") == "blocking is on again"
    assert stopped.first("resume") == "blocking was not paused"
    assert stopped.first("pause") == "blocking is paused until you run fastdns resume"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["deny", "bücher.example"], "A-labels"),
        (["deny", "*.a.example"], 'write "a.example"'),
        (["deny", "10.0.0.0/8"], "addresses"),
        (["deny", "https://ads.example/x"], 'write "ads.example"'),
        (
            ["deny", "||ads.example^"],
            'is a filter rule (write "ads.example", or put it into a list)',
        ),
        (["deny", "file:/etc/hosts"], "block.lists"),
        (["deny", ""], "empty"),
        (["deny", "."], "--view"),
        (["allow", "."], "fastdns pause"),
        (["deny", "a.example", "--view", "kid"], "did you mean kids?"),
        (["deny", "a.example", "--for", "60"], 'try "60m"'),
        (["pause", "5"], 'try "5m"'),
        (["pause", "5m", "--for", "5m"], "--for"),
        (["deny", "a.example", "--for", "0s"], "no end"),
        (["pause", "99999d"], "no end"),
        (["rules", "rm"], "name the rules"),
        (["rules", "remove", "1"], "rules rm"),
    ],
)
def test_bad_use_is_one_line_with_status_2_and_changes_nothing(
    stopped: Stopped, arguments: list[str], words: str
) -> None:
    assert words in stopped.run(*arguments, status=2).stderr.splitlines()[-1]
    assert not stopped.file.exists()


def test_rule_for_a_special_name_says_that_it_changes_nothing(stopped: Stopped) -> None:
    for command in ("allow", "deny"):
        told = stopped.run(command, "www.shop.test").stderr
        assert '"www.shop.test" is a special name, which fastdns itself answers' in told
    assert stopped.run("deny", "shop.example").stderr == ""


def test_rule_for_a_top_level_domain_says_how_much_it_covers(stopped: Stopped) -> None:
    assert "blocks every name in it" in stopped.run("deny", "com").stderr
    assert stopped.run("deny", ".", "--view", "kids").stdout.startswith(
        "1 rule added: all names are blocked in view kids\n"
    )


def test_rule_for_a_view_that_blocks_nothing_says_so(stopped: Stopped) -> None:
    stopped.config.write_text(f"{CONFIG}block = false\n")
    words = "view kids has block = false: nothing is blocked in it"
    assert words in stopped.run("deny", "ads.example", "--view", "kids").stderr
    assert stopped.run("allow", "ads.example", "--view", "kids").stderr == ""
    assert stopped.run("deny", "ads.example").stderr == ""


def test_check_shows_what_is_in_force_as_comments(stopped: Stopped) -> None:
    assert "run time" not in stopped.run("check").stdout
    stopped.run("deny", "ads.example", "--view", "kids", "--for", "1h")
    stopped.run("pause")
    shown = stopped.run("check").stdout
    assert "\n# blocking is paused\n" in shown
    assert "\n# ads.example and all names under it are blocked in view kids for " in shown
    stopped.config.write_text(shown)
    assert stopped.run("check").stdout == shown


def test_damage_is_named_by_every_command_and_the_rest_is_used(stopped: Stopped) -> None:
    stopped.run("deny", "a.example")
    with stopped.file.open("a") as file:
        file.write('\n[[rule]]\ndeny = "b.example"\nuntil = "tomorrow"\n')
    for command in ("rules", "check"):
        done = stopped.run(command)
        assert f'{stopped.file}:8: rule.until: "tomorrow" is not a time' in done.stderr
        assert "a.example" in done.stdout
    done = stopped.run("deny", "c.example")
    assert "overrides.toml.damaged" in done.stderr
    assert [rule[1] for rule in stopped.rules()] == ["a.example", "c.example"]


def test_rules_are_shown_while_the_configuration_is_being_edited(stopped: Stopped) -> None:
    stopped.config.write_text("[block]\ndeny = 5\n")
    stopped.run("deny", "a.example")
    done = stopped.run("rules")
    assert "a.example" in done.stdout
    assert "block.deny" in done.stderr


def test_more_than_the_most_rules_are_refused(stopped: Stopped) -> None:
    names = [f"n{number}" for number in range(RULES_MAX)]
    rules = (Override(bytes((len(one),)) + one.encode() + b"\0", one, False) for one in names)
    write(stopped.file, Overrides(tuple(rules)))
    assert "the most" in stopped.run("deny", "a.example", status=1).stderr
    assert len(read(stopped.file).rules) == RULES_MAX


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.parametrize("exists", [False, True])
def test_file_is_written_as_the_user_of_the_daemon(place: Place, exists: bool) -> None:
    if exists:
        place.state.mkdir()
        os.chown(place.state, 65534, 65534)
    place.run("deny", "a.example")
    owner = place.state.stat().st_uid
    assert owner != 0
    assert {one.stat().st_uid for one in place.state.iterdir()} == {owner}


# ---- with a daemon


def last_rules(daemon: Fastdns) -> str:
    """Return which rules are in force, by the log."""
    words = "rules made at run time: "
    found = [line.partition(words)[2] for line in daemon.log if words in line]
    return found[-1] if found else ""


def test_all_workers_use_a_change_when_the_command_ends(place: Place) -> None:
    with Fastdns(place.state, config=CONFIG, workers=2) as daemon:
        done = place.run("deny", "a.example")
        assert done.stdout == "1 rule added: a.example and all names under it are blocked\n"
        daemon.wait_for_log("rules made at run time: 1 in force")
        place.run("pause")
        daemon.wait_for_log("rules made at run time: 1 in force, blocking is paused")
        place.run("resume")
        place.run("rules", "rm", "1")
        daemon.wait_for_log("rules made at run time: none in force$")


def test_worker_that_hangs_is_named_with_status_1(place: Place) -> None:
    with Fastdns(place.state, config=CONFIG, workers=2) as daemon:
        hangs = daemon.workers[1]
        os.kill(hangs, signal.SIGSTOP)
        try:
            done = place.run("deny", "a.example", status=1)
        finally:
            os.kill(hangs, signal.SIGCONT)
        assert f"1 worker does not use it after 2 s (pid {hangs})" in done.stderr
        assert place.run("allow", "b.example").stderr == ""


def test_rule_and_pause_end_by_themselves_also_over_a_restart(place: Place) -> None:
    with Fastdns(place.state, config=CONFIG) as daemon:
        place.run("deny", "a.example", "--for", "1h")
        place.run("deny", "b.example", "--for", "2s")
        # On a busy machine, it has ended already.
        eventually(lambda: last_rules(daemon), "1 in force".__eq__)
        assert place.rules() == [("deny", "a.example", None)]
        place.run("pause", "3s")
    with Fastdns(place.state, config=CONFIG) as daemon:
        killed = daemon.worker
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: daemon.worker != killed, bool)
        assert place.rules() == [("deny", "a.example", None)]
        daemon.wait_for_log("rules made at run time: 1 in force$")
        assert place.run("allow", "c.example").stdout.splitlines() == [
            "1 rule added: c.example and all names under it are allowed"
        ]


def test_damaged_file_is_logged_and_the_daemon_serves(place: Place) -> None:
    place.state.mkdir()
    place.file.write_text('[[rule]]\ndeny = 5\n[[rule]]\ndeny = "a.example"\n')
    if os.geteuid() == 0:
        os.chown(place.state, 65534, 65534)
    with Fastdns(place.state, config=CONFIG) as daemon:
        daemon.wait_for_log(r"overrides\.toml:2: rule\.deny: 5 is not a string")
        place.run("rules", "rm", "a.example")
