"""What the supervisor's children are for, and how all of them are started, replaced and ended.

A role says what its processes do and what it wants of this module; the module knows none by name.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from ..counters import SUPERVISOR_SLOT
from ..errors import StartError
from .children import READY_SECONDS, STOP_SECONDS, Child, Post
from .loop import Loop
from .settings import Settings
from .shared_memory import Shared
from .watchdog import SILENT_SECONDS, WorkerWatchdog

log = logging.getLogger(__name__)

START_TRIES = 5


class Context:
    """What a process that is forked now works with."""

    def __init__(self, settings: Settings, shared: Shared, loop: Loop) -> None:
        self.settings = settings
        self.former = settings  # until the sockets are closed that only these have
        self.shared = shared
        self.loop = loop
        self.counters = shared.pages.counters(SUPERVISOR_SLOT)


class Role:
    """A kind of process. By default there is one, without which the daemon serves as well."""

    name: ClassVar[str]
    is_required: ClassVar[bool] = False  # a start or a reload fails when it does not get ready
    outlives_others: ClassVar[bool] = False  # it ends when all others have ended
    overlaps: ClassVar[bool] = False  # when it is replaced, it goes on until its successor is ready
    ready_seconds: ClassVar[float] = READY_SECONDS  # that a start or a reload waits; 0: it does not
    stop_seconds: ClassVar[float] = STOP_SECONDS
    restarts: ClassVar[str | None] = None  # the counter of those that died

    roles: Roles  # of which it is one

    def __init__(self, context: Context) -> None:
        self.context = context

    @property
    def count(self) -> int:
        """How many processes of it there are to be, by the settings of now."""
        return 1

    @property
    def basis(self) -> object:
        """What a process of it is forked with: when that is another at a reload, it is replaced."""
        return object()

    @property
    def has_room(self) -> bool:
        """Whether one more can be forked beside those that there are."""
        return True

    def fork(self, number: int, *, after_death: bool) -> Child:
        """Start the process of a number. OSError: this system lets us fork no more."""
        return Child(self.name, self.work, self.context.loop)

    def work(self, order: int, ready: int) -> None:
        """In the child: do the work until `order` ends; see Child."""
        raise NotImplementedError

    def started(self) -> None:
        """All that are to be there at the start are."""

    def replaced(self) -> None:
        """Those that there are have the settings of now."""

    def died(self, child: Child) -> None:
        """One has ended as it should not."""

    def ended(self, child: Child) -> None:
        """One has ended, in whatever way."""

    def hangs(self, child: Child) -> None:
        """One shows no life any more, and is killed next."""

    def alive_at(self, child: Child) -> float | None:
        """Return when one has last shown life, by time.monotonic; None: it does not show that."""
        return None


class Roles:
    """The processes of all roles: one for each number of each role, and those that are leaving."""

    def __init__(self, roles: Sequence[Role], context: Context) -> None:
        self._context = context
        self._posts: dict[Role, list[Post]] = {role: [] for role in roles}
        self._role_of: dict[Child, Role] = {}
        self._leaving: list[Child] = []
        self._liveness = WorkerWatchdog()
        for role in roles:
            role.roles = self

    @property
    def due(self) -> float:
        """When `look` has to be called although nothing has happened."""
        return min(
            *(post.due for posts in self._posts.values() for post in posts),
            *(child.late_at for child in self._role_of),
            self._liveness.due,
            math.inf,
        )

    def children(self, role: Role) -> list[Child | None]:
        """Return who has each number of a role; None: nobody just now."""
        return [post.child for post in self._posts[role]]

    def signs_of_life(self) -> dict[Child, float]:
        """Return when each of those that work has last shown life, if it is one that does."""
        signs = {}
        for role in self._posts:
            for child in self.children(role):
                if child is None or child.is_stuck:
                    continue
                if child.is_ready or not role.is_required:  # else `late_at` is its limit
                    alive_at = role.alive_at(child)
                    if alive_at is not None:
                        signs[child] = alive_at
        return signs

    def start(self) -> None:
        """Start all that there are to be, in the order of the roles. StartError: that cannot be.

        Those that nobody waits for come with the first look: what the supervisor still does for its
        start, it does before they are forked, and shares the memory that it writes to with them.
        """
        try:
            for role in self._posts:
                if not role.ready_seconds:
                    for number in range(role.count):
                        self._post(role, number).due = time.monotonic()
                    continue
                for number in range(role.count):
                    self._fill(role, number, after_death=False)
                for number in range(role.count):
                    self._await(role, number)
                role.started()
        except OSError as error:
            self.stop()
            raise StartError(f"cannot start a process: {error.strerror}") from error
        except StartError:
            self.stop()
            raise

    def look(self) -> None:
        """Take note of who has ended or hangs, and fill the posts that are due."""
        now = time.monotonic()
        for child in list(self._role_of):
            if now >= child.late_at:
                log.error("the %s takes too long and is killed", child)
                self._end(child)
            elif child.reap():
                self._lose(child)
        if now >= self._liveness.due:
            for hung in self._liveness.silent(self.signs_of_life(), now):
                log.error("the %s hangs for %d s and is killed", hung, SILENT_SECONDS)
                self._role_of[hung].hangs(hung)
                self._end(hung)
        for role, posts in self._posts.items():
            for number, post in enumerate(posts):
                if post.due <= now:
                    self._refill(role, number)

    def stop(self) -> None:
        """Let all end in their own time, and wait for it."""
        for is_last in (False, True):
            ending = [one for one, role in self._role_of.items() if role.outlives_others is is_last]
            for child in ending:
                child.release(self._role_of[child].stop_seconds)
            for child in ending:
                child.await_end()
                self._forget(child)
        self._leaving.clear()
        for posts in self._posts.values():
            posts.clear()

    def take(self, role: Role) -> Child | None:
        """Return the first process of a role, which is another's from now on; None: there is none.

        Another one is started in its place.
        """
        posts = self._posts[role]
        child = posts[0].child if posts else None
        if child is not None:
            posts[0].child, posts[0].due = None, time.monotonic()
            del self._role_of[child]
        return child

    # A step at a time: each of these yields until when it waits, and goes on after whatever happens

    def renew(self, role: Role) -> Iterator[float]:
        """Have a role's processes be as the settings of now want them, one after another.

        OSError: some could not be replaced and go on as they are. Those that are too many stay.
        """
        failures = []
        is_replaced = False
        for number in range(role.count):
            post = self._post(role, number)
            if post.child is not None and post.basis == role.basis:
                continue
            try:
                yield from self._put_another(role, number)
            except OSError as error:
                failures.append(error)
            is_replaced = True
        if is_replaced:
            role.replaced()
        if failures:
            raise NotReplaced(role, failures)

    def _put_another(self, role: Role, number: int) -> Iterator[float]:
        post = self._post(role, number)
        if not role.overlaps and post.child is not None:
            former = post.child
            post.child = None
            self._let_go(former)
            while former in self._leaving and not former.is_stuck:
                yield math.inf
        while not role.has_room:
            yield math.inf
        post.basis = role.basis
        try:
            successor = self._fork(role, number, after_death=False)
        except OSError as error:
            if role.is_required:
                raise
            log.error("cannot start a %s: %s", role.name, error)
            post.vacate(0.0)
            return
        if post.child is None:
            post.take(successor)
        else:
            post.successor = successor
        until = math.inf if role.is_required else time.monotonic() + role.ready_seconds
        while not successor.is_settled and time.monotonic() < until:
            yield until
        if role.is_required and not successor.is_ready:
            raise OSError("the new one did not start; the log says why")
        if post.successor is successor:
            replaced = post.child
            post.take(successor)
            post.successor = None
            self._let_go(replaced)

    def let_go(self, role: Role, first: int = 0) -> None:
        """Let those of a role from this number on end, and have nobody in their place."""
        posts = self._posts[role]
        for post in posts[first:]:
            self._let_go(post.child)
            self._let_go(post.successor)
        del posts[first:]

    def dismiss(self, role: Role, first: int) -> Iterator[float]:
        """Do the same, and wait for the end of all that are leaving."""
        self.let_go(role, first)
        while any(not child.is_stuck for child in self._leaving):
            yield math.inf

    # One process

    def _post(self, role: Role, number: int) -> Post:
        posts = self._posts[role]
        while len(posts) <= number:
            posts.append(Post())
        return posts[number]

    def _fork(self, role: Role, number: int, *, after_death: bool) -> Child:
        child = role.fork(number, after_death=after_death)
        self._role_of[child] = role
        return child

    def _fill(self, role: Role, number: int, *, after_death: bool) -> Child | None:
        """Have somebody do the work. OSError: nobody can, and there is no start without one."""
        post = self._post(role, number)
        post.basis = role.basis
        try:
            child = self._fork(role, number, after_death=after_death)
        except OSError as error:
            if role.is_required and not after_death:
                raise
            log.error("cannot start a %s: %s", role.name, error)
            post.vacate(0.0)
            return None
        post.take(child)
        return child

    def _refill(self, role: Role, number: int) -> None:
        child = self._fill(role, number, after_death=True)
        # One that nobody waits for, as a standby, does not say when it is ready: nor is it told of.
        if child is not None and role.ready_seconds:
            child.settled = lambda: _tell_ready(child)

    def _await(self, role: Role, number: int) -> None:
        """Wait for one at the start. StartError: it is required, and does not get ready."""
        for _ in range(START_TRIES):
            child = self._posts[role][number].child
            if child is None or child.await_ready(role.ready_seconds) or not role.is_required:
                return
            if child.reap_killed():
                self._forget(child)
            else:
                self._leaving.append(child)
            if not child.has_crashed:
                break
            self._mourn(role, child)  # the next one leaves alone what this one died of
            self._fill(role, number, after_death=False)
        raise StartError(f"the {role.name} did not start; its last log lines above say why")

    def _let_go(self, child: Child | None) -> None:
        if child is not None:
            child.settled = _nothing  # what is let go before it is ready has not failed
            child.release(self._role_of[child].stop_seconds)
            self._leaving.append(child)

    def _end(self, child: Child) -> None:
        """End one now; another does its work, also while it cannot be ended."""
        if child.reap_killed():
            self._lose(child)
        elif child not in self._leaving:
            self._vacate_post(child)
            self._leaving.append(child)

    def _lose(self, child: Child) -> None:
        """One has ended: clear up after it, and see who has to do its work."""
        role = self._role_of[child]
        self._forget(child)
        if child in self._leaving:
            self._leaving.remove(child)
            if child.code != 0:
                self._mourn(role, child)
            return
        self._mourn(role, child)
        self._vacate_post(child, role)

    def _forget(self, child: Child) -> None:
        self._role_of.pop(child).ended(child)

    def _mourn(self, role: Role, child: Child) -> None:
        """Tell of a death, unless the one that could not start has done so, and count it."""
        if not role.is_required or child.is_ready or child.has_crashed:
            child.tell_end()
        if role.restarts is not None:
            self._context.counters.add(role.restarts)
        role.died(child)

    def _vacate_post(self, child: Child, role: Role | None = None) -> None:
        """Have somebody else do what it has done."""
        lived = time.monotonic() - child.began_at
        for post in self._posts[role or self._role_of[child]]:
            if post.successor is child:
                post.successor = None
            elif post.child is child and post.successor is not None:
                post.child, post.successor = post.successor, None
            elif post.child is child:
                post.vacate(lived)


class NotReplaced(OSError):
    """Some of a role's processes could not be replaced, and go on as they were."""

    def __init__(self, role: Role, failures: Sequence[OSError]) -> None:
        first = failures[0]
        super().__init__(
            f"{len(failures)} of {role.count} {role.name}s could not be replaced: "
            f"{first.strerror or first}; try again"
        )
        self.are_all = len(failures) == role.count


def _nothing() -> None:
    """Nobody wants to know."""


def _tell_ready(child: Child) -> None:
    if child.is_ready:
        log.info("%s serves in its place", child)
    else:
        log.error("the %s did not start; its last log lines above say why", child.name)
