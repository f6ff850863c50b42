"""The index of a ring, in memory that the processes of a daemon share.

One process writes, and each slot is one word, so that no process waits. A slot may be out of date: a reader of the ring
notices that.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

from fastdns import mapped

cdef extern from * nogil:
    enum:
        __ATOMIC_ACQUIRE
        __ATOMIC_RELAXED
        __ATOMIC_RELEASE
    uint64_t __atomic_load_n(const uint64_t* at, int order)
    void __atomic_store_n(uint64_t* at, uint64_t value, int order)
    void __builtin_prefetch(const void* at)

cdef enum:
    UNIT = 8                # bytes: records start at multiples
    OCTETS_A_SLOT = 128     # of the ring; a small answer takes about 200

cdef uint64_t LOW = 0xffffffff

cdef inline uint64_t distance_of(uint64_t slot, uint64_t head) noexcept nogil:
    """Bytes between the record of a slot and the head; for an old record it may be any number."""
    return UNIT * ((head // UNIT - slot) & LOW)


cdef class RingIndex:
    """The index of a ring of so many bytes, a power of two."""

    def __cinit__(self, size_t capacity):
        cdef Py_buffer view
        self.buckets = max(capacity // (OCTETS_A_SLOT * BUCKET), <size_t>1)
        self.memory = mapped.anonymous(self.buckets * BUCKET * sizeof(uint64_t), b"")
        PyObject_GetBuffer(self.memory, &view, PyBUF_WRITABLE)
        self.slots = <uint64_t*>view.buf
        PyBuffer_Release(&view)     # a mapping stays where it is

    cdef void put(self, uint64_t hash, uint64_t position, uint64_t tail, uint64_t head) noexcept nogil:
        cdef uint64_t* bucket = self.slots + BUCKET * (hash & (self.buckets - 1))
        cdef uint64_t tag = hash & ~LOW | <uint64_t>1 << 63     # never 0
        cdef uint64_t oldest = 0
        cdef uint64_t distance
        cdef int chosen = 0
        cdef int i
        for i in range(BUCKET):
            if bucket[i] & ~LOW == tag:
                chosen = i
                break
            distance = distance_of(bucket[i], head) if bucket[i] else ~<uint64_t>0
            if distance > head - tail:
                distance = ~<uint64_t>0     # its record is gone
            if distance > oldest:
                oldest = distance
                chosen = i
        __atomic_store_n(&bucket[chosen], tag | (position // UNIT & LOW), __ATOMIC_RELEASE)

    cdef void expect(self, uint64_t hash) noexcept nogil:
        __builtin_prefetch(self.slots + BUCKET * (hash & (self.buckets - 1)))

    cdef bint find(self, uint64_t hash, const uint64_t* head, uint64_t* position) noexcept nogil:
        cdef uint64_t* bucket = self.slots + BUCKET * (hash & (self.buckets - 1))
        cdef uint64_t tag = hash & ~LOW | <uint64_t>1 << 63
        cdef uint64_t slot, now
        cdef int i
        for i in range(BUCKET):
            slot = __atomic_load_n(&bucket[i], __ATOMIC_ACQUIRE)
            if slot & ~LOW == tag:
                now = __atomic_load_n(head, __ATOMIC_ACQUIRE)     # after the slot: the record lies before it
                position[0] = now - distance_of(slot, now)
                return True
        return False
