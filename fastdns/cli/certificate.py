"""`fastdns certificate`: the certificate of the encrypted services, or one to try them with."""

from __future__ import annotations

import json
import os
import pwd
import time
from contextlib import suppress
from pathlib import Path

import click

from .._certificate import Certificate, make_self_signed, read_pair
from ..config.listen import Listen
from ..config.load import load
from ..config.places import SYSTEM_ACCOUNT, Places
from ..config.schema import Config
from ..config.service_name import parse_service_name
from ..config.text import path_text, quote
from ..errors import FastdnsError
from ..listen.certificate_files import day_of, days_left, in_days, problems, read_files
from ..listen.certificate_in_use import InUse, read_in_use
from ..machine.state_lock import holder
from ..replaced import replaced
from . import options
from .output import emit, warn

CHAIN_FILE, KEY_FILE = "fullchain.pem", "privkey.pem"  # as certbot calls them
DAYS = 365
DAYS_MAX = 3650
NONE = (
    "no certificate is configured: set listen.certificate and listen.key (docs/encryption.md), or "
    "make one to try with: fastdns certificate --self-signed NAME"
)
AT_PROXY = (
    "no certificate is configured here: listen.proxies passes HTTPS on, and clients see the "
    "certificate of that proxy (docs/encryption.md)"
)


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@options.config_file
@click.option("--self-signed", is_flag=True, help="Make one for each NAME, a name or an address.")
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    metavar="N",
    help=f"With --self-signed: for how long it is valid (default: {DAYS}).",
)
@click.option(
    "--out",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    shell_complete=options.of_kind("dir"),
    help="With --self-signed: where to write the files (default: here); made if it is missing.",
)
@click.option("-f", "--force", is_flag=True, help="With --self-signed: replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def certificate(
    names: tuple[str, ...],
    path: Path | None,
    *,
    self_signed: bool,
    days: int | None,
    directory: Path | None,
    force: bool,
    as_json: bool,
) -> int | None:
    """Show the certificate of listen.certificate, or make one to try with.

    Says for which names it is and for how long it is valid. Exit status 1: there is none, it does
    not belong to listen.key, or it is not valid now. With --self-signed, writes fullchain.pem and
    privkey.pem. No client trusts such a certificate unless told to.
    """
    if self_signed:
        if not names:
            raise click.UsageError("--self-signed: for which NAME? (try dns.example.net)")
        if as_json:
            raise click.UsageError("--json does not go with --self-signed")
        _make(names, days or DAYS, directory or Path(), force=force)
        return None
    if names or days or directory or force:
        raise click.UsageError("NAME, --days, --out and --force go with --self-signed")
    return _show(load(path), as_json=as_json)


def _show(config: Config, *, as_json: bool) -> int:
    listen = config.listen
    files = listen.certificate_files
    if files is None:
        raise FastdnsError(AT_PROXY if listen.https and listen.proxies else NONE)
    found = read_files(*files).certificate
    now = time.time()
    emit(_json(found, listen, now) if as_json else _shown(found, listen, now))
    for problem in problems(found, listen, now):
        warn(problem.text)
    used = _in_use(Places(config.state_dir, config.run_dir))
    if used is not None and used != InUse(found.names, found.not_before, found.not_after):
        until = day_of(used.not_after)
        warn(
            f"the running daemon uses another one, until {until}: sudo fastdns reload says why, "
            "unless this one is only seconds old"
        )
    return 0 if found.not_before <= now <= found.not_after else 1


def _in_use(places: Places) -> InUse | None:
    """Return what the running daemon uses; None: none runs, or it is not visible."""
    try:
        is_running = holder(places.lock) is not None
    except FastdnsError:
        return None
    return read_in_use(places.certificate) if is_running else None


def _shown(found: Certificate, listen: Listen, now: float) -> str:
    lines = (
        ("names", ", ".join(found.names) or "none"),
        ("valid", f"{day_of(found.not_before)} to {day_of(found.not_after)}, {_left(found, now)}"),
        ("issuer", found.issuer),
        ("key", found.key_kind),
        ("files", f"{path_text(listen.certificate)}, {path_text(listen.key)}"),
    )
    return "".join(f"{about:<8}{text}\n" for about, text in lines)


def _json(found: Certificate, listen: Listen, now: float) -> str:
    told = {
        "names": list(found.names),
        "not_before": found.not_before,
        "not_after": found.not_after,
        "days_left": days_left(found, now),
        "issuer": found.issuer,
        "self_signed": found.is_self_signed,
        "key": found.key_kind,
        "certificate_file": listen.certificate,
        "key_file": listen.key,
    }
    return json.dumps(told) + "\n"


def _left(found: Certificate, now: float) -> str:
    if found.not_before > now:
        return "not valid yet"
    left = days_left(found, now)
    return f"{in_days(left)} left" if found.not_after >= now else "which is over"


# One to try with


def _make(names: tuple[str, ...], days: int, directory: Path, *, force: bool) -> None:
    try:
        chain, key = make_self_signed([one.lower() for one in names], days)
        found = read_pair(chain, key)
    except ValueError as error:
        raise click.UsageError(f"--self-signed: {error}") from None
    files = directory / CHAIN_FILE, directory / KEY_FILE
    for file in files:
        if not force and os.path.lexists(file):
            raise FastdnsError(f"{path_text(file)} exists (run with --force to replace it)")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with replaced(files[1], 0o600) as stream:
            _let_daemon_read(stream.fileno())
            stream.write(key)
        with replaced(files[0]) as stream:
            os.fchmod(stream.fileno(), 0o644)  # clients get it anyway, whatever the umask is
            stream.write(chain)
    except OSError as error:
        raise FastdnsError(f"cannot write to {path_text(directory)}: {error.strerror}") from None
    absolute = [quote(os.path.abspath(file)) for file in files]
    host = next((one for one in found.names if _may_be_name(one)), None)
    name = f"name = {quote(host)}\n" if host is not None else ""
    emit(
        f"# wrote {path_text(files[0])} and {path_text(files[1])}, valid for {in_days(days)}; "
        "in the configuration:\n"
        "[listen]\n"
        'tls = ["0.0.0.0", "[::]"]\n'
        'https = ["0.0.0.0", "[::]"]\n'
        f"certificate = {absolute[0]}\nkey = {absolute[1]}\n{name}"
    )


def _may_be_name(text: str) -> bool:
    try:
        return parse_service_name(text) == text
    except ValueError:  # an address, or a wildcard
        return False


def _let_daemon_read(descriptor: int) -> None:
    """As root, let the daemon's group read the key, where there is the package's account."""
    if os.geteuid() == 0:
        with suppress(KeyError, OSError):
            os.fchown(descriptor, -1, pwd.getpwnam(SYSTEM_ACCOUNT).pw_gid)
            os.fchmod(descriptor, 0o640)
