"""A compiled set of domains: a hash table that is looked up with one probe for each label of a name."""

import os
import struct

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

from fastdns._key cimport name_is_sound
from fastdns._siphash cimport siphash13

cdef extern from *:
    """
    #define prefetch_slots(at) __builtin_prefetch(at)
    """
    void prefetch_slots(const void* at) nogil

cdef enum:
    LOWER_HALF = 0x000fff       # of a value
    UPPER_HALF = 0xfff000
    HEADER_OCTETS = 128
    LOAD_PERCENT = 70

cdef bytes MAGIC = b"fastdns-domains1"
cdef object HEADER = struct.Struct("=16s16sQQQQII")     # magic, key, domains, lines, depths (two), deepest, longest run


cdef inline uint64_t fingerprint(uint64_t hash) noexcept nogil:
    return hash << VALUE_BITS >> VALUE_BITS


cdef inline uint64_t hash_below(const SipKey* key, uint64_t parent, const uint8_t* label) noexcept nogil:
    """The hash of a domain, from that of its parent and its first label with the length before it."""
    cdef SipKey mixed
    mixed.k0 = key.k0 ^ parent
    mixed.k1 = key.k1
    return siphash13(&mixed, label, label[0] + <size_t>1)


cdef int label_starts(const uint8_t* name, uint8_t* starts) noexcept nogil:
    """Write where each label of a sound name begins; return how many there are, without the root."""
    cdef int count = 0
    cdef int at = 0
    while name[at] != 0:
        starts[count] = <uint8_t>at
        count += 1
        at += name[at] + 1
    return count


cdef uint64_t hash_of(const SipKey* key, const uint8_t* name, int* labels) noexcept nogil:
    cdef uint8_t starts[DOMAIN_LABELS_MAX]
    cdef uint64_t hash = 0
    cdef int i
    labels[0] = label_starts(name, starts)
    hash = siphash13(key, name, 0)
    for i in range(labels[0] - 1, -1, -1):
        hash = hash_below(key, hash, name + starts[i])
    return hash


cdef inline uint32_t value_in(DomainSet domains, uint64_t line, uint64_t wanted) noexcept nogil:
    """The value of a fingerprint in the lines from this one on; 0: it is not there."""
    cdef const uint64_t* at
    cdef int _run, i
    for _run in range(domains.run_max):
        at = domains.slots + line * SLOTS_A_LINE
        for i in range(SLOTS_A_LINE):
            if at[i] >> VALUE_BITS == wanted and at[i] != 0:
                return <uint32_t>(at[i] & DOMAIN_VALUE_MAX)
        if at[SLOTS_A_LINE - 1] == 0:       # a line is filled from its beginning
            return 0
        line += 1
        if line == domains.lines:
            line = 0
    return 0


cdef int find_suffixes(DomainSet domains, const uint8_t* name, Suffix* found, int most) noexcept nogil:
    cdef uint8_t starts[DOMAIN_LABELS_MAX]
    cdef uint64_t hashes[DOMAIN_LABELS_MAX]
    cdef uint64_t line_of[DOMAIN_LABELS_MAX]
    cdef uint64_t hash
    cdef uint32_t value
    cdef int count = 0
    cdef int labels, deepest, depth
    if domains.lines == 0:
        return 0
    labels = label_starts(name, starts)
    deepest = min(labels, domains.depth_max)
    hash = domains.root
    for depth in range(deepest + 1):
        if depth:
            hash = hash_below(&domains.key, hash, name + starts[labels - depth])
        if domains.depths[depth >> 6] >> (depth & 63) & 1:
            hashes[depth] = fingerprint(hash)
            line_of[depth] = scaled(hash, domains.lines)
            prefetch_slots(domains.slots + line_of[depth] * SLOTS_A_LINE)
    for depth in range(deepest, -1, -1):
        if domains.depths[depth >> 6] >> (depth & 63) & 1:
            value = value_in(domains, line_of[depth], hashes[depth])
            if value:
                found[count].value = value
                found[count].labels = <uint8_t>depth
                found[count].is_whole = depth == labels
                count += 1
                if count == most:
                    break
    return count


cdef void expect_suffixes(DomainSet domains, const uint8_t* name) noexcept nogil:
    cdef uint8_t starts[DOMAIN_LABELS_MAX]
    cdef uint64_t hash = domains.root
    cdef int labels, depth
    if domains.lines == 0:
        return
    labels = label_starts(name, starts)
    for depth in range(min(labels, domains.depth_max) + 1):
        if depth:
            hash = hash_below(&domains.key, hash, name + starts[labels - depth])
        if domains.depths[depth >> 6] >> (depth & 63) & 1:
            prefetch_slots(domains.slots + scaled(hash, domains.lines) * SLOTS_A_LINE)


cdef class DomainSet:
    """A set that was compiled into a buffer, which may be a mapped file.

    ValueError: the buffer holds none, or not all of it. None: the empty set.
    """

    def __cinit__(self, buffer=None):
        if buffer is not None:
            PyObject_GetBuffer(buffer, &self.memory, PyBUF_SIMPLE)
            self.has_memory = True
            read_block(self, <const uint8_t*>self.memory.buf, self.memory.len)

    def __dealloc__(self):
        if self.has_memory:
            PyBuffer_Release(&self.memory)

    def __len__(self):
        return self.count

    def find(self, bytes name not None):
        """Return (labels, value) for each suffix of a name that is in the set, the longest first.

        name: in wire form and lower case (ValueError: it is not).
        """
        cdef Suffix found[DOMAIN_LABELS_MAX]
        cdef int i
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        return [(found[i].labels, found[i].value) for i in range(find_suffixes(self, name, found, DOMAIN_LABELS_MAX))]


cdef read_block(DomainSet domains, const uint8_t* start, Py_ssize_t octets):
    cdef bytes key
    if octets < HEADER_OCTETS:
        raise ValueError("not a compiled set of domains")
    magic, key, count, lines, shallow, deep, deepest, run = HEADER.unpack(start[:HEADER.size])
    if magic != MAGIC:
        raise ValueError("not a compiled set of domains of this version")
    if deepest >= DOMAIN_LABELS_MAX or run > RUN_LIMIT or octets != HEADER_OCTETS + lines * SLOTS_A_LINE * 8:
        raise ValueError("a compiled set of domains that is damaged or not whole")
    memcpy(&domains.key, <const uint8_t*>key, sizeof(SipKey))
    domains.root = siphash13(&domains.key, start, 0)
    domains.count, domains.lines = count, lines
    domains.depths[0], domains.depths[1] = shallow, deep
    domains.depth_max, domains.run_max = deepest, run
    domains.slots = <const uint64_t*>(start + HEADER_OCTETS)


cdef take_key(SipKey* key, bytes octets):
    if len(octets) != sizeof(SipKey):
        raise ValueError("a key has 16 bytes")
    memcpy(key, <const uint8_t*>octets, sizeof(SipKey))


cdef class DomainHashes:

    def __cinit__(self, bytes key not None):
        take_key(&self.key, key)

    def __dealloc__(self):
        free(self.hashes)

    def __len__(self):
        return self.count

    def __eq__(self, other):
        """Whether they are the same domains in the same order, with the same key."""
        cdef DomainHashes others
        if not isinstance(other, DomainHashes):
            return NotImplemented
        others = other
        return (
            self.count == others.count
            and memcmp(&self.key, &others.key, sizeof(SipKey)) == 0
            and memcmp(self.hashes, others.hashes, self.count * sizeof(uint64_t)) == 0
        )

    cdef int resize(self, uint64_t room) except -1:
        cdef uint64_t* moved = <uint64_t*>realloc(self.hashes, max(room, <uint64_t>1) * sizeof(uint64_t))
        if moved is NULL:
            raise MemoryError
        self.hashes, self.room = moved, room
        return 0

    cdef int add(self, const uint8_t* name) except -1:
        cdef int labels
        if self.count == self.room:
            self.resize(self.room * 5 // 4 + 1024)
        self.hashes[self.count] = hash_of(&self.key, name, &labels)
        self.count += 1
        self.depths[labels >> 6] |= <uint64_t>1 << (labels & 63)
        return 0


cdef class DomainSetBuilder:
    """Collects domains, each with a value from 1 to 2**24 - 1, and compiles them.

    A domain that is given again keeps its first value; `add` returns that. With `in_halves` each half of the value,
    of 12 bits, is kept on its own.
    """

    def __cinit__(self, bytes key=None, *, bint in_halves=False):
        """Without `key`, which another builder has, it has one of its own."""
        self.in_halves = in_halves
        take_key(&self.key, os.urandom(sizeof(SipKey)) if key is None else key)
        self.room = 1024
        self.pairs = <Pair*>calloc(self.room, sizeof(Pair))
        if self.pairs is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.pairs)

    def __len__(self):
        return self.used

    @property
    def key(self):
        """The key of the hashes; secret, so that nobody can choose names that share a place."""
        return (<const uint8_t*>&self.key)[:sizeof(SipKey)]

    def add(self, bytes name not None, uint32_t value):
        """Add a domain in wire form and lower case; return its value, an earlier one if there is one.

        ValueError: not such a name, or not such a value.
        """
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        if not 0 < value <= DOMAIN_VALUE_MAX:
            raise ValueError("a value of a domain is 1 to 16777215")
        return self.add_name(name, value)

    cdef uint32_t add_name(self, const uint8_t* name, uint32_t value) except 0:
        cdef int labels
        cdef uint64_t hash = hash_of(&self.key, name, &labels)
        self.depths[labels >> 6] |= <uint64_t>1 << (labels & 63)
        return self.put(hash, value)

    cdef uint32_t value_of_name(self, const uint8_t* name) noexcept nogil:
        cdef int labels
        return self.place_of(hash_of(&self.key, name, &labels)).value

    def add_all(self, DomainHashes domains not None, uint32_t value):
        """Add the domains of a list; return how many of them have an earlier value and keep it.

        ValueError: they have another key, or that is no value.
        """
        cdef uint64_t i
        cdef uint64_t others = 0
        if memcmp(&self.key, &domains.key, sizeof(SipKey)) != 0:
            raise ValueError("domains with another key")
        if not 0 < value <= DOMAIN_VALUE_MAX:
            raise ValueError("a value of a domain is 1 to 16777215")
        self.make_room(domains.count)       # once for all of them
        for i in range(domains.count):
            others += self.put(domains.hashes[i], value) != value
        self.depths[0] |= domains.depths[0]
        self.depths[1] |= domains.depths[1]
        return others

    cdef uint32_t put(self, uint64_t hash, uint32_t value) except 0:
        cdef Pair* at
        self.make_room(1)
        at = self.place_of(hash)
        if at.value == 0:
            at.hash, at.value = hash, value
            self.used += 1
        elif self.in_halves:
            at.value |= (0 if at.value & LOWER_HALF else value & LOWER_HALF)
            at.value |= (0 if at.value & UPPER_HALF else value & UPPER_HALF)
        return at.value

    cdef Pair* place_of(self, uint64_t hash) noexcept nogil:
        cdef uint64_t at = hash & (self.room - 1)
        while self.pairs[at].value and self.pairs[at].hash != hash:
            at = (at + 1) & (self.room - 1)
        return &self.pairs[at]

    cdef int make_room(self, uint64_t more) except -1:
        """Have room for so many more domains, in a table that is three quarters full at most."""
        cdef Pair* former = self.pairs
        cdef Pair* larger
        cdef uint64_t former_room = self.room
        cdef uint64_t room = self.room
        cdef uint64_t i
        while (self.used + more) * 4 > room * 3:
            room *= 2
        if room == former_room:
            return 0
        larger = <Pair*>calloc(room, sizeof(Pair))
        if larger is NULL:
            raise MemoryError
        self.pairs, self.room = larger, room
        with nogil:         # a large set takes long
            for i in range(former_room):
                if former[i].value:
                    self.place_of(former[i].hash)[0] = former[i]
            free(former)
        return 0

    def compile(self):
        """Return the set as a block of memory: a header of 128 octets and less than 12 for each domain."""
        cdef uint64_t lines = lines_for(self.used)
        cdef bytearray block = bytearray(HEADER_OCTETS + lines * SLOTS_A_LINE * 8)
        cdef uint64_t* slots = <uint64_t*>(<uint8_t*>block + HEADER_OCTETS)
        cdef uint64_t i
        cdef int longest = 0
        with nogil:         # a large set takes long
            for i in range(self.room):
                if self.pairs[i].value:
                    longest = max(longest, insert(slots, lines, self.pairs[i].hash, self.pairs[i].value))
        if longest > RUN_LIMIT:
            raise MemoryError("the table of domains is too uneven")     # a chance of nothing at such a load
        block[:HEADER_OCTETS] = write_header(&self.key, self.used, lines, self.depths, longest)
        return block


cdef uint64_t lines_for(uint64_t domains) noexcept nogil:
    """How many lines the table of so many domains has."""
    return (domains * 100 // LOAD_PERCENT + SLOTS_A_LINE) // SLOTS_A_LINE if domains else 0


cdef bytes write_header(const SipKey* key, uint64_t domains, uint64_t lines, const uint64_t* depths, int longest_run):
    deepest = max(0, (int(depths[1]) << 64 | int(depths[0])).bit_length() - 1)
    octets = (<const uint8_t*>key)[:sizeof(SipKey)]
    packed = HEADER.pack(MAGIC, octets, domains, lines, depths[0], depths[1], deepest, longest_run)
    return packed.ljust(HEADER_OCTETS, b"\0")


cdef int insert(uint64_t* slots, uint64_t lines, uint64_t hash, uint32_t value) noexcept nogil:
    """Put a domain into the first line with room from its own on; return how many lines a look-up reads for it."""
    cdef uint64_t line = scaled(hash, lines)
    cdef int run = 1
    cdef int i
    while True:
        for i in range(SLOTS_A_LINE):
            if slots[line * SLOTS_A_LINE + i] == 0:
                slots[line * SLOTS_A_LINE + i] = slot_of(hash, value)
                return run
        line = line + 1 if line + 1 < lines else 0
        run += 1
