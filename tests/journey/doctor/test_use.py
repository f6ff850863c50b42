"""`fastdns doctor`: bad use, and lines on a terminal."""

from __future__ import annotations

import re

import pytest

from ..support.box import Box


def test_lines_are_broken_at_words_on_a_terminal_alone(box: Box) -> None:
    told = box.doctor(status=1).splitlines()
    assert any(len(line) > 90 for line in told)

    _, seen = box.doctor_on_terminal(typed="", columns=60)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in seen.splitlines()]

    assert max(map(len, lines)) <= 60
    assert "       " in {line[:7] for line in lines}
    assert " ".join(" ".join(lines).split()) == " ".join(" ".join(told).split())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--fix", "--undo"], "opposites"),
        (["--fix"], "use --fix --yes"),
        (["--undo"], "use --undo --yes"),
        (["--resolver"], "goes with --fix"),
        (["--yes"], "goes with --fix or --undo"),
        (["--json", "--fix"], "--json does not go with"),
        (["x"], "unexpected extra argument"),
    ],
)
def test_bad_use_has_status_2(box: Box, arguments: list[str], problem: str) -> None:
    assert problem in box.doctor(*arguments, status=2)
