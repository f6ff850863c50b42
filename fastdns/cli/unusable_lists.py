"""Block lists of a configuration that block nothing, for `fastdns check`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..config.places import Places
from ..config.schema import Config
from ..config.text import path_text
from ..config.values import ListFile
from ..lists.store import Store
from ..machine import accounts
from ..policy.block_lists.named import lists_named


def unusable_lists(config: Config) -> Iterator[str]:
    """Yield a line for each file that the daemon cannot read, and each list without entries."""
    lists = lists_named(config)
    if not lists:
        return
    places = Places(config.state_dir, config.run_dir)
    account = _account_of_daemon(places)
    store = Store(places)
    for one in lists:
        name = path_text(one)
        problem = _why_unreadable(one.path, account) if isinstance(one, ListFile) else None
        if problem:
            yield f"{name}: {problem}"
            continue
        state = store.state(one)
        if state.digest and not state.figures.taken:
            yield f"{name}: has no entries, so it blocks nothing (is it a list of domains?)"


def _account_of_daemon(places: Places) -> accounts.Account | None:
    """Return the account that a daemon drops root for; None: it stays the user of this command."""
    if os.geteuid() != 0:
        return None
    account = accounts.owner(places.state_dir) or accounts.own_account()
    return None if account is None or accounts.obstacle(account) else account


def _why_unreadable(path: Path, account: accounts.Account | None) -> str | None:
    try:
        path.stat()
    except PermissionError:
        return None  # the user of the daemon may see more than this one
    except OSError as error:
        return f"cannot be read ({error.strerror}), so it blocks nothing"
    if not path.is_file():
        return "is not a file, so it blocks nothing"
    if account is not None and not accounts.may_read(account, [str(path)]):
        user = accounts.name_of(account.uid)
        return (
            f"user {user}, which the daemon runs as, cannot read it (try chmod a+r, and a+x for "
            "its directories)"
        )
    return None
