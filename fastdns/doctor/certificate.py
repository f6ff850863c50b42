"""The certificate of the encrypted services: is it one for them, and what does the daemon use?"""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ..config.listen import Listen
from ..config.places import Places
from ..config.schema import Config
from ..config.text import path_text
from ..errors import FastdnsError
from ..listen.certificate_files import (
    Pair,
    Problem,
    day_of,
    days_left,
    in_days,
    problems,
    read_files,
)
from ..listen.certificate_in_use import InUse, read_in_use
from . import units
from .commands import Commands
from .findings import Finding, hint, ok, wrong
from .running import Daemon

ABOUT = "encryption"
SECONDS = 5.0
ROOT = 0
DENIED = "Permission denied"
COPIES = (
    "have a deploy hook of certbot copy both files, the key with install -m 0640 -g fastdns, and "
    "name the copies in listen.certificate and listen.key (docs/encryption.md)"
)
FULL_CHAIN = (
    "is it fullchain.pem? listen.certificate must also have the certificates of its issuers; "
    "clients must be told to trust a private authority"
)
_NOT_NOW = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED: told anyway


def look(
    config: Config, running: Daemon | None, commands: Commands
) -> tuple[list[Finding], Pair | None]:
    """Return what is to be said of the certificate in the files, and what they hold."""
    files = config.listen.certificate_files
    if files is None:
        return [], None
    missing = has_none(running)
    try:
        pair = read_files(*files)
    except FastdnsError as error:
        text = f"{running} has no certificate: {missing}" if missing else str(error)
        if not missing and os.geteuid() != ROOT and DENIED in text:
            text = f"{text.partition(DENIED)[0]}{DENIED}, so nobody has looked at it"
            return [hint(ABOUT, text, f"run this as root: {commands.as_root('doctor')}")], None
        used = _in_use(config, running)
        if not missing and used is not None and used.holds(time.time()):
            text += f"; {_still(used)}"
        return [wrong(ABOUT, text, f"correct the file, then {commands.line('reload')}")], None
    found = list(_of_daemon(running, missing, files))
    used = _in_use(config, running)
    now = time.time()
    told = [_of_problem(one, used, now) for one in problems(pair.certificate, config.listen, now)]
    if not pair.certificate.is_self_signed and (reason := _distrust(files)):
        told.append(
            hint(ABOUT, f"this machine does not trust the certificate: {reason}", FULL_CHAIN)
        )
    if not told:
        left = in_days(days_left(pair.certificate, now))
        until = f"until {day_of(pair.certificate.not_after)} ({left} left)"
        names = ", ".join(pair.certificate.names)
        told = [ok(ABOUT, f"the certificate is for {names}, {until}")]
    return [*found, *told], pair


def has_none(running: Daemon | None) -> str:
    """Return why the daemon has no usable certificate; "": it has one, or tells us nothing."""
    told = (running.told.get("certificate") if running is not None else None) or {}
    return "" if told.get("not_after") else "; ".join(told.get("problems", ()))


def why_not_used(running: Daemon) -> str:
    """Return what the daemon says of its certificate; "": nothing is wrong."""
    return "; ".join((running.told.get("certificate") or {}).get("problems", ()))


def needs_one(listen: Listen, running: Daemon) -> bool:
    """Return whether the daemon serves TLS itself; behind a proxy that ends HTTPS, it does not."""
    told = running.told
    return told["certificate"] is not None if "certificate" in told else bool(listen.certificate)


def _of_problem(one: Problem, used: InUse | None, now: float) -> Finding:
    if one.is_of_time and used is not None and used.holds(now):
        fact = one.text.removesuffix(": until then, clients refuse it")
        fact = fact.removesuffix(": clients refuse it").removeprefix("the certificate ")
        text = f"the certificate in the file {fact}; {_still(used)}"
        return hint(ABOUT, text, one.do)
    return (wrong if one.is_fatal else hint)(ABOUT, one.text, one.do)


def _still(used: InUse) -> str:
    until = day_of(used.not_after)
    return f"the former one is served still, until {until}, but not after a restart"


def _in_use(config: Config, running: Daemon | None) -> InUse | None:
    """Return the certificate that clients get now; None: there is none, or nobody may know."""
    if running is None:
        return None
    run_dir = running.run_dir or config.run_dir
    return read_in_use(Places(config.state_dir, run_dir).certificate)


def _of_daemon(running: Daemon | None, missing: str, files: tuple[Path, Path]) -> Iterator[Finding]:
    """Yield what keeps the daemon from using good files, now or after its next start."""
    if running is None:
        return
    unreadable = _unreadable(running, files)
    names = " and ".join(map(path_text, unreadable))
    if missing:
        do = COPIES if unreadable else "see its log; it takes the files as soon as they are right"
        yield wrong(ABOUT, f"{running} has no certificate: {missing}", do)
    elif unreadable:
        text = (
            f"{running} cannot read {names} itself: only a reload by root brings that, and after "
            "a restart clients cannot use TLS and HTTPS"
        )
        yield hint(ABOUT, text, COPIES)


def _unreadable(running: Daemon, files: tuple[Path, Path]) -> list[Path]:
    """Return the files that the daemon's user cannot read at the next start; only root can tell.

    Without a unit that names the user, root starts it, and reads the files before it gives up its
    rights.
    """
    if os.geteuid() != ROOT or not running.pid or running.unit is None:
        return []
    if units.user_of(running.unit) in ("", "root"):
        return []
    ids = _ids(running.pid)
    if ids is None or ids[0] == ROOT:
        return []
    return [file for file in files if not can_read(file, *ids)]


def _ids(pid: int) -> tuple[int, int, list[int]] | None:
    """Return the user, the group and the other groups of a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    known = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    return int(known["Uid"][1]), int(known["Gid"][1]), list(map(int, known["Groups"]))


def can_read(file: Path, user: int, group: int, groups: list[int]) -> bool:
    """Return whether a process with these ids may open the file; True: that is not known."""
    try:
        done = subprocess.run(
            ["test", "-r", file],
            user=user,
            group=group,
            extra_groups=groups,
            check=False,
            timeout=SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return True
    return done.returncode != 1


def _distrust(files: tuple[Path, Path]) -> str:
    """Return why clients with this machine's authorities refuse what the files hold; "": they do
    not, or this machine has none.

    The handshake is one in memory: so it is what clients do.
    """
    theirs = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    has_any = paths.cafile or (paths.capath and any(os.scandir(paths.capath)))
    if not has_any:
        return ""
    theirs.check_hostname = False  # `problems` judges the names
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ours.load_cert_chain(*files, password="")
        server = ours.wrap_bio(to_server, to_client, server_side=True)
        client = theirs.wrap_bio(to_client, to_server)
        for side in (client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLCertVerificationError as error:
        return "" if error.verify_code in _NOT_NOW else error.verify_message
    except (OSError, ValueError):  # a key that has just been replaced
        return ""
    return ""
