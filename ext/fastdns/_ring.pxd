"""Answers on their way from a worker to the keeper: one file, one producer, one consumer.

Either may be killed at any instant; what was published before stays readable.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant
from fastdns._entry cimport Origin
from fastdns._ring_index cimport RingIndex

cpdef enum:                 # kinds of records
    RECORD_PAD = 0          # to the end of the ring
    RECORD_ANSWER = 1       # payload: a value of _entry
    RECORD_REMOVAL = 3      # payload: a value that must not be kept, which ends what it replaces
    RECORD_HITS = 2         # payload: uint32_t, answers served since the last such record
    RECORD_SPOILED = 4      # no payload: what the disk has under this key cannot be used

ctypedef struct RecordHead:
    uint32_t size           # octets of head, key and payload; the next record starts at a multiple of 8
    uint16_t kind
    uint16_t key_length
    uint64_t epoch          # of the control page, when the answer was asked for

cdef class Ring:
    cdef readonly size_t capacity
    cdef uint64_t* head             # octets ever written; only the producer stores it
    cdef uint64_t* tail             # octets ever given back; only the consumer stores it
    cdef uint8_t* data
    cdef uint64_t cursor            # of the consumer: up to where records() has returned
    cdef RingIndex index            # of answers and removals
    cdef object memory

    cdef bint put_answer(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t epoch, const Stored* answer,
        const Instant* stored, const Origin* origin,
    ) noexcept nogil
    # ^ hash: of the key, by _siphash. False: shed. With less than a quarter free, answers that are negative or live
    #   under a minute are; then all. A failure is not for the disk: True, and nothing is written. An answer of TTL 0
    #   travels as a removal.
    cdef bint put_hits(self, const uint8_t* key, uint16_t key_length, uint32_t delta) noexcept nogil
    # ^ False when more than half is used: the caller keeps its count and tries later
    cdef bint put_spoiled(self, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ False when more than half is used
    cdef size_t octets_used(self) noexcept nogil    # Python's `used`
    cdef size_t copy_newest(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, RecordHead* record, uint8_t* payload, size_t room
    ) noexcept nogil
    # ^ for any process: the newest answer or removal of the key while it is in the ring, copied; return the octets of
    #   its payload, 0: there is none, or it has more than `room`
    # private
    cdef int use(self, memory) except -1
    cdef uint8_t* reserve(self, RecordHead* record, const uint8_t* key, uint64_t* end) noexcept nogil
    cdef bint step(self, uint64_t head, uint64_t* cursor, RecordHead* record) noexcept nogil
    cdef const uint8_t* key_before(self, uint64_t cursor, const RecordHead* record) noexcept nogil
    cdef tuple record_before(self, const RecordHead* record)
    cdef int drop(self, uint64_t head) except -1
