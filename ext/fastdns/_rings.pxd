"""Answers that any worker of a daemon has learned and the keeper has not written yet, for all of them to look up."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from fastdns._ring cimport RecordHead

cdef class Rings:
    cdef tuple rings
    cdef void** ring        # the same, for C
    cdef int count
    cdef uint8_t* rooms[2]
    cdef int best           # which room has the newest that was found

    # The result of the last `find`; the value is valid until the next.
    cdef const uint8_t* value
    cdef size_t length
    cdef uint64_t epoch     # of the control page, when it was asked for

    cdef void expect(self, uint64_t hash) noexcept nogil        # announce a find
    cdef bint find(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ key: as on disk, with the group instead of the view. The newest answer or removal, read and intact
