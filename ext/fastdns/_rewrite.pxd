"""Writes a message again, record by record, with names compressed as they were (RFC 3597 section 4)."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from fastdns._wire cimport Name, Reader, Record

cdef enum:
    MESSAGE_MAX = 65535
    RECORD_HEAD = 10        # type, class, TTL, RDLENGTH
    SUFFIXES = 512          # names that may be pointed to

ctypedef struct Suffix:     # of a name that has been written
    uint64_t hash
    uint16_t at             # 0: none

ctypedef struct Writer:
    uint8_t* start
    size_t at
    size_t room
    Suffix suffixes[SUFFIXES]

cdef void begin_message(Writer* w, uint8_t* into, Reader* r, const uint8_t* packet, size_t length) noexcept nogil
# ^ read this message from its question on, and write another after its header; `into` has MESSAGE_MAX octets

# False: there is no room.
cdef bint write_octets(Writer* w, const uint8_t* octets, size_t count) noexcept nogil
cdef bint write_name(Writer* w, const Name* name, bint compress) noexcept nogil
# ^ as a pointer from the part on that was written before
cdef bint write_rdata(Writer* w, const Reader* message, const Record* record) noexcept nogil
# ^ RDATA that was found valid: its names only point into the new message

cdef bint write_record(Writer* w, const Reader* message, const uint8_t* at, const Record* record) noexcept nogil
# ^ one record of the message, which begins there; False: nothing was written
# The same, with other RDATA written in between:
cdef size_t begin_record(Writer* w, const Reader* message, const uint8_t* at, const Record* record) noexcept nogil
# ^ where the RDATA begins; 0: there is no room
cdef bint end_record(Writer* w, size_t began, size_t data_at, bint is_whole) noexcept nogil
# ^ began: where the writer was before the record, of which nothing stays unless it is whole
