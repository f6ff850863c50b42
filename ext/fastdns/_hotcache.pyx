"""The memory cache of ready answers: open addressing, in a table that grows by a few entries with each insert.

While it grows, the old table has all entries, and the new one those that were moved already. So a look-up uses one
table, and no insert waits for a rehash.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from fastdns._answer cimport Answer
from fastdns._key cimport KEY_MAX
from fastdns._siphash cimport keyed_hash

cdef extern from "<malloc.h>" nogil:
    int M_TOP_PAD
    int mallopt(int parameter, int value)
    size_t malloc_usable_size(void* block)

cdef extern from "<unistd.h>" nogil:
    void* sbrk(ssize_t increment)

cdef extern from *:
    void __builtin_prefetch(const void* at) nogil

cdef extern from "<sys/mman.h>" nogil:
    int MADV_HUGEPAGE
    int madvise(void* start, size_t length, int advice)

cdef enum:
    OCTETS_A_SLOT = 160     # of capacity; a quarter stays free, so that entries of 205 bytes fill both alike
    BLOCK_OVERHEAD = sizeof(size_t)     # malloc's own, before each block
    FIRST_SHARE = 16        # the table begins as one of so many parts of what it may become
    FIRST_SLOTS = 1024      # or with these
    GROWTH = 4              # times as large is the next one
    MOVED_AT_ONCE = 4       # entries an insert: it begins to grow when half full, and has grown before it is 5/8 full
    LOOK_AHEAD = 4          # slots in which an announced entry is looked for
    EVICTIONS_MAX = 64      # that one insert may cost
    PAGE_OCTETS = 4096
    LARGE_FROM = 16 << 20   # octets of a cache from which on large pages are worth what their rounding takes
    HEAP_STEP = 16 << 20    # by which the heap then grows: address space, memory only as it is used
    ADDRESS_BITS = 48       # of a user-space address on every 64-bit Linux unless larger ones are asked for


cdef inline Entry* entry_at(uint64_t slot) noexcept nogil:
    return <Entry*><size_t>(slot & ((<uint64_t>1 << ADDRESS_BITS) - 1))


cdef inline uint64_t as_slot(const Entry* entry) noexcept nogil:
    return (entry.hash >> ADDRESS_BITS << ADDRESS_BITS) | <uint64_t><size_t>entry


cdef inline size_t home(uint64_t hash, size_t slots) noexcept nogil:
    # The lower 32 bits, scaled to the table; the upper 16 stand in the slot as its tag.
    return <size_t>((<uint64_t><uint32_t>hash * slots) >> 32)


cdef inline size_t weight(Entry* entry) noexcept nogil:
    return malloc_usable_size(entry) + BLOCK_OVERHEAD


cdef void want_large_pages(size_t start, size_t end) noexcept nogil:
    """Ask for large pages: with small ones, random access costs the CPU a page look-up as well."""
    start = (start + PAGE_OCTETS - 1) & ~<size_t>(PAGE_OCTETS - 1)
    if start < end:
        madvise(<void*>start, end - start, MADV_HUGEPAGE)


cdef Entry* make_entry(const uint8_t* key, uint16_t key_length, const Stored* answer) noexcept nogil:
    """Copy key and answer into one block; NULL: no memory."""
    cdef size_t offsets = 2 * <size_t>answer.ttl_count
    cdef Entry* entry = <Entry*>malloc(sizeof(Entry) + offsets + key_length + answer.length + answer.options_length)
    cdef uint8_t* at
    if entry == NULL:
        return NULL
    entry.answer = answer[0]
    entry.key_length = key_length
    entry.visited = 0
    entry.refreshing = 0
    entry.hits = 0
    entry.hold_stale_s = 0
    at = <uint8_t*>entry + sizeof(Entry)
    memcpy(at, answer.ttl_at, offsets)
    entry.answer.ttl_at = <const uint16_t*>at
    at += offsets
    memcpy(at, key, key_length)
    at += key_length
    memcpy(at, answer.wire, answer.length)
    entry.answer.wire = at
    at += answer.length
    memcpy(at, answer.options, answer.options_length)
    entry.answer.options = at
    return entry


cdef uint16_t length_of(bytes key) except? 0:
    """Any bytes are allowed as a key here, but not any number."""
    if len(key) > KEY_MAX:
        raise ValueError("not a key")
    return <uint16_t>len(key)


cdef void put_in(uint64_t* table, size_t slots, const Entry* entry) noexcept nogil:
    """Add an absent entry to a table that is not full."""
    cdef size_t slot = home(entry.hash, slots)
    while table[slot] != 0:
        slot = slot + 1 if slot + 1 < slots else 0
    table[slot] = as_slot(entry)


cdef void take_out(uint64_t* table, size_t slots, const Entry* entry) noexcept nogil:
    """Remove an entry if it is there; those that probed past it move up (no tombstones)."""
    cdef size_t gap = home(entry.hash, slots)
    cdef size_t slot, distance_home, distance_gap
    while entry_at(table[gap]) != entry:
        if table[gap] == 0:
            return
        gap = gap + 1 if gap + 1 < slots else 0
    slot = gap
    while True:
        table[gap] = 0
        while True:
            slot = slot + 1 if slot + 1 < slots else 0
            if table[slot] == 0:
                return
            distance_home = (slot + slots - home(entry_at(table[slot]).hash, slots)) % slots
            distance_gap = (slot + slots - gap) % slots
            if distance_home >= distance_gap:
                break
        table[gap] = table[slot]
        gap = slot


cdef class HotCache:
    """A cache of at most `capacity` bytes, its table and malloc's overhead included.

    Entries are found by the whole key (the hash alone is never trusted) and expire by their own TTL.
    """

    def __cinit__(self, size_t capacity, int64_t stale_ms=0):
        if capacity < 65536:
            raise ValueError("a memory cache has at least 65,536 bytes")
        self.capacity = capacity
        self.stale_ms = stale_ms
        self.most_slots = min(capacity // OCTETS_A_SLOT, <size_t>0xffffffff)
        self.slots = min(max(self.most_slots // FIRST_SHARE, <size_t>FIRST_SLOTS), self.most_slots)
        self.table = <uint64_t*>calloc(self.slots, sizeof(uint64_t))
        if self.table == NULL:
            raise MemoryError(f"cache.memory: this machine cannot reserve the table for {capacity} bytes")
        self.octets = self.most_slots * sizeof(uint64_t)     # reserved from the beginning
        self.heap_end = 0

    def __dealloc__(self):
        cdef Entry* entry = self.newest
        cdef Entry* older
        while entry != NULL:
            older = entry.older
            free(entry)
            entry = older
        free(self.table)
        free(self.next_table)

    cdef size_t slot_of(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
        """Return the slot that holds the key, or the free one where it belongs; a quarter of the table is free."""
        cdef size_t slot = home(hash, self.slots)
        cdef uint64_t value
        cdef Entry* entry
        while True:
            value = self.table[slot]
            if value == 0:
                return slot
            if value >> ADDRESS_BITS == hash >> ADDRESS_BITS:
                entry = entry_at(value)
                if entry.key_length == key_length and memcmp(key_of(entry), key, key_length) == 0:
                    return slot
            slot += 1
            if slot == self.slots:
                slot = 0

    cdef uint64_t hash_of(self, const uint8_t* key, uint16_t key_length) noexcept nogil:
        return keyed_hash(key, key_length)

    cdef void expect(self, uint64_t hash) noexcept nogil:
        __builtin_prefetch(&self.table[home(hash, self.slots)])

    cdef void expect_entry(self, uint64_t hash) noexcept nogil:
        cdef size_t slot = home(hash, self.slots)
        cdef uint64_t value
        cdef int _look
        cdef const char* at
        for _look in range(LOOK_AHEAD):
            value = self.table[slot]
            if value == 0:
                return
            if value >> ADDRESS_BITS == hash >> ADDRESS_BITS:
                at = <const char*>entry_at(value) + HIT_FROM
                __builtin_prefetch(at)
                __builtin_prefetch(at + 64)
                __builtin_prefetch(at + 128)
                __builtin_prefetch(at + 192)
                return
            slot = slot + 1 if slot + 1 < self.slots else 0

    cdef Entry* find_any(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef uint64_t value = self.table[self.slot_of(hash, key, key_length)]
        return entry_at(value) if value != 0 else NULL

    cdef Entry* find(self, uint64_t hash, const uint8_t* key, uint16_t key_length, int64_t now_ms) noexcept nogil:
        cdef Entry* entry = self.find_any(hash, key, key_length)
        if entry == NULL or not self.is_fresh(entry, now_ms):
            return NULL
        self.count_hit(entry)
        return entry

    cdef bint is_fresh(self, const Entry* entry, int64_t now_ms) noexcept nogil:
        return now_ms < entry.expires_ms and entry.stamp == self.stamp

    cdef bint is_stale(self, const Entry* entry, int64_t now_ms, int64_t stale_ms) noexcept nogil:
        # One of another epoch was not judged yet: a command may have removed it.
        return (
            not entry.answer.is_failure and not entry.answer.is_authoritative
            and now_ms < entry.expires_ms + stale_ms
            and epoch_of(entry.stamp) == epoch_of(self.stamp) and not self.is_fresh(entry, now_ms)
        )

    cdef void count_hit(self, Entry* entry) noexcept nogil:
        entry.visited = 1
        if entry.hits == 0:
            self.list_hits(entry)
        if entry.hits != <uint32_t>-1:
            entry.hits += 1

    cdef void list_hits(self, Entry* entry) noexcept nogil:
        entry.previous_hit = NULL
        entry.next_hit = self.first_hit
        if self.first_hit != NULL:
            self.first_hit.previous_hit = entry
        self.first_hit = entry

    cdef void forget_hits(self, Entry* entry) noexcept nogil:
        if entry.hits == 0:
            return
        entry.hits = 0
        if entry.previous_hit != NULL:
            entry.previous_hit.next_hit = entry.next_hit
        else:
            self.first_hit = entry.next_hit
        if entry.next_hit != NULL:
            entry.next_hit.previous_hit = entry.previous_hit

    cdef void enqueue(self, Entry* entry) noexcept nogil:
        entry.newer = NULL
        entry.older = self.newest
        if self.newest != NULL:
            self.newest.newer = entry
        else:
            self.oldest = entry
        self.newest = entry
        self.count += 1
        self.octets += weight(entry)
        if self.octets >= LARGE_FROM and <size_t>sbrk(0) != self.heap_end:
            self.follow_heap()

    cdef void follow_heap(self) noexcept nogil:
        """Place new entries of a large cache in large pages."""
        cdef size_t end = <size_t>sbrk(0)
        if self.heap_end == 0:
            mallopt(M_TOP_PAD, HEAP_STEP)
            self.heap_end = end
        if self.heap_end < end:
            want_large_pages(self.heap_end, end)
        self.heap_end = end

    cdef void remove(self, Entry* entry) noexcept nogil:
        """Take an entry out of queue and table and free it."""
        if entry.newer != NULL:
            entry.newer.older = entry.older
        else:
            self.newest = entry.older
        if entry.older != NULL:
            entry.older.newer = entry.newer
        else:
            self.oldest = entry.newer
        if self.hand == entry:
            self.hand = entry.newer
        if self.to_move == entry:
            self.to_move = entry.older
        self.forget_hits(entry)
        self.count -= 1
        self.octets -= weight(entry)
        take_out(self.table, self.slots, entry)
        if self.next_table != NULL:
            take_out(self.next_table, self.next_slots, entry)
        free(entry)

    cdef void begin_growth(self) noexcept nogil:
        """Begin a larger table beside this one; without room for both, this one stays and entries are evicted."""
        if self.octets + self.slots * sizeof(uint64_t) > self.capacity:
            return
        self.next_slots = self.slots * GROWTH if self.slots < self.most_slots // (2 * GROWTH) else self.most_slots
        self.next_table = <uint64_t*>calloc(self.next_slots, sizeof(uint64_t))
        if self.next_table == NULL:
            return
        want_large_pages(<size_t>self.next_table, <size_t>(self.next_table + self.next_slots))
        self.to_move = self.newest
        self.octets += self.slots * sizeof(uint64_t)        # until the old one goes

    cdef void grow_on(self) noexcept nogil:
        """Move some entries to the larger table, and switch to it when it has all of them."""
        cdef int _moved
        for _moved in range(MOVED_AT_ONCE):
            if self.to_move == NULL:
                free(self.table)
                self.octets -= self.slots * sizeof(uint64_t)
                self.table, self.slots = self.next_table, self.next_slots
                self.next_table = NULL
                return
            put_in(self.next_table, self.next_slots, self.to_move)
            self.to_move = self.to_move.older

    cdef bint make_room(self, size_t octets, int64_t now_ms, const Entry* spared) noexcept nogil:
        """Evict until `octets` more bytes and one more entry fit; False: EVICTIONS_MAX entries were visited in vain."""
        cdef int passed = 0
        cdef Entry* entry
        if octets > self.capacity - self.most_slots * sizeof(uint64_t):
            return False
        while self.octets + octets > self.capacity or self.count >= self.slots - self.slots // 4:
            entry = self.hand if self.hand != NULL else self.oldest
            if entry == NULL or passed == EVICTIONS_MAX:
                return False
            passed += 1
            # Expired entries go whether they were asked for or not; after a long walk the next entry goes as well.
            if entry == spared or (entry.visited and now_ms < entry.expires_ms and passed < EVICTIONS_MAX):
                entry.visited = 0
                self.hand = entry.newer
                continue
            self.hand = entry.newer
            self.remove(entry)
            self.evictions += 1
            self.expect_evictions()
        return True

    cdef void expect_evictions(self) noexcept nogil:
        """Prefetch the memory of the next evictions: the table slot of one, the entry of the other."""
        cdef Entry* first = self.hand if self.hand != NULL else self.oldest
        cdef Entry* second
        cdef size_t slot
        cdef uint64_t value
        cdef int _look
        if first == NULL or first.newer == NULL:
            return
        slot = home(first.hash, self.slots)
        for _look in range(LOOK_AHEAD):
            value = self.table[slot]
            if value == 0:
                break
            __builtin_prefetch(entry_at(value))     # those that may move up
            slot = slot + 1 if slot + 1 < self.slots else 0
        second = first.newer
        self.expect(second.hash)
        if second.newer != NULL:
            __builtin_prefetch(second.newer)
            __builtin_prefetch(<const char*>second.newer + 64)

    cdef bint put(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Stored* answer, const Standing* standing,
        Entry* old, int64_t now_ms
    ) noexcept nogil:
        cdef Entry* entry
        cdef size_t room
        if old != NULL and old.answer.ttl == 0 and answer.is_failure:
            return False        # its mark stays: no older entry returns from the disk
        if old != NULL and answer.is_failure and (
            self.is_fresh(old, now_ms) or self.is_stale(old, now_ms, self.stale_ms)
        ):
            if not old.answer.is_failure:
                return False
        entry = make_entry(key, key_length, answer)
        if entry == NULL:
            return False
        room = weight(entry)
        if old != NULL:
            room = room - weight(old) if room > weight(old) else 0
        if not self.make_room(room, now_ms, old):
            free(entry)
            return False
        entry.hash = hash
        entry.stamp = standing.stamp
        entry.origin = standing.origin
        entry.answer.group = standing.group
        entry.expires_ms = standing.stored_ms + <int64_t>1000 * answer.ttl
        if old != NULL:
            entry.visited = old.visited
            if old.hits:
                self.list_hits(entry)
                entry.hits = old.hits
            self.remove(old)
        self.enqueue(entry)
        # Looked up again, because evictions have moved slots.
        self.table[self.slot_of(hash, key, key_length)] = as_slot(entry)
        if self.next_table != NULL:
            put_in(self.next_table, self.next_slots, entry)
            self.grow_on()
        elif self.count >= self.slots // 2 and self.slots < self.most_slots:
            self.begin_growth()
        return True

    def insert(self, bytes key not None, Answer answer not None, int64_t now_ms):
        """Store an answer for its ttl; return False if it was not stored (ttl 0, no room, a failure over a good one).
        """
        cdef uint16_t length = length_of(key)
        cdef uint64_t hash = self.hash_of(key, length)
        cdef Standing standing
        if answer.stored.ttl == 0:
            return False
        standing.stamp = self.stamp
        standing.stored_ms = now_ms
        standing.origin = standing.group = 0
        return self.put(hash, key, length, &answer.stored, &standing, self.find_any(hash, key, length), now_ms)

    def look_up(self, bytes key not None, int64_t now_ms):
        """Return (message, age in whole seconds) of a fresh entry, or None."""
        cdef uint16_t length = length_of(key)
        cdef Entry* entry = self.find(self.hash_of(key, length), key, length, now_ms)
        if entry == NULL:
            return None
        return (<const char*>entry.answer.wire)[:entry.answer.length], (now_ms - stored_ms_of(entry)) // 1000
