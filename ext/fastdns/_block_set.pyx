"""Compiled block lists: reading them, and building them."""

import json
import struct
import zlib
from collections import namedtuple

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

from fastdns._domain_sorter cimport HashedDomain
from fastdns._domains cimport DOMAIN_LABELS_MAX, DOMAIN_VALUE_MAX, DomainSet, Suffix, find_suffixes
from fastdns._key cimport name_is_sound
from fastdns._siphash cimport keyed_hash

Entry = namedtuple("Entry", ("source", "flags", "action", "types"))
Pattern = namedtuple("Pattern", ("text", "source", "flags", "action", "types"))
Found = namedtuple("Found", ("labels", "is_whole", "entries"))

cdef enum:
    HEADER_OCTETS = 64
    TYPE_SETS_MAX = 31                  # more are only in a hostile list, whose domains would have all of them
    MEMBERS_MAX = 1 << 27               # of all combinations: 1 GiB
    FEW = 8                             # combinations that are united one by one
    UNIONS_MAX = 100_000                # that are remembered
    WHICH = ~(ITSELF | UNDER) & 0xff    # the flags that two memberships of one source may differ in

cdef bytes MAGIC = b"fastdns-blocks01"
# magic, checksum, combinations, memberships, sets of types, numbers in them, octets of JSON, where the domains begin
cdef object HEADER = struct.Struct("=16sIIIIIIQ")
cdef object TRAILER = struct.Struct("=I4x")     # as long as a slot


cdef class BlockSet:
    """Lists that were compiled into a buffer, which may be a mapped file. len(): its domains.

    ValueError: the buffer holds none, or not all of it. None: no lists.
    """

    def __cinit__(self, buffer=None):
        cdef Py_buffer memory
        self.domains = DomainSet()
        self.info = b"{}"
        if buffer is not None:
            self.memory = memoryview(buffer)
            PyObject_GetBuffer(self.memory, &memory, PyBUF_SIMPLE)
            PyBuffer_Release(&memory)       # the memoryview keeps what it points to
            read_block(self, self.memory, <const uint8_t*>memory.buf, memory.len)

    def __len__(self):
        return self.domains.count

    cdef const Membership* members(self, uint32_t value, int* count) noexcept nogil:
        if value == 0 or value > self.combinations:
            count[0] = 0
            return NULL
        count[0] = <int>(self.starts[value] - self.starts[value - 1])
        return self.all_members + self.starts[value - 1]

    cdef bint has_type(self, uint16_t types, uint16_t qtype) noexcept nogil:
        cdef const uint16_t* at
        cdef const uint16_t* end
        cdef uint16_t is_other
        if types == 0:
            return True
        if types > self.type_sets:
            return False
        at, end = self.all_types + self.type_starts[types - 1], self.all_types + self.type_starts[types]
        is_other = at[0]
        at += 1
        while at < end:
            if at[0] == qtype:
                return not is_other
            at += 1
        return is_other

    def find(self, bytes name not None):
        """Return a Found for each domain that a name is or lies under, the longest first.

        name: in wire form and lower case (ValueError: it is not). An entry may concern only the domain, or only what is
        under it: see its flags. Its types are () for all, and below 0 where it holds for all but these.
        """
        cdef Suffix found[DOMAIN_LABELS_MAX]
        cdef const Membership* members
        cdef int i, k, count
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        told = []
        for i in range(find_suffixes(self.domains, name, found, DOMAIN_LABELS_MAX)):
            members = self.members(found[i].value, &count)
            entries = [
                Entry(members[k].source, members[k].flags, members[k].action, self.types_of(members[k].types))
                for k in range(count)
            ]
            told.append(Found(found[i].labels, bool(found[i].is_whole), entries))
        return told

    def holds_for(self, int types_number, uint16_t qtype):
        """Tell whether a set, by its number, has a type."""
        return self.has_type(<uint16_t>types_number, qtype)

    def types_of(self, uint16_t number):
        """Return the types of a set, by its number."""
        cdef const uint16_t* types
        cdef int count
        if number == 0 or number > self.type_sets:
            return ()
        types = self.all_types + self.type_starts[number - 1]
        count = <int>(self.type_starts[number] - self.type_starts[number - 1])
        return tuple([-<int>types[i] if types[0] else types[i] for i in range(1, count)])

    @property
    def sources(self):
        """What `compile` was given, as a list: by the numbers of the sources."""
        return json.loads(self.info).get("sources", [])

    @property
    def patterns(self):
        """The regular expressions of the lists, as a list of Pattern."""
        return [
            Pattern(text, source, flags, action, tuple(types))
            for text, source, flags, action, types in json.loads(self.info).get("patterns", [])
        ]

    def is_whole(self):
        """Tell whether nothing of it is damaged: reads all of it, a millisecond for some MiB."""
        if self.memory is None:
            return True
        end = len(self.memory) - TRAILER.size
        return TRAILER.unpack(self.memory[end:])[0] == zlib.crc32(self.memory[:end])


cdef bint is_rising(const uint32_t* starts, uint32_t count, uint32_t end, uint32_t least) noexcept nogil:
    """Whether `count` things of at least so many parts each begin there, one behind the other, up to the end."""
    cdef uint32_t i
    if starts[0] != 0 or starts[count] != end:
        return False
    for i in range(count):
        if starts[i + 1] < starts[i] or starts[i + 1] - starts[i] < least:
            return False
    return True


cdef read_block(BlockSet lists, view, const uint8_t* start, Py_ssize_t octets):
    cdef uint64_t at = HEADER_OCTETS
    cdef uint64_t domains_at, members_at, type_starts_at, types_at, info_at, end
    if octets < HEADER_OCTETS + <Py_ssize_t>TRAILER.size or start[:16] != MAGIC:
        raise ValueError("not compiled block lists of this version")
    _magic, checksum, combinations, members, type_sets, types, info, domains_at = HEADER.unpack(start[:HEADER.size])
    members_at = at + 4 * (<uint64_t>combinations + 1)
    members_at += members_at & 4
    type_starts_at = members_at + sizeof(Membership) * <uint64_t>members
    types_at = type_starts_at + 4 * (<uint64_t>type_sets + 1)
    info_at = types_at + 2 * <uint64_t>types
    end = info_at + <uint64_t>info
    if end > domains_at or domains_at % 64 or domains_at > <uint64_t>octets - <uint64_t>TRAILER.size:
        raise ValueError("compiled block lists that are damaged or not whole")
    if zlib.crc32(view[20:domains_at]) != checksum:
        raise ValueError("compiled block lists that are damaged")
    lists.starts = <const uint32_t*>(start + at)
    lists.all_members = <const Membership*>(start + members_at)
    lists.type_starts = <const uint32_t*>(start + type_starts_at)
    lists.all_types = <const uint16_t*>(start + types_at)
    if not is_rising(lists.starts, combinations, members, 1) or not is_rising(lists.type_starts, type_sets, types, 1):
        raise ValueError("compiled block lists that are damaged")
    lists.domains = DomainSet(view[domains_at:octets - <Py_ssize_t>TRAILER.size])
    lists.info = (start + info_at)[:info]
    lists.combinations, lists.type_sets = combinations, type_sets


cdef inline uint64_t order_of(const Membership* one) noexcept nogil:
    """Equal for two that differ only in whether they concern the domain or what is under it."""
    return <uint64_t>one.source << 32 | <uint64_t>(one.flags & WHICH) << 24 | <uint64_t>one.action << 16 | one.types


cdef int compare(const void* one, const void* other) noexcept nogil:
    cdef uint64_t first = order_of(<const Membership*>one)
    cdef uint64_t second = order_of(<const Membership*>other)
    return (first > second) - (first < second)


cdef class BlockSetBuilder(DomainSorter):
    """Collects what lists say of domains, and compiles it. A domain may be given any number of times."""

    def __cinit__(self):
        self.unions, self.type_numbers, self.patterns = {}, {}, []
        self.starts_room = 64
        self.starts = <uint32_t*>calloc(self.starts_room, sizeof(uint32_t))
        if self.starts is NULL:
            raise MemoryError
        self.rebuild_table(128)

    def __dealloc__(self):
        free(self.members)
        free(self.starts)
        free(self.table)

    def add(self, bytes name not None, int source, int flags, int action=0, types=()):
        """Add what a source says of a domain, in wire form and lower case.

        `types`: for which alone it says so; below 0: for all but these. ValueError: not such a name, or numbers that do
        not exist.
        """
        cdef Membership entry = self.checked(source, flags, action, types)
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        self.add_entry(name, &entry)

    def add_pattern(self, str text not None, int source, int flags, int action=0, types=()):
        """Add what a source says of the names that a regular expression matches; ValueError as in `add`."""
        self.checked(source, flags, action, types)
        self.patterns.append((text, source, flags, action, tuple(types)))

    cdef Membership checked(self, int source, int flags, int action, types) except *:
        cdef Membership entry
        if not 0 <= source < MOST_SOURCES:
            raise ValueError(f"a source has a number from 0 to {MOST_SOURCES - 1}")
        if not 0 < flags <= (ITSELF | UNDER | ALLOWS | IMPORTANT) or not flags & (ITSELF | UNDER):
            raise ValueError("flags that concern nothing")
        if not 0 <= action <= ANSWER_REFUSED:
            raise ValueError("not an action")
        memset(&entry, 0, sizeof(Membership))
        entry.source, entry.flags, entry.action = <uint16_t>source, <uint8_t>flags, <uint8_t>action
        entry.types = <uint16_t>self.number_of_types(tuple(types)) if types else 0
        return entry

    cdef uint32_t number_of_types(self, tuple types) except? 0:
        """The number of a set of types. ValueError: not types, some of them below 0 and some not, or too many sets."""
        types = tuple(sorted(set(types)))
        number = self.type_numbers.get(types)
        if number is None:
            least, most = min(types), max(types)
            if least < -65535 or most > 65535 or least * most <= 0:
                raise ValueError("not a set of types")
            if len(self.type_numbers) == TYPE_SETS_MAX:
                raise ValueError("too many sets of types")
            number = self.type_numbers[types] = len(self.type_numbers) + 1
        return number

    cdef int add_entry(self, const uint8_t* name, const Membership* entry) except -1:
        return self.add_name(name, self.alone(entry))

    cdef uint32_t alone(self, const Membership* entry) except 0:
        if self.last_number == 0 or memcmp(&self.last, entry, sizeof(Membership)) != 0:
            self.last_number = self.intern(entry, 1)
            self.last = entry[0]
        return self.last_number

    cdef uint32_t intern(self, const Membership* members, uint32_t count) except 0:
        """The number of a combination, which is made unless it is there."""
        cdef size_t octets = count * sizeof(Membership)
        cdef uint32_t place, number, room
        if (self.combinations + 1) * 2 > self.table_room:
            self.rebuild_table(self.table_room * 2)
        place = <uint32_t>keyed_hash(<const uint8_t*>members, octets) & (self.table_room - 1)
        while self.table[place]:
            number = self.table[place]
            if (
                self.starts[number] - self.starts[number - 1] == count
                and memcmp(self.members + self.starts[number - 1], members, octets) == 0
            ):
                return number
            place = (place + 1) & (self.table_room - 1)
        if self.combinations == DOMAIN_VALUE_MAX or count > MEMBERS_MAX - self.members_used:
            raise MemoryError("too many domains that are on different lists")
        if self.members_used + count > self.members_room:
            room = (self.members_used + count) * 3 // 2 + 16
            self.members = <Membership*>grown(self.members, room * sizeof(Membership))
            self.members_room = room
        if self.combinations + 2 > self.starts_room:
            room = self.starts_room * 2
            self.starts = <uint32_t*>grown(self.starts, room * sizeof(uint32_t))
            self.starts_room = room
        memcpy(self.members + self.members_used, members, octets)
        self.members_used += count
        self.combinations += 1
        self.starts[self.combinations] = self.members_used
        self.table[place] = self.combinations
        return self.combinations

    cdef int rebuild_table(self, uint32_t room) except -1:
        cdef uint32_t* larger = <uint32_t*>calloc(room, sizeof(uint32_t))
        cdef uint32_t number, place
        if larger is NULL:
            raise MemoryError
        for number in range(1, self.combinations + 1):
            place = <uint32_t>keyed_hash(
                <const uint8_t*>(self.members + self.starts[number - 1]),
                (self.starts[number] - self.starts[number - 1]) * sizeof(Membership),
            ) & (room - 1)
            while larger[place]:
                place = (place + 1) & (room - 1)
            larger[place] = number
        free(self.table)
        self.table, self.table_room = larger, room
        return 0

    cdef uint32_t merged(self, const HashedDomain* entries, uint64_t count) except 0:
        """The combination of all members of several."""
        cdef uint32_t number = entries[0].value
        cdef uint64_t i
        if count > FEW:
            return self.united_all(entries, count)
        for i in range(1, count):
            number = self.united(number, entries[i].value)
        return number

    cdef uint32_t united(self, uint32_t one, uint32_t other) except 0:
        """The combination of two, which is usually known."""
        cdef uint64_t pair = <uint64_t>one << 32 | other
        cdef HashedDomain both[2]
        if one == other:
            return one
        known = self.unions.get(pair)
        if known is None:
            both[0].value, both[1].value = one, other
            known = self.united_all(both, 2)
            if len(self.unions) == UNIONS_MAX:
                self.unions.clear()
            self.unions[pair] = known
        return known

    cdef uint32_t united_all(self, const HashedDomain* entries, uint64_t count) except 0:
        """The combination of several, without any of only some of them: a hostile list would make too many."""
        cdef Membership* all_of_them
        cdef uint64_t total = 0
        cdef uint64_t i
        cdef uint32_t number, length, kept
        for i in range(count):
            total += self.starts[entries[i].value] - self.starts[entries[i].value - 1]
        all_of_them = <Membership*>grown(NULL, total * sizeof(Membership))
        try:
            total = 0
            for i in range(count):
                number = entries[i].value
                length = self.starts[number] - self.starts[number - 1]
                memcpy(all_of_them + total, self.members + self.starts[number - 1], length * sizeof(Membership))
                total += length
            qsort(all_of_them, total, sizeof(Membership), compare)
            kept = 0
            for i in range(1, total):
                if order_of(&all_of_them[i]) == order_of(&all_of_them[kept]):
                    all_of_them[kept].flags |= all_of_them[i].flags
                else:
                    kept += 1
                    all_of_them[kept] = all_of_them[i]
            return self.intern(all_of_them, kept + 1)
        finally:
            free(all_of_them)

    def compile(self, sources=()):
        """Return all of it as a block of memory; `sources`: what JSON can hold of each, by their numbers."""
        block = bytearray()
        self.write_to(block.extend, sources)
        return block

    def write_to(self, write not None, sources=()):
        """Call `write` with parts of such a block, one after another: they need little memory beside the domains."""
        cdef uint32_t used
        self.settle()
        used = self.combinations
        starts = (<const uint8_t*>self.starts)[:(used + 1) * sizeof(uint32_t)]
        if len(starts) % 8:
            starts += bytes(4)
        members = (<const uint8_t*>self.members)[:self.members_used * sizeof(Membership)] if used else b""
        type_starts, flat = [0], []
        for one in self.type_numbers:
            is_other = min(one) < 0
            flat += [int(is_other), *[-number if is_other else number for number in one]]
            type_starts.append(len(flat))
        types = struct.pack(f"={len(type_starts)}I{len(flat)}H", *type_starts, *flat)
        info = json.dumps({"sources": list(sources), "patterns": self.patterns}, ensure_ascii=False).encode(
            "utf-8", "replace"
        )
        body = starts + members + types + info
        domains_at = (HEADER_OCTETS + len(body) + 63) // 64 * 64
        head = HEADER.pack(
            MAGIC, 0, used, self.members_used, len(type_starts) - 1, len(flat), len(info), domains_at
        ).ljust(HEADER_OCTETS, b"\0")
        head = (head + body).ljust(domains_at, b"\0")
        head = head[:16] + struct.pack("=I", zlib.crc32(memoryview(head)[20:])) + head[20:]
        checksum = zlib.crc32(head)
        write(head)

        def write_part(part):
            nonlocal checksum
            checksum = zlib.crc32(part, checksum)
            write(part)

        self.write(write_part)
        write(TRAILER.pack(checksum))


cdef void* grown(void* memory, size_t octets) except NULL:
    cdef void* moved = realloc(memory, octets)
    if moved is NULL:
        raise MemoryError
    return moved
