"""Fixtures of several units."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory for a cache on disk."""
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory
