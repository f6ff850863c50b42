"""An answer outside of a process, on disk or in a ring: a value that states its age and has a checksum.

A value is a Header, TTL offsets (16 bits each), the message and EDNS options, in the machine's byte order, at any
address.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant
from fastdns._wire cimport load16

cdef enum:
    ENTRY_VERSION = 1
    HEADER_OCTETS = 80      # sizeof(Header)
    ENTRY_NEGATIVE = 1      # in Header.flags: NXDOMAIN, or no record in the answer section

ctypedef struct AnswerSource:     # the upstream that gave an answer
    uint64_t fingerprint
    uint32_t rtt_us
    uint8_t transport       # Transport.number; 0: unknown
    uint8_t family          # 0 unknown, 4, 6
    uint16_t port
    uint8_t address[16]

ctypedef struct Header:
    uint32_t checksum       # low 32 bits of SipHash-1-3 (key 0) over everything after this field
    uint8_t version
    uint8_t flags
    uint16_t rcode
    Instant stored
    uint64_t origin
    uint32_t ttl            # seconds from storing
    uint32_t hits
    uint32_t rtt_us
    uint16_t length         # of the message
    uint16_t ttl_count
    uint16_t options_length
    uint8_t transport
    uint8_t family
    uint16_t port
    uint16_t zero
    uint8_t address[16]

cdef class Source:
    cdef AnswerSource origin

cdef int fill_source(AnswerSource* out, uint64_t fingerprint, upstream, uint32_t rtt_us) except -1
# ^ upstream: "127.0.0.1:53", "tcp://[::1]:53" or None (ValueError: something else)

cdef size_t entry_octets(const Stored* answer) noexcept nogil
cdef void write_entry(
    uint8_t* out, const Stored* answer, const Instant* stored, const AnswerSource* origin, uint32_t hits
) noexcept nogil            # entry_octets(answer) bytes; not for a failure
cdef int read_entry(const uint8_t* value, size_t length, Header* header, Stored* out) noexcept nogil
# ^ 0, or -1: damaged or of another version. out points into value; its ttl_at may be unaligned: only for memcpy.
#   At most RECORDS_MAX TTL offsets, each inside the message.
cdef int hits_in(const uint8_t* value, size_t length, uint32_t* out) noexcept nogil     # 0, or -1: not a value
cdef void set_hits(uint8_t* value, size_t length, uint32_t hits) noexcept nogil  # of an intact value, with its checksum
cdef bint entry_answers(const Stored* answer, const uint8_t* key, uint16_t key_length) noexcept nogil
# ^ the message's own question is that of the key

cdef inline bint is_negative(const Stored* answer) noexcept nogil:
    return answer.rcode == 3 or load16(answer.wire + 6) == 0    # NXDOMAIN, or ANCOUNT 0
