"""The way of a query that the cache can answer, from the packet to its answer, in the order of the journey."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._access cimport Access
from fastdns._clock cimport Instant
from fastdns._forward cimport Forward
from fastdns._hotcache cimport Entry, HotCache
from fastdns._tiers cimport Tiers
from fastdns._udp cimport BATCH, Batch
from fastdns._wire cimport Question

cdef enum Verdict:
    ANSWERED
    ANSWERED_LATE           # in the last part of its TTL: to be renewed
    REFUSED                 # who asks may not
    DROPPED
    MISSED                  # memory has nothing to serve
    UNCOMMON                # an upstream has to be asked, or the owner's callback

cdef enum:                  # beside WireStatus
    STRANGER = -100         # from a client that may not ask
    STRANGER_IGNORED = -101     # and is not answered

ctypedef struct Seen:       # a query that has been read
    const uint8_t* packet
    int status              # of reading it: WireStatus, or that of a stranger
    uint64_t hash           # of its key
    Question question

cdef class FastPath:
    cdef readonly Forward forward
    cdef readonly Tiers tiers
    cdef readonly Access access
    cdef HotCache memory    # theirs
    cdef uint64_t* tally    # their counters, within reach of code without the GIL
    cdef uint64_t* hit_latency
    cdef uint32_t stale_ttl
    cdef bint prefetch
    cdef int64_t next_try_ms    # in an outage: when to have somebody asked all the same
    cdef object on_uncommon
    cdef object on_refresh
    cdef Batch batch
    cdef Seen* seen         # a batch of them
    cdef int* missed        # which of them memory could not answer
    cdef uint8_t* stream_room

    cdef void look_at(self, Seen* seen, const uint8_t* packet, size_t length, const void* client) noexcept nogil
    # ^ client: a sockaddr; NULL: who has been let in already
    cdef int from_memory(
        self, const Seen* seen, uint8_t* out, size_t limit, int64_t now_ms, size_t* written
    ) noexcept nogil        # a Verdict; limit 0: what the client takes over UDP
    cdef int from_special_names(
        self, const Seen* seen, uint8_t* out, size_t limit, const Instant* now, size_t* written
    ) noexcept nogil        # ANSWERED, or MISSED for an ordinary name
    cdef int from_disk(
        self, const Seen* seen, uint8_t* out, size_t limit, const Instant* now, size_t* written
    ) noexcept nogil        # a Verdict, never MISSED; between begin_disk and end_disk
    cdef int without_disk(
        self, const Seen* seen, uint8_t* out, size_t* written
    ) noexcept nogil        # a Verdict, never MISSED
    # private
    cdef int look_at_stranger(self, const uint8_t* packet, size_t length, Question* question) noexcept nogil
    cdef int decline(self, const Seen* seen, uint8_t* out, size_t* written) noexcept nogil
    cdef int serve(
        self, Entry* entry, const Seen* seen, uint8_t* out, size_t limit, int64_t now_ms, size_t* written
    ) noexcept nogil
    cdef bint is_hopeless(self, const Question* question) noexcept nogil
    cdef int serve_stale(
        self, Entry* entry, const Seen* seen, uint8_t* out, size_t limit, int64_t now_ms, size_t* written
    ) noexcept nogil
    cdef size_t refuse(self, const Seen* seen, uint8_t* out, uint16_t rcode, int ede=*) noexcept nogil
    cdef list answer_missed(self, int fd, int count, list uncommon)
    cdef list put_off(self, int fd, int i, bint wants_disk, list uncommon)
    cdef void renew(self, const Seen* seen) except *
    cdef void answer_waiting(self, int fd) except *
