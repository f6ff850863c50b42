"""unbound.conf as its settings: `keyword: value …`, in clauses; included files in their place."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from .files import Files, matching
from .report import Origin

CLAUSE_WORDS = frozenset(
    {
        *("server", "forward-zone", "stub-zone", "auth-zone", "view", "remote-control", "rpz"),
        *("python", "dynlib", "dnscrypt", "cachedb", "dnstap", "ipset"),
    }
)
INCLUDES = frozenset({"include", "include-toplevel"})

_TOKEN = re.compile(
    r"""(?P<line>\n)|[ \t\r\f]+|\#[^\n]*
    |"(?P<double>(?:[^"\\\n]|\\.)*)"?|'(?P<single>(?:[^'\\\n]|\\.)*)'?|(?P<bare>(?:[^\s'"\\]|\\.)+)|\\""",
    re.VERBOSE,
)
# With a value right behind the colon only if it cannot be an IPv6 address or a URL.
_KEYWORD = re.compile(r"([a-z][a-z0-9-]*):()|(port|name|[a-z][a-z-]{4,}):(?!//)(.+)", re.IGNORECASE)


@attrs.frozen
class Setting:
    """One keyword with its values. A clause's own keyword has none."""

    keyword: str
    values: tuple[str, ...]
    origin: Origin

    @property
    def value(self) -> str:
        return self.values[0] if self.values else ""

    @property
    def is_yes(self) -> bool:
        return self.value.lower() == "yes"

    def __str__(self) -> str:
        return " ".join([f"{self.keyword}:", *self.values])


def settings(text: str, file: str, files: Files) -> Iterator[Setting]:
    """Yield all settings in their order."""
    keyword: str | None = None
    values: list[str] = []
    origin = Origin(file, 1)
    for token, is_keyword, line in _tokens(text):
        if not is_keyword:
            values.append(token)
            continue
        yield from _setting(keyword, values, origin, files)
        keyword, values, origin = token, [], Origin(file, line)
    yield from _setting(keyword, values, origin, files)


def _setting(
    keyword: str | None, values: list[str], origin: Origin, files: Files
) -> Iterator[Setting]:
    if keyword in INCLUDES:
        for pattern in values:
            paths = matching(origin.file, pattern)
            if not paths:
                told = f"{keyword}: {pattern}"
                files.report.not_needed(origin, told, "no file is there")
            for path in paths:
                text = files.included(path, f"{keyword}: {pattern}", origin)
                yield from settings(text, path, files) if text is not None else ()
    elif keyword is None:
        for word in values:
            files.report.leave_out(origin, word, "it is not a setting of unbound")
    else:
        yield Setting(keyword, tuple(values), origin)


def _tokens(text: str) -> Iterator[tuple[str, bool, int]]:
    """Yield words, whether each is a keyword (without its colon then), and their lines."""
    line = 1
    for match in _TOKEN.finditer(text):
        if match["line"]:
            line += 1
        elif match["bare"] is not None:
            keyword = _KEYWORD.fullmatch(match["bare"])
            if keyword is None:
                yield match["bare"], False, line
                continue
            yield (keyword[1] or keyword[3]).lower(), True, line
            if keyword[4]:
                yield keyword[4], False, line
        else:
            quoted = match["double"] if match["double"] is not None else match["single"]
            if quoted is not None:
                yield quoted, False, line
