"""Cache keys on disk, and which names lie under which.

A cache key is a name in wire form and lower case, then KEY_TAIL octets. A disk key has the labels in reverse order,
each ended by 0 and octets 0 and 1 in it escaped, then the same KEY_TAIL octets.
"""

from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    DISK_KEY_MAX = 511      # LMDB's limit; the longest name, all NUL, has exactly that

cdef bint name_is_sound(const uint8_t* name, size_t length) noexcept nogil      # wire form, whole, lower case
cdef bint key_is_sound(const uint8_t* key, size_t key_length) noexcept nogil
cdef size_t disk_key_of(const uint8_t* key, uint16_t key_length, uint8_t* out) noexcept nogil
# ^ octets written, DISK_KEY_MAX at most; 0: there is no such key
cdef size_t cache_key_of(const uint8_t* disk_key, size_t length, uint8_t* out) noexcept nogil
# ^ octets written, KEY_MAX at most; 0: not a disk key
cdef bint key_under(
    const uint8_t* key, uint16_t key_length, const uint8_t* name, uint16_t name_length
) noexcept nogil            # the key's name is that name or lies under it
