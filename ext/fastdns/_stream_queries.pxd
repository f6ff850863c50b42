"""What clients ask over connections, in frames or over HTTP, and how their answers go back."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from fastdns._clients cimport Access
from fastdns._counters cimport Counters
from fastdns._fastpath cimport FastPath
from fastdns._query cimport Query
from fastdns._stream cimport Stream, Streams

cdef class StreamQueries(Streams):
    cdef readonly FastPath fastpath
    cdef Counters counters
    cdef uint64_t* tally
    cdef object new_http1
    cdef dict http1             # by slot, the connections of clients that only speak HTTP/1.1
    cdef readonly unsigned long nameless    # requests whose proxy has not said who asks
    cdef Access proxies         # which addresses are proxies'; None: none

    cdef void speak(self, Stream* stream, int protocol) noexcept    # from now on
    # private
    cdef void choose(self, Stream* stream, const uint8_t* octets) noexcept
    cdef size_t take_frames(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except? 0
    cdef void take_requests(self, Stream* stream, uint64_t now_ns) except *
    cdef void take_http1(self, Stream* stream, bytes octets, uint64_t now_ns) except *
    cdef void put_http1(self, Stream* stream) except *
    cdef void settle_exchange(
        self, Stream* stream, int32_t exchange, int status, const uint8_t* body, size_t length, int64_t max_age
    ) noexcept
    cdef void ask(self, Stream* stream, Query* query, const uint8_t* message, size_t length) noexcept
    cdef bint name_client(self, Stream* stream, Query* query, const char* client, const char* forwarded) noexcept
    cdef int run(self, Stream* stream, int count, uint64_t now_ns) except -1
