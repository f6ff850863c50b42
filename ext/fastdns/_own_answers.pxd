"""Answers that fastdns makes itself: what is told when the policy decides that no upstream is asked."""

from libc.stdint cimport uint8_t, uint16_t

from fastdns._answer cimport Stored
from fastdns._local cimport LocalAnswer
from fastdns._policy cimport Decision, Policy
from fastdns._special_names cimport SpecialAnswer

cdef enum:
    REFUSAL_TTL = 60        # seconds, of what is told in place of an answer that must not be given

cdef struct OwnAnswer:
    Stored stored               # points into this very struct
    uint16_t target_length      # of local.target, to which a CNAME record leads that is not ours; 0: it is whole
    SpecialAnswer special
    LocalAnswer local

cdef void make_own(
    Policy policy, const Decision* decision, const uint8_t* key, uint16_t key_length, OwnAnswer* out
) noexcept nogil
# ^ decision: of this policy about the key, not to ask upstream
cdef void make_instead(
    Policy policy, const Decision* decision, const uint8_t* key, uint16_t key_length, SpecialAnswer* out
) noexcept nogil
# ^ what is told in place of an upstream's answer, which `inspect` has refused
cdef uint8_t ours_bits(const Decision* decision) noexcept nogil     # is_authoritative of an answer that we make
