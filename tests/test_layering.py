"""The parts know each other in one direction only; no import goes upwards."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

# Top to bottom. A part may know what stands in a lower line; those of one line do not know each
# other. "fastdns" is the package itself: the version and the map of the journey.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"doctor", "migrate"},
    {"server"},
    {"machine"},
    {"listen"},
    {"resolve"},
    {"lists"},
    {"browse"},
    {"policy", "store", "upstream", "counters"},
    {"_stream_listener"},
    {"_stream_queries"},
    {"_stream"},
    {"_fastpath"},
    {"_forward"},
    {"_chains"},
    {"_attempts"},
    {"_questions"},
    {"_groups", "_flights"},
    {"_waiters"},
    {"_upstream", "_outlet", "_cookies", "_rate_limit", "_forwarded"},
    {"_ports", "_wheel", "_shares", "_clients", "_proxy_protocol"},
    {"_cache"},
    {"_changes", "_outbox"},
    {"_query"},
    {"_own_answers"},
    {"_policy"},
    {"_blocking"},
    {"_rings", "_intake", "_hosts", "_list_reader"},
    {"_adblock", "_zone_lines"},
    {"_list_entries"},
    {
        *("_hotcache", "_disk", "_writer", "_counters", "_ring", "_control"),
        *("_response", "_udp", "_domain_lists", "_local"),
        *("_rules", "_protection", "_block_set"),
    },
    {"_special_names", "_domain_sorter"},
    {"_put", "_database", "_ring_index", "_domains", "_seen_clients", "_tls"},
    {"_entry", "_ticket_keys"},
    {"mapped", "replaced"},
    {"_answer"},
    {"_scrub", "_hints"},
    {"_rewrite"},
    {"_clock", "_wire", "_http2", "_certificate"},
    {
        *("_siphash", "_key", "_lmdb", "_pages", "_cache_settings"),
        *("_buffer", "_openssl", "_doh", "_nghttp2"),
    },
    {"config"},
    {"errors", "defects"},
    {"fastdns"},
)
LEVEL = {part: level for level, line in enumerate(LAYERS) for part in line}


class Import(NamedTuple):
    """One module or name that a line asks for: fastdns.cli.main, fastdns._wire."""

    file: Path
    line: int
    target: str


def modules(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each source file with the dotted name of its module."""
    for folder, suffixes in ((root, (".py", ".pyi")), (root / "ext", (".pyx", ".pxd"))):
        for file in sorted((folder / "fastdns").rglob("*")):
            if file.suffix in suffixes:
                name = ".".join(file.relative_to(folder).with_suffix("").parts)
                yield file, name


def absolute(module: str, dots: int, name: str) -> str:
    """Return what a relative import asks for, in a module whose name keeps its __init__."""
    if not dots:
        return name
    package = module.split(".")
    return ".".join(package[: len(package) - dots] + ([name] if name else []))


def python_imports(file: Path, module: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text(), file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node.level, node.module or "")
            for alias in node.names:
                yield Import(file, node.lineno, f"{base}.{alias.name}")
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield Import(file, node.lineno, node.args[0].value)


def blanked(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


# Both import and cimport. Python's own tokenizer does not read Cython ("<Foo?>", "0u").
FROM = re.compile(r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+c?import[ \t]+(\([^)]*\)|[^\n;]*)", re.M)
PLAIN = re.compile(r"^[ \t]*c?import[ \t]+([^\n;]*)", re.M)
INCLUDE = re.compile(r"^[ \t]*include[ \t]+[\"'][^\n]*", re.M)


def cython_source(file: Path) -> str:
    """Return the text without documentation, comments and line joints; lines keep their numbers."""
    text = re.sub(r'"""(?:.|\n)*?"""', blanked, file.read_text())
    return re.sub(r"\\\n", " ", re.sub(r"#[^\n]*", "", text))


def names(listing: str) -> list[str]:
    """Return [a, b] for "(a, b as c)"."""
    return [part.split()[0] for part in listing.strip("()\n ").split(",") if part.strip()]


def cython_imports(file: Path, module: str) -> Iterator[Import]:
    text = cython_source(file)
    for match in FROM.finditer(text):
        base = absolute(module, len(match[1]), match[2])
        for name in names(match[3]):
            yield Import(file, text.count("\n", 0, match.start()) + 1, f"{base}.{name}")
    for match in PLAIN.finditer(text):
        for name in names(match[1]):
            yield Import(file, text.count("\n", 0, match.start()) + 1, name)


def part_of(dotted: str) -> str:
    """Return the part that a module or a name in it belongs to; a name of fastdns itself is its."""
    parts = [part for part in dotted.split(".") if part != "__init__"]
    if len(parts) == 1 or (parts[1] not in LEVEL and parts[1].startswith("__")):
        return "fastdns"
    return parts[1]


def problems(root: Path) -> list[str]:
    """Return a line for each import that the layers do not allow, and for each textual include."""
    found = []
    for file, module in modules(root):
        where, part = file.relative_to(root), part_of(module)
        is_cython = file.suffix in (".pyx", ".pxd")
        if part not in LEVEL:
            found.append(f"{where}: {part} is not in LAYERS")
            continue
        if is_cython and INCLUDE.search(cython_source(file)):
            found.append(f"{where}: textual include (cimport it)")
        for imported in (cython_imports if is_cython else python_imports)(file, module):
            if imported.target.partition(".")[0] != "fastdns":
                continue
            other = part_of(imported.target)
            line = f"{where}:{imported.line}: {part} imports {other}"
            if other not in LEVEL:
                found.append(f"{line} (not in LAYERS)")
            elif other != part and LEVEL[other] <= LEVEL[part]:
                side = "beside" if LEVEL[other] == LEVEL[part] else "above"
                found.append(f"{line} ({side} it)")
    return found


def test_nothing_imports_upwards() -> None:
    assert problems(ROOT) == []


def test_every_compiled_module_and_python_part_is_looked_at() -> None:
    seen = {part_of(module) for _, module in modules(ROOT)}

    assert {"cli", "config", "errors", "_wire", "_hotcache"} <= seen


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree in which all is well."""
    for name, text in {
        "fastdns/__init__.py": '__version__ = "1"\n',
        "fastdns/errors.py": "",
        "fastdns/config/__init__.py": "from .. import __version__\nfrom ..errors import E\n",
        "fastdns/config/load.py": "from . import schema\nfrom fastdns.config.schema import A\n",
        "fastdns/_wire.pyi": "import fastdns.errors\n",
        "fastdns/resolve.py": "import os\nfrom . import _wire, errors\nfrom ._udp import x\n",
        "ext/fastdns/__init__.pxd": "",
        "ext/fastdns/_wire.pxd": '"""Never\ninclude "anything"\n"""\n',
        "ext/fastdns/_udp.pyx": (
            "from libc.string cimport memcpy\n"
            "from fastdns._wire cimport (  # all of it\n    Reader,\n    Question,\n)\n"
            "from fastdns cimport _wire\n"
            "from fastdns.errors import E\n"
            'cdef extern from "x.h": pass\n'
        ),
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_a_tree_that_keeps_the_order_has_no_problems(tree: Path) -> None:
    assert problems(tree) == []


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("fastdns/errors.py", "import fastdns.cli.check\n", "1: errors imports cli (above it)"),
        ("fastdns/errors.py", "from .config import load\n", "1: errors imports config (above it)"),
        ("fastdns/config/load.py", "from .. import _wire\n", "1: config imports _wire (above it)"),
        ("fastdns/config/a/b.py", "from ...cli import c\n", "1: config imports cli (above it)"),
        (
            "fastdns/resolve.py",
            "\ndef f():\n    from .server import w\n",
            "3: resolve imports server (above it)",
        ),
        (
            "fastdns/upstream/tcp.py",
            "from ..store import lock\n",
            "1: upstream imports store (beside it)",
        ),
        (
            "fastdns/resolve.py",
            'import_module("fastdns.listen.udp")\n',
            "1: resolve imports listen (above it)",
        ),
        ("fastdns/__init__.py", "from . import errors\n", "1: fastdns imports errors (above it)"),
        ("fastdns/_wire.pyi", "from fastdns._udp import x\n", "1: _wire imports _udp (above it)"),
        ("fastdns/extra.py", "", ": extra is not in LAYERS"),
        (
            "fastdns/resolve.py",
            "from .extra import x\n",
            "1: resolve imports extra (not in LAYERS)",
        ),
        (
            "ext/fastdns/_wire.pxd",
            "from fastdns._udp cimport x\n",
            "1: _wire imports _udp (above it)",
        ),
        (
            "ext/fastdns/_wire.pyx",
            "from fastdns cimport (\n  _udp)\n",
            "1: _wire imports _udp (above it)",
        ),
        (
            "ext/fastdns/_udp.pyx",
            "from ._hotcache cimport x\n",
            "1: _udp imports _hotcache (beside it)",
        ),
        (
            "ext/fastdns/_udp.pyx",
            "cimport libc.string, fastdns._fastpath\n",
            "1: _udp imports _fastpath (above it)",
        ),
        (
            "ext/fastdns/_udp.pyx",
            "def f():\n    import fastdns.resolve\n",
            "2: _udp imports resolve (above it)",
        ),
        ("ext/fastdns/_udp.pyx", 'include "sockets.pxi"\n', ": textual include"),
    ],
)
def test_what_breaks_the_order_is_named(tree: Path, file: str, text: str, problem: str) -> None:
    (tree / file).parent.mkdir(exist_ok=True)
    (tree / file).write_text(text)

    (line,) = problems(tree)

    assert line.startswith(f"{file}:")
    assert problem in line
