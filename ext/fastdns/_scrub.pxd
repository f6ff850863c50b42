"""A reply as it should have been sent: its chain in order, without what does not belong to the question."""

from libc.stdint cimport uint8_t, uint16_t

from fastdns._wire cimport Findings, Reply

cdef int read_clean_reply(
    const uint8_t** wire, size_t* length, uint16_t expected_id, const uint8_t* key, uint16_t key_length, Reply* out,
    uint16_t* ttl_at, Findings* findings,
) noexcept
# ^ read_reply; what it finds out of order is put right in a copy, to which wire and length lead then: valid until the
#   next call. Otherwise they stay as they are.

cdef Py_ssize_t write_without_signatures(const uint8_t* packet, size_t length, uint16_t* ttl_at) noexcept
# ^ write a kept message without OPT as who did not set DO gets it: no RRSIG, NSEC, NSEC3, no AD. Returns how many TTL
#   offsets there are, or -1: it cannot be read. The message is `cleaned_message()`, valid until the next call.
cdef bytes cleaned_message()
