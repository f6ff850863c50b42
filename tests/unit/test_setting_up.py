"""`make` before fastdns is built: missing packages, the libraries, the compilation."""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BARE = ("sh", "cat", "dirname", "grep", "mktemp", "pwd", "rm", "sed", "tail")  # minbase has these


def program(place: Path, text: str) -> None:
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a plain user of a Debian with nothing on it, who may not use sudo."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in BARE:
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    program(programs / "id", "echo 1000")
    program(programs / "sudo", "exit 1")
    program(programs / "apt-get", "exit 1")
    return {"PATH": str(programs), "HOME": str(tmp_path)}


def packages(environment: Mapping[str, str], *tasks: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "packaging/apt-packages.sh", *tasks],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# ---- what is missing


def test_what_is_missing_is_told_once_for_all_targets(bare: dict[str, str]) -> None:
    done = packages(bare, "dev")
    assert done.returncode == 1
    parts = ["python3-venv", "python3-dev"]
    needed, everything = re.findall(r"^    sudo apt install (.*)$", done.stderr, re.M)
    libraries = ["libc6-dev", "liblmdb-dev", "libnghttp2-dev", "libssl-dev"]
    assert needed.split() == ["gcc", *libraries, "python3", *parts]
    assert everything.startswith(f"{needed} ")
    assert {"knot-dnsutils", "git", "debhelper-compat"} <= set(everything.split())


def test_package_with_a_longer_name_does_not_stand_in_for_one_that_a_build_needs(
    bare: dict[str, str],
) -> None:
    installed = "install ok installed"
    program(
        Path(bare["PATH"]) / "dpkg-query",
        f"echo '{installed} python3-setuptools-whl '\n"
        f"echo '{installed} debhelper dh-sequence-x (= 3), debhelper-compat (= 13)'\n"
        f"echo '{installed} cython3 '",
    )
    told = packages(bare, "deb").stderr
    needed = re.findall(r"^    sudo apt install (.*)$", told, re.M)[0].split()
    assert "python3-setuptools" in needed
    assert not {"debhelper-compat", "cython3"} & set(needed)


def test_with_the_libraries_of_the_machine_those_are_told(bare: dict[str, str]) -> None:
    done = packages(bare | {"PYTHON": "python3"}, "system")
    needed = re.findall(r"^    sudo apt install (.*)$", done.stderr, re.M)[0].split()
    assert {"cython3", "python3-gevent", "python3-lmdb", "python3-setuptools"} <= set(needed)
    assert not {"python3-venv", "python3-pytest"} & set(needed)


def test_python_that_is_not_there_is_told_in_a_line(bare: dict[str, str]) -> None:
    assert "    sudo apt install python3\n" in packages(bare, "python").stderr
    done = packages(bare | {"PYTHON": "python3.99"}, "python")
    assert (done.returncode, done.stderr) == (
        1,
        "fastdns: there is no python3.99 on this machine\n",
    )


# ---- the libraries


def test_without_pypi_one_line_tells_of_the_other_way(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    program(
        tmp_path / ".venv" / "bin" / "python",
        f'[ "$2" != pip ] || {{ echo "ERROR: no way" >&2; exit 1; }}\nexec "{sys.executable}" "$@"',
    )
    done = subprocess.run(
        ["sh", ROOT / "packaging" / "venv.sh", "libraries"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    getting, line = done.stderr.splitlines()
    assert getting == "fastdns: getting libraries from PyPI"
    assert "PyPI" in line
    assert "make run SYSTEM=1" in line
    assert (tmp_path / ".venv" / "pip.log").read_text() == "ERROR: no way\n"


def test_any_python_from_3_11_on_will_do() -> None:
    assert '\nrequires-python = ">=3.11"\n' in (ROOT / "pyproject.toml").read_text()


# ---- the compilation


class Tree:
    """Two modules, of which one takes something from the other, and what compiles them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.sources = place / "ext" / "fastdns"
        self.sources.mkdir(parents=True)
        self.compiled = place / "fastdns"
        self.compiled.mkdir()
        modules = '\n\nMODULES = ["_giver", "_taker"]\n'
        text = re.sub(
            r"\n\nMODULES = \[.*?\n\]\n", modules, (ROOT / "setup.py").read_text(), flags=re.S
        )
        (place / "setup.py").write_text(text)
        shutil.copy(ROOT / "pyproject.toml", place)
        (place / "README.md").touch()
        (self.compiled / "__init__.py").write_text('__version__ = "1"\n')
        (self.sources / "__init__.pxd").touch()
        (self.sources / "_giver.pxd").write_text("cdef int given(int number) noexcept\n")
        (self.sources / "_giver.pyx").write_text(
            "cdef int given(int number) noexcept:\n    return number\n"
        )
        self.write_taker("taken = given(1)")

    def copy(self, place: Path) -> Tree:
        """Return the same, as old, somewhere else."""
        shutil.copytree(self.place, place)
        other = copy.copy(self)
        other.place = place
        other.sources, other.compiled = place / "ext" / "fastdns", place / "fastdns"
        return other

    def write_taker(self, line: str) -> None:
        (self.sources / "_taker.pyx").write_text(f"from fastdns._giver cimport given\n\n{line}\n")

    def begin(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", *options],
            cwd=self.place,
            env=os.environ | {"CFLAGS": "-O0 -g0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def compile(self) -> tuple[set[str], str]:
        """Return what is said to be compiled, and what goes wrong."""
        with self.begin() as process:
            out, err = process.communicate(timeout=120)
        assert (process.returncode == 0) == (not err), err
        return set(re.findall(r"^compiled fastdns\.(\w+) \(\d of \d\)$", out, re.M)), err


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A tree that is compiled, for copies: to compile takes seconds."""
    tree = Tree(tmp_path_factory.mktemp("compiled"))
    assert tree.compile() == ({"_giver", "_taker"}, "")
    return tree


@pytest.fixture
def tree(compiled: Tree, tmp_path: Path) -> Tree:
    return compiled.copy(tmp_path / "tree")


def test_what_has_changed_is_compiled_and_nothing_else(tree: Tree) -> None:
    assert len(list(tree.compiled.glob("*.so"))) == 2
    assert tree.compile() == (set(), "")
    tree.write_taker("taken = given(2)")
    assert tree.compile() == ({"_taker"}, "")
    for compiled in tree.compiled.glob("*.so"):
        compiled.unlink()
    assert tree.compile() == (set(), "")
    assert len(list(tree.compiled.glob("*.so"))) == 2


def test_module_that_cannot_be_compiled_is_named(tree: Tree) -> None:
    tree.write_taker("taken = not_given(1)")
    compiled, err = tree.compile()
    assert compiled == set()
    assert "undeclared name not builtin: not_given" in err
    assert "\nfastdns._taker: " in err
    assert err.endswith("error: only 0 of 1 modules could be compiled\n")
    assert "Traceback" not in err
    tree.write_taker("taken = given(1)")
    assert tree.compile() == ({"_taker"}, "")


def test_compilation_that_is_broken_off_ends_quietly_and_goes_on_at_the_next_time(
    tree: Tree,
) -> None:
    (tree.sources / "_giver.pxd").touch()  # both are made of it
    with tree.begin("--parallel", "1") as process:
        assert process.stdout
        first = process.stdout.readline()
        assert re.match(r"compiled fastdns\._(giver|taker) \(1 of 2\)$", first)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGINT, "")
    (second,) = tree.compile()[0]
    assert second in {"_giver", "_taker"}
    assert second not in first


# ---- the package for another machine


def deb(*words: str, **environment: str) -> str:
    """Return what `make deb` would run."""
    return subprocess.run(
        ["make", "-n", "--no-print-directory", "deb", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_package_for_another_machine_is_built_in_a_tree_of_its_own() -> None:
    assert "elsewhere.py --arch arm64 --suffix" in deb("ARCH=arm64")
    assert "elsewhere.py --arch armhf --suite trixie " in deb("ARCH=armhf", "SUITE=trixie")


def test_package_for_this_machine_is_built_here_whatever_others_call_arch() -> None:
    assert "elsewhere.py" not in deb(ARCH="x86_64", SUITE="trixie")


def test_architecture_that_is_not_built_for_is_told_with_those_that_are() -> None:
    done = subprocess.run(
        [sys.executable, "packaging/story/elsewhere.py", "--arch", "mips"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice: 'mips'" in done.stderr
    assert "armhf" in done.stderr
