"""SipHash: a keyed hash, so that names that collide cannot be chosen without the key."""

from libc.stdint cimport uint8_t, uint64_t

ctypedef struct SipKey:
    uint64_t k0
    uint64_t k1

cdef uint64_t siphash13(const SipKey* key, const uint8_t* data, size_t length) noexcept nogil
cdef uint64_t siphash24(const SipKey* key, const uint8_t* data, size_t length) noexcept nogil   # RFC 9018 section 4.4
cdef uint64_t keyed_hash(const uint8_t* data, size_t length) noexcept nogil
# ^ with a random key from the start of the daemon: all its processes, being forks, have the same one
