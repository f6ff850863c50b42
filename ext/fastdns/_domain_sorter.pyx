"""Building a set of millions of domains in little memory: they are sorted by their hashes and written in that order."""

import os

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from fastdns._domains cimport (
    DOMAIN_VALUE_MAX,
    RUN_LIMIT,
    SLOTS_A_LINE,
    hash_of,
    lines_for,
    scaled,
    slot_of,
    write_header,
)
from fastdns._key cimport name_is_sound

cdef enum:
    FEW = 24                    # entries that are sorted by insertion
    SLOTS_A_BUFFER = 8192       # 64 KiB
    FIRST_ROOM = 1024


cdef inline uint64_t hash_in(const HashedDomain* entry) noexcept nogil:
    return <uint64_t>entry.high << 32 | entry.low


cdef void sort_few(HashedDomain* at, uint64_t count) noexcept nogil:
    cdef uint64_t i, to
    cdef HashedDomain moved
    for i in range(1, count):
        moved = at[i]
        to = i
        while to > 0 and hash_in(&at[to - 1]) > hash_in(&moved):
            at[to] = at[to - 1]
            to -= 1
        at[to] = moved


cdef void sort_entries(HashedDomain* at, uint64_t count, int shift) noexcept nogil:
    """Sort by the hash, 8 bits at a time from the highest, in place; the bits above shift + 8 are equal."""
    cdef uint64_t next_of[256]
    cdef uint64_t end_of[256]
    cdef uint64_t i, place
    cdef int digit, other
    cdef HashedDomain moved, kept
    if count <= FEW:
        sort_few(at, count)
        return
    memset(end_of, 0, sizeof(end_of))
    for i in range(count):
        end_of[hash_in(&at[i]) >> shift & 255] += 1
    place = 0
    for digit in range(256):
        next_of[digit] = place
        place += end_of[digit]
        end_of[digit] = place
    for digit in range(256):
        while next_of[digit] < end_of[digit]:
            moved = at[next_of[digit]]
            other = <int>(hash_in(&moved) >> shift & 255)
            while other != digit:
                kept = at[next_of[other]]
                at[next_of[other]] = moved
                next_of[other] += 1
                moved = kept
                other = <int>(hash_in(&moved) >> shift & 255)
            at[next_of[digit]] = moved
            next_of[digit] += 1
    if shift == 0:
        return
    place = 0
    for digit in range(256):
        sort_entries(at + place, end_of[digit] - place, shift - 8)
        place = end_of[digit]


cdef class DomainSorter:
    """Collects domains, each with a value from 1 to 2**24 - 1, and writes them as a DomainSet reads them.

    It is for sets that are built once: DomainSetBuilder tells which domains it has, this one takes half its memory.
    """

    def __cinit__(self):
        cdef bytes key = os.urandom(sizeof(SipKey))     # secret, so that nobody can choose names that share a place
        memcpy(&self.key, <const uint8_t*>key, sizeof(SipKey))

    def __dealloc__(self):
        free(self.entries)

    def add_domain(self, bytes name not None, uint32_t value):
        """Add a domain in wire form and lower case. ValueError: not such a name, or not such a value."""
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        if not 0 < value <= DOMAIN_VALUE_MAX:
            raise ValueError("a value of a domain is 1 to 16777215")
        self.add_name(name, value)

    cdef int add_name(self, const uint8_t* name, uint32_t value) except -1:
        cdef int labels
        cdef uint64_t hash = hash_of(&self.key, name, &labels)
        if self.used == self.room:
            self.make_room()
        self.depths[labels >> 6] |= <uint64_t>1 << (labels & 63)
        self.entries[self.used].high, self.entries[self.used].low = <uint32_t>(hash >> 32), <uint32_t>hash
        self.entries[self.used].value = value
        self.used += 1
        return 0

    cdef int make_room(self) except -1:
        """Leave each domain once, and take more memory if a quarter is not free then. What is not written costs none.
        """
        cdef uint64_t room = max(self.room, <uint64_t>FIRST_ROOM)
        cdef HashedDomain* moved
        self.settle()
        if self.entries is NULL or self.used * 4 > self.room * 3:
            if self.entries is not NULL:
                room = room // 2 * 3
            moved = <HashedDomain*>realloc(self.entries, room * sizeof(HashedDomain))
            if moved is NULL:
                raise MemoryError
            self.entries, self.room = moved, room
        return 0

    cdef uint32_t merged(self, const HashedDomain* entries, uint64_t count) except 0:
        return entries[0].value

    cdef int settle(self) except -1:
        """Have each domain once, in the order of the hashes."""
        cdef uint64_t i, end
        cdef uint64_t kept = 0
        cdef bint is_same
        if self.settled == self.used:
            return 0
        with nogil:         # a large set takes long
            sort_entries(self.entries, self.used, 56)
        i = 0
        while i < self.used:
            end = i + 1
            is_same = True
            while end < self.used and hash_in(&self.entries[end]) == hash_in(&self.entries[i]):
                is_same = is_same and self.entries[end].value == self.entries[i].value
                end += 1
            if not is_same:
                self.entries[i].value = self.merged(&self.entries[i], end - i)
            self.entries[kept] = self.entries[i]
            kept += 1
            i = end
        self.used = self.settled = kept
        return 0

    cdef uint64_t lines(self) noexcept nogil:
        return lines_for(self.used)

    cdef int longest_run(self, uint64_t lines, uint64_t* wrapped) except -1:
        """How many lines a look-up reads at most, and how many slots from the first on those of the last lines take."""
        cdef uint64_t slots = lines * SLOTS_A_LINE
        cdef uint64_t at, i, home
        cdef int longest
        while True:
            at = wrapped[0]
            longest = 0
            for i in range(self.used):
                home = scaled(hash_in(&self.entries[i]), lines)
                at = max(at, home * SLOTS_A_LINE)
                longest = max(longest, <int>(at // SLOTS_A_LINE - home) + 1)
                at += 1
            if at <= slots + wrapped[0]:
                return longest
            wrapped[0] = at - slots

    def write(self, write not None):
        """Call `write` with the set, in parts: a block of memory as DomainSet takes it. Return how long that is."""
        cdef bytearray buffer = bytearray(SLOTS_A_BUFFER * sizeof(uint64_t))
        cdef uint64_t* slots = <uint64_t*><uint8_t*>buffer
        cdef uint64_t lines, wrapped, at, i, begin
        cdef const HashedDomain* entry
        cdef int longest
        self.settle()
        lines, wrapped = self.lines(), 0
        longest = self.longest_run(lines, &wrapped) if lines else 0
        if longest > RUN_LIMIT:
            raise MemoryError("the table of domains is too uneven")     # a chance of nothing at such a load
        header = write_header(&self.key, self.used, lines, self.depths, longest)
        write(header)
        begin = 0           # the first slot of the buffer
        for i in range(wrapped):
            entry = &self.entries[self.used - wrapped + i]
            slots[i] = slot_of(hash_in(entry), entry.value)
        at = wrapped
        for i in range(self.used - wrapped):
            entry = &self.entries[i]
            at = max(at, scaled(hash_in(entry), lines) * SLOTS_A_LINE)
            while at >= begin + SLOTS_A_BUFFER:
                write(buffer)
                memset(slots, 0, SLOTS_A_BUFFER * sizeof(uint64_t))
                begin += SLOTS_A_BUFFER
            slots[at - begin] = slot_of(hash_in(entry), entry.value)
            at += 1
        while begin < lines * SLOTS_A_LINE:
            i = min(lines * SLOTS_A_LINE - begin, <uint64_t>SLOTS_A_BUFFER)
            write(memoryview(buffer)[:i * sizeof(uint64_t)])
            memset(slots, 0, SLOTS_A_BUFFER * sizeof(uint64_t))
            begin += i
        return len(header) + lines * SLOTS_A_LINE * sizeof(uint64_t)
