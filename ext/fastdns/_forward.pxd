"""The miss: a question is sent to upstreams until one answers, or all have failed."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._chains cimport Chains
from fastdns._hotcache cimport Entry
from fastdns._policy cimport Decision
from fastdns._query cimport Query
from fastdns._questions cimport Pending
from fastdns._cache cimport Cache
from fastdns._waiters cimport Waiter

cdef class Forward(Chains):
    cdef object on_cold
    cdef int searching                  # questions for which another thread reads the disk

    cdef void take(self, const Query* query, Waiter* waiter, uint64_t now_ns, bint wants_disk) except *
    cdef bint is_outage(self, uint16_t group) noexcept nogil
    cdef bint has_no_try(self, uint16_t group, bint is_cold) noexcept nogil
    # ^ in an outage: enough questions are asked already, so that the answer to another one is known
    cdef void send(self) noexcept               # the questions and answers
    # private
    cdef Pending* open(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, uint64_t now_ns,
        bint* is_new
    ) except? NULL
    cdef void begin(self, Pending* pending, bint is_new, bint wants_disk, uint64_t now_ns) except *
    cdef void ask_upstreams(self, Pending* pending, uint64_t now_ns) except *
    cdef bint tell_known(self, Pending* pending, bint in_outage, uint64_t now_ns) except -1
    cdef void make_room(self) except *
    cdef void give_up(self, Pending* pending, uint64_t now_ns) except *
    cdef void take_replies(self) except *
