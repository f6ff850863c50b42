"""`fastdns cache export`: every entry as a line of JSON, for `import` here or elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import click

from ...cache.exchange import line_of
from ...cache.items import Wanted, find
from ...config.text import path_text
from ...errors import FastdnsError
from .. import options
from ..output import emit, warn
from .progress import progress
from .site import find_site, step_back


@click.command()
@click.argument("file")
@options.config_file
@options.state
def export(file: str, path: Path | None, state: str | None) -> None:
    """Write all entries into FILE, or to standard output (-), a line of JSON each."""
    write = _writer(file)  # now: root may write where the owner of the cache may not
    wanted = Wanted()
    site = find_site(path, state, shows_records=True)
    step_back()
    with site.reading() as reader:
        entries = reader.facts().entries
        with progress("writing", entries, beside_output=file == "-") as advance:
            for items in find(reader, wanted, site.judge()):
                write("".join(line_of(item) + "\n" for item in items))
                advance(len(items))
    write("")
    if wanted.damaged:
        warn(f"{wanted.damaged} damaged entries were left out (see fastdns cache verify)")


def _writer(file: str) -> Callable[[str], None]:
    """Return what writes text to the place, and with an empty text sees that all of it is there."""
    if file == "-":
        return emit
    stream = _opened(file)
    written = False

    def write(text: str) -> None:
        nonlocal written
        try:
            if not written and stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                stream.truncate(0)  # not before there is something to put there
            written = True
            stream.write(text.encode())
            if not text:
                stream.flush()
        except OSError as error:
            raise FastdnsError(f"cannot write {path_text(file)}: {error.strerror}") from None

    return write


def _opened(file: str) -> BinaryIO:
    def opener(name: str, _flags: int) -> int:
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)

    try:
        return open(file, "wb", opener=opener)
    except OSError as error:
        raise FastdnsError(f"cannot write {path_text(file)}: {error.strerror}") from None
