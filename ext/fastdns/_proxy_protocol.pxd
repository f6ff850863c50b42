"""PROXY protocol, version 2: the header by which a proxy says whose connection it passes on."""

from libc.stdint cimport uint8_t

from fastdns._query cimport Asker

cdef enum:
    PROXY_HEADER_MAX = 536      # octets: one that is longer is refused
    PROXY_NOT_WHOLE = 0
    PROXY_WRONG = -1

cdef int proxy_header(const uint8_t* octets, size_t length, Asker* out) noexcept nogil
# ^ the octets of the header at the beginning of a connection, PROXY_NOT_WHOLE or PROXY_WRONG. It changes address, link
# and port of the client; a proxy that speaks for itself, or does not say for whom, leaves them as they are.
