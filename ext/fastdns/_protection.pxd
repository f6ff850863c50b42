"""What [protect] says of answers: addresses that nobody may answer with, and those that only some names may have."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from fastdns._domains cimport DomainSet
from fastdns._wire cimport Findings

ctypedef struct Span:       # of addresses, IPv4 as ::ffff:a.b.c.d, both ends included
    uint64_t first[2]       # the upper half first
    uint64_t last[2]

cdef class Protection:
    cdef readonly bint rebind           # public names do not have private addresses
    cdef readonly bint minimal_any      # ANY is answered here (RFC 8482)
    cdef DomainSet rebind_allow         # names that may have them
    cdef Span* bogus                    # sorted, without overlaps
    cdef readonly int bogus_count

    cdef bint is_bogus(self, const Findings* findings) noexcept nogil       # a forged answer has such an address
    cdef bint is_rebinding(self, const Findings* findings) noexcept nogil
    # ^ a private address in the answer of a public group; the name that was asked for may not have one
