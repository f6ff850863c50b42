"""The file in which commands find the groups of a daemon."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fastdns.upstream.known_groups import KnownGroup, read_groups, write_groups

GROUPS = {7: KnownGroup("corp", 2**64 - 1), 65535: KnownGroup("lab", 1)}


def test_groups_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_groups(tmp_path / "groups", GROUPS)
    assert read_groups(tmp_path / "groups") == GROUPS
    assert [path.name for path in tmp_path.iterdir()] == ["groups"]


def test_without_groups_there_is_no_file(tmp_path: Path) -> None:
    write_groups(tmp_path / "groups", {})
    write_groups(tmp_path / "groups", GROUPS)
    write_groups(tmp_path / "groups", {})
    assert list(tmp_path.iterdir()) == []
    assert read_groups(tmp_path / "groups") == {}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "7", "[7]", "[{}]", '[{"name": "a", "number": "x", "origin": "1"}]'),
        *('[{"name": "a", "number": 1, "origin": 1}]', '{"name": "a"}', "[" * 100_000),
    ],
)
def test_file_of_another_program_names_no_group(tmp_path: Path, text: str) -> None:
    (tmp_path / "groups").write_text(text)
    assert read_groups(tmp_path / "groups") == {}


def test_file_that_cannot_be_written_is_told_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        write_groups(tmp_path / "none" / "groups", GROUPS)
    (line,) = caplog.messages
    assert line.endswith("groups: No such file or directory; commands do not know the groups")
