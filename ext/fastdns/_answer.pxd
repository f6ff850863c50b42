"""An answer in the form in which it is kept: the upstream's message without OPT, its TTLs clamped."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastdns._key cimport KEY_MAX
from fastdns._wire cimport FLAG_AA, FLAG_RA, FLAG_TC, Reply

ctypedef struct Stored:             # borrowed memory; whoever made it keeps it alive
    const uint8_t* wire
    const uint16_t* ttl_at          # where the TTLs stand in wire
    const uint8_t* options          # EDNS options that go with it (Extended DNS Errors)
    uint16_t length
    uint16_t ttl_count
    uint16_t options_length
    uint16_t rcode
    uint32_t ttl                    # seconds that it may be kept; 0: not at all
    uint8_t is_failure              # kept for failure_ttl, never in the place of a good answer
    uint8_t is_authoritative        # our own word, no upstream's: told with AA=1, never on disk
    uint16_t group                  # of an entry in memory: whose upstreams gave it; elsewhere without meaning

cdef enum:
    OPTIONS_MAX = 256               # octets; the text of an EDE is the upstream's to choose, the room is ours

cdef struct Failure:                # an answer without records
    Stored stored
    uint8_t wire[12 + KEY_MAX]
    uint8_t options[6]

cdef void fail(
    Failure* out, const uint8_t* key, uint16_t key_length, uint16_t rcode, int ede, uint32_t ttl
) noexcept nogil                    # ede: an INFO-CODE (RFC 8914), -1: none
cdef Stored* copy_stored(const Stored* stored) noexcept nogil   # in one block, to be freed; NULL: no memory

cdef class Limits:
    cdef readonly uint32_t min_ttl, max_ttl, negative_max_ttl, failure_ttl
    cdef readonly bint trust_ad

cdef class Answer:
    cdef Stored stored
    cdef bytes wire
    cdef bytes offsets
    cdef bytes options
    cdef readonly bint is_lame          # no answer, from who does not recurse

cdef Answer make_answer(bytes wire, bytes offsets, bytes options, uint16_t rcode, uint32_t ttl, bint is_failure)
cdef Answer copy_answer(const Stored* stored)
cdef bint is_failure_code(uint16_t rcode) noexcept nogil
cdef inline bint is_lame(const Reply* reply) noexcept nogil:
    """Return True for no answer, and no word that there is none (referral, or nothing), from who does not recurse."""
    return (
        not reply.flags & (FLAG_RA | FLAG_AA | FLAG_TC) and reply.rcode == 0 and reply.answers == 0
        and reply.soa_ttl_at == 0
    )
cdef void settle(
    uint8_t* wire, const Reply* reply, const uint16_t* ttl_at, Limits limits, uint8_t* options, Stored* out
) noexcept nogil
# ^ make of a reply that has been read what is kept of it, in place: out borrows wire, ttl_at and options, which has
#   OPTIONS_MAX octets of room. What must not be kept (truncated, TTL 0, negative without an SOA) has a ttl of 0.
