"""Names as people write them, to wire form.

Text is as in zone files (RFC 1035 section 5.1): `\\.` is a dot inside a label, `\\DDD` any octet.
"""

from __future__ import annotations

import re

from .text import describe

NAME_MAX = 255  # octets in wire form, RFC 1035 section 2.3.4
LABEL_MAX = 63

_ESCAPED = re.compile(r"\\([0-9]{3}|[^0-9])|([^\\])", re.DOTALL)


def parse_name(text: str) -> bytes:
    """Return the name in wire form, lower case; ValueError with one phrase.

    The final dot may be left out. A name in letters beyond ASCII has to come as A-labels: which
    ones it has depends on the version of IDNA, and that choice is the user's.
    """
    if not text:
        raise ValueError('is empty (try "." for the root)')
    labels = [] if text == "." else _labels(text)
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(wire) > NAME_MAX:
        raise ValueError(f"{describe(text)} has {len(wire)} bytes; a name has at most {NAME_MAX}")
    return wire


def _labels(text: str) -> list[bytes]:
    labels = [bytearray()]
    at = 0
    while at < len(text):
        found = _ESCAPED.match(text, at)
        if not found:
            raise ValueError(f"{describe(text)} has a lone backslash (write a byte as \\DDD)")
        at = found.end()
        if found[0] == ".":
            labels.append(bytearray())
            continue
        octet = _octet(found[1] or found[2], text)
        labels[-1].append(octet + 32 if 65 <= octet <= 90 else octet)
    if not labels[-1]:
        labels.pop()  # after the final dot
    for label in labels:
        if not label:
            raise ValueError(f"{describe(text)} has an empty label (two dots in a row)")
        if len(label) > LABEL_MAX:
            raise ValueError(
                f"{describe(text)} has a label of {len(label)} bytes; a label has at most "
                f"{LABEL_MAX}"
            )
    return [bytes(label) for label in labels]


def _octet(written: str, text: str) -> int:
    octet = int(written) if len(written) == 3 else ord(written)
    if len(written) == 3 and octet > 255:
        raise ValueError(f"{describe(text)}: \\{written} is not a byte (use \\000 to \\255)")
    if len(written) == 1 and octet > 126:
        raise ValueError(
            f"{describe(text)} is not in ASCII; write its A-labels (xn--…), or bytes as \\DDD"
        )
    return octet
