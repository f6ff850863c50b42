"""`fastdns cache export`: every entry as a JSON line, for `import` here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ...browse.items import Wanted, find
from ...browse.json_lines import line_of
from ...config.text import path_text
from ...errors import FastdnsError
from .. import options
from ..output import counted, emit, warn
from .progress import progress
from .replacement import InPlace, Replacement, is_written_in_place
from .site import find_site


@click.command()
@click.argument("file", shell_complete=options.of_kind("file"))
@options.config_file
@options.state
def export(file: str, path: Path | None, state: str | None) -> None:
    """Write all entries to FILE, or to standard output (-), one JSON line each.

    FILE is replaced only when everything is written, so a failure leaves the old file. Only its
    owner can read it.
    """
    wanted = Wanted()
    with _writing(file) as write:  # first: root may write where the cache's owner may not
        site = find_site(path, state, shows_records=True)
        with site.reading() as reader:
            entries = reader.facts().entries
            with progress("writing", entries, beside_output=file == "-") as advance:
                for items in find(reader, wanted, site.judge()):
                    write("".join(line_of(item) + "\n" for item in items))
                    advance(len(items))
    if wanted.damaged:
        damaged = counted(wanted.damaged, "damaged entry was", "damaged entries were")
        warn(f"{damaged} left out (see fastdns cache verify)")


@contextmanager
def _writing(file: str) -> Iterator[Callable[[str], None]]:
    """Return a function that writes text to the file, which is complete when the block ends."""
    if file == "-":
        yield emit
        return
    with _told(file):
        place = InPlace(file) if is_written_in_place(file) else Replacement(file)

    def write(text: str) -> None:
        with _told(file):
            place.stream.write(text.encode())

    try:
        yield write
        with _told(file):
            place.finish()
    finally:
        place.close()


@contextmanager
def _told(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FastdnsError(f"cannot write {path_text(file)}: {error.strerror}") from None
