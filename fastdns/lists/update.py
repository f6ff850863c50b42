"""Brings lists up to date: fetches what is due, keeps what is good, and compiles what has changed.

The child of a daemon and `fastdns lists update` do the same. A list that cannot be renewed keeps
its last good copy, whatever is wrong with it.
"""

from __future__ import annotations

import os
import random
import shlex
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import attrs

from ..config.text import path_text
from ..config.values import AnyList, ListFile, ListUrl, ListZone
from .copies import PIECE, Written, pieces_of, write_copy
from .errors import FetchError
from .http import Limits, opened
from .lookup import Lookup
from .reading import compile_copies, examine, is_sound
from .schedule import due, fits, made_of, with_copy
from .state import Figures, State
from .store import Store
from .unpack import unpacked

JITTER = 0.1  # of the time between two checks
PATIENCE_SECONDS = 20.0  # until names of the first lists are blocked while others are fetched
MANY = 1_000  # entries from which on a list that has lost half of them is not believed
HTML = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<script")

Advance = Callable[[float], None]  # told which part of a list more has come


@attrs.frozen
class Wish:
    """What an update is to do, and with what."""

    lists: Sequence[AnyList]  # all that the configuration names
    update: float  # seconds between two checks of one; 0: only when asked to
    lookup: Lookup
    limits: Limits = attrs.field(factory=Limits)
    chosen: Collection[AnyList] | None = None  # to be fetched now; None: those that are due
    accepts_smaller: bool = False
    clock: Callable[[], float] = time.time


@attrs.define
class Outcome:
    """What an update has done, with the new state of each list."""

    renewed: list[tuple[AnyList, State]] = attrs.Factory(list)  # with another text
    unchanged: list[AnyList] = attrs.Factory(list)
    failed: list[tuple[AnyList, State]] = attrs.Factory(list)
    is_compiled: bool = False
    problem: str = ""  # why nothing could be compiled

    @property
    def has_failed(self) -> bool:
        return bool(self.failed or self.problem)


@attrs.frozen
class Steps:
    """Functions that are called as an update proceeds."""

    began: Callable[[AnyList], None] = lambda one: None
    part: Advance = lambda part: None
    done: Callable[[AnyList | None], None] = lambda one: None  # None: compiled


def update(store: Store, wish: Wish, steps: Steps | None = None) -> Outcome:
    """Do what is wished, with the lock held. OSError: the directory cannot be written."""
    steps = steps or Steps()
    outcome = Outcome()
    if not wish.lists:
        store.remove()
        return outcome
    store.keep_only(wish.lists)
    # First without the network: at boot the names of the copies are blocked at once.
    _compile(store, wish, outcome)
    compiled_at = time.monotonic()
    for one in _to_fetch(store, wish):
        steps.began(one)
        _renew(store, one, wish, outcome, steps.part)
        steps.done(one)
        if time.monotonic() - compiled_at > PATIENCE_SECONDS:  # others may take as long
            _compile(store, wish, outcome)
            compiled_at = time.monotonic()
    _compile(store, wish, outcome)
    steps.done(None)
    return outcome


def _to_fetch(store: Store, wish: Wish) -> Iterator[AnyList]:
    for one in wish.lists:
        if wish.chosen is not None:
            if one in wish.chosen:
                yield one
        elif due(one, store.state(one), wish.update, wish.clock()) <= wish.clock():
            yield one


def _compile(store: Store, wish: Wish, outcome: Outcome) -> None:
    """Compile the copies unless the compiled file is made of just these."""
    now = wish.clock()
    if fits(store, wish.lists, now) and (not store.compiled.exists() or is_sound(store)):
        return
    lists = with_copy(store, wish.lists, now)
    try:
        damaged = compile_copies(store, lists, lambda number: None)
        for one in damaged:  # they are fetched again
            store.forget(one)
        store.note_compiled([] if damaged else made_of(store, lists))
    except OSError as error:
        outcome.problem = f"{path_text(store.compiled)}: cannot be written: {error.strerror}"
        return
    outcome.is_compiled = True
    if damaged:
        _compile(store, wish, outcome)


def _renew(store: Store, one: AnyList, wish: Wish, outcome: Outcome, part: Advance) -> None:
    """Fetch a list, and note how that went."""
    before = store.state(one)
    now = wish.clock()
    spread = random.uniform(1 - JITTER, 1 + JITTER)
    try:
        found = _fetched(store, one, before, wish, part)
    except FetchError as error:
        failed = attrs.evolve(
            before, tried_at=now, failures=before.failures + 1, error=str(error), spread=spread
        )
        outcome.failed.append((one, failed))
        with suppress(OSError):  # the disk may be what has failed
            store.note(one, failed)
        return
    finally:
        store.discard(one)
    known = attrs.evolve(found, tried_at=now, checked_at=now, failures=0, error="", spread=spread)
    try:
        store.note(one, known)
    except OSError as error:
        outcome.problem = f"{path_text(store.compiled.parent)}: {error.strerror}"
    if found.digest == before.digest:
        outcome.unchanged.append(one)
    else:
        outcome.renewed.append((one, known))


def _fetched(store: Store, one: AnyList, before: State, wish: Wish, part: Advance) -> State:
    """Return what is known now; the copy is the new one. FetchError: it is the former one."""
    match one:
        case ListFile():
            return _from_file(store, one, before, wish)
        case ListUrl():
            return _from_url(store, one, before, wish, part)
        case ListZone():
            return _from_zone(store, one, before, wish)


def _from_url(store: Store, one: ListUrl, before: State, wish: Wish, part: Advance) -> State:
    whole: int | None = None

    def advance(octets: int) -> None:
        if whole:
            part(octets / whole)

    with opened(one.url, before.version, wish.lookup, wish.limits, advance) as reply:
        if reply is None:
            return before
        whole = reply.octets
        written = _write(store, one, reply.text)
    return attrs.evolve(_taken(store, one, before, written, wish), version=reply.version)


def _from_file(store: Store, one: ListFile, before: State, wish: Wish) -> State:
    try:
        with open(one.path, "rb", opener=_unblocked) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FetchError("is not a regular file")
            signature = (status.st_mtime_ns, status.st_size)
            pieces = unpacked(iter(partial(stream.read, PIECE), b""), "", wish.limits.text)
            written = _write(store, one, pieces)
    except OSError as error:
        raise FetchError(f"cannot be read: {error.strerror}") from None
    return attrs.evolve(_taken(store, one, before, written, wish), file=signature)


def _from_zone(store: Store, one: ListZone, before: State, wish: Wish) -> State:
    from .zone import Transfer  # noqa: PLC0415 - dnspython, for those who have such a list

    transfer = Transfer(one, wish.limits, time.monotonic)
    timers = transfer.timers()
    known = before.timers if before.digest else None
    if known is not None and timers.serial == known.serial:
        return attrs.evolve(before, timers=timers)
    text = transfer.text(known, partial(pieces_of, store.copy(one)))
    written = _write(store, one, text)
    return attrs.evolve(_taken(store, one, before, written, wish), timers=timers)


def _write(store: Store, one: AnyList, text: Iterable[bytes]) -> Written:
    try:
        return write_copy(store.draft(one), text)
    except OSError as error:
        raise FetchError(
            f"cannot be kept: {path_text(store.copy(one).parent)}: {error.strerror}"
        ) from error


def _taken(store: Store, one: AnyList, before: State, written: Written, wish: Wish) -> State:
    """Let what was written be the copy. FetchError: it is no good list."""
    now = wish.clock()
    if written.digest == before.digest:
        return before
    figures = examine(pieces_of(written.path), one)
    _judge(one, written.head, figures, before.figures, wish)
    try:
        store.take(one)
    except OSError as error:
        raise FetchError(f"cannot be kept: {error.strerror}") from error
    return State(
        before.url,
        digest=written.digest,
        octets=written.octets,
        fetched_at=now,
        figures=figures,
    )


def _judge(one: AnyList, head: bytes, figures: Figures, before: Figures, wish: Wish) -> None:
    if isinstance(one, ListFile):
        return  # its owner empties it on purpose
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:16].lower().startswith(HTML):
        raise FetchError("is an HTML page, not a list")
    if not figures.taken:
        raise FetchError("has no entry")
    if before.taken >= MANY and 2 * figures.taken < before.taken and not wish.accepts_smaller:
        raise FetchError(
            f"has shrunk from {before.taken:,} entries to {figures.taken:,} "
            f"(fastdns lists update --accept-smaller {shlex.quote(str(one))} takes it)"
        )


def _unblocked(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer would block
