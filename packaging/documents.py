"""Make the package's documentation from the commands and the schema.

documents.py DIRECTORY writes fastdns.1, fastdns-cache.1, fastdns-lists.1, fastdns.toml.5 and
fastdns.bash, .zsh, .fish there, which are not committed. documents.py --committed updates the
committed ones: packaging/reference.toml and the table of keys in docs/configuration.md. fastdns
must be importable.
The same source makes the same files: the date is that of SOURCE_DATE_EPOCH, or none.
"""

import argparse
import os
import time
from pathlib import Path

from completions import SHELLS, script
from manpages import page
from settings import replace, toml, with_key_table

from fastdns import __version__
from fastdns.cli import _fastdns as command

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("fastdns.1", "fastdns-cache.1", "fastdns-lists.1", "fastdns.toml.5")


def made(date: str) -> dict[str, str]:
    """Return all files by name."""
    files = {name: page(name, command, __version__, date) for name in PAGES}
    return files | {f"fastdns.{shell}": script(command, shell) for shell in SHELLS}


def day_of(epoch: str | None) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(int(epoch))) if epoch else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("directory", nargs="?", type=Path, help="where the files go")
    where.add_argument("--committed", action="store_true", help="renew what commits hold")
    chosen = parser.parse_args()
    if chosen.committed:
        made("")  # says what lacks a description, before a package is built
        replace(ROOT / "packaging" / "reference.toml", toml())
        document = ROOT / "docs" / "configuration.md"
        replace(document, with_key_table(document.read_text(encoding="utf-8")))
        return
    chosen.directory.mkdir(parents=True, exist_ok=True)
    for name, text in made(day_of(os.environ.get("SOURCE_DATE_EPOCH"))).items():
        replace(chosen.directory / name, text)


if __name__ == "__main__":
    main()
