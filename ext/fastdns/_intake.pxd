"""The answers that wait in the rings, and which of them are written."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from fastdns._clock cimport Instant
from fastdns._control cimport Control
from fastdns._lmdb cimport MDB_txn
from fastdns._put cimport Put
from fastdns._ring cimport RecordHead, Ring
from fastdns._writer cimport Writer

cpdef enum:                 # choices: the answers of a commit
    CHOOSE_DUE              # those worth a write now
    CHOOSE_LAST             # those worth a write now or never: this machine may be switched off
    CHOOSE_ALL

cdef enum Fate:
    WAITS
    WRITTEN
    SPARED                  # no client has asked for it again
    SETTLED                 # a newer answer, or a change by a command, has outdated it

cdef class Intake:
    cdef readonly list rings
    cdef void** ring        # the same, for C
    cdef int count
    cdef Control control
    cdef object changes     # since an epoch; None: not read yet
    cdef uint64_t changes_since
    cdef readonly size_t removals       # that were taken and not yet chosen
    cdef public bint tells_misses       # `take` also reports the keys of new answers: someone watches the busiest names
    cdef readonly size_t spared         # answers, since this began
    cdef Put* puts
    cdef readonly size_t chosen
    cdef readonly size_t unwritten      # for the last choice: room must be made first
    cdef size_t room        # of puts
    cdef double allowance   # answers asked for once that may be written although their ring has no room for them
    cdef int64_t allowed_at

    cdef int take_from(self, Ring ring, list hits, set spoiled, list missed) except -1
    cdef void note_answer(self, Ring ring, uint64_t at, const RecordHead* record) noexcept nogil
    cdef void note_asked(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    cdef int choose_from(
        self, int number, Writer store, MDB_txn* txn, const Instant* now, int choice
    ) except -1
    cdef Fate fate_of(
        self, Ring ring, uint64_t at, const RecordHead* record, Writer store, MDB_txn* txn, const Instant* now,
        int choice, bint is_old, bint presses,
    ) except *
    cdef bint has_newer(self, uint64_t hash, Ring ring, uint64_t at, const RecordHead* record) noexcept nogil
    cdef bint overtook(self, const RecordHead* record, const uint8_t* key) except -1
    cdef void settle(self, Ring ring, uint64_t at, const RecordHead* record) noexcept nogil
    cdef void settle_put(self, const Put* put) noexcept
    cdef void give_back(self) noexcept nogil
    cdef Put* more_room(self) except NULL
