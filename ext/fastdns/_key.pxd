"""Cache keys: their layout, in memory and on disk, and which names are under which.

A cache key is a name in wire form and lower case, then KEY_TAIL bytes. A disk key has the labels in reverse order, each
ended by 0 and with bytes 0 and 1 in it escaped, then the same KEY_TAIL bytes.
"""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

cdef enum:
    NAME_MAX = 255          # octets in wire form, RFC 1035 section 2.3.4
    KEY_TAIL = 7            # type 2, class 2, flags 1, view 2
    KEY_FLAGS_AT = 4        # in the tail
    KEY_MAX = 262           # NAME_MAX + KEY_TAIL
    DISK_KEY_MAX = 511      # LMDB's limit; the longest name, all NUL, has exactly that

cdef enum KeyFlags:
    KEY_DO = 1
    KEY_CD = 2

ctypedef struct Key:        # of one question
    uint64_t hash           # in memory's table
    uint16_t length         # 0: there is no key
    uint16_t qtype
    uint16_t qclass
    uint8_t octets[KEY_MAX]     # lower-cased QNAME, QTYPE, QCLASS, KeyFlags, view

cdef inline uint8_t lower(uint8_t octet) noexcept nogil:
    # Length bytes are below 64, so they are never mistaken for a letter.
    return octet + 32 if 65 <= octet <= 90 else octet

cdef inline uint16_t end_key(uint8_t* key, uint16_t question_length, bint do, bint cd, uint16_t view) noexcept nogil:
    """Write what follows name, type and class, which are there; return the length of the key."""
    key[question_length] = (KEY_DO if do else 0) | (KEY_CD if cd else 0)
    key[question_length + 1] = <uint8_t>(view >> 8)
    key[question_length + 2] = <uint8_t>view
    return question_length + KEY_TAIL - KEY_FLAGS_AT

cdef inline uint8_t labels_of(const uint8_t* name) noexcept nogil:
    """How many labels a sound name has, without the root."""
    cdef uint8_t labels = 0
    while name[0] != 0:
        name += name[0] + 1
        labels += 1
    return labels

cdef inline uint8_t key_flags(const uint8_t* key, uint16_t key_length) noexcept nogil:
    return key[key_length - KEY_TAIL + KEY_FLAGS_AT]

cdef inline uint16_t key_view(const uint8_t* key, uint16_t key_length) noexcept nogil:
    return <uint16_t>(key[key_length - 2] << 8 | key[key_length - 1])

cdef inline void set_key_view(uint8_t* key, uint16_t key_length, uint16_t view) noexcept nogil:
    key[key_length - 2] = <uint8_t>(view >> 8)
    key[key_length - 1] = <uint8_t>view

cdef inline uint16_t key_length_of(bytes key) except 0:
    """The length of a key; ValueError: it is not one. Functions that take keys from Python have room for KEY_MAX bytes.
    """
    if not KEY_TAIL < len(key) <= KEY_MAX:
        raise ValueError("not a key")
    return <uint16_t>len(key)

cdef bytes key_of_question(bytes name, uint16_t qtype, uint16_t qclass, uint8_t flags)     # view 0
cdef bint name_is_sound(const uint8_t* name, size_t length) noexcept nogil      # wire form, whole, lower case
cdef bint key_is_sound(const uint8_t* key, size_t key_length) noexcept nogil
cdef size_t disk_key_of(const uint8_t* key, uint16_t key_length, uint8_t* out) noexcept nogil
# ^ octets written, DISK_KEY_MAX at most; 0: there is no such key
cdef size_t cache_key_of(const uint8_t* disk_key, size_t length, uint8_t* out) noexcept nogil
# ^ octets written, KEY_MAX at most; 0: not a disk key
cdef bint key_under(
    const uint8_t* key, uint16_t key_length, const uint8_t* name, uint16_t name_length
) noexcept nogil            # the key's name is that name or under it
