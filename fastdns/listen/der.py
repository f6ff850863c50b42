"""Files that hold DER where PEM is expected: what to do about them."""

from __future__ import annotations

from pathlib import Path

from ..config.text import path_text

SEQUENCE = b"\x30"
LONG_FORMS = range(0x81, 0x84)  # a length in one octet to three
COMMANDS = {"certificate": "openssl x509", "key": "openssl pkey"}
# How the content begins: a certificate with another SEQUENCE, a key with version 0 or 1. PKCS#12
# has version 3, and the commands do not read it.
BEGINNINGS = {"certificate": (SEQUENCE,), "key": (b"\x02\x01\x00", b"\x02\x01\x01")}


def remedy(key: str, path: Path, octets: bytes) -> str:
    """Return, in parentheses, the command that makes PEM of a file in DER; "" for other files.

    `key`: "certificate" or "key", of [listen].
    """
    if not _content(octets).startswith(BEGINNINGS[key]):
        return ""
    shown = path_text(path)
    return f" (it is DER; try {COMMANDS[key]} -inform der -in {shown} -out {shown}.pem)"


def _content(octets: bytes) -> bytes:
    """Return what is in a SEQUENCE that is the whole file; nothing: it is another file."""
    if len(octets) < 2 or octets[:1] != SEQUENCE:
        return b""
    size = octets[1] & 0x7F if octets[1] in LONG_FORMS else 0
    length = int.from_bytes(octets[2 : 2 + size], "big") if size else octets[1]
    content = octets[2 + size :]
    return content if len(content) == length else b""
