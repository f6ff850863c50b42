"""What a start gets from before: from a service manager, or from the instance that it succeeds."""

from __future__ import annotations

import logging
import os

import attrs

from ..config.places import Places
from ..config.schema import Config
from ..machine.accounts import Account
from ..machine.state_lock import lock, sign
from . import takeover
from .socket_activation import Handed, Pool, where_to_listen
from .sockets import Listener, bind_all, give_away
from .systemd import Manager

log = logging.getLogger(__name__)


class Inherited:
    """The lock on state_dir, sockets that are open already, and the service manager to notify."""

    def __init__(self, places: Places, account: Account | None, *, take_over: bool) -> None:
        """Take it. StartError: the directory is in use, or its daemon does not hand over."""
        self.manager = Manager()
        self._places = places
        self._account = account
        self._predecessor = takeover.find(places) if take_over else None
        handed = list(self.manager.handed)
        if self._predecessor is None:
            self.lock = lock(places, account)
        else:
            self.lock = self._predecessor.lock
            handed = _joined(self._predecessor.handed, handed)
            if not self.manager.is_there:
                self.manager = Manager(dict(self._predecessor.environment))
            self.manager.remember(self._predecessor.handed)
        self._pool = Pool(handed)
        self._opened = self._pool.opened

    def with_opened(self, config: Config) -> Config:
        """Return the configuration with the addresses that other programs opened for us."""
        return attrs.evolve(config, listen=where_to_listen(config.listen, self._opened))

    def bind(self, config: Config) -> list[Listener]:
        """Bind all listen addresses that are not bound yet. StartError: impossible."""
        listeners = bind_all(config.listen, config.worker_count, self._pool)
        self._pool.close()
        if self._account is not None:
            give_away(listeners, self._account.uid)
        return listeners

    def stop_predecessor(self) -> None:
        """Stop the other instance; everything that may fail was done before. StartError: it still
        serves.
        """
        if self._predecessor is None or self._predecessor.stop():
            return
        # It is gone, or hangs: as at any other start, the lock shows which, once its children have
        # ended as well. While we hold what it gave us, the lock shows nothing.
        os.close(self.lock)
        self._predecessor.forget()
        self._predecessor = None
        self.lock = lock(self._places, None)

    def release_predecessor(self) -> None:
        """Let it end: we serve."""
        if self._predecessor is not None:
            sign(self.lock)
            self._predecessor.dismiss()
            self._predecessor = None


def _joined(first: list[Handed], others: list[Handed]) -> list[Handed]:
    """Return all of the first, and those of the others that are not the same sockets."""
    known = {os.fstat(one.bound.fileno()).st_ino for one in first}
    joined = list(first)
    for one in others:
        if os.fstat(one.bound.fileno()).st_ino in known:
            one.bound.close()
        else:
            joined.append(one)
    return joined
