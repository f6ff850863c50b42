"""The roles of the supervisor's children, and how all of them are started, replaced and ended.

A role says what its processes do and what it needs from this module; the module knows no role by
name.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from ..counters import SUPERVISOR_SLOT
from ..errors import StartError
from .certificate_page import CertificatePage
from .children import READY_SECONDS, STOP_SECONDS, Child, Post
from .loop import Loop
from .settings import Settings
from .shared_memory import Shared
from .watchdog import SILENT_SECONDS, WorkerWatchdog

log = logging.getLogger(__name__)

START_TRIES = 5


class Context:
    """What a new process works with."""

    def __init__(
        self, settings: Settings, shared: Shared, certificate: CertificatePage, loop: Loop
    ) -> None:
        self.settings = settings
        self.former = settings  # until the sockets that only these have are closed
        self.shared = shared
        self.certificate = certificate
        self.loop = loop
        self.counters = shared.pages.counters(SUPERVISOR_SLOT)

    def forget_secrets(self) -> None:
        """In a process that does not speak TLS: have no key in memory."""
        self.certificate.close()
        self.shared.ticket_page.close()


class Role:
    """A kind of process. By default there is one, and the daemon also serves without it."""

    name: ClassVar[str]
    is_required: ClassVar[bool] = False  # a start or a reload fails if it does not get ready
    outlives_others: ClassVar[bool] = False  # it ends after all others
    overlaps: ClassVar[bool] = False  # when replaced, it continues until its successor is ready
    ready_seconds: ClassVar[float] = (
        READY_SECONDS  # that a start or a reload waits for it; 0: it does not wait
    )
    stop_seconds: ClassVar[float] = STOP_SECONDS
    restarts: ClassVar[str | None] = None  # the counter of its deaths
    is_temporary: ClassVar[bool] = False  # it ends when its work is done; see `seconds_to_work`

    roles: Roles  # of which it is one

    def __init__(self, context: Context) -> None:
        self.context = context

    @property
    def count(self) -> int:
        """How many processes the current settings want."""
        return 1

    @property
    def basis(self) -> object:
        """What its processes are forked with: if a reload changes that, they are replaced."""
        return object()

    @property
    def has_room(self) -> bool:
        """Whether one more can be forked in addition to the current ones."""
        return True

    def fork(self, number: int, *, after_death: bool) -> Child:
        """Start the process with this number. OSError: this system allows no more processes."""
        return Child(self.name, self.work, self.context.loop)

    def work(self, order: int, ready: int) -> None:
        """In the child: do the work until `order` ends; see Child."""
        raise NotImplementedError

    @property
    def seconds_to_work(self) -> float:
        """For a temporary role: for how long no process of it is needed.

        It is asked when the last answer has expired, and when a process has ended. A reload starts
        one in any case.
        """
        return 0.0

    def started(self) -> None:
        """All processes of the start are there."""

    def replaced(self) -> None:
        """All current processes have the current settings."""

    def died(self, child: Child) -> None:
        """One has ended unexpectedly."""

    def ended(self, child: Child) -> None:
        """One has ended, in any way."""

    def hangs(self, child: Child) -> None:
        """One no longer responds, and is killed next."""

    def alive_at(self, child: Child) -> float | None:
        """Return when one last responded, by time.monotonic; None: it does not tell."""
        return None


class Roles:
    """The processes of all roles: one for each number of each role, and those that are stopping."""

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
        """When `look` must be called although no event has come."""
        return min(
            *(post.due for posts in self._posts.values() for post in posts),
            *(child.late_at for child in self._role_of),
            self._liveness.due,
            math.inf,
        )

    def children(self, role: Role) -> list[Child | None]:
        """Return the process of each number of a role; None: there is none at the moment."""
        return [post.child for post in self._posts[role]]

    def heartbeats(self) -> dict[Child, float]:
        """Return when each working process last responded, if its role tells."""
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
        """Start all processes, in the order of the roles. StartError: impossible.

        Processes that need not be ready come with the first look: the supervisor finishes its start
        before they are forked, so that it shares the memory that it writes to with them.
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
        """Handle processes that have ended or hang, and start those that are due."""
        now = time.monotonic()
        for child in list(self._role_of):
            if now >= child.late_at:
                log.error("the %s takes too long and is killed", child)
                self._end(child)
            elif child.reap():
                self._lose(child)
        if now >= self._liveness.due:
            for hung in self._liveness.silent(self.heartbeats(), now):
                log.error("the %s hangs for %d s and is killed", hung, SILENT_SECONDS)
                self._role_of[hung].hangs(hung)
                self._end(hung)
        for role, posts in self._posts.items():
            for number, post in enumerate(posts):
                if post.due <= now:
                    seconds = role.seconds_to_work if role.is_temporary else 0.0
                    if seconds > 0:
                        post.due = now + seconds
                    else:
                        self._refill(role, number)

    def stop(self) -> None:
        """Let all end by themselves, and wait for it."""
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
        """Return the first process of a role and give it away; None: there is none.

        Another one is started in its place.
        """
        posts = self._posts[role]
        child = posts[0].child if posts else None
        if child is not None:
            posts[0].child, posts[0].due = None, time.monotonic()
            del self._role_of[child]
        return child

    # A step at a time: each of these yields until when it waits, and continues after any event

    def renew(self, role: Role) -> Iterator[float]:
        """Bring a role's processes to the current settings, one after another.

        OSError: some could not be replaced and continue unchanged. Surplus processes stay.
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
        """Let the processes of a role from this number on end, without replacing them."""
        posts = self._posts[role]
        for post in posts[first:]:
            self._let_go(post.child)
            self._let_go(post.successor)
        del posts[first:]

    def dismiss(self, role: Role, first: int) -> Iterator[float]:
        """Do the same, and wait until all that are stopping have ended."""
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
        """Start a process for this number. OSError: impossible, and a start fails without it."""
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
        # A process that need not be ready, like a standby, does not report it, and is not logged.
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
            self._report_death(
                role, child
            )  # the next one does not touch the cause of this one's death
            self._fill(role, number, after_death=False)
        raise StartError(f"the {role.name} did not start; its last log lines above say why")

    def _let_go(self, child: Child | None) -> None:
        if child is not None:
            child.settled = _nothing  # a process that is stopped before it is ready has not failed
            child.release(self._role_of[child].stop_seconds)
            self._leaving.append(child)

    def _end(self, child: Child) -> None:
        """End one now; another does its work, even while it cannot be ended."""
        if child.reap_killed():
            self._lose(child)
        elif child not in self._leaving:
            self._vacate_post(child)
            self._leaving.append(child)

    def _lose(self, child: Child) -> None:
        """Clean up after a process that has ended, and replace it if needed."""
        role = self._role_of[child]
        self._forget(child)
        if child in self._leaving:
            self._leaving.remove(child)
            if child.code != 0 and not role.is_temporary:  # that is stopped within its work
                self._report_death(role, child)
            return
        if not role.is_temporary:
            self._report_death(role, child)
        elif child.code != 0:
            child.tell_end("it is started again later")
            role.died(child)
        self._vacate_post(child, role)

    def _forget(self, child: Child) -> None:
        self._role_of.pop(child).ended(child)

    def _report_death(self, role: Role, child: Child) -> None:
        """Log a death, unless the process that could not start has done so, and count it."""
        if not role.is_required or child.is_ready or child.has_crashed:
            child.tell_end()
        if role.restarts is not None:
            self._context.counters.add(role.restarts)
        role.died(child)

    def _vacate_post(self, child: Child, role: Role | None = None) -> None:
        """Start another process for its work."""
        lived = time.monotonic() - child.began_at
        for post in self._posts[role or self._role_of[child]]:
            if post.successor is child:
                post.successor = None
            elif post.child is child and post.successor is not None:
                post.child, post.successor = post.successor, None
            elif post.child is child:
                post.vacate(lived)


class NotReplaced(OSError):
    """Some of a role's processes could not be replaced, and continue unchanged."""

    def __init__(self, role: Role, failures: Sequence[OSError]) -> None:
        first = failures[0]
        super().__init__(
            f"{len(failures)} of {role.count} {role.name}s could not be replaced: "
            f"{first.strerror or first}; try again"
        )
        self.are_all = len(failures) == role.count


def _nothing() -> None:
    """Do nothing."""


def _tell_ready(child: Child) -> None:
    if child.is_ready:
        log.info("%s serves in its place", child)
    else:
        log.error("the %s did not start; its last log lines above say why", child.name)
