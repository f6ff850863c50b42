"""Octets that are added at one end and used up at the other."""

from libc.stdlib cimport realloc
from libc.string cimport memmove

cdef enum:
    STEP = 64                   # memory is a multiple of it
    LIMIT = 1 << 30             # octets: no connection holds as many


cdef uint8_t* buffer_make_room(Buffer* b, size_t length) noexcept nogil:
    cdef size_t held = b.end - b.start
    cdef size_t room
    cdef uint8_t* octets
    if length > LIMIT or b.room > LIMIT:
        return NULL
    # Moved only if at least as many octets were used up before, so that moving costs no more than filling did.
    if b.octets != NULL and held + length <= b.room and held <= b.start:
        memmove(b.octets, b.octets + b.start, held)
        b.start, b.end = 0, held
        return b.octets + held
    room = max(b.room * 2, b.end + length)
    room = (room // STEP + 1) * STEP
    octets = <uint8_t*>realloc(b.octets, room)
    if octets == NULL:
        return NULL
    b.octets = octets
    b.room = room
    return octets + b.end
