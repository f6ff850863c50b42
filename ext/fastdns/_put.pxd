"""The change of one entry of the disk cache, and its result.

Put is the contract with the code that hands over answers: borrowed memory, no Python object for an entry.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._clock cimport Instant
from fastdns._lmdb cimport MDB_cursor, MDB_val

cdef enum PutState:
    PUT_WAITS = 0           # no transaction with it was committed
    PUT_WRITTEN             # committed: put, removed, or its hits added
    PUT_NEEDLESS            # nothing to write: the entry there is as new, or absent, or the value is damaged
    PUT_REFUSED             # too large, or no room for it in one piece; the entry that it replaces is removed

ctypedef struct Put:
    const uint8_t* key      # cache key
    const uint8_t* value    # NULL: keep the value, add hits. A TTL of 0 removes the entry
    uint32_t value_length
    uint16_t key_length
    uint8_t done            # a PutState; not looked at before
    uint32_t hits           # in addition to the older entry's and to those in the value
    uint64_t mark           # the caller's

ctypedef struct Row:        # a Put in the order of the disk
    const uint8_t* key      # on disk
    Put* put
    const void* at          # where it was put, or removed from; NULL: nowhere
    uint16_t key_length
    uint8_t state           # the value of `done` once it is committed
    bint is_refused         # it must not be put

cdef enum Removal:          # of which entries
    REMOVE_ANY
    REMOVE_SPOILED          # that are unusable
    REMOVE_UNCHANGED        # that still have this value

cdef void sort_rows(Row* rows, size_t count) noexcept nogil
cdef int put_row(MDB_cursor* cursor, Row* row, const Instant* now) noexcept nogil       # a status of LMDB
cdef bint goes(Removal which, const MDB_val* key, const MDB_val* value, const MDB_val* former) noexcept nogil
