"""Who may ask: compares a client's address with sorted addresses at which the answer changes."""

from libc.stdint cimport uint32_t, uint64_t

from fastdns._query cimport Asker

ctypedef struct Wide:           # an IPv6 address
    uint64_t high
    uint64_t low

cdef class Access:
    cdef readonly bint drops    # refused clients get no answer
    cdef uint32_t* narrow       # of IPv4
    cdef Wide* wide             # of IPv6
    cdef Wide* near             # of IPv6, for link-local clients on one of `links`
    cdef uint32_t* links        # numbers of interfaces
    cdef size_t narrow_count, wide_count, near_count, links_count

    cdef bint admits(self, const Asker* asker) noexcept nogil
    # private
    cdef bint admits_narrow(self, uint32_t address) noexcept nogil
    cdef bint admits_wide(self, uint64_t high, uint64_t low, uint32_t link) noexcept nogil

cdef void read_asker(const void* address, Asker* out) noexcept nogil     # of a sockaddr, whole for its family
cdef int name_asker(tuple client, Asker* out) except -1      # of an address as Python has it
