"""Clients that wait for an answer, and how to answer them later."""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastdns._clock cimport read_clock_ns
from fastdns._key cimport KEY_TAIL
from fastdns._answer cimport IS_OURS
from fastdns._query cimport TIER_NONE, count_blocked, finish
from fastdns._response cimport RESPONSE_MAX, write_answer, write_stale
from fastdns._counters cimport SEND_ERRORS
from fastdns._udp cimport BATCH
from fastdns._wire cimport load16


cdef Waiter* make_waiter(const Query* query, int fd, const Sender* sender, Outlet outlet) noexcept:
    cdef Waiter* waiter = <Waiter*>malloc(sizeof(Waiter) + query.asked.length)
    if waiter == NULL:
        return NULL
    waiter.next = NULL
    waiter.received_ns = query.received_ns
    waiter.asked = query.asked
    waiter.asker = query.asker
    waiter.fd = fd
    waiter.outlet = NULL
    if outlet is None:
        waiter.sender = sender[0]
    else:
        Py_INCREF(outlet)
        waiter.outlet = <void*>outlet
        waiter.ticket = query.ticket
        outlet.wait_more(&waiter.ticket)
    memcpy(waiter + 1, query.spelling, query.asked.length)
    return waiter


cdef void free_waiters(Waiter* first) noexcept:
    cdef Waiter* waiter
    while first != NULL:
        waiter = first
        first = waiter.next
        if waiter.outlet != NULL:
            (<Outlet>waiter.outlet).wait_less(&waiter.ticket)
            Py_DECREF(<Outlet>waiter.outlet)
        free(waiter)


cdef void describe(
    Query* out, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision
) noexcept nogil:
    memset(out, 0, sizeof(Query))
    out.key.hash = hash
    out.key.length = key_length
    memcpy(out.key.octets, key, key_length)
    out.key.qtype = load16(key + key_length - KEY_TAIL)
    out.key.qclass = load16(key + key_length - KEY_TAIL + 2)
    out.decision = decision[0]
    out.has_waited = True


cdef class Outgoing:
    """Answers to clients that have waited, not sent yet."""

    def __cinit__(self, Counters counters not None):
        self.counters = counters
        self.batch = Batch()
        self.fd = -1
        self.room = <uint8_t*>malloc(RESPONSE_MAX)
        if self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)

    cdef void tell(
        self, Query* query, Waiter* waiter, const Stored* stored, uint32_t age, uint32_t stale_ttl, uint64_t now_ns
    ) noexcept:
        cdef uint8_t* room = self.room
        cdef size_t limit = RESPONSE_MAX
        if waiter.outlet == NULL:
            if self.batch.queued == BATCH or waiter.fd != self.fd:
                self.flush()
            self.fd = waiter.fd
            room = self.batch.room()
            limit = waiter.asked.udp_size
        elif self.outlet is not <Outlet>waiter.outlet:
            self.flush()
            self.outlet = <Outlet>waiter.outlet
        query.asked = waiter.asked
        query.asker = waiter.asker
        query.received_ns = waiter.received_ns
        query.spelling = <const uint8_t*>(waiter + 1)
        if stale_ttl:
            query.told_octets = <uint16_t>write_stale(room, query.spelling, &query.asked, stored, stale_ttl, limit)
        else:
            query.told_octets = <uint16_t>write_answer(room, query.spelling, &query.asked, stored, age, limit)
        query.told = load16(room + 2)
        query.blocked = False
        if stored.is_authoritative > IS_OURS:
            count_blocked(self.counters, query, stored)
        finish(self.counters, query, now_ns)
        if waiter.outlet == NULL:
            self.batch.queue_to(&waiter.sender, query.told_octets)
        else:
            query.ticket = waiter.ticket
            self.outlet.put(query, room)
        waiter.next = self.told
        self.told = waiter

    cdef void drop(self, Query* query, Waiter* waiter, uint64_t now_ns) noexcept:
        query.asked = waiter.asked
        query.asker = waiter.asker
        query.received_ns = waiter.received_ns
        query.spelling = <const uint8_t*>(waiter + 1)
        query.told = query.told_octets = 0
        query.tier = TIER_NONE
        finish(self.counters, query, now_ns)
        if waiter.outlet != NULL:
            if self.outlet is not <Outlet>waiter.outlet:
                self.flush()
                self.outlet = <Outlet>waiter.outlet
            self.outlet.refuse(&waiter.ticket)
        waiter.next = self.told
        self.told = waiter

    cdef void flush(self) noexcept:
        """Send the queued answers: to each client of a stream all at once."""
        cdef Waiter* told = self.told
        cdef Outlet outlet = self.outlet
        if self.batch.queued:
            self.counters.at[SEND_ERRORS] += <unsigned int>self.batch.send(self.fd)
        self.told = NULL
        self.outlet = None
        free_waiters(told)      # before: what was told counts no longer as waiting when more may be read
        if outlet is not None:
            outlet.flush(read_clock_ns())
