"""The way of a query that the cache can answer, from the packet to its answer, in the order of the journey.

A hit makes no Python object. What neither memory nor disk hold becomes a `Query` and goes to the callback that the
owner gave.
"""

from libc.stdlib cimport free, malloc

from fastdns._access cimport Access
from fastdns._clock cimport coarse, read_clock_ns, read_moment
from fastdns._disk cimport Found
from fastdns._query cimport Query, UdpQuery, count_response
from fastdns._response cimport (
    EDE_NO_REACHABLE_AUTHORITY, EDE_PROHIBITED, ERROR_MAX, RESPONSE_MAX, write_answer, write_error, write_stale,
)
from fastdns._counters cimport (
    CACHE_HITS, CACHE_MISSES, CACHE_STALE, DISK_HITS, DISK_MISSES, PREFETCHES, QUERIES_DROPPED,
    QUERIES_REFUSED, QUERIES_TCP, QUERIES_UDP, SEND_ERRORS, observe,
)
from fastdns._special_names cimport SpecialAnswer, is_special, make_special
from fastdns._tiers cimport DISK_FRESH
from fastdns._wire cimport (
    CLASS_CHAOS, FLAG_RD, HEADER_LENGTH, WIRE_BADVERS, WIRE_DROP, WIRE_FORMERR, WIRE_NOTIMP, WIRE_OK, read_query,
    read_question,
)

from fastdns.defects import report

cdef enum:
    BATCHES_A_WAKEUP = 8    # so that timers and connections get their turn under a flood
    UNCOMMON_A_WAKEUP = 64  # these cost a greenlet each
    OUTAGE_TRY_MS = 1000    # between questions for names that are told as stale meanwhile
    PREFETCH_SHARE = 10     # a hit in the last tenth of its TTL has the answer renewed
    RCODE_FORMERR = 1
    RCODE_SERVFAIL = 2
    RCODE_NOTIMP = 4
    RCODE_REFUSED = 5
    RCODE_BADVERS = 16


cdef inline uint16_t rcode_of(int status) noexcept nogil:
    if status == WIRE_FORMERR:
        return RCODE_FORMERR
    if status == WIRE_NOTIMP:
        return RCODE_NOTIMP
    if status == WIRE_BADVERS:
        return RCODE_BADVERS
    return RCODE_REFUSED


cdef class FastPath:
    """Answers from the cache, has `forward` ask for what is missing, calls `on_uncommon(query)` for what needs more.

    `on_refresh(key)` is called for what should be asked again though it is still served, and returns False when it is
    not. What is served past its TTL says `stale_ttl` seconds. With prefetch, an answer that is asked for in the last
    tenth of its TTL is renewed. `access` says who may ask.
    """

    def __cinit__(
        self, Forward forward not None, Access access not None, on_uncommon, on_refresh, *,
        uint32_t stale_ttl=30, bint prefetch=True,
    ):
        self.forward = forward
        self.access = access
        self.tiers = forward.tiers
        self.memory = self.tiers.memory
        self.tally = self.tiers.counters.at
        self.hit_latency = self.tiers.counters.hit_latency
        self.on_uncommon = on_uncommon
        self.on_refresh = on_refresh
        self.stale_ttl = stale_ttl
        self.prefetch = prefetch
        self.batch = Batch()
        self.stream_room = <uint8_t*>malloc(RESPONSE_MAX)
        self.seen = <Seen*>malloc(BATCH * sizeof(Seen))
        self.missed = <int*>malloc(BATCH * sizeof(int))
        if self.stream_room == NULL or self.seen == NULL or self.missed == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.stream_room)
        free(self.seen)
        free(self.missed)

    # --- the stages, in their order -----------------------------------------------------------------------

    cdef void look_at(self, Seen* seen, const uint8_t* packet, size_t length, const void* client) noexcept nogil:
        seen.packet = packet
        # First of all: who may not ask shall cost as little as can be.
        if client != NULL and not self.access.admits(client):
            seen.status = self.look_at_stranger(packet, length, &seen.question)
            return
        seen.status = read_query(packet, length, &seen.question)
        if seen.status == WIRE_OK:
            seen.hash = self.memory.hash_of(seen.question.key, seen.question.key_length)
            self.memory.expect(seen.hash)

    cdef int look_at_stranger(self, const uint8_t* packet, size_t length, Question* question) noexcept nogil:
        """The status of a query whose sender may not ask, read as far as a refusal needs it."""
        cdef int status
        self.tally[QUERIES_REFUSED] += 1
        if self.access.drops:
            return STRANGER_IGNORED
        status = read_question(packet, length, question)
        return STRANGER_IGNORED if status == WIRE_DROP or status == WIRE_FORMERR else STRANGER

    cdef int decline(self, const Seen* seen, uint8_t* out, size_t* written) noexcept nogil:
        """Answer what is no question for the cache."""
        if seen.status == STRANGER_IGNORED:
            return DROPPED
        if seen.status == WIRE_DROP:
            self.tally[QUERIES_DROPPED] += 1
            return DROPPED
        if seen.status == STRANGER:
            written[0] = self.refuse(seen, out, RCODE_REFUSED, EDE_PROHIBITED)
            return REFUSED
        written[0] = self.refuse(seen, out, rcode_of(seen.status))
        return ANSWERED

    cdef int from_memory(
        self, const Seen* seen, uint8_t* out, size_t limit, int64_t now_ms, size_t* written
    ) noexcept nogil:
        cdef const Question* question = &seen.question
        cdef Entry* entry
        if seen.status != WIRE_OK:
            return self.decline(seen, out, written)
        if question.qclass == CLASS_CHAOS:
            return UNCOMMON
        entry = self.memory.find_any(seen.hash, question.key, question.key_length)
        if entry != NULL:
            if now_ms < entry.expires_ms and (
                entry.origin == self.memory.origin or entry.origin == self.memory.origin_by_wall
            ):
                self.tally[CACHE_HITS] += 1
                return self.serve(entry, seen, out, limit, now_ms, written)
            # Nobody is there to be asked, or asking for it has just failed: RFC 8767 section 5, failure recheck timer.
            if (
                (self.forward.is_outage(0) or self.forward.holds(entry, now_ms))
                and self.memory.is_stale(entry, now_ms) and question.flags & FLAG_RD
            ):
                self.tally[CACHE_MISSES] += 1
                return self.serve_stale(entry, seen, out, limit, now_ms, written)
        self.tally[CACHE_MISSES] += 1
        return MISSED

    cdef int from_special_names(
        self, const Seen* seen, uint8_t* out, size_t limit, const Instant* now, size_t* written
    ) noexcept nogil:
        """Answer what is never asked upstream, and have memory keep that. After memory: others shall not pay for it."""
        cdef const Question* question = &seen.question
        cdef SpecialAnswer special
        if not make_special(&special, question.key, question.key_length):
            return MISSED
        self.tiers.learn(
            question.key, question.key_length, &special.stored, self.tiers.epoch, self.tiers.origin, NULL, 0, now
        )
        written[0] = write_answer(
            out, seen.packet + HEADER_LENGTH, question, &special.stored, 0, limit if limit else question.udp_size
        )
        count_response(self.tally, out)
        return ANSWERED

    cdef int from_disk(
        self, const Seen* seen, uint8_t* out, size_t limit, const Instant* now, size_t* written
    ) noexcept nogil:
        cdef const Question* question = &seen.question
        cdef Entry* entry = NULL
        cdef Found found
        if self.tiers.look_up_disk(
            seen.hash, question.key, question.key_length, now, &entry, &found
        ) != DISK_FRESH:
            self.tally[DISK_MISSES] += 1
            if self.forward.is_outage(0) and question.flags & FLAG_RD:
                entry = self.memory.find_any(seen.hash, question.key, question.key_length)
                if entry != NULL and self.memory.is_stale(entry, now.boot_ms):
                    return self.serve_stale(entry, seen, out, limit, now.boot_ms, written)
            return self.without_disk(seen, out, written)
        self.tally[DISK_HITS] += 1
        if entry != NULL:
            return self.serve(entry, seen, out, limit, now.boot_ms, written)
        written[0] = write_answer(      # memory has no room for it
            out, seen.packet + HEADER_LENGTH, question, &found.answer, <uint32_t>(found.age_ms // 1000),
            limit if limit else question.udp_size,
        )
        count_response(self.tally, out)
        return ANSWERED

    cdef int without_disk(self, const Seen* seen, uint8_t* out, size_t* written) noexcept nogil:
        # Without RD the client asks what is known already: RFC 1035 section 4.1.1.
        if seen.question.flags & FLAG_RD:
            if self.forward.is_outage(0) and self.is_hopeless(&seen.question):
                written[0] = self.refuse(seen, out, RCODE_SERVFAIL, EDE_NO_REACHABLE_AUTHORITY)
                return ANSWERED
            return UNCOMMON
        written[0] = self.refuse(seen, out, RCODE_REFUSED)
        return ANSWERED

    cdef bint is_hopeless(self, const Question* question) noexcept nogil:
        """True when, in an outage, enough is asked for already and nothing else could answer."""
        # On a cold disk there may be something, which another thread finds soon.
        return (
            self.forward.has_no_try(0, self.tiers.disk.would_wait()) and question.qclass != CLASS_CHAOS
            and not self.tiers.has_other(question.key, question.key_length)
        )

    cdef int serve(
        self, Entry* entry, const Seen* seen, uint8_t* out, size_t limit, int64_t now_ms, size_t* written
    ) noexcept nogil:
        """Answer with a fresh entry."""
        cdef const Question* question = &seen.question
        self.memory.count_hit(entry)
        written[0] = write_answer(
            out, seen.packet + HEADER_LENGTH, question, &entry.answer,
            <uint32_t>((now_ms - entry.stored_ms) // 1000), limit if limit else question.udp_size,
        )
        count_response(self.tally, out)
        if (
            PREFETCH_SHARE * (entry.expires_ms - now_ms) <= entry.expires_ms - entry.stored_ms
            and self.prefetch and entry.refreshing != coarse(now_ms) and not entry.answer.is_failure
            and question.flags & FLAG_RD
        ):
            entry.refreshing = coarse(now_ms)   # one that has failed is tried again in the next step
            return ANSWERED_LATE
        return ANSWERED

    cdef int serve_stale(
        self, Entry* entry, const Seen* seen, uint8_t* out, size_t limit, int64_t now_ms, size_t* written
    ) noexcept nogil:
        """Answer with an entry past its TTL; in an outage, have one of them asked for now and then."""
        self.tally[CACHE_STALE] += 1
        self.memory.count_hit(entry)
        written[0] = write_stale(
            out, seen.packet + HEADER_LENGTH, &seen.question, &entry.answer, self.stale_ttl,
            limit if limit else seen.question.udp_size,
        )
        count_response(self.tally, out)
        if not self.forward.is_outage(0) or now_ms < self.next_try_ms:
            return ANSWERED
        self.next_try_ms = now_ms + OUTAGE_TRY_MS
        return ANSWERED_LATE

    cdef size_t refuse(self, const Seen* seen, uint8_t* out, uint16_t rcode, int ede=-1) noexcept nogil:
        cdef size_t written = write_error(out, seen.packet + HEADER_LENGTH, &seen.question, rcode, ede)
        count_response(self.tally, out)
        return written

    def admit_by(self, Access access not None):
        """Let this one say from now on who may ask."""
        self.access = access

    # --- the journeys -------------------------------------------------------------------------------------

    def drain(self, int fd):
        """Answer what waits in a UDP socket, a bounded amount. Never raises."""
        try:
            self.answer_waiting(fd)
        except Exception as defect:
            report(defect)

    cdef void answer_waiting(self, int fd) except *:
        """Hits leave before any miss is looked at."""
        cdef int _batch, i, count, verdict, hits, missed
        cdef size_t length = 0
        cdef size_t written = 0
        cdef const uint8_t* packet
        cdef list uncommon = None
        cdef uint64_t began_ns = read_clock_ns()
        cdef uint64_t sent_ns
        cdef int64_t now_ms = <int64_t>(began_ns // 1000000)
        if self.tiers.catch_up(now_ms):
            self.renew_wanted()
        for _batch in range(BATCHES_A_WAKEUP):
            count = self.batch.receive(fd)
            self.tally[QUERIES_UDP] += <unsigned int>count
            # Memory is slow: while one query is read, what the one before needs is on its way.
            for i in range(count):
                packet = self.batch.packet(i, &length)
                self.look_at(&self.seen[i], packet, length, &self.batch.senders[i].address)
            for i in range(count):
                if self.seen[i].status == WIRE_OK:
                    self.memory.expect_entry(self.seen[i].hash)
            missed = 0
            hits = 0
            for i in range(count):
                verdict = self.from_memory(&self.seen[i], self.batch.room(), 0, now_ms, &written)
                if verdict == ANSWERED or verdict == ANSWERED_LATE:
                    hits += 1
                    self.batch.queue(i, written)
                    if verdict == ANSWERED_LATE:
                        self.renew(&self.seen[i])
                elif verdict == REFUSED:
                    self.batch.queue(i, written)
                elif verdict == MISSED:
                    self.missed[missed] = i
                    missed += 1
                elif verdict == UNCOMMON:
                    uncommon = self.put_off(fd, i, False, uncommon)
            self.tally[SEND_ERRORS] += <unsigned int>self.batch.send(fd)
            sent_ns = read_clock_ns()
            observe(self.hit_latency, sent_ns - began_ns, <uint64_t>hits)
            began_ns = sent_ns
            if missed:
                uncommon = self.answer_missed(fd, missed, uncommon)
            if count < BATCH or (uncommon is not None and len(uncommon) >= UNCOMMON_A_WAKEUP):
                break
        if uncommon is not None:
            for query in uncommon:
                try:
                    self.on_uncommon(query)
                except Exception as defect:     # the others are none of its
                    report(defect)

    cdef list answer_missed(self, int fd, int count, list uncommon):
        """Answer from disk those of the batch that memory could not; return them that need more."""
        cdef int i, verdict
        cdef size_t written = 0
        cdef Instant now
        cdef bint on_disk = not self.tiers.disk.would_wait() and self.tiers.begin_disk() == 0
        cdef bint wants_disk
        cdef uint64_t cold = 0      # a bit for each that nobody has looked for on disk
        cdef int to_ask = 0
        read_moment(&now)
        try:
            for i in range(count):
                # A look-up that had to wait for the disk makes the others of the batch another thread's.
                wants_disk = self.tiers.disk.would_wait()
                verdict = self.from_special_names(&self.seen[self.missed[i]], self.batch.room(), 0, &now, &written)
                if verdict != MISSED:
                    pass
                elif on_disk and not wants_disk:
                    verdict = self.from_disk(&self.seen[self.missed[i]], self.batch.room(), 0, &now, &written)
                else:
                    verdict = self.without_disk(&self.seen[self.missed[i]], self.batch.room(), &written)
                if verdict == UNCOMMON:
                    if wants_disk:
                        cold |= <uint64_t>1 << to_ask
                    self.missed[to_ask] = self.missed[i]
                    to_ask += 1
                    continue
                self.batch.queue(self.missed[i], written)
                if verdict == ANSWERED_LATE:
                    self.renew(&self.seen[self.missed[i]])
        finally:
            if on_disk:     # whatever happens: it must not be renewed twice
                self.tiers.end_disk()
        self.tally[SEND_ERRORS] += <unsigned int>self.batch.send(fd)
        for i in range(to_ask):     # the disk is not being read any more: whoever asks may want to, or find another one
            uncommon = self.put_off(fd, self.missed[i], (cold >> i) & 1, uncommon)
        self.forward.send()
        return uncommon

    cdef list put_off(self, int fd, int i, bint wants_disk, list uncommon):
        """Have somebody asked; a query that needs more than that joins the uncommon ones."""
        cdef const Seen* seen = &self.seen[i]
        cdef const uint8_t* spelling = seen.packet + HEADER_LENGTH
        cdef uint64_t now_ns = read_clock_ns()
        cdef UdpQuery query
        if seen.question.qclass != CLASS_CHAOS:
            self.forward.take_udp(
                seen.hash, &seen.question, spelling, fd, &self.batch.senders[i], now_ns, wants_disk
            )
            return uncommon
        query = UdpQuery.__new__(UdpQuery)
        query.take(self.tiers.counters, &seen.question, spelling, now_ns)
        query.come_from(fd, &self.batch.senders[i])
        query.wants_disk = wants_disk
        if uncommon is None:
            uncommon = []
        uncommon.append(query)
        return uncommon

    cdef void renew(self, const Seen* seen) except *:
        if is_special(seen.question.key, seen.question.key_length):
            return          # made anew when its TTL is over
        try:
            if self.on_refresh(seen.question.key[:seen.question.key_length]) is not False:
                self.tally[PREFETCHES] += 1
        except Exception as defect:
            report(defect)

    def renew_wanted(self):
        """Have renewed what commands want renewed."""
        for key in self.tiers.take_wanted():
            self.on_refresh(key)

    def refuse_stream(self, bytes packet not None):
        """Return what a client that may not ask is told of one message of a stream, or None for nothing."""
        cdef uint8_t room[ERROR_MAX]
        cdef size_t written = 0
        cdef Seen seen
        self.tally[QUERIES_TCP] += 1
        seen.packet = packet
        seen.status = self.look_at_stranger(packet, len(packet), &seen.question)
        return room[:written] if self.decline(&seen, room, &written) == REFUSED else None

    def answer_stream(self, bytes packet not None, make_query):
        """Return the response to one message of a stream, or None when it has none or will have it later.

        In the second case make_query() has been called for the Query object whose `reply` will bring it.
        """
        cdef size_t written = 0
        cdef Seen seen
        cdef Query query
        cdef Instant now
        cdef bint wants_disk
        cdef int verdict
        self.tally[QUERIES_TCP] += 1
        read_moment(&now)
        if self.tiers.catch_up(now.boot_ms):
            self.renew_wanted()
        self.look_at(&seen, packet, len(packet), NULL)
        verdict = self.from_memory(&seen, self.stream_room, RESPONSE_MAX, now.boot_ms, &written)
        wants_disk = False
        if verdict == MISSED:
            wants_disk = self.tiers.disk.would_wait()
            verdict = self.from_special_names(&seen, self.stream_room, RESPONSE_MAX, &now, &written)
            if verdict != MISSED:
                pass
            elif not wants_disk and self.tiers.begin_disk() == 0:
                verdict = self.from_disk(&seen, self.stream_room, RESPONSE_MAX, &now, &written)
                self.tiers.end_disk()
            else:
                verdict = self.without_disk(&seen, self.stream_room, &written)
        if verdict == ANSWERED_LATE:
            self.renew(&seen)
        if verdict == ANSWERED or verdict == ANSWERED_LATE:
            return self.stream_room[:written]
        if verdict == UNCOMMON:
            query = make_query()
            query.take(self.tiers.counters, &seen.question, seen.packet + HEADER_LENGTH, read_clock_ns())
            query.wants_disk = wants_disk
            if seen.question.qclass != CLASS_CHAOS:
                self.forward.take_other(seen.hash, query, wants_disk)
                self.forward.send()
            else:
                self.on_uncommon(query)
        return None
