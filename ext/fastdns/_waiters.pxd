"""Clients that wait for an answer: what a later answer needs of each, and how to send it."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._policy cimport Decision
from fastdns._outlet cimport Outlet
from fastdns._query cimport Asker, Query, Ticket
from fastdns._counters cimport Counters
from fastdns._udp cimport Batch, Sender
from fastdns._wire cimport Asked

cdef struct Waiter:         # its spelling of the question follows
    Waiter* next
    uint64_t received_ns
    void* outlet            # an Outlet, which is kept for it; NULL: it came over UDP, on fd from sender
    Ticket ticket
    Asked asked
    Asker asker
    int fd
    Sender sender

cdef Waiter* make_waiter(const Query* query, int fd, const Sender* sender, Outlet outlet) noexcept
# ^ NULL: no memory. The outlet counts it.
cdef void free_waiters(Waiter* first) noexcept
cdef void describe(
    Query* out, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision
) noexcept nogil
# ^ the query that all waiters of one question share

cdef class Outgoing:        # answers to waiters, sent in batches
    cdef Counters counters
    cdef Batch batch
    cdef int fd             # that the batch is for
    cdef Waiter* told       # freed after their answers were sent
    cdef Outlet outlet      # with something to send; None: there is none
    cdef uint8_t* room

    cdef void tell(
        self, Query* query, Waiter* waiter, const Stored* stored, uint32_t age, uint32_t stale_ttl, uint64_t now_ns
    ) noexcept
    # ^ query: from `describe`, with the tier. The waiter is done; `flush` sends its answer. With a stale_ttl it is a
    # stale answer.
    cdef void drop(self, Query* query, Waiter* waiter, uint64_t now_ns) noexcept    # without an answer
    cdef void flush(self) noexcept
