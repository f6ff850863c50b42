"""Domains as people and other programs write them in files."""

from libc.stdint cimport uint8_t

cdef enum Reason:           # why a text names no domain, below 0
    NOT_ASCII = -1
    EMPTY_LABEL = -2
    LONG_LABEL = -3
    LONG_NAME = -4
    NO_DOMAIN = -5
    ALL_NAMES = -6

cdef inline bint is_space(uint8_t octet) noexcept nogil:
    return octet == c' ' or 9 <= octet <= 13

cdef int read_domain(const uint8_t* at, const uint8_t* end, uint8_t* name) noexcept nogil
# ^ writes the name in wire form and lower case, NAME_MAX octets at most; returns its length or a Reason
cdef str spell_reason(int reason)
cdef const uint8_t* after_mark(const uint8_t* at, const uint8_t* end) noexcept nogil
# ^ behind byte order marks, which a file that others were joined to has before any line
