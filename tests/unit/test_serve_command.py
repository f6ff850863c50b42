"""`serve` is read without click, and understood as click would."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fastdns import __main__
from fastdns.cli import serve
from fastdns.server import command

USUAL = [
    [],
    ["-c", "a.toml"],
    ["--config", "a.toml"],
    ["--config=a.toml"],
    ["--listen", "127.0.0.1:53", "--listen=[::1]:53", "--upstream", "9.9.9.9"],
    ["--state", "/var/lib/x", "--workers", "3", "--takeover"],
    ["--state", "--workers"],
    ["--workers=0", "--workers", "2", "--state=", "--takeover", "--takeover"],
]
UNUSUAL = [
    ["--help"],
    ["-h"],
    ["--workers", "two"],
    ["--workers", "-1"],
    ["--workers", "9" * 5000],
    ["--config"],
    ["-ca.toml"],
    ["-c=a.toml"],
    ["--takeover=yes"],
    ["--take"],
    ["--", "x"],
    ["x"],
    [""],
]
# What a daemon would keep for good and never use.
NEEDLESS = {"click", "rich", "difflib", "locale", "uuid", "gettext", "typing_extensions", "dnslib"}


def understood_by_click(words: Sequence[str]) -> dict[str, Any]:
    return serve.serve.make_context("serve", list(words)).params


@pytest.mark.parametrize("words", USUAL, ids=" ".join)
def test_usual_words_mean_what_they_mean_to_click(words: list[str]) -> None:
    assert command.read(words) == understood_by_click(words)


@pytest.mark.parametrize("words", UNUSUAL, ids=lambda words: " ".join(words)[:20])
def test_other_words_are_left_to_click(words: list[str]) -> None:
    assert command.main(words) is None


def test_every_option_of_the_command_is_understood() -> None:
    options = {one.name for one in serve.serve.params}
    assert set(command.read([])) == options


def test_configuration_that_is_wrong_ends_in_a_line_each_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.toml"
    file.write_text('workers = "x"\n[cache]\nmemory = 1\n')
    assert command.main(["-c", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["workers", "cache.memory"]


def test_help_comes_from_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fastdns", "serve", "--help"])
    assert __main__.main() == 0
    assert "--takeover" in capsys.readouterr().out


def test_daemon_loads_nothing_that_only_commands_need() -> None:
    code = (
        "import sys, fastdns.__main__, fastdns.server.command; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    assert NEEDLESS.isdisjoint(done.stdout.split())


# By the configuration, what a daemon with it imports of these.
PARTS = {
    "": set(),
    '[local]\nhosts = ["/etc/hosts"]': {"policy.local", "policy.local_files", "_hosts"},
    '[local]\nleases = ["auto"]': {"policy.leases.kea", "config.leases"},
    '[[rule]]\nnames = ["*.a"]\nblock_types = ["MX"]': {"policy.rules", "config.types"},
    '[protect]\nbogus_answers = ["192.0.2.1"]': {"policy.protection", "config.addresses"},
}


@pytest.mark.parametrize("text", PARTS)
def test_daemon_loads_only_what_its_configuration_needs(tmp_path: Path, text: str) -> None:
    (file := tmp_path / "fastdns.toml").write_text(text)
    parts = sorted(f"fastdns.{name}" for name in set().union(*PARTS.values()))
    code = (
        "import sys, pathlib, fastdns.server.command\n"
        "from fastdns.config.load import load\n"
        "from fastdns.machine import preload\n"
        f"preload.import_late(load(pathlib.Path({str(file)!r}), state={str(tmp_path)!r}))\n"
        f"print(*sys.modules.keys() & set({parts!r}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    loaded = {name.removeprefix("fastdns.") for name in run.stdout.split()}
    if text:
        assert PARTS[text] <= loaded
    else:
        assert not loaded
