"""The path of a query from packet to answer: one list of stages, for datagrams and for messages of a stream."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._clients cimport Access
from fastdns._clock cimport Instant
from fastdns._cookies cimport Cookies
from fastdns._forward cimport Forward
from fastdns._hotcache cimport Entry, HotCache
from fastdns._outlet cimport Outlet
from fastdns._own_answers cimport OwnAnswer
from fastdns._query cimport Query
from fastdns._rate_limit cimport RateLimit
from fastdns._counters cimport Counters
from fastdns._cache cimport Cache
from fastdns._udp cimport Batch, Sender

cdef enum Result:           # of a stage
    NEXT                    # the next stage's
    ANSWERED
    ANSWERED_LATE           # in the last part of its TTL: to be refreshed
    DROPPED
    ASK                     # upstreams
    SEARCH                  # the disk, which might take long, and then upstreams
    HELD                    # until it is known who the client is

cdef enum:                  # beside WireStatus
    STRANGER = -100         # from a client that may not ask
    STRANGER_IGNORED = -101     # and is not answered
    LIMITED = -102          # from a client above its limit, which is told to use TCP
    LIMITED_IGNORED = -103  # and is not answered
    UNMET_CLIENT = -104     # whole, but `access` does not know its client yet

cdef class HeldQuery:
    cdef bytes packet
    cdef Sender sender
    cdef uint64_t received_ns
    cdef int fd
    cdef uint16_t listener

cdef class FastPath:
    cdef readonly Forward forward
    cdef readonly Cache cache
    cdef readonly Access access
    cdef RateLimit rate
    cdef Cookies cookies
    cdef HotCache memory    # theirs
    cdef Counters counters  # theirs
    cdef uint64_t* tally    # within reach of code without the GIL
    cdef int64_t next_try_ms    # in an outage: when to ask an upstream nevertheless
    cdef object about
    cdef int about_us       # how often it has been called in this wake-up
    cdef object on_refresh
    cdef public object on_unmet
    cdef int unmet          # queries of a batch, by clients that `access` does not know yet
    cdef int met            # how many of them were looked at in the second met_s
    cdef int64_t met_s
    cdef bint is_resuming
    cdef Batch batch
    cdef Query* queries     # a batch of them
    cdef int* missed        # which of them memory could not answer
    cdef OwnAnswer* own     # the one that is made now
    cdef uint8_t* stream_out

    # The stages. Each returns a Result, and writes a response of at most query.limit bytes if it has one.
    cdef void look_at(self, Query* query) noexcept nogil            # admit and read
    cdef int decline(self, Query* query, uint8_t* out) noexcept nogil
    cdef int from_memory(self, Query* query, uint8_t* out, int64_t now_ms) noexcept nogil
    cdef int from_policy(self, Query* query, uint8_t* out, const Instant* now) noexcept nogil
    cdef int from_disk(self, Query* query, uint8_t* out, const Instant* now) noexcept nogil
    # ^ between begin_disk and end_disk
    cdef int without_disk(self, Query* query, uint8_t* out, bint is_cold) noexcept nogil
    # The list of stages, for one batch: of datagrams, or of a stream's messages.
    cdef int run(self, int count, int fd, Outlet outlet) except -1  # how many have been looked at
    # private
    cdef int look_at_stranger(self, Query* query) noexcept nogil
    cdef bint look_at_cookie(self, Query* query) noexcept nogil
    cdef int look_at_limit(self, Query* query) noexcept nogil
    cdef int serve(self, Entry* entry, Query* query, uint8_t* out, int64_t now_ms) noexcept nogil
    cdef bint is_hopeless(self, const Query* query) noexcept nogil
    cdef int serve_stale(self, Entry* entry, Query* query, uint8_t* out, int64_t now_ms) noexcept nogil
    cdef int refuse(self, Query* query, uint8_t* out, uint16_t rcode, int ede=*) noexcept nogil
    cdef void run_missed(self, int missed, int fd, Outlet outlet) except *
    cdef void meet_all(self, int count, int fd, Outlet outlet) except *
    cdef bint is_held(self, int i, int fd, Outlet outlet) except *
    cdef int about_ourselves(self, Query* query, uint8_t* out) except -1
    cdef void send(self, int fd, Outlet outlet) except *
    cdef void ask(self, int i, int fd, Outlet outlet, uint64_t now_ns) except *
    cdef void renew(self, const Query* query) except *
    cdef void answer_datagrams(self, int fd, uint16_t listener) except *
