"""Rules for names in the syntax of ad blockers, as AdGuard Home reads them: ||domain^, @@||domain^$important …"""

from libc.stdint cimport uint8_t

from fastdns._list_entries cimport EntryCollector

cdef bint is_adblock(const uint8_t* at, const uint8_t* end) noexcept nogil  # a line without spaces around, not empty
cdef int read_adblock_line(EntryCollector entries, const uint8_t* at, const uint8_t* end) except -1
