"""How many answers a client prefix gets over UDP: one bucket a prefix, for all workers together."""

from libc.stdint cimport uint8_t, uint64_t

from fastdns._clients cimport Access
from fastdns._query cimport Asker

cdef class RateLimit:
    cdef readonly bint is_dry   # nobody is limited, it is only counted
    cdef uint64_t step          # the time that one answer takes, in TICK_NS; 0: no limit
    cdef Access exempt          # these clients have no limit
    cdef uint64_t* lines        # of buckets
    cdef uint64_t* turns        # bits: who gets the next answer
    cdef object memory

    cdef bint is_over(self, const Asker* asker, uint64_t now_ns) noexcept nogil
    # ^ takes one answer from the client's bucket; True: it is empty. Only if step is not 0
    cdef bint is_told(self, const Asker* asker, uint64_t question) noexcept nogil
    # ^ for a client above its limit: True for every second query of its that asks this
