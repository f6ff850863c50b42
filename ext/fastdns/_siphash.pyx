"""SipHash (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).

SipHash-1-3 has a round a block and three at the end, SipHash-2-4 two and four.
"""

from libc.string cimport memcpy

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* out, size_t octets, unsigned int flags)

cdef SipKey daemons_key

if getrandom(&daemons_key, sizeof(SipKey), 0) != sizeof(SipKey):
    raise OSError("the kernel gives no random bytes")


ctypedef struct State:
    uint64_t v0
    uint64_t v1
    uint64_t v2
    uint64_t v3


cdef inline uint64_t rotate(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


cdef inline void sip_round(State* s) noexcept nogil:
    s.v0 += s.v1
    s.v1 = rotate(s.v1, 13) ^ s.v0
    s.v0 = rotate(s.v0, 32)
    s.v2 += s.v3
    s.v3 = rotate(s.v3, 16) ^ s.v2
    s.v0 += s.v3
    s.v3 = rotate(s.v3, 21) ^ s.v0
    s.v2 += s.v1
    s.v1 = rotate(s.v1, 17) ^ s.v2
    s.v2 = rotate(s.v2, 32)


cdef inline uint64_t hash_in_rounds(
    const SipKey* key, const uint8_t* data, size_t length, int a_block, int at_end
) noexcept nogil:
    cdef State s
    cdef uint64_t block
    cdef size_t left = length
    cdef int _round
    s.v0 = key.k0 ^ <uint64_t>0x736f6d6570736575
    s.v1 = key.k1 ^ <uint64_t>0x646f72616e646f6d
    s.v2 = key.k0 ^ <uint64_t>0x6c7967656e657261
    s.v3 = key.k1 ^ <uint64_t>0x7465646279746573
    while left >= 8:
        memcpy(&block, data, 8)
        s.v3 ^= block
        for _round in range(a_block):
            sip_round(&s)
        s.v0 ^= block
        data += 8
        left -= 8
    block = 0
    memcpy(&block, data, left)
    block |= <uint64_t>length << 56
    s.v3 ^= block
    for _round in range(a_block):
        sip_round(&s)
    s.v0 ^= block
    s.v2 ^= 0xff
    for _round in range(at_end):
        sip_round(&s)
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3


cdef uint64_t siphash13(const SipKey* key, const uint8_t* data, size_t length) noexcept nogil:
    return hash_in_rounds(key, data, length, 1, 3)


cdef uint64_t siphash24(const SipKey* key, const uint8_t* data, size_t length) noexcept nogil:
    return hash_in_rounds(key, data, length, 2, 4)


cdef uint64_t keyed_hash(const uint8_t* data, size_t length) noexcept nogil:
    return siphash13(&daemons_key, data, length)


def siphash(bytes key not None, bytes data not None, *, bint slow=False):
    """Return SipHash-1-3 of data with a key of 16 bytes, as a 64-bit integer. ValueError: another length.

    `slow`: SipHash-2-4, which standards name.
    """
    cdef SipKey sip_key
    if len(key) != 16:
        raise ValueError("a SipHash key has 16 bytes")
    memcpy(&sip_key, <const uint8_t*>key, 16)
    return siphash24(&sip_key, data, len(data)) if slow else siphash13(&sip_key, data, len(data))
