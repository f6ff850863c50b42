"""Compiled block lists: what each list says of each domain, in one block of memory or a mapped file.

A domain stands for a *combination*: all that the lists say of it. Millions of domains have few combinations, so a
domain takes no more memory than in any other DomainSet. Numbers have this machine's byte order: the file is a cache.

    0    magic, checksum of what stands before the domains, numbers of all things (see HEADER in _block_set.pyx)
    64   for each combination, and after the last: its first membership; the memberships
         for each set of types, and after the last: its first number; the numbers; then JSON: sources and patterns
    ...  the DomainSet, at a multiple of 64; at the end a checksum of everything
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._domain_sorter cimport DomainSorter, HashedDomain
from fastdns._domains cimport DomainSet

cpdef enum:                     # flags of a membership
    ITSELF = 1                  # it concerns the domain itself
    UNDER = 2                   # it concerns all names under it
    ALLOWS = 4                  # else it blocks
    IMPORTANT = 8               # it counts before those without

cpdef enum:                     # actions: the answer that an entry asks for
    AS_CONFIGURED = 0
    ANSWER_NXDOMAIN = 1
    ANSWER_NODATA = 2
    ANSWER_NULL = 3
    ANSWER_REFUSED = 4

cpdef enum:
    MOST_SOURCES = 65535        # they have numbers from 0 to one less

ctypedef struct Membership:     # what a source says of a domain
    uint16_t source
    uint8_t flags
    uint8_t action
    uint16_t types              # number of a set of types: what it says holds for these alone; 0: for all
    uint16_t spare

cdef class BlockSet:
    cdef DomainSet domains
    cdef const uint32_t* starts         # of the combinations, in all_members
    cdef uint32_t combinations
    cdef const Membership* all_members
    cdef const uint32_t* type_starts    # of the sets of types, in all_types
    cdef uint32_t type_sets
    cdef const uint16_t* all_types      # of a set: 0, then types; or 1, then types that are not in it
    cdef bytes info
    cdef object memory                  # a memoryview that keeps it all, as long as the set is there

    cdef const Membership* members(self, uint32_t value, int* count) noexcept nogil
    # ^ value: of a Suffix. They are sorted by source. A value that is not there, from a damaged file, has none.
    cdef bint has_type(self, uint16_t types, uint16_t qtype) noexcept nogil

cdef class BlockSetBuilder(DomainSorter):
    cdef Membership* members            # of all combinations
    cdef uint32_t members_room, members_used
    cdef uint32_t* starts               # of the combinations: the one with number n begins at starts[n - 1]
    cdef uint32_t starts_room, combinations
    cdef uint32_t* table                # numbers by the hash of their members; 0: free
    cdef uint32_t table_room
    cdef dict unions                    # (number << 32 | other) -> number
    cdef Membership last                # the one that was asked for last, and the combination of it alone
    cdef uint32_t last_number
    cdef dict type_numbers              # set of types -> number
    cdef list patterns

    cdef int add_entry(self, const uint8_t* name, const Membership* entry) except -1    # name: sound, lower case
    cdef uint32_t number_of_types(self, tuple types) except? 0
    # private
    cdef uint32_t united(self, uint32_t one, uint32_t other) except 0
    cdef uint32_t united_all(self, const HashedDomain* entries, uint64_t count) except 0
    cdef Membership checked(self, int source, int flags, int action, types) except *
    cdef uint32_t alone(self, const Membership* entry) except 0
    cdef uint32_t intern(self, const Membership* members, uint32_t count) except 0
    cdef int rebuild_table(self, uint32_t room) except -1
