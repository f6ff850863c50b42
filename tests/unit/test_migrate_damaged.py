"""Configurations of others with typing errors: a line for each, never a traceback."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path

import pytest

from fastdns.migrate.convert import KINDS, convert

SAMPLES = Path(__file__).parents[1] / "foreign"
ODD = [*"/#@:.,=*\"'\\ -09az\t%", "é", "\0", "\u2028", "::", "..", "\r", "", ""]
FOLLOWED = ("include", "conf-", "resolv-file")  # files of this machine


def lines_of(kind: str) -> list[str]:
    files = [
        file
        for file in sorted(SAMPLES.rglob("*.conf"))
        if kind
        in str(file)
        .replace("pi-hole", "dnsmasq")
        .replace("openwrt", "dnsmasq")
        .replace("opnsense", "unbound")
    ]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if not any(word in line for word in FOLLOWED)]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_lines_are_told(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    lines = lines_of(kind)
    file = tmp_path / "settings"
    for _ in range(150):
        damaged = []
        for line in chance.sample(lines, 20):
            at = chance.randrange(len(line) + 1)
            damaged.append(line[:at] + chance.choice(ODD) + line[at + chance.randrange(2) :])
        file.write_text("\n".join(damaged), newline="")

        result = convert([file], kind)

        tomllib.loads(result.toml)
        assert all(remark.isprintable() for remark in result.remarks), damaged
