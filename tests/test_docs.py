"""README and docs/ are true: their samples run, and their configuration is the real one.

CONTRIBUTING.md, "Documents", says which parts of a sample run and what is replaced in them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest

from fastdns.cli import COMMANDS
from fastdns.cli.cache import _CacheCommands
from fastdns.config.load import load
from fastdns.config.render import render
from fastdns.config.schema import Config
from fastdns.config.section import Section
from fastdns.config.structure import table_in
from journey.support import eager
from journey.support.client import ask
from journey.support.daemon import Fastdns
from journey.support.false_upstream import FalseUpstream

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = "\n".join([README, *(page.read_text() for page in PAGES)])
ETC = "/etc/fastdns"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
KEY_TABLE = re.compile(r"^\| *key *\| *default *\|.*\n\|[-:| ]+\n((?:\|.*\n)+)", re.M)
# Commands that look at a daemon: they get the test's.
LOOKS = re.compile(
    r"fastdns (?:reload|status|stats|clients|top|why|allow|deny|rules|pause|resume|cache [a-z]+)"
)
NAMED = re.compile(r"[ ']((?:[a-z0-9-]+\.)+(?!jsonl?\b)[a-z]+)\b(?: ([A-Z]+)\b)?")
# Each takes one value; a test gives values of its own, and `check` judges those of the documents.
PLACE_OPTION = re.compile(r" (?:-c|--config|--listen|--upstream|--state)[ =]\S+")


def commands(document: str) -> list[str]:
    """Return what a reader types: in console blocks what follows "$ ", in sh blocks all of it."""
    found = []
    for language, body in BLOCK.findall(document):
        lines = body.replace("\\\n", " ").splitlines()
        if language == "console":
            found += [line[2:] for line in lines if line.startswith("$ ")]
        elif language == "sh":
            found += [line for line in lines if line.strip() and not line.startswith("#")]
    return [command.split(" # ")[0].strip().removeprefix(".venv/bin/") for command in found]


def blocks(language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(DOCUMENTS) if kind == language]


def starting_with(*words: str) -> list[str]:
    return [command for command in commands(DOCUMENTS) if command.split()[0] in words]


SERVE = [command for command in starting_with("fastdns") if " serve" in command]
ASK = [command for command in starting_with("fastdns", "dig", "kdig") if command not in SERVE]


class Place(NamedTuple):
    """Where the samples run: a running daemon and, for /etc/fastdns, a directory of the test."""

    daemon: Fastdns
    upstream: FalseUpstream
    etc: Path
    environment: dict[str, str]

    def run(self, command: str) -> str:
        """Run a sample as a reader's shell would and return what it prints; it must exit 0."""
        command = command.replace(ETC, str(self.etc))
        if look := LOOKS.match(command):
            if look[0].startswith("fastdns cache"):
                self.ask_what_is_named(command[look.end() :])
            if look[0] == "fastdns clients":
                ask(self.daemon, "www.example.com")
            arguments = PLACE_OPTION.sub("", command[look.end() :])
            command = f"{look[0]} --state {self.daemon.state_dir}{arguments}"
        elif command.startswith(("dig ", "kdig ")):
            tool, _, rest = re.sub(r"(?<= )(@\S+|-p *\d+)", "", command).partition(" ")
            command = f"{tool} @{self.daemon.host} -p {self.daemon.port} {rest}"
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.etc,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ask_what_is_named(self, arguments: str) -> None:
        """Ask for each name of a sample, so that the cache holds it, as a reader would have."""
        for name, qtype in NAMED.findall(arguments.replace("*.", "www.")):
            ask(self.daemon, name, qtype or "A")


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A directory that is open to whom root becomes, as those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="fastdns-docs-", ignore_cleanup_errors=True) as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def place(base: Path) -> Iterator[Place]:
    etc = base / "configuration"
    etc.mkdir()
    (etc / "ip").write_text("192.0.2.1\n")
    (etc / "fastdns.toml").write_text("".join(blocks("toml")[:1]).replace(ETC, str(etc)))
    command = base / "bin" / "fastdns"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, eager.__file__])} "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    with FalseUpstream() as upstream, Fastdns(base / "state", upstream=[upstream]) as daemon:
        yield Place(daemon, upstream, etc, environment)


@pytest.mark.parametrize("command", SERVE)
def test_a_sample_of_serve_is_valid_and_starts(base: Path, place: Place, command: str) -> None:
    options = command.removesuffix("&").replace(ETC, str(place.etc)).partition(" serve")[2]
    with_places = re.sub(r" --workers[ =]\S+", "", options)
    place.run(f"fastdns check {with_places}")
    file = re.search(r" (?:-c|--config)[ =](\S+)", options)

    with Fastdns(
        Path(tempfile.mkdtemp(dir=base)),
        upstream=[place.upstream],
        config=(place.etc / file[1]).read_text() if file else "",
        arguments=shlex.split(PLACE_OPTION.sub("", options)),
    ) as daemon:
        assert daemon.port


@pytest.mark.parametrize("command", ASK)
def test_a_sample_prints_an_answer(place: Place, command: str) -> None:
    printed = place.run(command)

    assert printed.strip()
    if command.startswith(("dig ", "kdig ")) and "+short" not in command:
        assert re.search("status: (NOERROR|NXDOMAIN)", printed), printed


def test_the_stories_in_the_readme_begin_as_it_says(base: Path, place: Place) -> None:
    section = README.partition("\n## Why does a name get this answer?\n")[2].partition("\n## ")[0]
    written = dict(BLOCK.findall(section))
    samples = re.findall(r"^\$ (fastdns why .*)\n(.*)", written["console"], re.M)
    assert len(samples) > 5
    config = written["toml"]
    with Fastdns(
        Path(tempfile.mkdtemp(dir=base)), upstream=[place.upstream], config=config
    ) as daemon:
        ask(daemon, "www.example.com")
        for command, first in samples:
            where = f"--state {daemon.state_dir} -c {daemon.state_dir.with_suffix('.toml')}"
            printed = place.run(f"env {command} {where}")  # `env`: not the place's own daemon
            assert without_times(printed.splitlines()[0]) == without_times(first)


def without_times(text: str) -> str:
    return re.sub(r"[\d]+ (?:min|s)(?: [\d]+ s)?", "TIME", text)


def test_the_readme_shows_how_to_serve_ask_and_see_the_demo() -> None:
    assert SERVE or "make run" in commands(README)
    assert [command for command in ASK if command.startswith("dig ")]
    assert "fastdns demo" in ASK


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
)
def test_the_files_that_a_document_links_to_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())

    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 250


def test_the_readme_links_to_every_page() -> None:
    assert [page.name for page in PAGES if f"](docs/{page.name})" not in README] == []


def test_the_architecture_names_every_compiled_module_and_only_what_is_there() -> None:
    words = set(re.findall(r"(?<![\w.])[\w/.]+", (ROOT / "docs/architecture.md").read_text()))
    compiled = {file.stem for file in (ROOT / "ext/fastdns").glob("_[a-z]*.p*")}
    files = {word for word in words if re.search(r"/\w+\.(?:py|pyx|pxd)$", word)}

    assert {word for word in words if re.fullmatch(r"_[a-z][a-z0-9_]+", word)} ^ compiled == set()
    for file in files:
        assert any((ROOT / at / file).exists() for at in (".", "fastdns")), file


def test_every_command_has_its_row() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `fastdns ")]
    described = {word for row in rows for word in re.findall(r"`(?:fastdns )?([a-z-]+)", row)}
    assert set(COMMANDS) - described == set()

    document = (ROOT / "docs" / "cache.md").read_text()
    rows = [line for line in document.splitlines() if line.startswith("| `fastdns cache ")]
    described = {word for row in rows for word in re.findall(r"`(?:fastdns cache )?([a-z]+)", row)}
    assert set(_CacheCommands.summaries) - described == set()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_the_make_targets_of_a_document_exist(document: str) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    text = (ROOT / document).read_text()
    named = {command.split()[1] for command in commands(text) if command.startswith("make ")}
    named |= set(re.findall(r"`make ([\w-]+)", text))

    assert named
    assert named <= set(targets)


@pytest.mark.parametrize("sample", blocks("toml"))
def test_a_configuration_sample_is_valid(place: Place, tmp_path: Path, sample: str) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text(sample.replace(ETC, str(place.etc)))

    load(file)


def keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield cache.memory, … of the schema."""
    for field in attrs.fields(section):
        if table := table_in(field.type):
            yield from keys(table, f"{field.name}.")
        else:
            yield prefix + field.name


def flat(table: dict[str, Any]) -> dict[str, Any]:
    """Return {"cache.memory": …} for TOML's tables, lists of them included."""
    found = {}
    for key, value in table.items():
        tables = value if isinstance(value, list) else [value]
        if tables and all(isinstance(one, dict) for one in tables):
            for one in tables:
                found |= {f"{key}.{below}": deep for below, deep in flat(one).items()}
        else:
            found[key] = value
    return found


def documented_defaults() -> dict[str, str]:
    """Return what the tables of `key | default` say, both without their backticks."""
    rows = "".join(KEY_TABLE.findall(DOCUMENTS)).splitlines()
    cells = [[cell.strip(" `") for cell in row.split("|")[1:3]] for row in rows]
    return dict(cells)


def test_every_key_of_the_schema_is_documented_and_no_other() -> None:
    in_samples = {key for sample in blocks("toml") for key in flat(tomllib.loads(sample))}
    named = in_samples | documented_defaults().keys()

    assert named == set(keys(Config))


def test_the_defaults_in_the_documents_are_those_of_the_schema(tmp_path: Path) -> None:
    needed = (
        '[[forward]]\nname = "a"\ndomains = ["b"]\nservers = ["192.0.2.1"]\n'
        '[[rule]]\nnames = ["c"]\nmin_ttl = "1s"\nmax_ttl = "1s"\nstale = "1s"\n'
        '[[view]]\nname = "d"\nclients = ["e"]\nwhen = "Mon"\nlists = []\nallow_lists = []\n'
        'answer = "null"\n'
    )
    file = tmp_path / "fastdns.toml"
    file.write_text(needed)
    true_ones = flat(tomllib.loads(render(load(file))))
    must_be_set = flat(tomllib.loads(needed))

    for key, text in documented_defaults().items():
        if key in must_be_set:
            assert not text, key
        elif key not in ("state_dir", "run_dir"):  # these depend on who asks
            assert tomllib.loads(f"default = {text}")["default"] == true_ones[key], key


def test_what_a_reader_types_is_found_in_a_document() -> None:
    document = (
        "```console\n$ make dev\nfastdns: done\n$ .venv/bin/fastdns serve \\\n  --workers 1\n```\n"
        "```sh\n# twice\ndig example.com # cached\n\n```\n"
        "```toml\nworkers = 1\n```\n"
    )

    assert [" ".join(command.split()) for command in commands(document)] == [
        "make dev",
        "fastdns serve --workers 1",
        "dig example.com",
    ]
