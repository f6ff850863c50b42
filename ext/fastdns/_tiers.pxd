"""The cache as a whole: memory first, then disk; what is learned goes to both; what commands remove leaves both."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant
from fastdns._control cimport Change, Control
from fastdns._disk cimport Disk, Found
from fastdns._entry cimport Origin
from fastdns._hotcache cimport Entry, HotCache
from fastdns._ring cimport Ring
from fastdns._counters cimport Counters

cdef enum DiskLookUp:
    DISK_FRESH              # `entry` may be served; NULL: memory had no room for it, `found` may be served
    DISK_STALE              # memory has it now, past its TTL
    DISK_NOTHING

cdef class Source:
    cdef Origin origin

cdef class Ticket:
    cdef uint64_t epoch
    cdef uint64_t origin

cdef class Tiers:
    cdef readonly HotCache memory
    cdef readonly Disk disk
    cdef readonly Counters counters
    cdef readonly uint64_t origin
    cdef uint64_t* tally
    cdef Ring ring
    cdef Control control
    cdef int keeper_bell
    cdef bint rung          # for a ring that is half full
    cdef uint64_t spoiled   # the hash of the key that was reported last: once is enough
    cdef uint64_t epoch     # of the last change that has been applied
    cdef uint64_t generation
    cdef int64_t clock_offset   # wall clock minus clock of the boot, when entries of earlier boots were last judged
    cdef uint32_t clock_steps   # how often that was
    cdef list wanted        # keys that a command wants renewed

    cdef bint catch_up(self, int64_t now_ms) except -1      # True: `wanted` holds keys
    cdef int begin_disk(self) noexcept nogil        # 0 and look_up_disk may be called, then end_disk; else -1
    cdef int look_up_disk(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Instant* now, Entry** entry, Found* found
    ) noexcept nogil                                # a DiskLookUp
    cdef void end_disk(self) noexcept nogil
    cdef bint is_outdated(
        self, uint64_t epoch, uint64_t origin, const uint8_t* key, uint16_t key_length
    ) noexcept nogil
    # ^ a command has removed the key, or the upstreams are others, since these were `epoch` and `origin`
    cdef bint has_other(self, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ memory has an answer to the same question under another DO or CD
    cdef bint recall(self, bytes key, bint in_outage) except -1
    # ^ memory has, or gets, what may be told of this key past its TTL
    cdef void learn(
        self, const uint8_t* key, uint16_t key_length, const Stored* answer, uint64_t epoch, uint64_t fingerprint,
        const Origin* whence, uint32_t rtt_us, const Instant* now,
    ) noexcept nogil
    # ^ what was asked for when these were `epoch` and `origin` comes into memory and, unless whence is NULL, on its
    #   way to the disk; catch_up has been called
    # private
    cdef uint32_t stamp_of(self, const Found* found) noexcept nogil
    cdef void stamp_memory(self) noexcept nogil
    cdef void follow_clock(self, const Instant* now) noexcept nogil
    cdef void end_former(
        self, const uint8_t* key, uint16_t key_length, const Stored* answer, const Origin* whence, const Instant* now
    ) noexcept nogil
    cdef bint borrow(self, bytes key, const Instant* now) except *
    cdef list sound_keys(self, list disk_keys)
    cdef void report_damage(self) noexcept nogil
    cdef void report_spoiled(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    cdef void ring_keeper(self) noexcept nogil
    cdef void warn_keeper(self) noexcept nogil
    cdef void apply_changes(self, uint64_t epoch) except *
    cdef void want(self, const Change* change) except *
    cdef bint is_on_disk(self, bytes key) except -1
    cdef void follow_disk(self) except *
    cdef int take(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Found* found, int64_t now_ms, Entry** entry
    ) noexcept nogil
    cdef Entry* entry_of(self, bytes key) noexcept
    cdef void bring_in(self, bytes key, const Instant* now) except *
    cdef void show_memory(self) noexcept nogil
