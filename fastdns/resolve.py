"""What happens to a query that the cache could not answer, on one screen."""

from __future__ import annotations

import logging
import socket
from functools import partial

import attrs
import gevent

from . import __version__
from ._access import Access
from ._answer import Answer, Limits, failure, text_answer
from ._cache import Cache
from ._changes import Ticket
from ._entry import Source
from ._fastpath import FastPath
from ._flights import TICK_SECONDS, Flights
from ._forward import Forward, Handover
from ._query import Query, key_parts
from ._shared import Counters
from .defects import guarded, report
from .errors import UpstreamError
from .upstream.group import Group

log = logging.getLogger(__name__)

QUESTIONS_MAX = 1024  # under way here at once; each costs a greenlet
WAITING_MAX = 8192  # queries that wait for them
DISK_SECONDS = 0.5  # that a slow disk has before upstreams are asked as well

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

    __slots__ = ("greenlet", "in_outage", "is_lasting", "is_late", "stale", "waiting")

    def __init__(self, waiting: list[Query]) -> None:
        self.waiting = waiting
        self.is_late = False  # the upstreams take too long: what is stale is told at once
        self.is_lasting = True  # the failure: else nothing is remembered of it
        self.in_outage = False  # no upstream has given any answer
        self.stale: Answer | None = None  # what its end was, when that is stale
        self.greenlet: gevent.Greenlet | None = None


class Resolver:
    """Takes what needs more than the cache or one reply of one upstream.

    Nobody waits in here for anybody else's answer.
    """

    def __init__(
        self,
        group: Group,
        manners: Manners,
        tiers: Cache,
        counters: Counters,
        flights: Flights,
        *,
        access: Access,
    ) -> None:
        self._forward = Forward(
            tiers,
            flights,
            manners.limits,
            self.take_over,
            self._keep_time,
            stale_wait=manners.stale_wait,
            stale_ttl=manners.stale_ttl,
        )
        self.fastpath = FastPath(
            self._forward,
            access,
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
        self._replies = self._hub.loop.io(flights.descriptor, 1)
        self._replies.start(self._forward.read_replies)
        self._clock = self._hub.loop.timer(TICK_SECONDS, TICK_SECONDS)
        group.lend(self._forward)

    def handle(self, query: Query) -> None:
        """Take a query; its `reply` or its `drop` will be called. Never blocks."""
        if query.qclass == _CLASS_CHAOS:
            query.reply(_about_ourselves(query))
            return
        key = query.key
        question = self._questions.get(key)
        if question is None:
            self._start(key, [query])
        elif question.is_late and (stale := self._stale(key, question)) is not None:
            self._counters.add("cache_stale_total")
            query.reply(stale)
            return
        else:
            # One upstream query for all: RFC 5452 section 5, no birthday attack.
            question.waiting.append(query)
            self._counters.add("coalesced_total")
        self._waiting += 1
        self._make_room()

    def take_over(self, handover: Handover) -> None:
        """Go on with a question that is more than the common case."""
        question = self._questions.get(handover.key)
        if question is None:
            self._start(handover.key, handover.queries, handover)
        else:  # the same was asked when `_forward` could not, in the moment before it could
            handover.sent.cancel()
            question.waiting += handover.queries
        self._waiting += len(handover.queries)
        self._make_room()

    def renew(self, key: bytes) -> bool:
        """Ask for what is still served; False: that is under way, or others need us more."""
        renewed = self._forward.renew(key)
        if renewed is None:
            self._start(key, [])
        return renewed is not False

    @property
    def idle(self) -> bool:
        return self._forward.count == 0

    def _keep_time(self) -> None:
        """Something is in flight: have the time of each looked after."""
        self._clock.start(guarded(self._tick), update=True)

    def _tick(self) -> None:
        if not self._forward.tick():
            self._clock.stop()

    def _make_room(self) -> None:
        while self._waiting > WAITING_MAX or len(self._questions) > QUESTIONS_MAX:
            self._shed_oldest()

    def _start(self, key: bytes, waiting: list[Query], handover: Handover | None = None) -> None:
        self._forward.hold(key)
        question = self._questions[key] = _Question(waiting)
        question.greenlet = gevent.spawn(self._find_out, key, question, handover)

    def _find_out(self, key: bytes, question: _Question, handover: Handover | None) -> None:
        """Disk, when that could not be looked at in passing; upstream; what is stale."""
        wants_disk = any(query.wants_disk for query in question.waiting)
        search = gevent.spawn(self._search_disk, key) if wants_disk else None
        waited = handover.seconds if handover is not None else 0.0
        patience = self._hub.loop.timer(max(self._manners.stale_wait - waited, 0.0))
        patience.start(guarded(self._lose_patience), key, question)
        try:
            answer = (
                self._from_disk(search, DISK_SECONDS)
                or self._in_outage(key, question, handover)
                or self._from_upstream(key, question, handover)
            )
            if answer.is_failure:
                answer = self._from_disk(search) or self._from_stale(key, question) or answer
        except Exception as defect:  # of ours: it must not leave these clients waiting for ever
            report(defect)
            answer = failure(key, UpstreamError.rcode, UpstreamError.ede, 0)
        finally:
            patience.stop()
            patience.close()
            if search is not None:
                search.kill(block=False)
        if self._questions.get(key) is not question:
            return  # shed in the moment in which the answer came
        self._forget(key)
        self._reply(question, answer)

    def _forget(self, key: bytes) -> None:
        del self._questions[key]
        self._forward.release(key)

    def _search_disk(self, key: bytes) -> Answer | None:
        """Look on a disk that may take its time, in another thread."""
        ticket = self._tiers.ticket()
        try:
            value = self._hub.threadpool.apply(self._tiers.fetch, (key,))
        except ValueError:
            self._tiers.disk_is_damaged()
            return None
        answer = self._tiers.adopt(key, value, ticket)
        if answer is None and self._forward.is_outage:
            for other in self._tiers.other_keys(key):
                value = self._hub.threadpool.apply(self._tiers.fetch, (other,))
                self._tiers.adopt(other, value, ticket)
        return answer

    def _from_disk(self, search: gevent.Greenlet | None, seconds: float = 0.0) -> Answer | None:
        """Return what such a search has found, if it ends within so many seconds."""
        if search is None:
            return None
        search.join(seconds)
        found: Answer | None = search.value
        return found

    def _in_outage(
        self, key: bytes, question: _Question, handover: Handover | None
    ) -> Answer | None:
        """Return what is told to clients at once while upstreams are known not to answer."""
        if not (self._forward.is_outage and question.waiting):
            return None
        question.in_outage = True
        if handover is not None:  # it has been asked: its answer is still waited for
            self._tell_stale(key, question)
            return None
        question.stale = self._stale(key, question)
        return question.stale

    def _from_upstream(self, key: bytes, question: _Question, handover: Handover | None) -> Answer:
        ticket = self._tiers.ticket() if handover is None else handover.ticket
        source, seconds = None, 0.0
        try:
            keep = partial(self._keep_late, key, ticket)
            outcome = (
                self._group.ask(key, keep)
                if handover is None
                else self._group.go_on(handover, keep)
            )
            answer, source, seconds = outcome.answer, outcome.source, outcome.seconds
        except UpstreamError as error:
            log.debug("no answer: %s", error)
            question.in_outage, question.is_lasting = True, error.lasting
            ttl = self._manners.limits.failure_ttl if error.lasting else 0
            answer = failure(key, error.rcode, error.ede, ttl)
        except Exception as defect:
            report(defect)
            ttl = self._manners.limits.failure_ttl
            answer = failure(key, UpstreamError.rcode, UpstreamError.ede, ttl)
        self._tiers.keep(key, answer, ticket, source, seconds)
        return answer

    def _keep_late(
        self, key: bytes, ticket: Ticket, answer: Answer, source: Source, seconds: float
    ) -> None:
        """Keep what has come too late for who asked: the next one is not told of the failure."""
        if not self._tiers.has_good(key):
            self._tiers.keep(key, answer, ticket, source, seconds)

    def _from_stale(self, key: bytes, question: _Question) -> Answer | None:
        """Return what is told instead of a failure."""
        question.stale = self._stale(key, question)
        if question.stale is not None and question.is_lasting:
            self._forward.hold_stale(key)
        return question.stale

    def _stale(self, key: bytes, question: _Question) -> Answer | None:
        # Asked for anew each time: a command may have removed it.
        return self._tiers.stale_answer(key, self._manners.stale_ttl, question.in_outage)

    def _lose_patience(self, key: bytes, question: _Question) -> None:
        """The upstreams take too long: tell what was true, and go on asking."""
        question.is_late = True
        self._tell_stale(key, question)

    def _tell_stale(self, key: bytes, question: _Question) -> None:
        if question.waiting:
            question.stale = self._stale(key, question)
            if question.stale is not None:
                self._reply(question, question.stale)

    def _reply(self, question: _Question, answer: Answer) -> None:
        waiting, question.waiting = question.waiting, []
        self._waiting -= len(waiting)
        if answer is question.stale:
            self._counters.add("cache_stale_total", len(waiting))
        for query in waiting:
            query.reply(answer)

    def _shed_oldest(self) -> None:
        """Make room: who waits longest is told what is stale, or nothing."""
        key, question = next(iter(self._questions.items()))
        self._forget(key)
        if question.greenlet is not None:
            question.greenlet.kill(block=False)
        self._tell_stale(key, question)
        waiting, question.waiting = question.waiting, []
        self._waiting -= len(waiting)
        self._counters.add("shed_total", len(waiting))
        for query in waiting:
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
