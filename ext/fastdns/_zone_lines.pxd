"""Zone files of response policies (RPZ, draft-vixie-dnsop-dns-rpz): triggers by QNAME, and their actions."""

from libc.stdint cimport uint8_t

from fastdns._key cimport NAME_MAX
from fastdns._list_entries cimport EntryCollector

ctypedef struct Token:
    const uint8_t* at
    const uint8_t* end

cdef bint is_zone_line(const uint8_t* at, const uint8_t* end) noexcept nogil    # a line that only zone files have

cdef enum OwnerKind:
    NO_OWNER                    # it was faulty, or there was none
    THE_APEX
    A_NAME
    ALL_NAMES_UNDER             # "*"
    OTHER_TRIGGER

cdef class ZoneLines:
    cdef EntryCollector entries
    cdef uint8_t apex[NAME_MAX]         # the zone's name in wire form
    cdef int apex_length                # 0: not known yet
    cdef uint8_t origin[NAME_MAX]
    cdef int origin_length              # 0: not known
    cdef uint8_t owner[NAME_MAX]        # of the last record, without the apex
    cdef int owner_length
    cdef OwnerKind owner_kind
    cdef bint is_wildcard
    cdef str trigger                    # what is said of OTHER_TRIGGER
    cdef int depth                      # of open parentheses

    cdef int read_line(self, const uint8_t* at, const uint8_t* end) except -1
    # ^ spaces at its beginning are still there
    # private
    cdef int split(self, const uint8_t* at, const uint8_t* end, Token* tokens) noexcept nogil
    cdef int read_control(self, const Token* tokens, int count) except -1
    cdef int read_owner(self, const uint8_t* at, const uint8_t* end) except -1
    cdef int full_name(self, const uint8_t* at, const uint8_t* end, uint8_t* name) noexcept nogil
    cdef int note_apex(self, bint is_origin) except -1
    cdef int read_record(self, const uint8_t* at, const uint8_t* end, const Token* data) except -1
    cdef int take(self, uint8_t flags, uint8_t action) except -1
