"""A machine for a test, without systemd, which the test machines do not run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.box import RESOLV_CONF, Box


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    if os.geteuid() != 0:
        pytest.skip("port 53 and namespaces of its own take root")
    with Box(tmp_path) as machine:
        machine.write("resolv.conf", RESOLV_CONF)
        yield machine


@pytest.fixture
def served(box: Box) -> Box:
    """A machine on which all is well: fastdns on port 53, in front of the machine's resolver."""
    box.start_upstream()
    box.start_fastdns()
    return box
