"""A compiled set of domains: which of them a name is, or lies under, and what each of them stands for.

The set is one block of memory, or a file of the same form that processes map read-only: a header, then a hash table in
lines of 64 octets. A slot is 40 bits of a keyed hash of the domain and a value of 24 bits. With the place in the table
these tell a domain from about 2**60 others, so the names themselves are left out: a domain takes less than 12 octets.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._siphash cimport SipKey

cdef extern from * nogil:
    """
    #include <stdint.h>
    static inline uint64_t scaled(uint64_t hash, uint64_t count) {
    #ifdef __SIZEOF_INT128__
        return (uint64_t)(((unsigned __int128)hash * count) >> 64);
    #else
        return ((hash >> 32) * count) >> 32;    /* count is below 2**32 */
    #endif
    }
    """
    uint64_t scaled(uint64_t hash, uint64_t count)  # hash / 2**64 * count: the line of a domain

cdef enum:
    DOMAIN_LABELS_MAX = 128     # of a name of 255 octets, the root included
    DOMAIN_VALUE_MAX = 0xffffff
    VALUE_BITS = 24
    SLOTS_A_LINE = 8            # 64 octets: one line of a processor's cache
    RUN_LIMIT = 64              # lines: a table that needs more is not ours

ctypedef struct Suffix:         # of a name, that is in the set
    uint32_t value
    uint8_t labels              # of the suffix; 0: the root
    uint8_t is_whole            # the name itself

cdef class DomainSet:
    cdef readonly uint64_t count        # domains
    cdef const uint64_t* slots
    cdef uint64_t lines                 # of SLOTS_A_LINE slots; 0: the set is empty
    cdef uint64_t depths[2]             # bit n: domains of n labels are there
    cdef int depth_max
    cdef int run_max                    # lines that a look-up has to read at most
    cdef SipKey key
    cdef uint64_t root                  # hash of the root, from which those of all names are made
    cdef bint has_memory
    cdef Py_buffer memory               # keeps it, as long as the set is there

ctypedef struct Pair:
    uint64_t hash
    uint32_t value              # 0: free

cdef class DomainSetBuilder:
    cdef SipKey key
    cdef Pair* pairs            # an open hash table
    cdef uint64_t room, used
    cdef uint64_t depths[2]
    cdef bint in_halves

    cdef uint32_t add_name(self, const uint8_t* name, uint32_t value) except 0      # as `add`; name: sound, lower case
    cdef uint32_t value_of_name(self, const uint8_t* name) noexcept nogil           # 0: it is not there
    # private
    cdef uint32_t put(self, uint64_t hash, uint32_t value) except 0
    cdef Pair* place_of(self, uint64_t hash) noexcept nogil
    cdef int make_room(self, uint64_t more) except -1

cdef class DomainHashes:
    """The domains of a list, without their names: they can be put again into any set with this key."""

    cdef SipKey key
    cdef uint64_t* hashes
    cdef uint64_t room
    cdef readonly uint64_t count
    cdef uint64_t depths[2]

    cdef int add(self, const uint8_t* name) except -1       # name: sound and in lower case
    cdef int resize(self, uint64_t room) except -1          # not below count

cdef int find_suffixes(DomainSet domains, const uint8_t* name, Suffix* found, int most) noexcept nogil
# ^ how many, the longest first; name: sound and in lower case. No name has more than DOMAIN_LABELS_MAX.

# For those that build a set.
cdef uint64_t hash_of(const SipKey* key, const uint8_t* name, int* labels) noexcept nogil
cdef uint64_t lines_for(uint64_t domains) noexcept nogil
cdef bytes write_header(const SipKey* key, uint64_t domains, uint64_t lines, const uint64_t* depths, int longest_run)

cdef inline uint64_t slot_of(uint64_t hash, uint32_t value) noexcept nogil:
    return hash << VALUE_BITS | value
cdef void expect_suffixes(DomainSet domains, const uint8_t* name) noexcept nogil
# ^ prefetch for a find_suffixes some time later
