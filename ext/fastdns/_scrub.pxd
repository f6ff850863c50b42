"""A reply as it should have been sent: its chain in order, without what does not belong to the question."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastdns._wire cimport Findings, Reply

cdef int read_clean_reply(
    const uint8_t** wire, size_t* length, uint16_t expected_id, const uint8_t* key, uint16_t key_length, Reply* out,
    uint16_t* ttl_at, Findings* findings,
) noexcept
# ^ read_reply; errors in the order are corrected in a copy, and wire and length then point to it: valid until the next
# call. Otherwise they stay.

cdef Py_ssize_t write_without_signatures(const uint8_t* packet, size_t length, uint16_t* ttl_at) noexcept
# ^ write a cached message without OPT as for a client that did not set DO: no RRSIG, NSEC, NSEC3, no AD. Returns the
# number of TTL offsets, or -1: it cannot be read. The message is `cleaned_message()`, valid until the next call.
cdef bytes cleaned_message()

cdef const uint8_t* write_joined(
    const uint8_t* first, size_t first_length, const uint8_t* rest, size_t rest_length, uint32_t age,
    uint16_t* ttl_at, uint16_t* ttl_count, uint16_t* length,
) noexcept
# ^ write the answer to the question of `first`, whose chain ends in the name that `rest`, age seconds old, is an answer
#   to. Both are kept messages without OPT, and lie elsewhere. NULL: it cannot be made. Valid until the next call.
