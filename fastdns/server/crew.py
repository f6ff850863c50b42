"""The workers: who serves which number, who stands by for the next that dies, who is leaving."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator

from .children import Child, Post
from .loop import Loop
from .shared import Berth, Shared

log = logging.getLogger(__name__)

WORKER = "worker"
STANDBY = "standby"
ORDER_MAX = 64  # octets


class Crew:
    """One worker for each number, and one process that can be any of them at once.

    A process becomes a worker by an order, which names its number and the berth that is its.
    """

    def __init__(
        self,
        shared: Shared,
        work: Callable[[int, int], None],
        loop: Loop,
        mourn: Callable[[Child], None],
    ) -> None:
        """`work` is what a child does; `mourn` is called for each that ended as it should not."""
        self._shared = shared
        self._work = work
        self._loop = loop
        self._mourn = mourn
        self.posts: list[Post] = []
        self._standby = Post()
        self._leaving: list[Child] = []
        self._berths: dict[Child, Berth] = {}

    @property
    def due(self) -> float:
        """When `look` has to be called although nothing has happened."""
        return min(
            *(post.due for post in (*self.posts, self._standby)),
            *(child.late_at for child in self.everybody),
            math.inf,
        )

    @property
    def berths(self) -> list[tuple[Child, Berth]]:
        """Who answers queries, and where that shows."""
        posted = {post.child for post in self.posts}
        return [pair for pair in self._berths.items() if pair[0] in posted and pair[0].is_ready]

    @property
    def everybody(self) -> list[Child]:
        """All processes of the crew that have not been seen to end."""
        posts = (*self.posts, self._standby)
        serving = [child for post in posts for child in (post.child, post.successor)]
        return [*filter(None, serving), *self._leaving]

    @property
    def serving(self) -> list[int]:
        """The numbers for which there is somebody who answers now."""
        serving = enumerate(post.child for post in self.posts)
        return [number for number, child in serving if child is not None and child.is_ready]

    def has_untold(self, number: int) -> bool:
        """Whether what this worker has learned is not all on disk."""
        child = self.posts[number].child if number < len(self.posts) else None
        berth = self._berths.get(child) if child is not None else None
        return berth is not None and berth.ring.used > 0

    def enlist(self, number: int) -> None:
        """Start a worker at the start of all. OSError: this system lets us fork no more."""
        while len(self.posts) <= number:
            self.posts.append(Post())
        self.posts[number].take(self._recruit(number, self._free_berth(), with_intake=False))

    def stand_by(self) -> None:
        """Have somebody ready for when a worker dies."""
        if self._standby.child is not None:
            return
        try:
            self._standby.take(Child(STANDBY, self._work, self._loop))
        except OSError as error:
            log.error("no %s: %s", STANDBY, error)
            self._standby.vacate(0.0)

    def look(self) -> None:
        """Take note of who has ended, and fill the posts that are due."""
        now = time.monotonic()
        for child in self.everybody:
            if now >= child.late_at:
                log.error("the %s takes too long and is killed", child)
                self.end(child)
            elif child.reap():
                self._lose(child)
        for number, post in enumerate(self.posts):
            if post.due <= now:
                self._fill(number, post)
        if self._standby.due <= now:
            self.stand_by()

    # A step at a time: each of these yields until when it waits, and goes on after whatever happens

    def exchange(self, number: int) -> Iterator[float]:
        """Have a new process serve this number; the former one leaves when that one serves.

        OSError: it could not be started, or did not start; the former one goes on.
        """
        while self._shared.free_berth is None:
            yield math.inf
        while len(self.posts) <= number:
            self.posts.append(Post())
        post = self.posts[number]
        successor = self._recruit(number, self._free_berth(), with_intake=False)
        if post.child is None:
            post.take(successor)
        else:
            post.successor = successor
        while not successor.is_settled:
            yield math.inf
        if not successor.is_ready:
            raise OSError("a new one did not start; the log says why")
        if post.successor is successor:
            former = post.child
            post.take(successor)
            post.successor = None
            self._let_go(former)

    def dismiss(self, first: int) -> Iterator[float]:
        """Let the workers from this number on go, and whoever stands by; wait for their end."""
        for post in self.posts[first:]:
            self._let_go(post.child)
            self._let_go(post.successor)
        del self.posts[first:]
        self.dismiss_standby()
        while any(not child.is_stuck for child in self._leaving):
            yield math.inf

    def dismiss_standby(self) -> None:
        """Have nobody stand by: who does was forked with other settings."""
        self._let_go(self._standby.child)
        self._standby = Post()

    def _let_go(self, child: Child | None) -> None:
        if child is not None:
            child.release()
            self._leaving.append(child)

    def give_up(self, child: Child) -> None:
        """End one that is not ready, for whose post another will be enlisted."""
        if child.reap_killed():
            self._forget(child)
        else:
            self._leaving.append(child)

    def end(self, child: Child) -> None:
        """End one now; another does its work, also while it cannot be ended."""
        if child.reap_killed():
            self._lose(child)
        elif child not in self._leaving:
            self._vacate_post(child)
            self._leaving.append(child)  # its berth is free when it is gone

    def stop(self) -> None:
        """Let all send what is under way, and wait for their end."""
        for child in self.everybody:
            child.release()
        for child in self.everybody:
            child.await_end()
            self._forget(child)
        self.posts.clear()
        self._standby = Post()
        self._leaving.clear()

    def _fill(self, number: int, post: Post) -> None:
        try:
            child = self._recruit(number, self._free_berth(), with_intake=True)
        except OSError as error:
            log.error("no %s: %s", WORKER, error)
            post.vacate(0.0)
            return
        post.take(child)
        child.settled = lambda: _tell_ready(child)
        if self._standby.child is None:
            self._standby.due = time.monotonic()

    def _free_berth(self) -> Berth:
        berth = self._shared.free_berth
        if berth is None:
            raise OSError("others that are leaving still have its place")
        return berth

    def _recruit(self, number: int, berth: Berth, *, with_intake: bool) -> Child:
        """Have whoever stands by, else a new process, be this worker in this berth."""
        order = f"{number} {berth.number} {int(with_intake)}"
        child = self._told(self._standby.child, order)
        if child is not None:
            self._standby.child = None
        else:
            child = Child(WORKER, self._work, self._loop)
            child.tell(order)
        berth.man()
        self._berths[child] = berth
        return child

    def _told(self, child: Child | None, order: str) -> Child | None:
        """Return the child if it could be told, None when there is none any more."""
        if child is None:
            return None
        try:
            child.tell(order)
        except BrokenPipeError:
            return None
        child.name = WORKER
        return child

    def _lose(self, child: Child) -> None:
        """One has ended: clear up after it, and see who has to do its work."""
        self._forget(child)
        if child in self._leaving:
            self._leaving.remove(child)
            if child.code != 0:
                self._mourn(child)
            return
        self._mourn(child)
        self._vacate_post(child)

    def _vacate_post(self, child: Child) -> None:
        """Have somebody else do what it has done."""
        lived = time.monotonic() - child.began_at
        for post in (*self.posts, self._standby):
            if post.successor is child:
                post.successor = None
            elif post.child is child and post.successor is not None:
                post.child, post.successor = post.successor, None
            elif post.child is child:
                post.vacate(lived)

    def _forget(self, child: Child) -> None:
        berth = self._berths.pop(child, None)
        if berth is not None:
            berth.vacate()


def await_order(descriptor: int) -> tuple[int, int, bool] | None:
    """In a child: wait for an order; number, berth, and whether to wait for its intake first.

    None: there is nothing to do any more.
    """
    words = os.read(descriptor, ORDER_MAX).split()
    if not words:
        return None
    number, berth, with_intake = map(int, words)
    return number, berth, bool(with_intake)


def _tell_ready(child: Child) -> None:
    if child.is_ready:
        log.info("%s serves in its place", child)
    else:
        log.error("no %s: it did not start; its last lines above say why", child.name)
