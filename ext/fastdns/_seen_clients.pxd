"""Who has asked a process: a table of bounded size in a file of run_dir, for `fastdns clients`."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    WAYS = 8                # rows of a set: a client can be in one of them only
    SETS_BITS = 9
    ROWS = 4096             # WAYS << SETS_BITS

ctypedef struct SeenClient:     # a cache line; a row of zeros is free
    uint8_t address[16]     # an IPv4 address as ::ffff:192.0.2.1
    uint64_t queries
    uint32_t link           # the interface of a link-local address
    uint32_t view           # a hash of its name; 0: in no view
    uint32_t first_s        # seconds of CLOCK_BOOTTIME
    uint32_t last_s
    uint32_t blocked        # of the queries: answered as a block list says
    uint32_t limited        # of the queries: over the rate limit
    uint8_t mac[6]
    uint8_t has_mac
    uint8_t unused[9]

cdef class SeenClients:
    cdef object memory      # the mapping
    cdef SeenClient* rows
    cdef uint32_t* views    # hashes of the names, by number
    cdef uint32_t view_count
    cdef uint64_t seed

    cdef void count(
        self, const uint8_t* address, uint32_t link, uint16_t view, bint is_blocked, bint is_limited, uint64_t now_ns
    ) noexcept nogil
    # ^ a query of this client; one that has not asked for long makes room for a new one
    # private
    cdef int use(self, memory) except -1
    cdef SeenClient* row_of(
        self, const uint8_t* address, uint32_t link, bint may_add, uint32_t now_s
    ) noexcept nogil

cdef inline uint64_t mixed(uint64_t high, uint64_t low, uint64_t seed) noexcept nogil:
    """A hash of an address: fast, and not to be foreseen without the seed."""
    cdef uint64_t hash = (low ^ seed) * <uint64_t>0x9e3779b97f4a7c15
    hash = (hash ^ hash >> 32 ^ high) * <uint64_t>0xd6e8feb86659fd93
    return hash ^ hash >> 32
