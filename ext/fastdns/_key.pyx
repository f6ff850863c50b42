"""Cache keys: made and split, in memory and on disk.

On disk labels are reversed and escaped, so that a domain and all names under it are one range of keys.
"""

import struct

from libc.string cimport memcmp, memcpy

cdef enum:
    LABEL_MAX = 63
    LABELS_MAX = 127        # in a name of NAME_MAX octets
    ESCAPE = 1              # 01 01 is octet 0, 01 02 is octet 1, 00 ends a label

TAIL = struct.Struct("!HHBH")       # KEY_TAIL octets: type, class, flags, view


cdef bint name_is_sound(const uint8_t* name, size_t length) noexcept nogil:
    cdef size_t at = 0
    cdef size_t end
    if length > NAME_MAX:
        return False
    while at < length:
        if name[at] == 0:
            return at + 1 == length
        end = at + name[at] + 1
        if name[at] > LABEL_MAX or end >= length:
            return False
        at += 1
        while at < end:
            if name[at] != lower(name[at]):
                return False
            at += 1
    return False


cdef bint key_is_sound(const uint8_t* key, size_t key_length) noexcept nogil:
    return KEY_TAIL < key_length <= KEY_MAX and name_is_sound(key, key_length - KEY_TAIL)


cdef size_t reverse_labels(const uint8_t* name, uint8_t* out) noexcept nogil:
    """Write the labels of a valid name from last to first, each escaped and ended by 0; return how many bytes."""
    cdef uint8_t starts[LABELS_MAX]
    cdef int count = 0
    cdef size_t at = 0
    cdef size_t written = 0
    cdef int _octet
    while name[at] != 0:
        starts[count] = <uint8_t>at
        count += 1
        at += name[at] + 1
    while count > 0:
        count -= 1
        at = starts[count]
        for _octet in range(name[at]):
            at += 1
            if name[at] <= ESCAPE:
                out[written] = ESCAPE
                out[written + 1] = name[at] + 1
                written += 2
            else:
                out[written] = name[at]
                written += 1
        out[written] = 0
        written += 1
    return written


cdef size_t disk_key_of(const uint8_t* key, uint16_t key_length, uint8_t* out) noexcept nogil:
    cdef size_t written
    if not key_is_sound(key, key_length):
        return 0
    written = reverse_labels(key, out)
    memcpy(out + written, key + key_length - KEY_TAIL, KEY_TAIL)
    return written + KEY_TAIL


cdef int read_label(const uint8_t* at, const uint8_t* end, uint8_t* label, int* length) noexcept nogil:
    """Undo the escapes of one label; return the bytes that it took with its 0, or -1. label: LABEL_MAX bytes."""
    cdef const uint8_t* start = at
    cdef uint8_t octet
    length[0] = 0
    while at < end:
        octet = at[0]
        at += 1
        if octet == 0:
            return <int>(at - start) if length[0] > 0 else -1
        if octet == ESCAPE:
            if at == end or not 1 <= at[0] <= 2:
                return -1
            octet = at[0] - 1
            at += 1
        if length[0] == LABEL_MAX or octet != lower(octet):
            return -1
        label[length[0]] = octet
        length[0] += 1
    return -1


cdef size_t cache_key_of(const uint8_t* disk_key, size_t length, uint8_t* out) noexcept nogil:
    cdef uint8_t name[NAME_MAX]     # filled from its end, because the first label is the last of the name
    cdef uint8_t label[LABEL_MAX]
    cdef const uint8_t* at = disk_key
    cdef const uint8_t* end
    cdef int free_octets = NAME_MAX - 1
    cdef int label_length = 0
    cdef int taken
    if not KEY_TAIL <= length <= DISK_KEY_MAX:
        return 0
    end = disk_key + length - KEY_TAIL
    name[free_octets] = 0
    while at < end:
        taken = read_label(at, end, label, &label_length)
        if taken < 0 or label_length + 1 > free_octets:
            return 0
        at += taken
        free_octets -= label_length + 1
        name[free_octets] = <uint8_t>label_length
        memcpy(name + free_octets + 1, label, label_length)
    memcpy(out, name + free_octets, NAME_MAX - free_octets)
    memcpy(out + NAME_MAX - free_octets, end, KEY_TAIL)
    return NAME_MAX - free_octets + KEY_TAIL


cdef bint key_under(
    const uint8_t* key, uint16_t key_length, const uint8_t* name, uint16_t name_length
) noexcept nogil:
    cdef int end = key_length - KEY_TAIL
    cdef int at = 0
    while at < end and end - at > name_length:
        at += key[at] + 1
    return end - at == name_length and memcmp(key + at, name, name_length) == 0


cdef bytes key_of_question(bytes name, uint16_t qtype, uint16_t qclass, uint8_t flags):
    return name + TAIL.pack(qtype, qclass, flags, 0)


def make_key(bytes name not None, int qtype, int qclass=1, *, bint do=False, bint cd=False, int view=0):
    """Return the cache key of a question; the name is in wire form and lower case."""
    return name + TAIL.pack(qtype, qclass, (KEY_DO if do else 0) | (KEY_CD if cd else 0), view)


def split_key(bytes key not None):
    """Return (name in wire form, qtype, qclass, do, cd, view) of a cache key."""
    cdef uint16_t name_length = key_length_of(key) - KEY_TAIL
    qtype, qclass, flags, view = TAIL.unpack_from(key, name_length)
    return key[:name_length], qtype, qclass, bool(flags & KEY_DO), bool(flags & KEY_CD), view


def name_of(bytes key not None):
    """Return the name of a cache key, in wire form."""
    return key[:key_length_of(key) - KEY_TAIL]


def type_of(bytes key not None):
    """Return the type of a cache key or of a key on disk."""
    return (key[len(key) - KEY_TAIL] << 8 | key[len(key) - KEY_TAIL + 1]) if len(key) >= KEY_TAIL else -1


def disk_key(bytes key not None):
    """Return the key on disk of a cache key. ValueError: it is not one."""
    cdef uint8_t out[DISK_KEY_MAX]
    cdef size_t length = 0
    if len(key) <= KEY_MAX:
        length = disk_key_of(key, <uint16_t>len(key), out)
    if length == 0:
        raise ValueError("not the key of an answer")
    return (<const char*>out)[:length]


def cache_key(bytes disk_key not None):
    """Return the cache key of a key on disk. ValueError: it is not one."""
    cdef uint8_t out[KEY_MAX]
    cdef size_t length = cache_key_of(disk_key, len(disk_key), out)
    if length == 0:
        raise ValueError("not a key of this cache")
    return (<const char*>out)[:length]


def range_of(bytes name not None):
    """Return the common beginning of the disk keys of a domain and all names under it: b"" for the root.

    A few other keys share it, those whose type and class look like a label: check with `is_under` where it matters.
    """
    cdef uint8_t out[DISK_KEY_MAX]
    if not name_is_sound(name, len(name)):
        raise ValueError("not a name in wire form and lower case")
    return (<const char*>out)[:reverse_labels(name, out)]


def prefix_of(bytes name not None, qtype=None):
    """Return the beginning of the disk keys of exactly this name (and of this type), and their length.

    Between its types are the names below it, whose keys are longer.
    """
    prefix = range_of(name)
    length = len(prefix) + KEY_TAIL
    return (prefix if qtype is None else prefix + qtype.to_bytes(2, "big")), length


def is_under(bytes key not None, bytes name not None):
    """Return True if the name of a cache key is `name` (wire form, lower case) or under it."""
    if not key_is_sound(key, len(key)) or not name_is_sound(name, len(name)):
        raise ValueError("not the key of an answer, or not a name in wire form and lower case")
    return key_under(key, <uint16_t>len(key), name, <uint16_t>len(name))
