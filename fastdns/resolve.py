"""What happens to a query that memory could not answer, on one screen."""

from __future__ import annotations

import logging
import socket

import gevent

from . import __version__
from ._answer import Answer, Limits, failure, text_answer
from ._fastpath import FastPath, Query, key_parts
from ._hotcache import HotCache
from ._shared import Counters
from .errors import UpstreamError
from .upstream.group import Group

log = logging.getLogger(__name__)

QUESTIONS_MAX = 1024  # under way at once; each costs a greenlet and a socket
WAITING_MAX = 8192  # queries that wait for them

_CLASS_CHAOS = 3
_TYPE_TXT = 16
_RCODE_REFUSED = 5


class _Question:
    """One question under way, and who waits for its answer."""

    __slots__ = ("greenlet", "waiting")

    def __init__(self, query: Query) -> None:
        self.waiting = [query]
        self.greenlet: gevent.Greenlet | None = None


class Resolver:
    """Takes what the fast path could not answer. Nobody waits in here for anybody else's answer."""

    def __init__(self, group: Group, limits: Limits, cache: HotCache, counters: Counters) -> None:
        self.fastpath = FastPath(cache, counters, self.handle)
        self._group = group
        self._limits = limits
        self._counters = counters
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
        if question is not None:
            # One upstream query for all: RFC 5452 section 5, no birthday attack.
            question.waiting.append(query)
            self._counters.add("coalesced_total")
        else:
            question = self._questions[key] = _Question(query)
            question.greenlet = gevent.spawn(self._find_out, key, question)
        self._waiting += 1
        while self._waiting > WAITING_MAX or len(self._questions) > QUESTIONS_MAX:
            self._shed_oldest()
        self._counters.set("in_flight", len(self._questions))

    @property
    def idle(self) -> bool:
        return not self._questions

    def _find_out(self, key: bytes, question: _Question) -> None:
        try:
            answer = self._group.ask(key)
        except UpstreamError as error:
            log.debug("no answer: %s", error)
            ttl = self._limits.failure_ttl if error.lasting else 0
            answer = failure(key, error.rcode, error.ede, ttl)
        except Exception as defect:  # of ours: it must not leave these clients waiting for ever
            log.exception("defect: %s", defect)
            answer = failure(key, UpstreamError.rcode, UpstreamError.ede, self._limits.failure_ttl)
        self.fastpath.keep(key, answer)
        if self._questions.get(key) is not question:
            return  # shed in the moment in which the answer came
        del self._questions[key]
        self._waiting -= len(question.waiting)
        self._counters.set("in_flight", len(self._questions))
        for query in question.waiting:
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
