"""The files made from the commands and the schema: reference.toml, man pages, completions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
import pytest

from fastdns.cli import _fastdns as command
from fastdns.config import later
from fastdns.config.filters import View
from fastdns.config.groups import Forward
from fastdns.config.load import load
from fastdns.config.meanings import KEYS, TABLES
from fastdns.config.schema import Config, Rule
from fastdns.config.section import Section
from fastdns.config.structure import table_in

ROOT = Path(__file__).parent.parent
MAKER = ROOT / "packaging" / "documents.py"
REFERENCE = ROOT / "packaging" / "reference.toml"
DAY = 86400
PAGES = ["fastdns.1", "fastdns-cache.1", "fastdns-lists.1", "fastdns.toml.5"]
# Every line that a reader takes in by deleting its "#"; a text has a blank behind it.
COMMENTED_OUT = re.compile(r"^#(?=\S)", re.M)


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"} | environment,
    )


def make(directory: Path, day: int = 20_000) -> dict[str, str]:
    """Return all that is made, by name, with this day (since 1970) as its date."""
    made = run(sys.executable, MAKER, directory, SOURCE_DATE_EPOCH=str(day * DAY))
    assert (made.returncode, made.stderr) == (0, "")
    return {file.name: file.read_text() for file in directory.iterdir()}


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Where everything was made; open to whom root becomes."""
    with tempfile.TemporaryDirectory(prefix="fastdns-documents-") as path:
        Path(path).chmod(0o755)
        make(Path(path))
        yield Path(path)


# ---- meanings


def paths(section: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield each key and table of the schema by its path, and whether it is a table."""
    for field in attrs.fields(section):
        if table := table_in(field.type):
            yield prefix + field.name, True
            yield from paths(table, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, False


def is_to_come(path: str) -> bool:
    """Return True for a table, or a key in one, that the schema refuses as not in this version."""
    return path.partition(".")[0] in later.KEYS[Config]


def test_every_key_and_table_of_the_schema_has_a_meaning_and_no_other() -> None:
    keys = {path for path, is_table in paths() if not is_table}
    tables = {path for path, is_table in paths() if is_table}

    assert {path for path in KEYS if not is_to_come(path)} == keys
    assert {path for path in TABLES if not is_to_come(path)} == tables


@pytest.mark.parametrize("meaning", [*KEYS.values(), *TABLES.values()])
def test_a_meaning_is_one_line_that_fits_a_table(meaning: str) -> None:
    assert not re.search(r"[|\n]", meaning)
    assert meaning.count("`") % 2 == 0


# ---- reference.toml


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> Config:
    """What is in effect for root without a file."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return load(Path("/dev/null"))


def test_the_reference_as_it_is_changes_nothing(defaults: Config) -> None:
    assert load(REFERENCE) == defaults


def test_the_reference_with_every_key_taken_in_changes_nothing_but_has_examples(
    tmp_path: Path, defaults: Config
) -> None:
    taken_in = tmp_path / "fastdns.toml"
    taken_in.write_text(COMMENTED_OUT.sub("", REFERENCE.read_text()))

    config = load(taken_in)
    (group,), (rule,), (view,) = config.forward, config.rule, config.view
    assert config == attrs.evolve(defaults, forward=(group,), rule=(rule,), view=(view,))
    needed = {"name": group.name, "domains": group.domains, "servers": group.servers}
    assert group == Forward(**needed)
    unlike = ("names", "min_ttl", "max_ttl", "stale")
    assert rule == Rule(**{key: getattr(rule, key) for key in unlike})
    unlike = ("name", "clients", "when", "lists", "allow_lists", "answer")
    assert view == View(**{key: getattr(view, key) for key in unlike})


def test_every_key_stands_in_the_reference_once() -> None:
    found, table = [], ""
    for line in COMMENTED_OUT.sub("", REFERENCE.read_text()).splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif key := re.match(r"(\w+) = ", line):
            found.append(table + key[1])

    assert found == [key for key, is_table in paths() if not is_table]


@pytest.fixture
def renewed(tmp_path: Path) -> Path:
    """A tree in which what is committed was made anew."""
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "configuration.md", tmp_path / "docs")
    shutil.copytree(ROOT / "packaging", tmp_path / "packaging")
    (tmp_path / "packaging" / "reference.toml").write_text("")
    made = run(sys.executable, tmp_path / "packaging" / "documents.py", "--committed")
    assert (made.returncode, made.stderr) == (0, "")
    return tmp_path


@pytest.mark.parametrize("file", ["packaging/reference.toml", "docs/configuration.md"])
def test_what_is_committed_is_what_the_schema_makes(renewed: Path, file: str) -> None:
    assert (ROOT / file).read_text() == (renewed / file).read_text(), "renew it: make documents"


def test_key_without_a_meaning_is_named_in_one_line(renewed: Path) -> None:
    forgets = "from fastdns.config.meanings import KEYS; del KEYS['cache.stale']; import settings"
    places = f"{ROOT}:{renewed / 'packaging'}"
    done = run(sys.executable, "-c", f"{forgets}; settings.toml()", PYTHONPATH=places)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "cache.stale has no meaning yet: add a line to KEYS in fastdns/config/meanings.py"
    )


def test_command_without_a_description_is_named_in_one_line(renewed: Path) -> None:
    forgets = (
        "from fastdns.cli.stats import stats; stats.help = None; "
        "import documents; documents.made('')"
    )
    places = f"{ROOT}:{renewed / 'packaging'}"
    done = run(sys.executable, "-c", forgets, PYTHONPATH=places)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "fastdns stats has no description yet: give its function a docstring"
    )


def test_looking_at_the_commands_leaves_this_process_its_priority() -> None:
    assert ALL_COMMANDS  # what was looked at
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


# ---- man pages


def all_commands(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        below = group.get_command(context, name)
        assert below is not None
        yield f"{words} {name}", below
        if isinstance(below, click.Group):
            yield from all_commands(below, f"{words} {name}")


ALL_COMMANDS = dict(all_commands(command, "fastdns"))


def shown(page: Path) -> str:
    """What a reader sees of a page."""
    rendered = run("man", "-P", "cat", "-E", "UTF-8", "-l", page, MANWIDTH="500")
    assert rendered.returncode == 0, rendered.stderr
    return rendered.stdout


@pytest.fixture(scope="module")
def manual(directory: Path) -> dict[str, str]:
    """Each page with every run of blanks as one."""
    return {name: " ".join(shown(directory / name).split()) for name in PAGES}


@pytest.mark.parametrize("words", ALL_COMMANDS)
def test_a_command_is_in_the_manual_with_all_its_options(
    manual: dict[str, str], words: str
) -> None:
    group = re.match(r"fastdns (cache|lists) ", words)
    page = manual[f"fastdns-{group[1]}.1" if group else "fastdns.1"]
    name = words.rpartition(" ")[2]
    end = r"(?= (\w+) fastdns(?: cache| lists)? \1 | EXIT STATUS )"

    section = re.search(rf" {name} {words} .*?{end}", page)

    assert section is not None
    for option in ALL_COMMANDS[words].params:
        is_shown = isinstance(option, click.Option) and not option.hidden
        for flag in option.opts if is_shown else ():
            assert re.search(rf"(?<![\w-]){flag}(?![\w-])", section[0]), flag


def test_every_key_is_in_the_manual_with_its_meaning(manual: dict[str, str]) -> None:
    page = manual["fastdns.toml.5"]
    for key, is_table in paths():
        if is_table:
            heading = f"[[{key}]]" if key in ("forward", "rule", "view") else f"[{key}]"
            assert f" {heading} {TABLES[key][:20]}" in page
        else:
            beginning = re.escape(KEYS[key].replace("`", "")[1:40])
            assert re.search(rf"{key.rpartition('.')[2]} = \S.*?{beginning}", page), key


@pytest.mark.parametrize("name", PAGES)
def test_a_man_page_renders_without_a_warning(directory: Path, name: str) -> None:
    options = ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]
    rendered = run("man", *options, directory / name, MANROFFSEQ="", MANWIDTH="80")

    assert (rendered.returncode, rendered.stderr) == (0, "")


def test_what_is_typed_has_hyphens_that_can_be_pasted(directory: Path) -> None:
    for name in PAGES:
        assert not re.search("(?<!\\w)[\u2010\u2212]", shown(directory / name)), name


def test_the_same_source_makes_the_same_files(directory: Path, tmp_path: Path) -> None:
    first = {file.name: file.read_text() for file in directory.iterdir()}

    assert make(tmp_path / "again") == first
    assert '"2024-10-04"' in first["fastdns.1"]
    assert make(tmp_path / "later", day=20_001)["fastdns.1"] != first["fastdns.1"]


# ---- completions


@pytest.fixture(scope="module")
def on_path() -> Iterator[str]:
    """A PATH with a command fastdns."""
    with tempfile.TemporaryDirectory(prefix="fastdns-bin-") as place:
        program = Path(place) / "fastdns"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fastdns "$@"\n')
        program.chmod(0o755)
        yield f"{place}:{os.environ['PATH']}"


LINES = [
    ("fastdns ca", ["cache"]),
    ("fastdns cache re", ["refresh"]),
    ("fastdns serve --up", ["--upstream"]),
    ("fastdns cache ls --state-is s", ["stale"]),
    ("fastdns cache get example.com AAA", ["AAAA"]),
    ("fastdns nothing", []),
]


@pytest.mark.parametrize(("line", "completed"), LINES)
def test_bash_completes(directory: Path, on_path: str, line: str, completed: list[str]) -> None:
    # As the shell does behind TAB: by the function that `complete` names for the command.
    script = f"""
        source {directory}/fastdns.bash
        COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        "$(complete -p fastdns | sed 's/.*-F \\([^ ]*\\).*/\\1/')" fastdns
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = run("bash", "--norc", "-c", script, PATH=on_path)

    assert (done.stdout.split(), done.stderr) == (completed, "")


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
@pytest.mark.parametrize(("line", "completed"), LINES)
def test_fish_completes(directory: Path, on_path: str, line: str, completed: list[str]) -> None:
    script = f"source {directory}/fastdns.fish; complete -C '{line}'"
    done = run("fish", "--no-config", "-c", script, PATH=on_path)

    words = [text.split("\t")[0] for text in done.stdout.splitlines()]
    assert (words, done.stderr) == (completed, "")


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_zsh_reads_its_completion(directory: Path) -> None:
    done = run("zsh", "-n", directory / "fastdns.zsh")

    assert (done.returncode, done.stderr) == (0, "")


def test_zsh_completes_already_the_first_time_it_is_asked(directory: Path) -> None:
    lines = (directory / "fastdns.zsh").read_text().splitlines()

    assert lines[0] == "#compdef fastdns"
    # Declared for the next time, and called now.
    assert lines[-2:] == [
        "compdef _fastdns_completion fastdns",
        '[[ $zsh_eval_context[-1] != loadautofunc ]] || _fastdns_completion "$@"',
    ]
