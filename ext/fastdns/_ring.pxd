"""Answers on their way from a worker to the keeper: one file, one producer, one consumer.

Either may be killed at any instant; what was published before stays readable.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant
from fastdns._entry cimport AnswerSource
from fastdns._ring_index cimport RingIndex

cpdef enum:                 # kinds of records
    RECORD_PAD = 0          # to the end of the ring
    RECORD_ANSWER = 1       # payload: a value of _entry
    RECORD_REMOVAL = 3      # payload: a value that must not be cached; it removes the one that it replaces
    RECORD_HITS = 2         # payload: uint32_t, answers served since the last such record
    RECORD_SPOILED = 4      # no payload: the entry on disk under this key is unusable

cdef enum:                  # marks, set by the consumer
    RECORD_ASKED = 1        # the answer was asked for again
    RECORD_DONE = 2         # it is on disk, or useless now: no reader uses it

ctypedef struct RecordHead:
    uint32_t size           # octets of head, key and payload; the next record starts at a multiple of 8
    uint8_t kind
    uint8_t marks
    uint16_t key_length
    uint64_t epoch          # of the control page, when the answer was asked for

cdef class Ring:
    cdef readonly size_t capacity
    cdef uint64_t* head             # bytes ever written; only the producer stores it
    cdef uint64_t* tail             # bytes ever released; only the consumer stores it
    cdef uint8_t* data
    cdef uint64_t cursor            # of the consumer: how far records() has returned
    cdef RingIndex index            # of answers and removals
    cdef object memory

    cdef bint put_answer(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t epoch, const Stored* answer,
        const Instant* stored, const AnswerSource* origin,
    ) noexcept nogil
    # ^ hash: of the key, by _siphash. False: shed. With less than a quarter free, answers that are negative or live
    #   under a minute are; then all. A failure is not for the disk: True, and nothing is written. An answer of TTL 0
    #   travels as a removal.
    cdef bint put_hits(self, const uint8_t* key, uint16_t key_length, uint32_t delta) noexcept nogil
    # ^ False if more than three quarters are used: the caller keeps its count and tries later
    cdef bint put_spoiled(self, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ False if more than half is used
    cdef size_t octets_used(self) noexcept nogil    # Python's `used`
    cdef size_t copy_newest(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, RecordHead* record, uint8_t* payload, size_t room
    ) noexcept nogil
    # ^ for any process: the newest answer or removal of the key while it is in the ring, copied; return the octets of
    #   its payload, 0: there is none, or it has more than `room`
    # the consumer; what it has not given back stays where it is
    cdef void take_up(self) noexcept nogil          # continue after what was read, by this process or another
    cdef int read_next(self, uint64_t* at, RecordHead* record) noexcept nogil
    # ^ read the record at the cursor, and move the cursor past it; 1, 0: there is none, -1: damage; `drop` is needed
    cdef bint pass_over(self, uint64_t* position, RecordHead* record) noexcept nogil
    # ^ move past one that was read; False: it is the last
    cdef uint8_t* place_of(self, uint64_t position) noexcept nogil
    cdef bint locate(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t* position, RecordHead* record
    ) noexcept nogil                                # the newest answer or removal of a key
    cdef void index_one(self, uint64_t hash, uint64_t position) noexcept nogil     # if its producer has not indexed it
    cdef void mark(self, uint64_t position, int mark) noexcept nogil
    cdef void give_back(self) noexcept nogil        # the space of finished records, up to the first unfinished one
    cdef int drop(self, uint64_t head) except -1
    # private
    cdef int use(self, memory) except -1
    cdef uint8_t* reserve(self, RecordHead* record, const uint8_t* key, uint64_t* end) noexcept nogil
    cdef bint step(self, uint64_t head, uint64_t* cursor, RecordHead* record, bint is_whole) noexcept nogil
    cdef const uint8_t* key_before(self, uint64_t cursor, const RecordHead* record) noexcept nogil
    cdef tuple record_before(self, const RecordHead* record)
