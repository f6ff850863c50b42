"""When a list is to be fetched, and whether the compiled file fits: without a lock, at any time."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from .. import __version__
from ..config.values import AnyList, ListFile
from .state import State
from .store import Store

FILE_SECONDS = 300.0  # between two tries to read a file of this machine


def due(one: AnyList, state: State, update: float, now: float) -> float:
    """Return when a list is to be fetched, by the wall clock; math.inf: only when asked for."""
    if isinstance(one, ListFile):
        if state.digest and state.file == _signature(one):
            return math.inf
        return state.tried_at + FILE_SECONDS if state.failures else now
    if not update:
        return math.inf
    return state.due_at(update, now)


def seconds_to_next(store: Store, lists: Sequence[AnyList], update: float, now: float) -> float:
    """Return for how long there is nothing to do."""
    if not lists:
        return 0.0 if store.exists else math.inf
    if not fits(store, lists, now):
        return 0.0
    return max(0.0, min(due(one, store.state(one), update, now) for one in lists) - now)


def with_copy(store: Store, lists: Sequence[AnyList], now: float) -> list[AnyList]:
    """Return the lists that can be compiled."""
    states = ((one, store.state(one)) for one in lists)
    return [one for one, state in states if state.digest and not state.is_expired(now)]


def made_of(store: Store, lists: Sequence[AnyList]) -> list[list[str]]:
    """Return what a compiled file of these lists is made of."""
    return [["version", __version__], *([str(one), store.state(one).digest] for one in lists)]


def fits(store: Store, lists: Sequence[AnyList], now: float) -> bool:
    """Return True if the compiled file is what compiling the copies would make."""
    usable = with_copy(store, lists, now)
    if not usable and not store.compiled.exists():
        return True
    return store.made_of == made_of(store, usable)


def _signature(one: ListFile) -> tuple[int, int] | None:
    try:
        status = os.stat(one.path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
