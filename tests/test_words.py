"""fastdns speaks plain English: its messages, help texts, man pages and comments in reference.toml.

The habits below made people read a line twice. STYLE: subject first, then the verb; "bytes" for
"octets"; "is not a" for "is no".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "fastdns").rglob("*.py"))
COMPILED = sorted((ROOT / "ext" / "fastdns").glob("*.pyx"))
PAGES = sorted((ROOT / "packaging" / "man").glob("*.in"))
FILES = [  # not fastdns.toml: no upgrade may change it
    ROOT / "packaging" / "reference.toml",
    *(ROOT / "packaging" / "debian" / name for name in ("control", "fastdns.service")),
    *(
        ROOT / "packaging" / "debian" / f"fastdns.{name}"
        for name in ("postinst", "prerm", "postrm")
    ),
]
SCRIPTS = [ROOT / "Makefile", *sorted((ROOT / "packaging").glob("*.sh"))]

HABITS = {
    name: re.compile(pattern, re.I | re.M)
    for name, pattern in {
        "octets for bytes": r"\boctets?\b",
        "is no X": r"(?<!\bthere )\b(?:is|are|was|were|be) no (?!longer\b)",
        "whoever": r"\bwho(?:m|so)?ever\b",
        "of which, to whom": r"\b(?:at|by|for|from|in|of|on|to|under|with) whom?\b|\bof which\b",
        "a clause as subject": r"(?:^|[.:;] )(?:what|who|whom)\b(?![^.]*\?)(?! (?:may|refused)\b)",
        "too at the end": r",? too[.;]?$|, too\b",
        "it has to be done": r"\b(?:ha(?:s|ve)|is|are) to be \w+(?:ed|en)\b",
        "have X do": r"\b(?:to|and|or|^) ?have (?:fastdns|dnsmasq|systemd-resolved|it|them) \w+\b",
        "taken in": r"\b(?:takes?|took|taken|taking) in\b",
        "put aside": r"\bput(?:s|ting)? aside\b",
        "taken back": r"\b(?:takes?|took|taken|taking) (?:it |that |them )?back\b",
        "give up": r"\bg(?:ive|ives|ave|iven|iving) up\b",
        "hang up": r"\b(?:hang|hangs|hung) up\b",
        "say for run": r"\bsay (?:`|-|which\b)",
        "sign of life": r"\bsigns? of life\b",
        "somebody": r"\bsomebody\b|\bnobody else\b",
        "anew": r"\banew\b",
        "of its own": r"\bof (?:its|their|your|our) own\b|\bof (?:ours|yours|theirs)\b",
        "go on": r"\b(?:go|goes|went|going) on\b",
        "under way": r"\bunder way\b|\bnow and then\b|\bagain and again\b",
        "and so, like that": r"\blike that\b",
    }.items()
}
# Those that neither a message nor a comment needs; the others have their place in a comment.
WORST = ("whoever", "put aside", "taken back", "hang up", "sign of life", "somebody", "anew")
# What stands in a .pyx: a docstring, a comment, or a string.
QUOTED = re.compile(
    r'"""(?:.|\n)*?"""|#.*|(?P<prefix>\b[rfb]+|)"(?P<text>(?:[^"\\\n]|\\.)*)"', re.M
)


def habits(text: str) -> list[str]:
    """Return the names of the habits in a text."""
    text = re.sub(r"\s+", " ", text).strip()
    return [name for name, pattern in HABITS.items() if pattern.search(text)]


def strings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the strings of a module that people may read, with their line: not its docstrings.

    The docstring of a command is its help, so that one counts. A value in an f-string is `…`.
    """
    tree = ast.parse(source)
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
            yield (
                node.lineno,
                "".join(
                    str(value.value) if isinstance(value, ast.Constant) else "…"
                    for value in node.values
                ),
            )
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.add(id(node.value))
        if isinstance(node, ast.FunctionDef) and any(map(_is_command, node.decorator_list)):
            yield node.lineno, ast.get_docstring(node) or ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def _is_command(decorator: ast.expr) -> bool:
    return re.search(r"\b(?:command|group)\b", ast.unparse(decorator)) is not None


def strings_of_cython(source: str) -> Iterator[tuple[int, str]]:
    """Yield the strings in quotes of a .pyx, with their line: not its docstrings, nor bytes."""
    for one in QUOTED.finditer(source):
        if one["text"] is not None and "b" not in one["prefix"]:
            text = re.sub(r"\{[^{}]*\}", "…", one["text"]) if "f" in one["prefix"] else one["text"]
            yield source.count("\n", 0, one.start()) + 1, text


def shown(roff: str) -> str:
    """Return what a reader sees of a man page's source, roughly: a paragraph on each line."""
    text = re.sub(r"\\f[BIR]", "", roff).replace("\\-", "-").replace("\\(dq", '"')
    text = re.sub(r"^\.(?:TP|PP|S[HS].*|TH.*|nf|fi|br|sp)$", "\n", text, flags=re.M)
    return re.sub(r"^\.(?:BR|IR|RB|B|I) +", "", text, flags=re.M)


def complaints(place: str, found: Iterator[tuple[int, str]]) -> list[str]:
    told = []
    for line, text in found:
        if " " in text.strip():  # one word is a name, a key or a pattern
            told += [f"{place}:{line}: {habit}: {text!r}" for habit in habits(text)]
    return told


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_strings_of_a_module_are_plain(path: Path) -> None:
    assert complaints(str(path.relative_to(ROOT)), strings(path.read_text())) == []


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.name)
def test_strings_of_a_compiled_module_are_plain(path: Path) -> None:
    assert complaints(path.name, strings_of_cython(path.read_text())) == []


@pytest.mark.parametrize("path", [*PAGES, *FILES], ids=lambda path: path.name)
def test_page_or_file_that_people_read_is_plain(path: Path) -> None:
    text = path.read_text()
    paragraphs = re.split(r"\n\s*#?\s*\n", shown(text) if path in PAGES else text)
    assert complaints(path.name, enumerate(one.replace("# ", " ") for one in paragraphs)) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_what_a_script_says_is_plain(path: Path) -> None:
    said = re.findall(r'\b(?:echo|say) "(.*)"', path.read_text())
    assert complaints(path.name, enumerate(said)) == []


@pytest.mark.parametrize(
    "path",
    [*MODULES, *COMPILED, *COMPILED[0].parent.glob("*.pxd"), *(ROOT / "fastdns").glob("*.pyi")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_docstrings_and_comments_are_free_of_the_worst(path: Path) -> None:
    told = [one[0] for one in QUOTED.finditer(path.read_text()) if one["text"] is None]
    assert [(text, name) for text in told for name in habits(text) if name in WORST] == []


# ---- the test finds what it looks for


@pytest.mark.parametrize(
    ("text", "habit"),
    [
        ("has 64 octets; it may have 63", "octets for bytes"),
        ("/srv/x is no directory", "is no X"),
        ("whoever asks is refused", "whoever"),
        ("of which there are two", "of which, to whom"),
        ("user x, under whom fastdns runs", "of which, to whom"),
        ("what is asked for again is written", "a clause as subject"),
        ("it ends; who says nothing is dropped", "a clause as subject"),
        ("it is forgotten, too", "too at the end"),
        ("a name that has to be asked for", "it has to be done"),
        ("to have fastdns serve them", "have X do"),
        ("answers that wait to be taken in", "taken in"),
        ("the file is put aside as x", "put aside"),
        ("so that was taken back", "taken back"),
        ("pid 3 gave up", "give up"),
        ("it hung up", "hang up"),
        ("say --yes", "say for run"),
        ("it shows no sign of life", "sign of life"),
        ("somebody holds port 53", "somebody"),
        ("it is written anew", "anew"),
        ("a directory of its own", "of its own"),
        ("answers go on", "go on"),
        ("it is tried now and then", "under way"),
        ("it gets no answers like that", "and so, like that"),
    ],
)
def test_habit_is_found(text: str, habit: str) -> None:
    assert habit in habits(text)


@pytest.mark.parametrize(
    "text",
    [
        "there is no disk cache at /srv/x",
        "is no longer used",
        "Who may ask. A client that is in no prefix is refused.",
        "is too long for a prefix",
    ],
)
def test_plain_text_has_none(text: str) -> None:
    assert habits(text) == []


def test_messages_help_and_f_strings_are_looked_at_and_docstrings_are_not() -> None:
    source = '''
"""Octets, of which none is user-visible."""
log.warning("%s: has octets", name)
raise Error(f"{path} is " f"no directory")

@click.command()
def verify() -> None:
    """Whoever reads this reads a help text."""

def inner() -> None:
    """Whoever reads this reads the source."""
'''
    found = [line.split(": ")[1] for line in complaints("x.py", strings(source))]
    assert sorted(found) == ["is no X", "octets for bytes", "whoever"]
    pyx = 'def f():\n    """Octets are fine."""\n    raise ValueError(f"needs {n} octets")\n'
    assert len(complaints("x.pyx", strings_of_cython(pyx))) == 1
