"""The owner's own names: found in one look-up, answered with AA=1 and never asked upstream."""

from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from fastdns._answer cimport copy_answer
from fastdns._domains cimport DOMAIN_LABELS_MAX, DOMAIN_VALUE_MAX, Suffix, find_suffixes
from fastdns._key cimport KEY_TAIL, NAME_MAX, name_is_sound
from fastdns._special_names cimport OWN_TTL, SOA_OCTETS, SOA_TTL_AT, suffix_at, write_soa
from fastdns._wire cimport (
    CLASS_IN, FLAG_QR, HEADER_LENGTH, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_CNAME, TYPE_SVCB, load16, store16, store32,
)

cdef enum:
    POINTER = 0xc000        # to a name in the first 16,384 octets
    POINTED_MAX = 0x4000
    TARGETS_MAX = 8         # of SVCB records
    RCODE_SERVFAIL = 2
    DRAFTS_MAX = 1 << 30    # records
    WORD = 4                # octets: places in the block are counted in words


cdef inline size_t words_of(uint16_t length) noexcept nogil:
    return (<size_t>length + WORD - 1) // WORD


cdef inline const LocalRecord* record_after(const LocalRecord* record) noexcept nogil:
    return <const LocalRecord*>(<const uint8_t*>(record + 1) + WORD * words_of(record.length))


cdef uint16_t length_of(const uint8_t* name) noexcept nogil:
    cdef uint16_t length = 0
    while name[length] != 0:
        length += name[length] + 1
    return length + 1


cdef bint is_under(const uint8_t* name, const uint8_t* zone) noexcept nogil:
    """True if the name is the zone, or lies under it; both are in lower case."""
    cdef uint16_t length = length_of(zone)
    while True:
        if length_of(name) <= length:
            return length_of(name) == length and memcmp(name, zone, length) == 0
        name += name[0] + 1


cdef class LocalBuilder:
    """Collects records and compiles them.

    A record's `origin` tells where it was written: source << 24 | line, both of the caller.
    """

    def __cinit__(self):
        self.names = DomainSetBuilder()
        self.used = 1       # 0 means none

    def __dealloc__(self):
        free(self.of_name)
        free(self.drafts)
        free(self.data)

    def add(self, bytes name not None, uint16_t rtype, uint32_t ttl, bytes data not None, uint32_t origin):
        """Add a record; return False if the name has it already, or has no room for more (NAME_OCTETS_MAX).

        name: in wire form and lower case; "*.x" stands for all names under x that have no records of their own.
        ValueError: not such a name, or RDATA that no record has.
        """
        if not name_is_sound(name, len(name)) or len(data) > 0xffff:
            raise ValueError("not a name in wire form and lower case, or too much data")
        if rtype == TYPE_CNAME and not name_is_sound(data, len(data)):
            raise ValueError("not a CNAME record whose target is in wire form and lower case")
        return bool(self.put(name, rtype, ttl, data, <uint16_t>len(data), origin))

    def has(self, bytes name not None):
        """Return True if that very name has a record."""
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        return bool(self.has_records(name))

    cdef bint has_records(self, const uint8_t* name) noexcept nogil:
        cdef bint is_wildcard = name[0] == 1 and name[1] == c'*'
        cdef uint32_t place = self.names.value_of_name(name + (2 if is_wildcard else 0))
        return place != 0 and self.of_name[place].first[is_wildcard] != 0

    cdef uint32_t last_origin(self, const uint8_t* name) noexcept nogil:
        cdef uint32_t place = self.names.value_of_name(name)
        if place == 0 or self.of_name[place].last[0] == 0:
            return <uint32_t>-1
        return self.drafts[self.of_name[place].last[0]].record.origin

    cdef int put(
        self, const uint8_t* name, uint16_t rtype, uint32_t ttl, const uint8_t* data, uint16_t length, uint32_t origin
    ) except -1:
        cdef bint is_wildcard = name[0] == 1 and name[1] == c'*'
        cdef uint32_t place = self.place_of(name + (2 if is_wildcard else 0))
        cdef DraftName* of_name = &self.of_name[place]
        cdef uint32_t at = of_name.first[is_wildcard]
        cdef Draft* draft
        while at != 0:
            draft = &self.drafts[at]
            if draft.record.rtype == rtype:
                if draft.record.length == length and memcmp(self.data + draft.data, data, length) == 0:
                    return 0
                ttl = min(ttl, draft.record.ttl)
            at = draft.next
        if of_name.octets[is_wildcard] + length + sizeof(LocalRecord) > NAME_OCTETS_MAX:
            return 0
        at = of_name.first[is_wildcard]
        while at != 0:          # all records of a type have one TTL: RFC 2181 section 5.2
            draft = &self.drafts[at]
            if draft.record.rtype == rtype:
                draft.record.ttl = ttl
            at = draft.next
        self.make_room(length)
        draft = &self.drafts[self.used]
        draft.data = self.data_used
        draft.next = 0
        draft.record.ttl, draft.record.origin = ttl, origin
        draft.record.rtype, draft.record.length = rtype, length
        memcpy(self.data + self.data_used, data, length)
        self.data_used += length
        if of_name.first[is_wildcard] == 0:
            of_name.first[is_wildcard] = <uint32_t>self.used
            self.count += 1
        else:
            self.drafts[of_name.last[is_wildcard]].next = <uint32_t>self.used
        of_name.last[is_wildcard] = <uint32_t>self.used
        of_name.octets[is_wildcard] += length + sizeof(LocalRecord)
        self.used += 1
        return 1

    cdef uint32_t place_of(self, const uint8_t* name) except 0:
        """The place of a name, which it gets with all names above it: these exist then, too (RFC 8020)."""
        cdef uint32_t place = self.names.value_of_name(name)
        cdef DraftName* moved
        cdef uint32_t next_place
        cdef size_t room
        if place != 0:
            return place
        if name[0] != 0:
            self.place_of(name + name[0] + 1)
        next_place = <uint32_t>len(self.names) + 1
        if next_place > DOMAIN_VALUE_MAX:
            raise OverflowError("too many local names")
        if next_place >= self.names_room:
            room = max(<size_t>256, 2 * self.names_room)
            moved = <DraftName*>realloc(self.of_name, room * sizeof(DraftName))
            if moved == NULL:
                raise MemoryError
            memset(moved + self.names_room, 0, (room - self.names_room) * sizeof(DraftName))
            self.of_name, self.names_room = moved, room
        return self.names.add_name(name, next_place)

    cdef int make_room(self, uint16_t length) except -1:
        cdef size_t room
        cdef void* moved
        if self.used >= self.room:
            room = max(<size_t>256, 2 * self.room)
            if room > DRAFTS_MAX:
                raise OverflowError("too many local records")
            moved = realloc(self.drafts, room * sizeof(Draft))
            if moved == NULL:
                raise MemoryError
            self.drafts, self.room = <Draft*>moved, room
        if self.data_used + length > self.data_room:
            room = max(<size_t>8192, 2 * self.data_room) + length
            moved = realloc(self.data, room)
            if moved == NULL:
                raise MemoryError
            self.data, self.data_room = <uint8_t*>moved, room
        return 0

    def compile(self):
        """Return the LocalRecords; the builder can be used on."""
        cdef LocalRecords local = LocalRecords()
        cdef uint32_t names = <uint32_t>len(self.names)
        cdef size_t octets = WORD
        cdef size_t at = 1              # in words: 0 means none
        cdef uint32_t place
        cdef int kind
        if self.count == 0:
            return local
        with nogil:         # many names take long
            for place in range(1, names + 1):
                for kind in range(2):
                    octets += self.size_of(&self.of_name[place], kind)
        local.names = DomainSet(self.names.compile())
        local.nodes = <uint32_t*>calloc(2 * <size_t>(names + 1), sizeof(uint32_t))
        local.block = <uint8_t*>calloc(octets, 1)
        if local.nodes == NULL or local.block == NULL:
            raise MemoryError
        local.octets = octets
        local.count, local.records = self.count, self.used - 1
        with nogil:
            for place in range(1, names + 1):
                for kind in range(2):
                    if self.of_name[place].first[kind] != 0:
                        local.nodes[2 * place + kind] = <uint32_t>at
                        at += self.write_node(local.block + WORD * at, &self.of_name[place], kind)
        return local

    cdef size_t size_of(self, const DraftName* of_name, int kind) noexcept nogil:
        """Octets of the node."""
        cdef size_t octets = WORD
        cdef uint32_t at = of_name.first[kind]
        if at == 0:
            return 0
        while at != 0:
            octets += sizeof(LocalRecord) + WORD * words_of(self.drafts[at].record.length)
            at = self.drafts[at].next
        return octets

    cdef size_t write_node(self, uint8_t* out, const DraftName* of_name, int kind) noexcept nogil:
        """Write how many records there are, and these; return the words."""
        cdef uint8_t* at = out + WORD
        cdef uint32_t number = of_name.first[kind]
        cdef uint32_t count = 0
        cdef const Draft* draft
        while number != 0:
            draft = &self.drafts[number]
            memcpy(at, &draft.record, sizeof(LocalRecord))
            memcpy(at + sizeof(LocalRecord), self.data + draft.data, draft.record.length)
            at += sizeof(LocalRecord) + WORD * words_of(draft.record.length)
            count += 1
            number = draft.next
        memcpy(out, &count, WORD)
        return <size_t>(at - out) // WORD


cdef class LocalRecords:
    """The compiled records; made by a LocalBuilder, or empty."""

    def __cinit__(self):
        self.names = DomainSet()

    def __dealloc__(self):
        free(self.nodes)
        free(self.block)

    def __len__(self):
        return self.count

    def find(self, bytes name not None):
        """Return (labels, is wildcard, records) for a name that has records, else None.

        The records are (type, TTL, RDATA, origin); labels: of the name, or of the parent of the wildcard.
        ValueError: not a name in wire form and lower case.
        """
        cdef LocalMatch match
        cdef const LocalRecord* record
        cdef list records = []
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        match = find_local(self, name)
        if match.first == NULL:
            return None
        record = match.first
        for _ in range(match.count):
            records.append(
                (record.rtype, record.ttl, (<const char*>(record + 1))[:record.length], record.origin)
            )
            record = record_after(record)
        return match.labels, bool(match.is_wildcard), records

    cdef const LocalRecord* records_at(self, uint32_t place, uint16_t* count) noexcept nogil:
        cdef const uint8_t* node = self.block + WORD * <size_t>place
        count[0] = <uint16_t>(<const uint32_t*>node)[0]
        return <const LocalRecord*>(node + WORD)


cdef LocalMatch find_local(LocalRecords local, const uint8_t* name) noexcept nogil:
    cdef Suffix found[DOMAIN_LABELS_MAX]
    cdef LocalMatch match
    cdef uint32_t place
    cdef int count, i
    match.first = NULL
    match.count = 0
    match.labels = 0
    match.is_wildcard = match.exists = False
    count = find_suffixes(local.names, name, found, DOMAIN_LABELS_MAX)
    for i in range(count):
        match.exists |= found[i].is_whole
        place = local.nodes[2 * found[i].value + (0 if found[i].is_whole else 1)]
        if place != 0:
            match.first = local.records_at(place, &match.count)
            match.labels = found[i].labels
            match.is_wildcard = not found[i].is_whole
            match.exists = True
            break
    return match


cdef bint answers_type(const LocalMatch* match, uint16_t qtype) noexcept nogil:
    return (
        match.first.origin >> 24 != DESIGNATED_SOURCE
        or qtype == TYPE_A or qtype == TYPE_AAAA or qtype == TYPE_SVCB or qtype == TYPE_ANY
    )


cdef uint16_t add_record(
    LocalAnswer* out, const uint8_t* owner, uint16_t owner_at, const LocalRecord* record
) noexcept nogil:
    """Add a record, with a pointer to its owner's name or with the name itself; return where its RDATA is, 0: no room.
    """
    cdef uint16_t owner_length = 2
    cdef size_t at = out.stored.length
    cdef const uint8_t* data = <const uint8_t*>(record + 1)
    if owner_at >= POINTED_MAX:
        owner_length = length_of(owner)
    if at + owner_length + 10 + record.length > LOCAL_OCTETS_MAX - SOA_OCTETS or out.stored.ttl_count == RECORDS_MAX:
        return 0
    if owner_at >= POINTED_MAX:
        memcpy(out.wire + at, owner, owner_length)
    else:
        store16(out.wire + at, POINTER | owner_at)
    at += owner_length
    store16(out.wire + at, record.rtype)
    store16(out.wire + at + 2, CLASS_IN)
    store32(out.wire + at + 4, record.ttl)
    store16(out.wire + at + 8, record.length)
    memcpy(out.wire + at + 10, data, record.length)
    out.ttl_at[out.stored.ttl_count] = <uint16_t>(at + 4)
    out.stored.ttl_count += 1
    out.stored.ttl = min(out.stored.ttl, record.ttl)
    out.stored.length = <uint16_t>(at + 10 + record.length)
    return <uint16_t>(at + 10)


cdef uint16_t add_addresses(LocalRecords local, const uint8_t* name, LocalAnswer* out) noexcept nogil:
    """Add the addresses of a name that has records here; return how many."""
    cdef LocalMatch match = find_local(local, name)
    cdef const LocalRecord* record = match.first
    cdef uint16_t count = 0
    cdef int _i
    for _i in range(match.count):
        # Its name is written in whole: nothing points into RDATA, which may be of an unknown type (RFC 3597 section 4).
        if (record.rtype == TYPE_A or record.rtype == TYPE_AAAA) and add_record(out, name, POINTED_MAX, record):
            count += 1
        record = record_after(record)
    return count


cdef bint read_target(const LocalRecord* record, uint8_t* out) noexcept nogil:
    """Copy the TargetName of an SVCB record, in lower case; False: it has none, for the owner may have written octets.
    """
    cdef const uint8_t* data = <const uint8_t*>(record + 1)
    cdef int length = 0
    cdef int at = 2
    cdef int i, label
    while at < record.length:
        label = data[at]
        if label > 63 or at + label >= record.length or length + label + 1 > NAME_MAX:
            return False
        out[length] = <uint8_t>label
        for i in range(1, label + 1):
            out[length + i] = data[at + i] | 0x20 if c"A" <= data[at + i] <= c"Z" else data[at + i]
        length += label + 1
        at += label + 1
        if label == 0:
            return True
    return False


cdef uint16_t add_targets(LocalRecords local, const uint8_t* owner, LocalAnswer* out) noexcept nogil:
    """Add the addresses of the targets of a name's SVCB records (RFC 9462 section 4); return how many."""
    cdef uint8_t targets[TARGETS_MAX][NAME_MAX]
    cdef LocalMatch match = find_local(local, owner)
    cdef const LocalRecord* record = match.first
    cdef uint16_t count = 0
    cdef bint is_new
    cdef int seen = 0
    cdef int i, _i
    for _i in range(match.count):
        if record.rtype == TYPE_SVCB and seen < TARGETS_MAX and read_target(record, targets[seen]):
            is_new = True
            for i in range(seen):
                if length_of(targets[i]) == length_of(targets[seen]) and is_under(targets[i], targets[seen]):
                    is_new = False
            if is_new:
                count += add_addresses(local, targets[seen], out)
                seen += 1
        record = record_after(record)
    return count


cdef void begin(LocalAnswer* out, const uint8_t* key, uint16_t length) noexcept nogil:
    memset(&out.stored, 0, sizeof(Stored))
    memset(out.wire, 0, HEADER_LENGTH)
    memcpy(out.wire + HEADER_LENGTH, key, length + 4)
    out.stored.wire = out.wire
    out.stored.ttl_at = out.ttl_at
    out.stored.options = out.wire
    out.stored.length = HEADER_LENGTH + length + 4
    out.stored.ttl = <uint32_t>-1
    out.stored.is_authoritative = True
    out.target_length = 0
    store16(out.wire + 2, FLAG_QR)
    store16(out.wire + 4, 1)


cdef void make_local(
    LocalRecords local, const uint8_t* key, uint16_t key_length, int zone_labels, LocalAnswer* out
) noexcept nogil:
    cdef uint16_t length = key_length - KEY_TAIL
    cdef uint16_t qtype = load16(key + length)
    cdef const uint8_t* owner = key
    cdef uint16_t owner_at = HEADER_LENGTH
    cdef const LocalRecord* record
    cdef const LocalRecord* alias
    cdef LocalMatch match
    cdef int _followed, _i
    cdef uint16_t zone_at = suffix_at(key, zone_labels)
    cdef bint has_data = False
    begin(out, key, length)
    for _followed in range(CHAIN_LOCAL_MAX):
        alias = NULL
        match = find_local(local, owner)
        if match.first == NULL:         # a CNAME record leads to a name that is not ours
            out.target_length = length_of(owner)
            memcpy(out.target, owner, out.target_length)
            break
        record = match.first
        for _i in range(match.count):
            if record.rtype == qtype or qtype == TYPE_ANY:
                add_record(out, owner, owner_at, record)
                has_data = True
            elif record.rtype == TYPE_CNAME:
                alias = record
            record = record_after(record)
        if has_data or alias == NULL:
            break
        owner_at = add_record(out, owner, owner_at, alias)
        owner = <const uint8_t*>(alias + 1)
        if owner_at == 0:
            break
    if not has_data and alias != NULL and out.target_length == 0:       # a loop
        begin(out, key, length)
        out.stored.rcode = RCODE_SERVFAIL
        out.stored.ttl = OWN_TTL
        store16(out.wire + 2, FLAG_QR | RCODE_SERVFAIL)
        return
    store16(out.wire + 6, out.stored.ttl_count)
    if has_data and qtype == TYPE_SVCB:
        store16(out.wire + 10, add_targets(local, owner, out))
    if not has_data and alias == NULL and out.target_length == 0:
        if owner == key or is_under(owner, key + zone_at) or owner_at >= POINTED_MAX:
            owner_at = HEADER_LENGTH + zone_at
        out.stored.ttl = min(out.stored.ttl, <uint32_t>OWN_TTL)
        out.ttl_at[out.stored.ttl_count] = out.stored.length + SOA_TTL_AT
        out.stored.ttl_count += 1
        out.stored.length += write_soa(out.wire + out.stored.length, owner_at, OWN_TTL)
        store16(out.wire + 8, 1)


def local_answer(LocalRecords local not None, bytes key not None, int zone_labels):
    """Return the Answer to the question of a key, and the name outside that its chain leads to, or None.

    ValueError: the name has no records here.
    """
    cdef LocalAnswer* answer
    if local.find(key[:len(key) - KEY_TAIL]) is None:
        raise ValueError("a name without local records")
    answer = <LocalAnswer*>malloc(sizeof(LocalAnswer))
    if answer == NULL:
        raise MemoryError
    try:
        make_local(local, key, <uint16_t>len(key), zone_labels, answer)
        return copy_answer(&answer.stored), answer.target[:answer.target_length] if answer.target_length else None
    finally:
        free(answer)
