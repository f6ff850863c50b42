"""The listeners over connections: who is let in, and the loop that serves them."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from fastdns._query cimport Asker
from fastdns._stream cimport Stream
from fastdns._stream_queries cimport StreamQueries
from fastdns._ticket_keys cimport TicketKeys
from fastdns._tls cimport ServerContext

cdef enum:
    LISTENERS_MAX = 256
    SERVICES = 3

cdef enum Pause:
    NOT_PAUSED
    UNTIL_HANDSHAKES_END    # too many are under way
    UNTIL_TICK              # for want of descriptors or memory

cdef struct Listening:
    int fd                  # -1: closed
    uint16_t number
    uint8_t service
    uint8_t pause

cdef class StreamListener(StreamQueries):
    cdef Listening listening[LISTENERS_MAX]
    cdef int listeners
    cdef int of_service[SERVICES]   # connections
    cdef ServerContext dot, https   # of new ones
    cdef TicketKeys tickets
    cdef object on_busy
    cdef bint has_clock
    cdef bint has_paused            # a listener
    cdef readonly unsigned long unserved    # connections that were closed for want of a certificate
    cdef Asker unserved_client              # the last one
    cdef int peak                   # connections since memory was given back

    # private
    cdef void work(self) except *
    cdef void accept(self, Listening* listening, uint64_t now_ns) except *
    cdef bint watch(self, Listening* listening) noexcept
    cdef bint end_handshake(self, uint64_t now_ns) noexcept
    cdef void pause(self, Listening* listening, Pause until) noexcept
    cdef void welcome_back(self, bint is_tick) noexcept
    cdef void welcome(self, int fd, const Asker* asker, const Listening* listening, uint64_t now_ns) noexcept
    cdef ServerContext context_of(self, int service)
    cdef void begin_tls(self, Stream* stream) noexcept
    cdef void show_count(self, int service) noexcept
    cdef void need_clock(self) noexcept
