"""Units of systemd, through systemctl, with a timeout."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from ..errors import FastdnsError

FASTDNS = "fastdns.service"
SECONDS = 60.0
ASK_SECONDS = 10.0  # nothing changes meanwhile


def systemd_runs() -> bool:
    """Return True if systemd runs: sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def is_active(unit: str) -> bool:
    """Return True if the unit runs, or is about to."""
    return _ask("is-active", unit) in ("active", "activating", "reloading")


def is_enabled(unit: str) -> bool:
    """Return True if the unit starts with the system."""
    return _ask("is-enabled", unit) in ("enabled", "enabled-runtime")


def is_known(unit: str) -> bool:
    """Return True if systemd has the unit and may start it."""
    return _ask("show", "--property=LoadState", "--value", unit) == "loaded"


def user_of(unit: str) -> str:
    """Return the user as whom systemd starts the unit; "": root, or systemd does not run."""
    return _ask("show", "--property=User", "--value", unit)


def keeps_sockets(unit: str) -> bool:
    """Return True if systemd keeps sockets of the unit, for its next start."""
    kept = _ask("show", "--property=NFileDescriptorStore", "--value", unit)
    return kept.isdigit() and int(kept) > 0


def change(*arguments: str) -> None:
    """Run systemctl; FastdnsError says why it failed."""
    done = _run(*arguments)
    if done.returncode != 0:
        lines = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
        raise FastdnsError(f"systemctl {' '.join(arguments)}: {lines[0]}")


def reset_failed(unit: str) -> None:
    """Let systemd start a unit again that has started too often."""
    with suppress(FastdnsError):  # it knows nothing of a unit that is not loaded
        change("reset-failed", unit)


def _ask(*arguments: str) -> str:
    """Return systemctl's one word; "" if systemd does not run."""
    return _run(*arguments, seconds=ASK_SECONDS).stdout.strip() if systemd_runs() else ""


def _run(*arguments: str, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["systemctl", "--no-pager", "--no-ask-password", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise FastdnsError(
            f"systemctl {' '.join(arguments)}: did not end within {seconds:g} s"
        ) from None
    except OSError as error:
        raise FastdnsError(f"cannot run systemctl: {error.strerror}") from None
