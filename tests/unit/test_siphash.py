"""SipHash-1-3, compared with the one in Python; SipHash-2-4, with the vectors of its authors."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fastdns._siphash import siphash

LENGTHS = (*range(1, 72), 127, 128, 255, 256, 262, 1000)
PRINT_HASHES = f"""
import json, sys
data = bytes(i * 7 & 255 for i in range(1000))
print(json.dumps([sys.hash_info.algorithm, *(hash(data[:n]) for n in {LENGTHS})]))
"""


def secret(seed: int) -> bytes:
    """The key that Python makes of PYTHONHASHSEED (0: all zero), as its bootstrap_hash.c does."""
    octets = []
    for _ in range(16):
        seed = (seed * 214013 + 2531011) & 0xFFFFFFFF
        octets.append(seed >> 16 & 0xFF)
    return bytes(octets)


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes otherwise")
@pytest.mark.parametrize(("seed", "hash_key"), [(0, bytes(16)), (42, secret(42)), (7, secret(7))])
def test_every_length_hashes_as_in_python(seed: int, hash_key: bytes) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    run = subprocess.run(
        [sys.executable, "-c", PRINT_HASHES], env=environment, capture_output=True, check=True
    )
    algorithm, *theirs = json.loads(run.stdout)
    data = bytes(i * 7 & 255 for i in range(1000))
    bits = (1 << sys.hash_info.width) - 1  # a Python of 32 bits has the lower half
    ours = [siphash(hash_key, data[:length]) & bits for length in LENGTHS]
    assert algorithm == "siphash13"
    assert ours == [number & bits for number in theirs]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "310e0edd47db6f72"),
        (1, "fd67dc93c539f874"),
        (2, "5a4fa9d909806c0d"),
        (3, "2d7efbd796666785"),
        (15, "e545be4961ca29a1"),
    ],
)
def test_siphash_2_4_gives_the_vectors_of_its_authors(length: int, expected: str) -> None:
    found = siphash(bytes(range(16)), bytes(range(length)), slow=True)
    assert found.to_bytes(8, "little").hex() == expected


def test_nothing_at_all_has_a_hash_that_depends_on_the_key() -> None:
    assert siphash(bytes(16), b"") != siphash(bytes(15) + b"\1", b"")


def test_every_octet_of_the_key_counts() -> None:
    keys = [bytes(i == place for i in range(16)) for place in range(16)]
    assert len({siphash(one, b"www.example") for one in keys}) == 16


@pytest.mark.parametrize("length", [0, 15, 17])
def test_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        siphash(bytes(length), b"")
