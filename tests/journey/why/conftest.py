"""A daemon with a group of upstreams, and the command that tells its stories."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..support.commands import fastdns
from ..support.daemon import Fastdns, address_of
from ..support.false_upstream import FalseUpstream

Start = Callable[..., Fastdns]


@pytest.fixture
def config(tmp_path: Path, corp: FalseUpstream) -> str:
    """A group by a key and by a list, and one that is answered here."""
    (tmp_path / "list").write_text("# of the provider\nlab.demo\nserver=/line.demo/192.0.2.1\n")
    return (
        f'[[forward]]\nname = "corp"\ndomains = ["corp.demo", "file:{tmp_path}/list"]\n'
        f'servers = ["{address_of(corp)}"]\n'
        '[[forward]]\nname = "ads"\ndomains = ["ads.demo"]\nanswer = "nxdomain"\n'
    )


@pytest.fixture
def daemon(start_fastdns: Start, default: FalseUpstream, config: str) -> Fastdns:
    return start_fastdns(upstream=[default], config=config)


def places_of(daemon: Fastdns) -> list[str]:
    return ["-c", str(daemon.state_dir.with_suffix(".toml")), "--state", str(daemon.state_dir)]


def why(daemon: Fastdns, *arguments: str) -> str:
    """What the command prints, which must succeed without a warning."""
    done = fastdns("why", *arguments, *places_of(daemon))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def told(daemon: Fastdns, *arguments: str) -> dict[str, Any]:
    """The same as JSON."""
    story: dict[str, Any] = json.loads(why(daemon, *arguments, "--json"))
    return story
