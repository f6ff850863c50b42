"""An answer as it is cached: the upstream's message without OPT, its TTLs clamped."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastdns._key cimport KEY_MAX
from fastdns._wire cimport FLAG_AA, FLAG_RA, FLAG_TC, Reply

ctypedef struct Stored:             # borrowed memory; its creator keeps it alive
    const uint8_t* wire
    const uint16_t* ttl_at          # the positions of the TTLs in wire
    const uint8_t* options          # EDNS options that go with it (Extended DNS Errors)
    uint16_t length
    uint16_t ttl_count
    uint16_t options_length
    uint16_t rcode
    uint32_t ttl                    # seconds for which it may be cached; 0: not at all
    uint8_t is_failure              # cached for failure_ttl, but never instead of a good answer
    uint8_t is_authoritative        # made by fastdns, not by an upstream: AA=1, never on disk; above 1: OursBits
    uint16_t group                  # of an entry in memory: its upstreams; of one that is blocked: which list blocks it

cdef enum OursBits:                 # of is_authoritative
    IS_OURS = 1
    REASON_SHIFT = 1                # above that bit the Reason of _blocking, of three bits
    REASON_MASK = 7
    BY_ALIAS = 16                   # not the name itself is blocked, but one that it leads to

cdef enum:
    OPTIONS_MAX = 256               # bytes; the upstream chooses the text of an EDE, but the room is ours

cdef struct Failure:                # an answer without records
    Stored stored
    uint8_t wire[12 + KEY_MAX]
    uint8_t options[6]

cdef void fail(
    Failure* out, const uint8_t* key, uint16_t key_length, uint16_t rcode, int ede, uint32_t ttl
) noexcept nogil                    # ede: an INFO-CODE (RFC 8914), -1: none
cdef Stored* copy_stored(const Stored* stored) noexcept nogil   # in one block, which the caller frees; NULL: no memory

cdef class Limits:
    cdef readonly uint32_t min_ttl, max_ttl, negative_max_ttl, failure_ttl
    cdef readonly bint trust_ad

cdef class Answer:
    cdef Stored stored
    cdef bytes wire
    cdef bytes offsets
    cdef bytes options
    cdef readonly bint is_lame          # not an answer, from an upstream that does not recurse

cdef Answer make_answer(bytes wire, bytes offsets, bytes options, uint16_t rcode, uint32_t ttl, bint is_failure)
cdef Answer copy_answer(const Stored* stored)
cdef bint is_failure_code(uint16_t rcode) noexcept nogil
cdef inline bint is_lame(const Reply* reply) noexcept nogil:
    """Return True for a referral or an empty reply without a denial, from an upstream that does not recurse."""
    return (
        not reply.flags & (FLAG_RA | FLAG_AA | FLAG_TC) and reply.rcode == 0 and reply.answers == 0
        and reply.soa_ttl_at == 0
    )
cdef void settle(
    uint8_t* wire, const Reply* reply, const uint16_t* ttl_at, Limits limits, uint8_t* options, Stored* out
) noexcept nogil
# ^ make the cached form of a reply that was read, in place: out borrows wire, ttl_at and options, which has OPTIONS_MAX
# bytes of room. An answer that must not be cached (truncated, TTL 0, negative without an SOA) has a ttl of 0.
