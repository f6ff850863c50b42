"""Reading small text files that other programs or people wrote."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from .text import describe
from .units import spell_size

MAX_OCTETS = 1 << 20


def absolute_path(text: str) -> Path:
    """Return the path; ValueError with one phrase if it is relative or impossible."""
    if not text.startswith("/"):
        raise ValueError(f"{describe(text)} is not an absolute path (begin it with /)")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{describe(text)} is not UTF-8 text") from None
    if "\0" in text:
        raise ValueError(f"{describe(text)} contains a NUL byte")
    return Path(text)


def read_text(path: Path, *, regular: bool) -> str:
    """Return the text of a file of at most 1 MiB, without a byte order mark.

    ValueError with one phrase if it cannot be read. With regular=True a pipe or a device is refused
    and this never blocks: the daemon reads such files while it serves. Otherwise /dev/stdin and
    <(command) work.
    """
    content = read_octets(path, regular=regular)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start + 1})") from None


def read_octets(path: Path, *, regular: bool, limit: int = MAX_OCTETS) -> bytes:
    """Return the content of a file of at most `limit` bytes; all else is as in `read_text`."""

    def opener(name: str, flags: int) -> int:
        # O_NONBLOCK: opening a pipe without a writer would block.
        return os.open(name, flags | (os.O_NONBLOCK if regular else 0))

    try:
        with open(path, "rb", opener=opener) as stream:
            status = os.fstat(stream.fileno())
            if regular and not stat.S_ISREG(status.st_mode):
                raise ValueError("is not a regular file")
            # No more than the file has: a read takes the memory for all that it may return.
            content = stream.read(min(limit, max(status.st_size, MAX_OCTETS)) + 1)
    except PermissionError:
        raise ValueError(
            f"cannot be read by user {own_name()}: Permission denied (let that user read it)"
        ) from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise ValueError(f"is larger than {spell_size(limit)}")
    return content


def own_name() -> str:
    """Return the user that this process runs as, for messages."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
