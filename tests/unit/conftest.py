"""Fixtures of several units."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes import Scene


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory for a cache on disk."""
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()
