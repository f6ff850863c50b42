"""What happens to a query that the cache could not answer, on one screen."""

from __future__ import annotations

import logging
import socket

import attrs
import gevent

from . import __version__
from ._answer import Answer, Limits, failure, text_answer
from ._fastpath import FastPath, Query, key_parts
from ._shared import Counters
from ._tiers import Ticket, Tiers
from .errors import UpstreamError
from .upstream.group import Group

log = logging.getLogger(__name__)

QUESTIONS_MAX = 1024  # under way at once; each costs a greenlet and a socket
RENEWALS_BELOW = 256  # only with fewer under way something is asked that nobody waits for
WAITING_MAX = 8192  # queries that wait for them
HOLD_STALE_SECONDS = 30  # until a question that has failed is tried again: RFC 8767 section 5

_CLASS_CHAOS = 3
_TYPE_TXT = 16
_RCODE_REFUSED = 5


@attrs.frozen
class Manners:
    """How what the upstreams do not answer, or not in time, is told to clients."""

    limits: Limits
    prefetch: bool = True
    stale_wait: float = 1.8  # seconds in which an upstream is hoped for before an answer is stale
    stale_ttl: int = 30


class _Question:
    """One question under way, and who waits for its answer."""

    __slots__ = ("greenlet", "stale", "ticket", "waiting", "wants_disk")

    def __init__(self, ticket: Ticket, waiting: list[Query]) -> None:
        self.ticket = ticket
        self.waiting = waiting
        self.wants_disk = any(query.wants_disk for query in waiting)
        self.stale: Answer | None = None  # what those who come late are told
        self.greenlet: gevent.Greenlet | None = None


class Resolver:
    """Takes what the fast path could not answer. Nobody waits in here for anybody else's answer."""

    def __init__(self, group: Group, manners: Manners, tiers: Tiers, counters: Counters) -> None:
        self.fastpath = FastPath(
            tiers,
            self.handle,
            self.renew,
            stale_ttl=manners.stale_ttl,
            prefetch=manners.prefetch,
        )
        self._tiers = tiers
        self._group = group
        self._manners = manners
        self._counters = counters
        self._hub = gevent.get_hub()
        self._questions: dict[bytes, _Question] = {}
        self._waiting = 0
        counters.set("in_flight", 0)

    def handle(self, query: Query) -> None:
        """Take a query; its `reply` or its `drop` will be called. Never blocks."""
        if query.qclass == _CLASS_CHAOS:
            query.reply(_about_ourselves(query))
            return
        key = query.key
        question = self._questions.get(key)
        if question is None:
            self._start(key, [query])
        elif question.stale is not None:
            self._counters.add("cache_stale_total")
            query.reply(question.stale)
            return
        else:
            # One upstream query for all: RFC 5452 section 5, no birthday attack.
            question.waiting.append(query)
            self._counters.add("coalesced_total")
        self._waiting += 1
        while self._waiting > WAITING_MAX or len(self._questions) > QUESTIONS_MAX:
            self._shed_oldest()
        self._counters.set("in_flight", len(self._questions))

    def renew(self, key: bytes) -> None:
        """Ask for what is still served, unless that is under way or others need us more."""
        if key not in self._questions and len(self._questions) < RENEWALS_BELOW:
            self._start(key, [])
            self._counters.set("in_flight", len(self._questions))

    @property
    def idle(self) -> bool:
        return not self._questions

    def _start(self, key: bytes, waiting: list[Query]) -> None:
        question = self._questions[key] = _Question(self._tiers.ticket(), waiting)
        question.greenlet = gevent.spawn(self._find_out, key, question)

    def _find_out(self, key: bytes, question: _Question) -> None:
        """Disk, when that could not be looked at in passing; upstream; what is stale."""
        answer = self._from_cold_disk(key, question.ticket) if question.wants_disk else None
        if answer is None:
            stale = self._tiers.stale_answer(key, self._manners.stale_ttl)
            patience = self._hub.loop.timer(self._manners.stale_wait)
            if stale is not None:
                patience.start(self._serve_stale, question, stale)
            try:
                answer = self._from_upstream(key, question, stale)
            finally:
                patience.stop()
                patience.close()
        if self._questions.get(key) is not question:
            return  # shed in the moment in which the answer came
        del self._questions[key]
        self._counters.set("in_flight", len(self._questions))
        self._reply(question, answer)

    def _from_cold_disk(self, key: bytes, ticket: Ticket) -> Answer | None:
        """Look on a disk that may take its time, in another thread."""
        try:
            value = self._hub.threadpool.apply(self._tiers.fetch, (key,))
        except ValueError:
            self._tiers.disk_is_damaged()
            return None
        return self._tiers.adopt(key, value, ticket)

    def _from_upstream(self, key: bytes, question: _Question, stale: Answer | None) -> Answer:
        source, seconds = None, 0.0
        try:
            outcome = self._group.ask(key)
            answer, source, seconds = outcome.answer, outcome.source, outcome.seconds
        except UpstreamError as error:
            log.debug("no answer: %s", error)
            ttl = self._manners.limits.failure_ttl if error.lasting else 0
            answer = failure(key, error.rcode, error.ede, ttl)
        except Exception as defect:  # of ours: it must not leave these clients waiting for ever
            log.exception("defect: %s", defect)
            ttl = self._manners.limits.failure_ttl
            answer = failure(key, UpstreamError.rcode, UpstreamError.ede, ttl)
        if answer.is_failure and stale is not None:
            self._tiers.hold_stale(key, HOLD_STALE_SECONDS * 1000)
            question.stale = stale
            return stale
        self._tiers.keep(key, answer, question.ticket, source, seconds)
        return answer

    def _serve_stale(self, question: _Question, stale: Answer) -> None:
        """The upstreams take too long: tell what was true, and go on asking."""
        question.stale = stale
        self._reply(question, stale)

    def _reply(self, question: _Question, answer: Answer) -> None:
        waiting, question.waiting = question.waiting, []
        self._waiting -= len(waiting)
        if answer is question.stale:
            self._counters.add("cache_stale_total", len(waiting))
        for query in waiting:
            query.reply(answer)

    def _shed_oldest(self) -> None:
        key, question = next(iter(self._questions.items()))
        del self._questions[key]
        self._waiting -= len(question.waiting)
        self._counters.add("shed_total", len(question.waiting))
        if question.greenlet is not None:
            question.greenlet.kill(block=False)
        for query in question.waiting:
            query.drop()


def _about_ourselves(query: Query) -> Answer:
    """Answer in class CHAOS: who we are (RFC 4892 section 3), and nothing else."""
    name, *_ = key_parts(query.key)
    if query.qtype == _TYPE_TXT:
        if name in (b"\x07version\x04bind\x00", b"\x07version\x06server\x00"):
            return text_answer(query.key, f"fastdns {__version__}".encode())
        if name in (b"\x02id\x06server\x00", b"\x08hostname\x04bind\x00"):
            return text_answer(query.key, socket.gethostname().encode()[:255])
    return failure(query.key, _RCODE_REFUSED, None, 0)
