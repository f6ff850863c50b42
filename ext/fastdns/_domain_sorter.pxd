"""Building a set of millions of domains in little memory: they are sorted by their hashes and written in that order."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastdns._siphash cimport SipKey

ctypedef struct HashedDomain:          # 12 octets: two millions take 24 MiB
    uint32_t high               # of the hash
    uint32_t low
    uint32_t value

cdef class DomainSorter:
    cdef SipKey key
    cdef HashedDomain* entries
    cdef uint64_t room, used
    cdef uint64_t settled       # of them, from the first on, that are sorted and have different hashes
    cdef uint64_t depths[2]

    cdef int add_name(self, const uint8_t* name, uint32_t value) except -1      # name: sound and in lower case
    cdef uint32_t merged(self, const HashedDomain* entries, uint64_t count) except 0
    # ^ the value of a domain that was given with several
    cdef int settle(self) except -1
    cdef uint64_t lines(self) noexcept nogil        # of the table that these domains take
    # private
    cdef int make_room(self) except -1
    cdef int longest_run(self, uint64_t lines, uint64_t* wrapped) except -1
