"""An answer in the form in which it is kept: the upstream's message without OPT, its TTLs clamped."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

ctypedef struct Stored:             # borrowed memory; whoever made it keeps it alive
    const uint8_t* wire
    const uint16_t* ttl_at          # where the TTLs stand in wire
    const uint8_t* options          # EDNS options that go with it (Extended DNS Errors)
    uint16_t length
    uint16_t ttl_count
    uint16_t options_length
    uint16_t rcode
    uint32_t ttl                    # seconds that it may be kept; 0: not at all
    bint is_failure                 # kept for failure_ttl, never in the place of a good answer

cdef class Answer:
    cdef Stored stored
    cdef bytes wire
    cdef bytes offsets
    cdef bytes options

cdef Answer make_answer(bytes wire, bytes offsets, bytes options, uint16_t rcode, uint32_t ttl, bint is_failure)
