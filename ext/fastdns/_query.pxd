"""A client's query that the cache could not answer, and the ways to answer it later."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from fastdns._counters cimport Counters
from fastdns._udp cimport Sender
from fastdns._wire cimport Question

cdef void count_response(uint64_t* tally, const uint8_t* response) noexcept nogil

cdef class Query:
    cdef Question question
    cdef bytes spelling     # the question as the client wrote it
    cdef uint64_t received_ns
    cdef readonly bint wants_disk   # nobody has looked there: it might have had to wait
    cdef Counters counters

    cdef void take(self, Counters counters, const Question* question, const uint8_t* spelling, uint64_t received_ns)
    cdef void count_reply(self, const uint8_t* response) noexcept

cdef class UdpQuery(Query):
    cdef int fd
    cdef Sender sender

    cdef void come_from(self, int fd, const Sender* sender) noexcept
