"""The path of a query from packet to answer, in the order of its stages.

Neither a hit nor a miss makes a Python object; `forward` asks for what is neither in memory nor on disk.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdlib cimport calloc, free, malloc

from fastdns._clients cimport NOT_ADMITTED, UNMET, Access, read_asker
from fastdns._answer cimport IS_OURS, Answer
from fastdns._clock cimport coarse, read_clock_ns, read_moment, read_wall_seconds
from fastdns._cookies cimport BAD_PROOF, GOOD_PROOF, Cookies
from fastdns._counters cimport (
    CACHE_MISSES, COOKIES_BAD, COOKIES_VALID, DISK_HITS, DISK_MISSES, PREFETCHES, QUERIES_OVER_LIMIT,
    QUERIES_UDP, SEND_ERRORS,
)
from fastdns._disk cimport Found
from fastdns._hotcache cimport stored_ms_of
from fastdns._key cimport key_view, set_key_view
from fastdns._own_answers cimport OwnAnswer, make_own
from fastdns._policy cimport FORWARD, Decision, decide
from fastdns._query cimport (
    OVER_TLS, OVER_UDP, TIER_ACCESS, TIER_DISK, TIER_LIMIT, TIER_LOCAL, TIER_MEMORY, TIER_NONE, TIER_STALE, TIER_WIRE,
    count_blocked, finish,
)
from fastdns._rate_limit cimport RateLimit
from fastdns._response cimport (
    EDE_NO_REACHABLE_AUTHORITY, EDE_PROHIBITED, PAD_TO, RESPONSE_MAX, write_answer, write_error, write_stale,
    write_truncated,
)
from fastdns._cache cimport DISK_FRESH
from fastdns._udp cimport BATCH
from fastdns._waiters cimport Waiter, make_waiter
from fastdns._wire cimport (
    CLASS_CHAOS, FLAG_RD, HEADER_LENGTH, WIRE_BADVERS, WIRE_COOKIE_ONLY, WIRE_DROP, WIRE_FORMERR, WIRE_NOTIMP, WIRE_OK,
    load16, read_query, read_question,
)

from fastdns.defects import report

cdef enum:
    BATCHES_A_WAKEUP = 8    # so that timers and connections get their turn under a flood
    ABOUT_US_A_WAKEUP = 64  # these cost a call into Python each
    MEETINGS_A_SECOND = 64  # of new neighbours: these cost a call into Python each, and may be forged
    OUTAGE_TRY_MS = 1000    # between questions for names that are served stale meanwhile
    PREFETCH_SHARE = 10     # a hit in the last tenth of its TTL refreshes the answer
    RCODE_NOERROR = 0
    RCODE_FORMERR = 1
    RCODE_SERVFAIL = 2
    RCODE_NOTIMP = 4
    RCODE_REFUSED = 5
    RCODE_BADVERS = 16


cdef inline uint16_t rcode_of(int status) noexcept nogil:
    if status == WIRE_COOKIE_ONLY:
        return RCODE_NOERROR
    if status == WIRE_FORMERR:
        return RCODE_FORMERR
    if status == WIRE_NOTIMP:
        return RCODE_NOTIMP
    if status == WIRE_BADVERS:
        return RCODE_BADVERS
    return RCODE_REFUSED


cdef inline int told(Query* query, const uint8_t* out, size_t octets, int tier) noexcept nogil:
    """Note the answer for the client."""
    query.told = load16(out + 2)
    query.told_octets = <uint16_t>octets
    query.tier = <uint8_t>tier
    return ANSWERED


cdef class HeldQuery:
    """A query over UDP that waits until it is known who its client is."""


cdef class FastPath:
    """Answers from the cache, and lets `forward` ask for what is missing.

    `about(key)` returns the Answer to a question of class CHAOS. `on_refresh(key)` is called for an answer that is
    served but should be asked for again, and returns False if it is not asked for. `access` says who may ask.
    `on_unmet(address, link, held)`, if set, is called for a neighbour that `access` does not know; it returns True if
    it keeps the HeldQuery (None: a stream's query cannot be held) and will give it to `resume`.
    """

    def __cinit__(
        self, Forward forward not None, Access access not None, about, on_refresh
    ):
        self.forward = forward
        self.access = access
        self.rate = RateLimit(None, 0, access)
        self.cookies = Cookies()
        self.cache = forward.cache
        self.memory = self.cache.memory
        self.counters = self.cache.counters
        self.tally = self.counters.at
        self.about = about
        self.on_refresh = on_refresh
        self.batch = Batch()
        self.queries = <Query*>calloc(BATCH, sizeof(Query))
        self.missed = <int*>malloc(BATCH * sizeof(int))
        self.stream_out = <uint8_t*>malloc(RESPONSE_MAX)
        self.own = <OwnAnswer*>malloc(sizeof(OwnAnswer))
        if self.own == NULL:
            raise MemoryError
        if self.stream_out == NULL or self.queries == NULL or self.missed == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.queries)
        free(self.missed)
        free(self.stream_out)
        free(self.own)

    def admit_by(self, Access access not None):
        """Set the rules of who may ask, and of who is in which view."""
        self.access = access

    def limit_by(self, RateLimit rate not None):
        """Set how many answers clients get over UDP."""
        self.rate = rate

    def use_cookies(self, Cookies cookies not None):
        """Answer the cookies of clients by these; who sends one back has no limit."""
        self.cookies = cookies

    # --- the stages, in their order -----------------------------------------------------------------------

    cdef void look_at(self, Query* query) noexcept nogil:
        """Admit the client, then read the message: a refused client must cost as little as possible."""
        query.spelling = query.packet + HEADER_LENGTH
        query.tier = TIER_WIRE
        query.told = query.blocked = query.limited = 0
        cdef int admission = self.access.admit(&query.asker)
        if admission == NOT_ADMITTED:
            query.status = self.look_at_stranger(query)
            return
        query.status = read_query(query.packet, query.length, &query.asked, &query.key)
        # A query that was held has been counted when it came.
        if not (query.asked.cookie_length and self.look_at_cookie(query)) and self.rate.step and not self.is_resuming:
            query.status = self.look_at_limit(query)
        if query.asker.transport == OVER_UDP:
            query.limit = query.asked.udp_size
        else:
            query.limit = RESPONSE_MAX
            if query.asked.has_padding and query.asker.transport >= OVER_TLS:
                query.asked.pad_to = PAD_TO
            if query.asked.has_keepalive:
                query.asked.keepalive = query.asker.keepalive
        if query.status == WIRE_OK:
            if query.asker.view != 0:
                set_key_view(query.key.octets, query.key.length, query.asker.view)
            query.key.hash = self.memory.hash_of(query.key.octets, query.key.length)
            self.memory.expect(query.key.hash)
            if admission == UNMET and self.on_unmet is not None:
                query.status = UNMET_CLIENT
                self.unmet += 1

    cdef int look_at_stranger(self, Query* query) noexcept nogil:
        """The status of a query from a client that may not ask, read as far as a refusal needs it."""
        cdef int status
        query.tier = TIER_ACCESS
        if self.access.drops:
            return STRANGER_IGNORED
        status = read_question(query.packet, query.length, &query.asked, &query.key)
        return STRANGER_IGNORED if status == WIRE_DROP or status == WIRE_FORMERR else STRANGER

    cdef bint look_at_cookie(self, Query* query) noexcept nogil:
        """Have a cookie answered by one of ours; True: it is one of ours."""
        cdef int proof = self.cookies.look(query.packet, &query.asked, &query.asker, read_wall_seconds())
        if not self.is_resuming:
            self.tally[COOKIES_VALID] += proof == GOOD_PROOF
            self.tally[COOKIES_BAD] += proof == BAD_PROOF
        return proof == GOOD_PROOF

    cdef int look_at_limit(self, Query* query) noexcept nogil:
        """The status of a query, which is another one if its client is above its limit.

        After the message was read, because a client is told to use TCP in an answer to its question. A client that has
        sent one of our cookies, or has a connection, has the address that it says: no limit is needed for others.
        """
        cdef uint64_t question = 0
        if query.asker.transport != OVER_UDP or query.status == WIRE_DROP:
            return query.status
        if not self.rate.is_over(&query.asker, query.received_ns):
            return query.status
        query.limited = True    # in a dry run, too: its table tells whom a limit would meet
        if self.rate.is_dry:
            self.tally[QUERIES_OVER_LIMIT] += 1
            return query.status
        query.tier = TIER_LIMIT
        if query.status == WIRE_OK:
            question = self.memory.hash_of(query.key.octets, query.key.length)
        return LIMITED if self.rate.is_told(&query.asker, question) else LIMITED_IGNORED

    cdef int decline(self, Query* query, uint8_t* out) noexcept nogil:
        """Answer a message that is not a question for the cache."""
        if query.status == STRANGER_IGNORED or query.status == WIRE_DROP or query.status == LIMITED_IGNORED:
            return DROPPED
        if query.status == STRANGER:
            return self.refuse(query, out, RCODE_REFUSED, EDE_PROHIBITED)
        if query.status == LIMITED:
            return told(query, out, write_truncated(out, query.spelling, &query.asked), TIER_LIMIT)
        return self.refuse(query, out, rcode_of(query.status))

    cdef int from_memory(self, Query* query, uint8_t* out, int64_t now_ms) noexcept nogil:
        cdef Entry* entry
        query.tier = TIER_NONE
        if query.key.qclass == CLASS_CHAOS:
            return NEXT
        entry = self.memory.find_any(query.key.hash, query.key.octets, query.key.length)
        if entry != NULL:
            if now_ms < entry.expires_ms and entry.stamp == self.memory.stamp:
                query.tier = TIER_MEMORY
                return self.serve(entry, query, out, now_ms)
            if entry.stamp != self.memory.stamp:
                entry = self.cache.judge(entry)
                if entry != NULL and self.memory.is_fresh(entry, now_ms):
                    query.tier = TIER_MEMORY
                    return self.serve(entry, query, out, now_ms)
            # No upstream can be asked, or asking has just failed: RFC 8767 section 5, failure recheck timer.
            if entry != NULL and self.cache.is_stale(entry, now_ms) and query.asked.flags & FLAG_RD:
                query.decision.group = self.cache.group_of(query.key.octets, query.key.length)
                if self.forward.is_outage(query.decision.group) or self.forward.holds(
                    entry, query.decision.group, now_ms
                ):
                    self.tally[CACHE_MISSES] += 1
                    return self.serve_stale(entry, query, out, now_ms)
        self.tally[CACHE_MISSES] += 1
        self.cache.rings.expect(query.key.hash)
        if self.cache.changes.policy.blocking.blocks:
            self.cache.changes.policy.blocking.expect(
                key_view(query.key.octets, query.key.length), query.key.octets
            )
        return NEXT

    cdef int from_policy(self, Query* query, uint8_t* out, const Instant* now) noexcept nogil:
        """Answer names that no upstream is asked for, and cache that. After memory, so others do not pay.

        What lies behind a CNAME record that leads to a name of others has to be asked for.
        """
        make_own(self.cache.changes.policy, &query.decision, query.key.octets, query.key.length, self.own)
        # Without RD the client gets what is here: RFC 1034 section 4.3.2.
        if self.own.target_length != 0 and query.asked.flags & FLAG_RD:
            return ASK
        if self.own.target_length == 0:     # else it is not what a client with RD gets
            self.cache.keep_own(
                query.key.hash, query.key.octets, query.key.length, &self.own.stored, &query.decision, now
            )
        if self.own.stored.is_authoritative > IS_OURS:
            count_blocked(self.counters, query, &self.own.stored)
        return told(query, out, write_answer(
            out, query.spelling, &query.asked, &self.own.stored, 0, query.limit
        ), TIER_LOCAL)

    cdef int from_disk(self, Query* query, uint8_t* out, const Instant* now) noexcept nogil:
        """Answer with what any worker has learned: from disk, or from the rings on its way there."""
        cdef Entry* entry = NULL
        cdef Found found
        cdef bint is_cold = self.cache.disk.would_wait()
        if query.decision.rule and not self.cache.is_cached(&query.decision):
            return self.without_disk(query, out, False)
        if self.cache.look_up(
            query.key.hash, query.key.octets, query.key.length, &query.decision, now, &entry, &found
        ) != DISK_FRESH:
            self.tally[DISK_MISSES] += self.cache.reads_disk and not is_cold
            if self.forward.is_outage(query.decision.group) and query.asked.flags & FLAG_RD:
                entry = self.cache.look(query.key.hash, query.key.octets, query.key.length)
                if entry != NULL and self.cache.is_stale(entry, now.boot_ms):
                    return self.serve_stale(entry, query, out, now.boot_ms)
                # Another DO or CD is better than nothing; the forwarder serves it.
                self.cache.bring_others(query.key.octets, query.key.length, &query.decision, now)
            return self.without_disk(query, out, is_cold)
        self.tally[DISK_HITS] += 1
        query.tier = TIER_DISK
        if entry != NULL:
            return self.serve(entry, query, out, now.boot_ms)
        return told(query, out, write_answer(       # memory has no room for it
            out, query.spelling, &query.asked, &found.answer, <uint32_t>(found.age_ms // 1000), query.limit
        ), TIER_DISK)

    cdef int without_disk(self, Query* query, uint8_t* out, bint is_cold) noexcept nogil:
        # Without RD the client asks only for what is cached: RFC 1035 section 4.1.1.
        if not query.asked.flags & FLAG_RD:
            return self.refuse(query, out, RCODE_REFUSED)
        if self.forward.is_outage(query.decision.group) and self.is_hopeless(query):
            return self.refuse(query, out, RCODE_SERVFAIL, EDE_NO_REACHABLE_AUTHORITY)
        return SEARCH if is_cold else ASK

    cdef bint is_hopeless(self, const Query* query) noexcept nogil:
        """True if, in an outage, enough questions are asked already and nothing else could answer."""
        # A cold disk may have an answer, which another thread finds soon.
        return self.forward.has_no_try(query.decision.group, self.cache.disk.would_wait()) and not self.cache.has_other(
            query.key.octets, query.key.length
        )

    cdef int serve(self, Entry* entry, Query* query, uint8_t* out, int64_t now_ms) noexcept nogil:
        """Answer with a fresh entry."""
        self.memory.count_hit(entry)
        if entry.answer.is_authoritative > IS_OURS:
            count_blocked(self.counters, query, &entry.answer)
        told(query, out, write_answer(
            out, query.spelling, &query.asked, &entry.answer, <uint32_t>((now_ms - stored_ms_of(entry)) // 1000),
            query.limit,
        ), query.tier)
        if (
            PREFETCH_SHARE * (entry.expires_ms - now_ms) <= 1000 * <int64_t>entry.answer.ttl
            and self.cache.settings.prefetch and entry.refreshing != coarse(now_ms) and not entry.answer.is_failure
            and query.asked.flags & FLAG_RD
        ):
            entry.refreshing = coarse(now_ms)   # one that has failed is tried again in the next step
            return ANSWERED_LATE
        return ANSWERED

    cdef int serve_stale(self, Entry* entry, Query* query, uint8_t* out, int64_t now_ms) noexcept nogil:
        """Answer with a stale entry; in an outage, ask for one of them from time to time."""
        self.memory.count_hit(entry)
        told(query, out, write_stale(
            out, query.spelling, &query.asked, &entry.answer, self.cache.settings.stale_ttl, query.limit
        ), TIER_STALE)
        if not self.forward.is_outage(query.decision.group) or now_ms < self.next_try_ms:
            return ANSWERED
        self.next_try_ms = now_ms + OUTAGE_TRY_MS
        return ANSWERED_LATE

    cdef int refuse(self, Query* query, uint8_t* out, uint16_t rcode, int ede=-1) noexcept nogil:
        return told(query, out, write_error(out, query.spelling, &query.asked, rcode, ede), query.tier)

    # --- the list of stages -------------------------------------------------------------------------------

    cdef int run(self, int count, int fd, Outlet outlet) except -1:
        """Hits are answered before any miss is looked at. A full connection ends the batch."""
        cdef int64_t now_ms = <int64_t>(self.queries[0].received_ns // 1000000)
        cdef int missed = 0
        cdef int i
        cdef uint8_t* out = self.stream_out
        cdef uint64_t now_ns
        cdef Query* query
        # Memory is slow: while one query is read, the data of the one before is fetched.
        for i in range(count):
            self.look_at(&self.queries[i])
        if self.unmet:
            self.meet_all(count, fd, outlet)
        for i in range(count):
            if self.queries[i].status == WIRE_OK:
                self.memory.expect_entry(self.queries[i].key.hash)
        for i in range(count):
            query = &self.queries[i]
            if outlet is None:
                out = self.batch.room()
            if query.status == WIRE_OK:
                query.result = self.from_memory(query, out, now_ms)
            elif query.status == UNMET_CLIENT:
                query.result = HELD
            else:
                query.result = self.decline(query, out)
            if query.result == NEXT:
                self.missed[missed] = i
                missed += 1
            elif query.told == 0:
                pass
            elif outlet is None:
                self.batch.queue(i, query.told_octets)
            else:
                outlet.put(query, out)
                if outlet.is_full(&query.ticket):
                    count = i + 1
                    break
        now_ns = read_clock_ns()
        for i in range(count):      # before it leaves, so that a client with an answer finds it counted
            if self.queries[i].result != NEXT and self.queries[i].result != HELD:
                finish(self.counters, &self.queries[i], now_ns)
        self.send(fd, outlet)
        for i in range(count):
            if self.queries[i].result == ANSWERED_LATE:
                self.renew(&self.queries[i])
        if missed:
            self.run_missed(missed, fd, outlet)
        return count

    cdef void run_missed(self, int missed, int fd, Outlet outlet) except *:
        """The stages after memory; `forward` asks for what they cannot answer."""
        cdef int number
        cdef uint8_t* out = self.stream_out
        cdef uint64_t now_ns
        cdef Instant now
        cdef Query* query
        read_moment(&now)
        self.cache.begin_disk()
        try:
            for number in range(missed):
                query = &self.queries[self.missed[number]]
                if outlet is None:
                    out = self.batch.room()
                if query.key.qclass == CLASS_CHAOS:
                    query.result = self.about_ourselves(query, out)
                else:
                    decide(
                        self.cache.changes.policy, key_view(query.key.octets, query.key.length), query.key.octets,
                        query.key.length, &query.decision,
                    )
                    if query.decision.verdict == FORWARD:
                        query.result = self.from_disk(query, out, &now)
                    else:
                        query.result = self.from_policy(query, out, &now)
                if query.told == 0:
                    pass
                elif outlet is None:
                    self.batch.queue(self.missed[number], query.told_octets)
                else:
                    outlet.put(query, out)
        finally:
            self.cache.end_disk()       # in any case: it must not be begun twice
        now_ns = read_clock_ns()
        for number in range(missed):
            query = &self.queries[self.missed[number]]
            if query.result != ASK and query.result != SEARCH:
                finish(self.counters, query, now_ns)
        self.send(fd, outlet)
        now_ns = read_clock_ns()
        for number in range(missed):
            query = &self.queries[self.missed[number]]
            if query.result == ASK or query.result == SEARCH:
                # The disk is closed again: asking may read it, or open another one.
                self.ask(self.missed[number], fd, outlet, now_ns)
            elif query.result == ANSWERED_LATE:
                self.renew(query)
        self.forward.send()

    cdef void meet_all(self, int count, int fd, Outlet outlet) except *:
        """Find out who the new neighbours of a batch are; a query stays UNMET_CLIENT if that takes a moment."""
        cdef Query* query
        cdef int i
        self.unmet = 0
        for i in range(count):
            query = &self.queries[i]
            if query.status == UNMET_CLIENT and not self.is_held(i, fd, outlet):
                self.access.admit(&query.asker)
                query.status = WIRE_OK
                set_key_view(query.key.octets, query.key.length, query.asker.view)
                query.key.hash = self.memory.hash_of(query.key.octets, query.key.length)

    cdef bint is_held(self, int i, int fd, Outlet outlet) except *:
        cdef Query* query = &self.queries[i]
        cdef HeldQuery held = None
        cdef int64_t now_s = <int64_t>(query.received_ns // 1000000000)
        if self.is_resuming or self.access.admit(&query.asker) != UNMET:
            return False
        if now_s != self.met_s:
            self.met_s = now_s
            self.met = 0
        if self.met >= MEETINGS_A_SECOND:
            return False        # a flood of forged addresses: the prefix says which view it is
        self.met += 1
        if outlet is None:
            held = HeldQuery.__new__(HeldQuery)
            held.packet = query.packet[:query.length]
            held.sender = self.batch.senders[i]
            held.listener = query.asker.listener
            held.received_ns = query.received_ns
            held.fd = fd
        try:
            return bool(self.on_unmet((<const char*>query.asker.address)[:16], query.asker.link, held))
        except Exception as defect:     # the other queries are not affected
            report(defect)
        return False

    def resume(self, HeldQuery held not None):
        """Answer a query that was held, once. Never raises."""
        cdef Query* query = &self.queries[0]
        query.packet = <const uint8_t*>PyBytes_AS_STRING(held.packet)
        query.length = len(held.packet)
        query.received_ns = held.received_ns
        self.batch.senders[0] = held.sender
        read_asker(&held.sender.address, &query.asker)
        query.asker.listener = held.listener
        self.batch.queued = 0
        self.is_resuming = True
        try:
            self.run(1, held.fd, None)
        except Exception as defect:
            report(defect)
        self.is_resuming = False

    cdef int about_ourselves(self, Query* query, uint8_t* out) except -1:
        cdef Answer answer
        self.about_us += 1
        try:
            answer = self.about((<const char*>query.key.octets)[:query.key.length])
        except Exception as defect:     # the other queries are not affected
            report(defect)
            return self.refuse(query, out, RCODE_SERVFAIL)
        return told(query, out, write_answer(
            out, query.spelling, &query.asked, &answer.stored, 0, query.limit
        ), TIER_LOCAL)

    cdef void send(self, int fd, Outlet outlet) except *:
        if outlet is not None:
            outlet.flush(self.queries[0].received_ns)
        elif self.batch.queued:
            self.tally[SEND_ERRORS] += <unsigned int>self.batch.send(fd)

    cdef void ask(self, int i, int fd, Outlet outlet, uint64_t now_ns) except *:
        """Ask upstream; the client waits."""
        cdef Query* query = &self.queries[i]
        cdef Waiter* waiter = make_waiter(query, fd, &self.batch.senders[i], outlet)
        if waiter == NULL:      # without memory there is nothing better to do
            finish(self.counters, query, now_ns)
            return
        try:
            self.forward.take(query, waiter, now_ns, query.result == SEARCH)
        except Exception as defect:     # the other queries are not affected
            report(defect)

    cdef void renew(self, const Query* query) except *:
        cdef Decision decision
        decide(
            self.cache.changes.policy, key_view(query.key.octets, query.key.length), query.key.octets, query.key.length,
            &decision,
        )
        if decision.verdict != FORWARD:
            return          # made again when its TTL is over
        try:
            if self.on_refresh(query.key.octets[:query.key.length]) is not False:
                self.tally[PREFETCHES] += 1
        except Exception as defect:
            report(defect)

    def renew_wanted(self):
        """Refresh what commands want refreshed."""
        for key in self.cache.take_wanted():
            self.on_refresh(key)

    # --- the drivers --------------------------------------------------------------------------------------

    def drain(self, int fd, int listener=0):
        """Answer the queries that wait in a UDP socket, a bounded number. Never raises."""
        try:
            self.answer_datagrams(fd, <uint16_t>listener)
        except Exception as defect:
            report(defect)

    cdef void answer_datagrams(self, int fd, uint16_t listener) except *:
        cdef int _batch, i, count
        cdef uint64_t now_ns = read_clock_ns()
        cdef Query* query
        if self.cache.catch_up(<int64_t>(now_ns // 1000000)):
            self.renew_wanted()
        self.about_us = 0
        for _batch in range(BATCHES_A_WAKEUP):
            count = self.batch.receive(fd)
            self.tally[QUERIES_UDP] += <unsigned int>count
            for i in range(count):
                query = &self.queries[i]
                query.packet = self.batch.packet(i, &query.length)
                query.received_ns = now_ns
                read_asker(&self.batch.senders[i].address, &query.asker)
                query.asker.listener = listener
            if count:
                self.run(count, fd, None)
            if count < BATCH or self.about_us >= ABOUT_US_A_WAKEUP:
                break
            now_ns = read_clock_ns()
