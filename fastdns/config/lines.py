"""The lines of a TOML file on which its keys are, which a parsed file no longer tells."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from .text import key_text

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|'
    r"'''.*?'''|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'[^'\n]*'|"
    r"#[^\n]*|"
    r"[\[\]{}=.\n]|"
    r"""[^\s"'#\[\]{}=.]+""",
    re.DOTALL,
)


@attrs.frozen
class Line:
    """A place where a key is set ("listen.dns") or a table begins ("listen")."""

    path: str
    number: int
    is_table: bool


def key_lines(text: str) -> Iterator[Line]:
    """Yield each key and each table in the order of the text, even if it is not valid TOML."""
    table: tuple[str, ...] = ()
    many: dict[tuple[str, ...], int] = {}  # of each [[table]]
    statement: list[str] = []
    number = first = 1
    depth = at = 0
    for match in _TOKEN.finditer(text + "\n"):
        number += text.count("\n", at, match.start())
        at = match.start()
        token = match[0]
        if token.startswith("#"):
            continue
        depth += (token in "[{") - (token in "]}") if "=" in statement else 0
        if token != "\n":
            first = first if statement else number
            statement.append(token)
        elif depth <= 0 and statement:
            if statement[0] == "[":
                table = _path(statement)
                if statement[1:2] == ["["]:
                    many[table] = many.get(table, -1) + 1
                table = _numbered(table, many)
                yield Line(".".join(table), first, is_table=True)
            elif "=" in statement:
                path = _path(statement[: statement.index("=")])
                yield Line(".".join((*table, *path)), first, is_table=False)
            statement, depth = [], 0


def doubles(text: str) -> Iterator[str]:
    """Yield a phrase for each key or table that appears twice, which TOML forbids."""
    seen: dict[tuple[str, bool], int] = {}
    for line in key_lines(text):
        first = seen.setdefault((line.path, line.is_table), line.number)
        if first == line.number:
            continue
        where = f"in lines {first} and {line.number}"
        if line.is_table:
            yield f"[{line.path}] appears twice, {where} (merge them)"
        else:
            yield f"{line.path} is set twice, {where} (keep one)"


def _numbered(table: tuple[str, ...], many: dict[tuple[str, ...], int]) -> tuple[str, ...]:
    """Return the path with the number of each [[table]] in it: forward[2].name."""
    return tuple(
        name if (number := many.get(table[: place + 1])) is None else f"{name}[{number}]"
        for place, name in enumerate(table)
    )


def _path(tokens: list[str]) -> tuple[str, ...]:
    """Return the parts of a dotted key, each as messages show it."""
    names = (token.strip("\"'") for token in tokens if token not in "[].")
    return tuple(key_text(name) for name in names)
