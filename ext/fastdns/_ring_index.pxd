"""Finds the newest record of a key in a ring, for every process: only the ring's producer writes it."""

from libc.stdint cimport uint64_t

cdef enum:
    BUCKET = 8              # slots of a hash, a cache line

cdef class RingIndex:
    cdef size_t buckets
    cdef uint64_t* slots    # 0: free; else 32 bits of the hash above the low 32 of the position in eights
    cdef object memory

    # The hash is that of _siphash, the same in all processes.
    cdef void put(self, uint64_t hash, uint64_t position, uint64_t tail, uint64_t head) noexcept nogil
    # ^ for the producer, after the record at this position was published
    cdef bint find(self, uint64_t hash, const uint64_t* head, uint64_t* position) noexcept nogil
    # ^ for any process: where a record of this hash may be; the caller checks whether it is, and still is
    cdef void expect(self, uint64_t hash) noexcept nogil    # prefetch the slots of a find
