"""The file with a TSIG key, as BIND's tsig-keygen or the `key:` of NSD and Knot write it."""

from __future__ import annotations

import binascii
import re
from pathlib import Path

import attrs

from ..config.files import read_text
from ..config.text import path_text
from .errors import FetchError

ALGORITHMS = ("hmac-md5", "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
_COMMENT = re.compile(r"(?:#|//)[^\n]*|/\*.*?\*/", re.DOTALL)
_VALUE = r'\s*:?\s*"?([^\s";]+)"?'
_NAME = re.compile(r'\bkey\s+"?([^\s"{;:]+)"?\s*\{|\b(?:name|id)' + _VALUE)
_ALGORITHM = re.compile(r"\balgorithm" + _VALUE)
_SECRET = re.compile(r"\bsecret" + _VALUE)


@attrs.frozen
class Key:
    """A TSIG key (RFC 8945)."""

    name: str
    algorithm: str
    secret: bytes = attrs.field(repr=False)


def read_key(path: Path) -> Key:
    """Return the key in a file. FetchError: it has none, or cannot be read."""
    try:
        text = read_text(path, regular=True)
    except ValueError as error:
        raise FetchError(f"needs the key in {path_text(path)}, which {error}") from None
    # "//" also stands in a secret, where it is no comment.
    found = [pattern.search(_COMMENT.sub(_kept, text)) for pattern in (_NAME, _SECRET)]
    name, secret = ("" if one is None else next(filter(None, one.groups()), "") for one in found)
    algorithm = _ALGORITHM.search(text)
    word = algorithm[1].lower().rstrip(".") if algorithm else "hmac-sha256"
    if word not in ALGORITHMS:
        raise FetchError(
            f"needs the key in {path_text(path)}, whose algorithm {word} is unknown "
            f"(try hmac-sha256)"
        )
    try:
        if not (name and secret):
            raise ValueError
        return Key(name, word, binascii.a2b_base64(secret, strict_mode=True))
    except ValueError:
        raise FetchError(
            f"needs the key in {path_text(path)}, which has none "
            f'(try key "transfer" {{ algorithm hmac-sha256; secret "c2VjcmV0"; }};)'
        ) from None


def _kept(match: re.Match[str]) -> str:
    before = match.string[: match.start()].rpartition("\n")[2]
    return match[0] if before.count('"') % 2 or re.search(r"secret\s*:?\s*\S*$", before) else ""
