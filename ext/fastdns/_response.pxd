"""Fitting an answer to one client: id, flags, the question's spelling, TTLs, OPT, TC."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastdns._answer cimport Stored
from fastdns._wire cimport Asked

cdef enum:
    RESPONSE_MAX = 65535
    PAD_TO = 468            # octets: RFC 8467 section 4.1

cdef size_t write_answer(
    uint8_t* out, const uint8_t* spelling, const Asked* asked, const Stored* answer, uint32_t age,
    size_t limit,
) noexcept nogil
# ^ bytes written, at most limit, for which out must have room. Sections that do not fit are left out from the end; with
# TC=1 and only the question if not even the essential part fits (`fitting_length`). spelling is the question as the
# client wrote it, asked.length bytes. The TTLs are reduced by age, to 0 at least.

cdef size_t write_stale(
    uint8_t* out, const uint8_t* spelling, const Asked* asked, const Stored* answer, uint32_t ttl,
    size_t limit,
) noexcept nogil
# ^ the same for a stale answer: every record has ttl, OPT says Stale Answer (RFC 8767, RFC 8914)

cdef enum:
    EDE_STALE_ANSWER = 3
    EDE_STALE_NXDOMAIN = 19
    EDE_PROHIBITED = 18     # RFC 8914 section 4.19
    EDE_NO_REACHABLE_AUTHORITY = 22

cdef enum:
    ERROR_MAX = 468         # padded; else header 12, question 255 + 4, OPT 11, options: error 6, cookie 28, keepalive 6

cdef size_t write_error(
    uint8_t* out, const uint8_t* spelling, const Asked* asked, uint16_t rcode, int ede=*
) noexcept nogil
# ^ bytes written, at most ERROR_MAX: an RCODE without records; with an Extended DNS Error to clients that sent OPT (-1:
# none)

cdef size_t write_truncated(uint8_t* out, const uint8_t* spelling, const Asked* asked) noexcept nogil
# ^ bytes written, at most ERROR_MAX: only the question, with TC=1, so that the client asks again over TCP
