"""The share of each owner in a limited resource: the largest share gives way, and no other."""

from libc.stdint cimport uint64_t

cdef enum:
    SHARES = 512

cdef struct Place:          # of one thing in its share
    Place* older
    Place* newer
    void* owner
    int share               # -1: in none
    int weight

cdef struct Share:
    Place* oldest
    Place* newest
    int weight

cdef class Shares:
    cdef Share at[SHARES]

    cdef void join(self, Place* place, uint64_t whose, int weight) noexcept nogil
    cdef void grow(self, Place* place, int weight) noexcept nogil
    cdef void leave(self, Place* place) noexcept nogil
    cdef Share* largest(self) noexcept nogil           # the largest share
