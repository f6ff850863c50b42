"""`fastdns import-config`: a configuration of unbound or dnsmasq as ours."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from ..config.text import path_text
from ..errors import FastdnsError
from ..migrate.convert import KINDS, convert
from . import options
from .output import counted, emit


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=options.of_kind("file"),
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="-",
    shell_complete=options.of_kind("file"),
    help="Write to this file instead of standard output.",
)
@click.option("-f", "--force", is_flag=True, help="Replace the output file if it exists.")
@click.option("--from", "kind", type=click.Choice(KINDS), help="The program that FILE belongs to.")
def import_config(files: tuple[Path, ...], output: str, force: bool, kind: str | None) -> None:
    """Convert a configuration of unbound or dnsmasq into one of fastdns.

    Files that FILE includes are read as well. Each value in the result has a comment that names the
    line it came from. Standard error names each line that is left out, with the reason, and each
    one that means something else here. Nothing else is changed: not FILE, and not the running
    daemon. Exit status 2: FILE cannot be read, or belongs to neither program.
    """
    result = convert(list(files), kind)
    if output == "-":
        emit(result.toml)
    else:
        _write(Path(output), result.toml, force)
    for line in result.remarks:
        click.echo(line, err=True)
    where = f"wrote {path_text(output)}" if output != "-" else "converted"
    click.echo(
        f"{where} from {counted(result.files, 'file', 'files')} of {result.kind}; "
        f"{counted(result.left_out, 'line is', 'lines are')} left out",
        err=True,
    )
    if output != "-":
        click.echo(f"next: fastdns check -c {path_text(output)}", err=True)


def _write(path: Path, text: str, force: bool) -> None:
    """Write a new file; with `force` in place of an existing one, which stays if that fails."""
    try:
        if not force:
            with open(path, "x", encoding="utf-8") as stream:
                stream.write(text)
            return
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".fastdns-", suffix=".tmp")
        try:
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                os.fchmod(stream.fileno(), 0o644)
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except FileExistsError:
        raise FastdnsError(f"{path_text(path)} exists (run with --force to replace it)") from None
    except OSError as error:
        raise FastdnsError(f"cannot write {path_text(path)}: {error.strerror}") from None
