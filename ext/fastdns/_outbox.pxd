"""What a worker sends to the keeper: answers, hits, and damage on disk; and how it wakes it."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant
from fastdns._control cimport Control
from fastdns._counters cimport Counters
from fastdns._entry cimport AnswerSource
from fastdns._ring cimport Ring

cdef class Outbox:
    cdef Ring ring
    cdef Control control
    cdef Counters counters
    cdef uint64_t* tally    # theirs
    cdef int keeper_wakeup
    cdef bint has_woken          # for a ring that is half full
    cdef uint64_t spoiled   # the hash of the key that was reported last: reporting once is enough

    # Keys are those on disk: with the group instead of the view.
    cdef void put_answer(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t epoch, const Stored* answer,
        const Instant* now, const AnswerSource* origin,
    ) noexcept nogil
    cdef void put_removal(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t epoch, const Stored* answer,
        const Instant* now, const AnswerSource* origin, bint is_urgent,
    ) noexcept nogil
    cdef bint put_hits(self, const uint8_t* key, uint16_t key_length, uint32_t hits) noexcept nogil
    # ^ False: they must wait
    cdef void report_spoiled(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    cdef void report_damage(self) noexcept nogil
    cdef void wake_keeper(self) noexcept nogil
