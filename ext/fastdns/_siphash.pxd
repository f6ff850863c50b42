"""SipHash-1-3: a keyed hash, so that nobody who does not know the key can choose names that collide."""

from libc.stdint cimport uint8_t, uint64_t

ctypedef struct SipKey:
    uint64_t k0
    uint64_t k1

cdef uint64_t siphash13(const SipKey* key, const uint8_t* data, size_t length) noexcept nogil
cdef uint64_t keyed_hash(const uint8_t* data, size_t length) noexcept nogil
# ^ under a key that was drawn at random when the daemon started: all its processes, forks, have the same
