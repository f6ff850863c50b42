"""Mapped pages that are released: of libraries here, of the database in test_store."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import zlib, hashlib, json
from pathlib import Path
from fastdns._pages import release_code

def kib():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return found["Rss"] - found["Anonymous"], found["Anonymous"]

text = b"what was there is still there " * 1000
before, own = kib()
said = hashlib.sha256(zlib.compress(text)).hexdigest()
release_code()
after, own_after = kib()
assert hashlib.sha256(zlib.compress(text)).hexdigest() == said
print(json.dumps([before, after, own, own_after]))
"""


def test_code_that_a_start_has_read_is_given_back_and_can_be_used_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, check=True
    )
    before, after, own, own_after = map(int, done.stdout.strip("[]\n").split(","))
    assert after < before - 1000
    assert own_after >= own - 100  # nothing that is its own: that would be lost
