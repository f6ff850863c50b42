"""Two upstreams: that of all names, and that of a group."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support.false_upstream import Asked, FalseUpstream


def answer_private(asked: Asked) -> None:
    """The behaviour of a resolver that knows names of its own."""
    asked.answer("@ 300 IN A 10.0.0.7")


@pytest.fixture
def default() -> Iterator[FalseUpstream]:
    with FalseUpstream() as upstream:
        yield upstream


@pytest.fixture
def corp() -> Iterator[FalseUpstream]:
    with FalseUpstream(answer_private) as upstream:
        yield upstream
