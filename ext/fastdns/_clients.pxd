"""Who may ask, and in which view: compares a client's address with sorted addresses at which that changes."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._query cimport Asker

cdef enum Admission:
    NOT_ADMITTED = 0            # may not ask
    ADMITTED
    UNMET                   # may ask; `known` does not know this neighbour yet, so its view is only that of its prefix

cdef enum:                  # bits of a value, below the number of a view
    MAY_ASK = 1
    IS_EXACT = 2            # a view names the very address: nothing is more specific
    IS_NEIGHBOUR = 4        # the address is on a LAN of this machine, which knows its hardware address
    VIEW_SHIFT = 16

cdef enum:
    KNOWN_MAX = 8192
    KNOWN_SLOTS = 16384

ctypedef struct Wide:           # an IPv6 address
    uint64_t high
    uint64_t low

ctypedef struct Known:
    uint64_t high
    uint64_t low
    uint32_t link
    uint16_t view
    uint8_t is_used
    uint8_t is_sure         # else it is still looked for, if it is a neighbour

cdef class KnownClients:
    cdef Known* slots
    cdef size_t count
    cdef uint64_t seed

    cdef int find(self, uint64_t high, uint64_t low, uint32_t link) noexcept nogil
    # ^ a view, 0: none, and UNSURE beside it if it may change; or UNKNOWN
    # private
    cdef size_t place_of(self, uint64_t high, uint64_t low) noexcept nogil
    cdef Known* slot_of(self, uint64_t high, uint64_t low, uint32_t link) noexcept nogil

cdef enum IdentityKind:     # in the order of the table
    BY_SERVER_NAME = 1      # the name of the server that a client has asked for in TLS
    BY_PATH = 2             # the word behind /dns-query/ in the path of a request; it counts before the name

cdef enum:
    IDENTITY_MAX = 253      # octets

ctypedef struct Identity:
    const uint8_t* name     # in lower case, of so many octets
    uint8_t kind
    uint8_t length
    uint16_t view           # 0: no view in force has it

cdef class Access:
    cdef readonly bint drops    # refused clients get no answer
    cdef KnownClients known     # None: there are only views by address
    cdef uint32_t* narrow       # of IPv4
    cdef Wide* wide             # of IPv6
    cdef Wide* near             # of IPv6, for link-local clients on one of `links`
    cdef uint32_t* links        # numbers of interfaces
    cdef uint32_t* narrow_values    # by how many addresses are not above the client's
    cdef uint32_t* wide_values
    cdef uint32_t* near_values
    cdef size_t narrow_count, wide_count, near_count, links_count
    cdef Identity* identities   # sorted by kind, length and octets
    cdef size_t identities_count
    cdef list identity_names    # keeps their memory

    cdef int admit(self, Asker* asker) noexcept nogil       # an Admission; sets the client's view
    cdef uint16_t identity_of(self, int kind, const char* name, size_t length) noexcept nogil
    # ^ for Asker.identity; 0: no view names it. It stays the same in other rules for the same configuration.
    cdef bint admits(self, const Asker* asker) noexcept nogil       # by its address alone
    # private
    cdef int take_identities(self, several) except -1
    cdef uint32_t value_of(self, uint64_t high, uint64_t low, uint32_t link) noexcept nogil

cdef void read_asker(const void* address, Asker* out) noexcept nogil     # of a sockaddr, whole for its family
cdef int name_asker(tuple client, Asker* out) except -1      # of an address as Python has it
