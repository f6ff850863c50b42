"""The cache as a whole: memory first, then disk; new answers go to both; changes by commands apply to both."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._cache_settings cimport CacheSettings
from fastdns._changes cimport Changes, Ticket
from fastdns._clock cimport Instant
from fastdns._control cimport Control
from fastdns._disk cimport Disk, Found
from fastdns._entry cimport AnswerSource
from fastdns._hotcache cimport Entry, HotCache, Standing
from fastdns._policy cimport Decision
from fastdns._outbox cimport Outbox
from fastdns._rings cimport Rings
from fastdns._counters cimport Counters
from fastdns._wire cimport Findings

cdef enum DiskLookUp:       # the best first
    DISK_FRESH              # `entry` may be served; NULL: memory had no room for it, and `found` may be served
    DISK_STALE              # memory has it now, but past its TTL
    DISK_NOTHING

cdef class Cache:
    cdef readonly HotCache memory
    cdef readonly Disk disk
    cdef readonly Counters counters
    cdef readonly Changes changes
    cdef readonly CacheSettings settings
    cdef public uint16_t views      # how many there are: numbers of views begin with 1
    cdef uint64_t* tally
    cdef Outbox outbox
    cdef Rings rings        # all workers' outboxes
    cdef Control control
    cdef uint64_t generation
    cdef bint reads_disk    # between begin_disk and end_disk

    cdef bint catch_up(self, int64_t now_ms) except -1      # True: `wanted` holds keys
    cdef Entry* look(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ the entry in memory, of any age, unless a command or a rule has removed it; NULL: none. If its stamp is not
    # memory's, it is of other upstreams, and only usable as stale
    cdef Entry* judge(self, Entry* entry) noexcept nogil
    # ^ the same for an entry that was found with another stamp
    cdef bint passes(
        self, const uint8_t* key, uint16_t key_length, const Findings* findings, Decision* decision
    ) noexcept nogil
    # ^ an upstream's answer may be served and cached; else `decision` says what is served instead. It is the decision
    # about this key, or one of policy 0: then it is made here, as it is after a change of the policy
    cdef bint is_cached(self, const Decision* decision) noexcept nogil      # False: its rule forbids it
    cdef bint is_stale(self, const Entry* entry, int64_t now_ms) noexcept nogil
    # ^ not fresh, and still usable
    cdef uint16_t group_of(self, const uint8_t* key, uint16_t key_length) noexcept nogil
    cdef bint begin_disk(self) noexcept nogil
    # ^ True: look_up also reads the disk until end_disk, which may be called in any case. False: the disk would take
    # long, or there is none
    cdef int look_up(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, const Instant* now,
        Entry** entry, Found* found,
    ) noexcept nogil                                # a DiskLookUp: the group's answer, in the rings and on disk
    cdef void end_disk(self) noexcept nogil
    cdef bint bring_others(
        self, const uint8_t* key, uint16_t key_length, const Decision* decision, const Instant* now
    ) noexcept nogil
    cdef bint has_other(self, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ memory has an answer to the same question under another DO or CD
    cdef bint recall(self, bytes key, bint in_outage) except -1
    # ^ memory has, or gets, a usable stale answer for this key
    cdef void learn(
        self, const uint8_t* key, uint16_t key_length, const Stored* answer, uint64_t epoch, uint16_t group,
        uint64_t fingerprint, const Decision* decided, const AnswerSource* whence, uint32_t rtt_us, const Instant* now,
    ) noexcept nogil
    # ^ what this group was asked for when these were the epoch and its origin comes into memory and, unless whence is
    #   NULL, on its way to the disk; catch_up has been called. decided: about the key, NULL: it is decided again
    cdef void keep_own(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Stored* answer, const Decision* decision,
        const Instant* now,
    ) noexcept nogil
    cdef void keep_refusal(
        self, const uint8_t* key, uint16_t key_length, const Stored* answer, uint64_t epoch, uint16_t group,
        uint64_t fingerprint, const Instant* now
    ) noexcept nogil
    # ^ the same of what is told in place of an upstream's answer; memory alone has it
    # private
    cdef Entry* without_useless(self, Entry* entry, int64_t now_ms) noexcept nogil
    cdef bint may_be_told(
        self, const uint8_t* key, uint16_t key_length, const Stored* answer, Decision* decision
    ) noexcept nogil
    cdef bint may_be_old(self, const uint8_t* key, uint16_t key_length, const Decision* decision) noexcept nogil
    cdef int64_t stale_ms_of(self, const uint8_t* key, uint16_t key_length) noexcept nogil
    cdef void end_former(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Stored* answer, const Standing* standing,
        uint64_t fingerprint, const AnswerSource* whence, const Instant* now,
    ) noexcept nogil
    cdef bint borrow(self, bytes key, const Instant* now) except *
    cdef list sound_keys(self, list disk_keys)
    cdef void follow_disk(self) except *
    cdef int take_from_ring(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, const Instant* now,
        Entry** entry, Found* found,
    ) noexcept nogil
    cdef void put_mark(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Stored* answer, const Standing* standing,
        Entry* old, int64_t now_ms,
    ) noexcept nogil
    cdef int take(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, const Found* found,
        int64_t now_ms, Entry** entry,
    ) noexcept nogil
    cdef Entry* entry_of(self, bytes key) noexcept
    cdef void bring_in(self, bytes key, const Instant* now) except *
    cdef void show_memory(self) noexcept nogil
