"""What the reader of another configuration tells its user, each with file and line."""

from __future__ import annotations

import os
from collections.abc import Iterator

import attrs

from ..config.text import path_text, shorten

RANGES_MAX = 12  # of line numbers in one message
SETTINGS_MAX = 4  # names of settings in one message


@attrs.frozen
class Origin:
    """Where a setting of another program stands."""

    file: str
    line: int

    def __str__(self) -> str:
        """As comments have it, without the directory."""
        return f"{os.path.basename(self.file)}:{self.line}"


@attrs.define
class _Remark:
    text: str
    lines: list[int] = attrs.Factory(list)
    settings: dict[str, None] = attrs.Factory(dict)  # in their order


# In this order: what an owner has to read comes first.
DIFFERS, LEFT_OUT, NOT_NEEDED = "differs", "is left out", "is not needed"
KINDS = (DIFFERS, LEFT_OUT, NOT_NEEDED)


@attrs.define
class Report:
    """Remarks about lines; those of one file with the same text become one line of output."""

    _remarks: dict[tuple[str, str, str], _Remark] = attrs.Factory(dict)

    def differs(self, origin: Origin, setting: str, text: str) -> None:
        """The setting was converted, and means something else here."""
        self._add(DIFFERS, origin, setting, text)

    def leave_out(self, origin: Origin, setting: str, why: str) -> None:
        """The setting was not converted. `why` also names what to do instead."""
        self._add(LEFT_OUT, origin, setting, why)

    def not_needed(self, origin: Origin, setting: str, why: str) -> None:
        """The setting was not converted, and nothing is lost by that."""
        self._add(NOT_NEEDED, origin, setting, why)

    def _add(self, kind: str, origin: Origin, setting: str, text: str) -> None:
        remark = self._remarks.setdefault((kind, origin.file, text), _Remark(text))
        if not remark.lines or remark.lines[-1] != origin.line:
            remark.lines.append(origin.line)
        remark.settings[setting] = None

    @property
    def left_out(self) -> int:
        """The number of lines that are left out."""
        return sum(
            len(one.lines) for (kind, _, _), one in self._remarks.items() if kind == LEFT_OUT
        )

    def lines(self, kinds: tuple[str, ...] = KINDS) -> Iterator[str]:
        """Yield the lines for the user."""
        for kind in kinds:
            for (of_kind, file, _), remark in self._remarks.items():
                if of_kind == kind:
                    yield _line(kind, file, remark)


def _line(kind: str, file: str, remark: _Remark) -> str:
    where = (
        f"{path_text(file)}:{_numbers(remark.lines)}" if remark.lines != [0] else path_text(file)
    )
    settings = list(remark.settings)
    what = ", ".join(path_text(shorten(one)) for one in settings[:SETTINGS_MAX] if one)
    if len(settings) > SETTINGS_MAX:
        what += f" and {len(settings) - SETTINGS_MAX} more"
    is_one = len(settings) == 1 and not what[:1].isdigit()
    verb = kind if is_one else {DIFFERS: "differ"}.get(kind, kind.replace("is", "are"))
    text = path_text(remark.text)
    return f"{where}: {what} {verb}: {text}" if what else f"{where}: {text}"


def _numbers(lines: list[int]) -> str:
    """Return "3-8, 12" for the numbers of lines."""
    ranges: list[list[int]] = []
    for line in sorted(set(lines)):
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    shown = ", ".join(
        str(first) if first == last else f"{first}-{last}" for first, last in ranges[:RANGES_MAX]
    )
    more = sum(last - first + 1 for first, last in ranges[RANGES_MAX:])
    return f"{shown} and {more} more lines" if more else shown
