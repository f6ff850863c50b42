"""The way of a query that memory can answer, from the packet to its answer, in the order of the journey."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._hotcache cimport HotCache
from fastdns._shared cimport Counters
from fastdns._udp cimport BATCH, Batch, Sender
from fastdns._wire cimport Question

cdef enum Verdict:
    ANSWERED
    DROPPED
    UNCOMMON                # for the owner's callback

ctypedef struct Seen:       # a query that has been read
    const uint8_t* packet
    int status              # of reading it: WireStatus
    uint64_t hash           # of its key
    Question question

cdef class FastPath:
    cdef readonly HotCache cache
    cdef readonly Counters counters
    cdef uint64_t* tally    # theirs, within reach of code without the GIL
    cdef object on_uncommon
    cdef Batch batch
    cdef Seen* seen         # a batch of them
    cdef uint8_t* stream_room

    cdef void look_at(self, Seen* seen, const uint8_t* packet, size_t length) noexcept nogil
    cdef int consider(
        self, const Seen* seen, uint8_t* out, size_t limit, int64_t now_ms, size_t* written
    ) noexcept nogil        # a Verdict; limit 0: what the client takes over UDP
    cdef void show_cache(self)

cdef class Query:
    cdef Question question
    cdef bytes spelling     # the question as the client wrote it
    cdef FastPath home

    cdef void take(self, FastPath home, const Seen* seen)

cdef class UdpQuery(Query):
    cdef int fd
    cdef Sender sender
