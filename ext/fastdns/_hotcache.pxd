"""The memory cache of ready answers: put, find, evict (SIEVE), hits and bytes counted.

Zhang and others, "SIEVE is Simpler than LRU", NSDI 2024: entries stand in the order in which they came; a hand walks
from the oldest to the newest, spares once those that were asked for since its last visit, and evicts the others.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, int64_t, uint64_t

from fastdns._answer cimport Stored

cdef struct Entry:
    # fields that a hit does not need
    Entry* newer
    Entry* older
    uint64_t hash
    uint32_t hold_stale_s   # until then it is served stale without asking upstream
    uint32_t origin         # the fingerprint of its upstreams, and how its age is known; see _changes
    # fields that each hit reads or writes
    uint64_t stamp          # the state of rules and changes under which it was last found good; see _changes
    int64_t expires_ms      # of one clock, the caller's
    Stored answer           # points into this very block: TTL offsets, key, message, options
    uint16_t key_length
    uint8_t visited
    uint8_t refreshing      # when a refresh was last asked for, by a coarse clock; 0: never
    uint32_t hits           # since they were last reported
    Entry* next_hit         # the list of those with hits to report
    Entry* previous_hit

cdef struct Standing:       # the size of an entry without its answer
    uint64_t stamp
    int64_t stored_ms
    uint32_t origin
    uint16_t group

cdef enum:
    HIT_FROM = 32           # bytes of an Entry before the fields of a hit
    EPOCH_BITS = 40         # of a stamp: the change epoch; above them the policy's generation, 0: not served fresh

cdef class HotCache:
    # settings
    cdef readonly size_t capacity           # octets: table, entries and what malloc adds
    cdef readonly int64_t stale_ms          # how long past its TTL a good answer is kept
    cdef size_t most_slots
    # state
    cdef public uint64_t stamp              # of the entries that may be served without a check
    cdef readonly size_t octets
    cdef readonly size_t count
    cdef readonly uint64_t evictions
    cdef uint64_t* table                    # 0: free; else 16 bits of the hash above 48 bits of address
    cdef size_t slots                       # of the table
    cdef uint64_t* next_table               # NULL: it does not grow now
    cdef size_t next_slots
    cdef Entry* to_move                     # to the next table, with all the older ones; NULL: none is left
    cdef Entry* newest
    cdef Entry* oldest
    cdef Entry* hand
    cdef size_t heap_end                    # how far large pages have been asked for; 0: the cache is small
    cdef Entry* first_hit                   # entries with hits to report, in no order that matters

    cdef uint64_t hash_of(self, const uint8_t* key, uint16_t key_length) noexcept nogil     # also the rings'
    cdef Entry* find(self, uint64_t hash, const uint8_t* key, uint16_t key_length, int64_t now_ms) noexcept nogil
    # ^ a fresh entry, or NULL. Valid until the next put.
    cdef Entry* find_any(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ the entry of any age and stamp, or NULL: `Cache.look` judges it
    cdef bint is_fresh(self, const Entry* entry, int64_t now_ms) noexcept nogil     # of our stamp
    cdef bint is_stale(self, const Entry* entry, int64_t now_ms, int64_t stale_ms) noexcept nogil
    # ^ not fresh, still usable for so long past its TTL
    cdef void count_hit(self, Entry* entry) noexcept nogil
    cdef void forget_hits(self, Entry* entry) noexcept nogil                        # they have been reported
    cdef void expect(self, uint64_t hash) noexcept nogil
    cdef void expect_entry(self, uint64_t hash) noexcept nogil
    # ^ prefetch for a find: the first the slot, the second, some time later, the entry
    cdef bint put(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Stored* answer, const Standing* standing,
        Entry* old, int64_t now_ms
    ) noexcept nogil
    # ^ old: the result of find_any. False: no room could be made, or a failure would have replaced a good answer
    cdef void remove(self, Entry* entry) noexcept nogil
    # private
    cdef size_t slot_of(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    cdef void expect_evictions(self) noexcept nogil
    cdef void begin_growth(self) noexcept nogil
    cdef void grow_on(self) noexcept nogil
    cdef void enqueue(self, Entry* entry) noexcept nogil
    cdef void follow_heap(self) noexcept nogil
    cdef void list_hits(self, Entry* entry) noexcept nogil
    cdef bint make_room(self, size_t octets, int64_t now_ms, const Entry* spared) noexcept nogil


cdef inline uint8_t* key_of(const Entry* entry) noexcept nogil:
    return <uint8_t*>entry + sizeof(Entry) + 2 * <size_t>entry.answer.ttl_count


cdef inline int64_t stored_ms_of(const Entry* entry) noexcept nogil:
    return entry.expires_ms - <int64_t>1000 * entry.answer.ttl


cdef inline uint64_t epoch_of(uint64_t stamp) noexcept nogil:
    return stamp & ((<uint64_t>1 << EPOCH_BITS) - 1)
