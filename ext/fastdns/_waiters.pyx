"""Clients whose answer is not at hand, and the ways to answer them later."""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastdns._clock cimport read_clock_ns
from fastdns._key cimport KEY_TAIL
from fastdns._query cimport TIER_NONE, TIERS, finish
from fastdns._response cimport RESPONSE_MAX, write_answer, write_stale
from fastdns._shared cimport SEND_ERRORS
from fastdns._udp cimport BATCH
from fastdns._wire cimport load16

from fastdns.defects import report


cdef Waiter* make_waiter(const Query* query, int fd, const Sender* sender, Stream stream):
    cdef Waiter* waiter = <Waiter*>malloc(sizeof(Waiter) + query.asked.length)
    if waiter == NULL:
        return NULL
    waiter.next = NULL
    waiter.received_ns = query.received_ns
    waiter.asked = query.asked
    waiter.asker = query.asker
    waiter.fd = fd
    waiter.stream = NULL
    if stream is None:
        waiter.sender = sender[0]
    else:
        Py_INCREF(stream)
        waiter.stream = <void*>stream
        stream.wait_more()
    memcpy(waiter + 1, query.spelling, query.asked.length)
    return waiter


cdef void free_waiter(Waiter* waiter) except *:
    if waiter.stream != NULL:
        stream = <Stream>waiter.stream
        Py_DECREF(stream)
        try:
            (<Stream>stream).wait_less()
        except Exception as defect:
            report(defect)
    free(waiter)


cdef void free_waiters(Waiter* first) except *:
    cdef Waiter* after
    while first != NULL:
        after = first.next
        free_waiter(first)
        first = after


cdef void describe(Query* out, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
    memset(out, 0, sizeof(Query))
    out.key.hash = hash
    out.key.length = key_length
    memcpy(out.key.octets, key, key_length)
    out.key.qtype = load16(key + key_length - KEY_TAIL)
    out.key.qclass = load16(key + key_length - KEY_TAIL + 2)
    out.has_waited = True


cdef class Outgoing:
    """Answers to clients that have waited, on their way."""

    def __cinit__(self, Counters counters not None):
        self.counters = counters
        self.batch = Batch()
        self.fd = -1
        self.streams = []
        self.room = <uint8_t*>malloc(RESPONSE_MAX)
        if self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)

    cdef void tell(
        self, Query* query, Waiter* waiter, const Stored* stored, uint32_t stale_ttl, uint64_t now_ns
    ) except *:
        cdef uint8_t* room = self.room
        cdef size_t limit = RESPONSE_MAX
        if waiter.stream == NULL:
            if self.batch.queued == BATCH or waiter.fd != self.fd:
                self.flush()
            self.fd = waiter.fd
            room = self.batch.room()
            limit = waiter.asked.udp_size
        query.asked = waiter.asked
        query.asker = waiter.asker
        query.received_ns = waiter.received_ns
        query.spelling = <const uint8_t*>(waiter + 1)
        if stale_ttl:
            query.told_octets = <uint16_t>write_stale(room, query.spelling, &query.asked, stored, stale_ttl, limit)
        else:
            query.told_octets = <uint16_t>write_answer(room, query.spelling, &query.asked, stored, 0, limit)
        query.told = load16(room + 2)
        finish(self.counters, query, now_ns)
        if waiter.stream == NULL:
            self.batch.queue_to(&waiter.sender, query.told_octets)
        else:
            self.put(<Stream>waiter.stream, query, now_ns)
        waiter.next = self.told
        self.told = waiter

    cdef void put(self, Stream stream, const Query* query, uint64_t now_ns) except *:
        stream.put(self.room, query.told_octets, now_ns)
        if not stream.is_queued and stream.unwritten:
            stream.is_queued = True
            self.streams.append(stream)

    cdef void drop(self, Query* query, Waiter* waiter, uint64_t now_ns) except *:
        query.asked = waiter.asked
        query.asker = waiter.asker
        query.received_ns = waiter.received_ns
        query.spelling = <const uint8_t*>(waiter + 1)
        query.told = query.told_octets = 0
        query.tier = TIER_NONE
        finish(self.counters, query, now_ns)
        free_waiter(waiter)

    cdef void flush(self) except *:
        """Send what is queued: to each client of a stream all in one go."""
        cdef Waiter* told = self.told
        cdef uint64_t now_ns
        if self.batch.queued:
            self.counters.at[SEND_ERRORS] += <unsigned int>self.batch.send(self.fd)
        if self.streams:
            now_ns = read_clock_ns()
            streams, self.streams = self.streams, []
            for stream in streams:
                (<Stream>stream).is_queued = False
                try:
                    (<Stream>stream).send(now_ns)
                except Exception as defect:     # the others are none of its
                    report(defect)
        self.told = NULL
        free_waiters(told)


cdef class Waiters:
    """The clients that wait for the answer to one question, as Python holds them; len() says how many."""

    def __dealloc__(self):
        free_waiters(self.first)

    def __len__(self):
        return self.count

    @property
    def key(self):
        """The canonical key: lower-cased QNAME in wire form, QTYPE 2, QCLASS 2, flags 1, view 2 octets."""
        return self.key_parts.octets[:self.key_parts.length]

    @property
    def qtype(self):
        return self.key_parts.qtype

    @property
    def qclass(self):
        return self.key_parts.qclass

    def join(self, Waiters other not None):
        """Take over all that wait there."""
        if other is self or other.first == NULL:
            return
        if self.first == NULL:
            self.first = other.first
        else:
            self.last.next = other.first
        self.last = other.last
        self.count += other.count
        self.wants_disk = self.wants_disk or other.wants_disk
        other.first = other.last = NULL
        other.count = 0

    def reply(self, Answer answer not None, int tier):
        """Send the answer to all, over UDP cut to TC=1 when it is larger than the client takes; nobody waits then."""
        cdef Query query
        cdef uint64_t now_ns = read_clock_ns()
        cdef Waiter* waiter
        if not 0 <= tier < TIERS:
            raise ValueError("not a tier")
        describe(&query, self.key_parts.hash, self.key_parts.octets, self.key_parts.length)
        query.tier = <uint8_t>tier
        while self.first != NULL:
            waiter = self.take()
            self.outgoing.tell(&query, waiter, &answer.stored, 0, now_ns)
        self.outgoing.flush()

    def drop(self):
        """Forget who waits without a word: there are too many."""
        cdef Query query
        cdef uint64_t now_ns = read_clock_ns()
        cdef Waiter* waiter
        describe(&query, self.key_parts.hash, self.key_parts.octets, self.key_parts.length)
        while self.first != NULL:
            waiter = self.take()
            self.outgoing.drop(&query, waiter, now_ns)

    cdef Waiter* take(self) noexcept:
        cdef Waiter* waiter = self.first
        self.first = waiter.next
        waiter.next = NULL
        if self.first == NULL:
            self.last = NULL
        self.count -= 1
        return waiter

    cdef void add(self, Waiter* waiter) noexcept:
        if self.first == NULL:
            self.first = waiter
        else:
            self.last.next = waiter
        self.last = waiter
        self.count += 1


cdef Waiters make_waiters(Outgoing outgoing, const Key* key):
    cdef Waiters waiters = Waiters.__new__(Waiters)
    waiters.outgoing = outgoing
    waiters.key_parts = key[0]
    return waiters
