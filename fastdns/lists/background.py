"""What the daemon's process for block lists does: with the log in place of a terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from ..config.schema import Config
from ..config.values import Address
from ..policy.block_lists.named import lists_named
from ..policy.compile import Domains
from ..upstream.sources import ForwardSources, Sources
from .lookup import Lookup, servers_of
from .report import lines_of_failure, lines_of_success
from .store import Store
from .update import Outcome, Wish, update

log = logging.getLogger(__name__)


def bring_up_to_date(
    store: Store,
    config: Config,
    *,
    daemon: Sequence[Address],
    domains: Domains,
    sources: Sources,
    forward: Iterable[ForwardSources],
) -> None:
    """Fetch what is due, compile, and log what has changed or failed.

    `daemon`: where the daemon listens.
    """
    lists = lists_named(config)
    lookup = Lookup(daemon, servers_of(domains, sources, forward))
    try:
        if lists:
            store.prepare()
        with store.locked():
            tell(update(store, Wish(lists, config.block.update, lookup)))
    except BlockingIOError:
        log.info("block lists: another process updates them")
    except OSError as error:
        log.error("block lists: %s: %s", error.filename or store.compiled, error.strerror)


def tell(outcome: Outcome) -> None:
    """Log what an update has done."""
    for line in lines_of_success(outcome):
        log.info("block list %s", line)
    for line in lines_of_failure(outcome, time.time()):
        log.warning("block list %s", line)
    if outcome.is_compiled:
        log.info("block lists: compiled; the workers read them now")
