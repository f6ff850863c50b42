"""Files that are replaced as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastdns.replaced import replaced


def test_the_new_content_has_its_place_and_mode_afterwards(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(b"former")
    with replaced(path, 0o600) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"former"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_former_content_stays_if_writing_fails(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(b"former")

    def fail() -> None:
        with replaced(path) as stream:
            stream.write(b"ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_what_stands_in_the_way_is_removed_and_no_link_is_followed(tmp_path: Path) -> None:
    (other := tmp_path / "other").write_bytes(b"of another user")
    (tmp_path / "file.new").symlink_to(other)
    with replaced(tmp_path / "file") as stream:
        stream.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert other.read_bytes() == b"of another user"
