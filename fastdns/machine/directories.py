"""The directories of a daemon: created, owned by its account, and usable."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..config.places import Places, is_own_name
from ..errors import StartError
from .accounts import Account, name_of, obstacle, own_account, owner

log = logging.getLogger(__name__)


def prepare(places: Places) -> Account | None:
    """Create the directories; return the account to become, None to stay as we are.

    Root becomes the owner of state_dir or, if that is root, the account of fastdns. A root that
    cannot, in a container without capabilities, stays root and logs a warning.
    """
    account = None
    if os.geteuid() == 0:
        account = owner(places.state_dir) or own_account()
    if account is not None and (reason := obstacle(account)) is not None:
        log.warning(
            "running as root, because it cannot become user %s (%s)", name_of(account.uid), reason
        )
        account = None
    for directory in (places.state_dir, places.run_dir):
        if os.path.exists(directory) and not directory.is_dir():
            raise StartError(f"{directory} is not a directory; choose another one with --state DIR")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if account is not None:
                _hand_over(directory, account)
        except OSError as error:
            raise StartError(
                f"{directory}: {error.strerror}; choose another directory with --state DIR"
            ) from error
    return account


def check(places: Places) -> None:
    """Check that the current user can use the directories; StartError if not.

    A directory above them may stop the user that root has become.
    """
    for directory in (places.state_dir, places.run_dir):
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StartError(
                f"{directory}: fastdns runs as user {name_of(os.getuid())}, which "
                f"cannot write there; choose another directory with --state DIR"
            )


def _hand_over(directory: Path, account: Account) -> None:
    """Make the account the owner of a directory of ours; never of one with other files."""
    # By descriptor and without following links: the owner of the directory above may exchange it.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        uid = os.fstat(descriptor).st_uid
        if uid == account.uid:
            return
        if uid != 0 or not all(map(is_own_name, os.listdir(descriptor))):
            raise StartError(
                f"{directory} belongs to another user or holds other files; "
                f"choose an empty or a new directory with --state DIR"
            )
        os.fchown(descriptor, account.uid, account.gid)
    finally:
        os.close(descriptor)
