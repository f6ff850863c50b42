"""Octets that are added at one end and used up at the other: what a connection holds until more comes."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.string cimport memcpy

cdef struct Buffer:             # all zero: empty
    uint8_t* octets             # NULL: owns nothing
    size_t start                # it holds octets[start:end]
    size_t end
    size_t room                 # of octets

cdef uint8_t* buffer_make_room(Buffer* b, size_t length) noexcept nogil     # private: buffer_more when the end is full


cdef inline size_t buffer_length(const Buffer* b) noexcept nogil:
    return b.end - b.start


cdef inline uint8_t* buffer_more(Buffer* b, size_t length) noexcept nogil:
    """Return where the next `length` octets go; the caller adds to `end` how many it has put there. NULL: no memory."""
    if length > b.room - b.end or b.octets == NULL:
        return buffer_make_room(b, length)
    return b.octets + b.end


cdef inline bint buffer_add(Buffer* b, const uint8_t* octets, size_t length) noexcept nogil:
    """Append a copy. False: no memory, and nothing has changed."""
    cdef uint8_t* at = buffer_more(b, length)
    if at == NULL:
        return False
    if length:
        memcpy(at, octets, length)
        b.end += length
    return True


cdef inline void buffer_drop(Buffer* b, size_t length) noexcept nogil:
    """Forget the first `length` octets, or all if there are fewer. The memory stays."""
    if length >= b.end - b.start:
        b.start = b.end = 0
    else:
        b.start += length


cdef inline void buffer_free(Buffer* b) noexcept nogil:
    """Give the memory back; the buffer is empty, and may be used again."""
    free(b.octets)
    b.octets = NULL
    b.start = b.end = b.room = 0
