"""Where answers over connections go: what the stages and late answers need of the listener."""

from libc.stdint cimport uint8_t, uint64_t

from fastdns._query cimport Query, Ticket

cdef class Outlet:
    cdef void put(self, const Query* query, const uint8_t* response) noexcept
    # ^ response: query.told_octets for the connection of query.ticket, if it is still there; `flush` sends it
    cdef bint is_full(self, const Ticket* ticket) noexcept      # it must take its answers first
    cdef void flush(self, uint64_t now_ns) noexcept
    cdef void wait_more(self, const Ticket* ticket) noexcept    # one of its queries waits for an answer
    cdef void refuse(self, const Ticket* ticket) noexcept       # it will get no answer
    cdef void wait_less(self, const Ticket* ticket) noexcept    # it has been told, or never will be
