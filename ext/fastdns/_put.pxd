"""What is to become of one entry of the disk cache, and what becomes of it.

Put is the contract with who hands over answers: borrowed memory, no Python object an entry.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._clock cimport Instant
from fastdns._lmdb cimport MDB_cursor, MDB_val

cdef enum PutState:
    PUT_WAITS = 0           # no transaction with it was committed
    PUT_WRITTEN             # committed: put, removed, or its hits added
    PUT_NEEDLESS            # nothing to write: what is there is as new, or absent, or the value is damaged
    PUT_REFUSED             # too large, or no room for it in one piece; what it replaces is removed

ctypedef struct Put:
    const uint8_t* key      # cache key
    const uint8_t* value    # NULL: it keeps its own, gets more hits. With a TTL of 0 it ends what is there
    uint32_t value_length
    uint16_t key_length
    uint8_t done            # a PutState; not looked at before
    uint32_t hits           # on top of the older entry's and of those in the value
    uint64_t mark           # the caller's

ctypedef struct Row:        # a Put in the order of the disk
    const uint8_t* key      # on disk
    Put* put
    const void* at          # where it was put, or removed from; NULL: nowhere
    uint16_t key_length
    uint8_t state           # what `done` is to be, once it is committed
    bint is_refused         # it must not be put

cdef enum Removal:          # of which entries
    REMOVE_ANY
    REMOVE_SPOILED          # that cannot be used
    REMOVE_UNCHANGED        # that still have this value

cdef void sort_rows(Row* rows, size_t count) noexcept nogil
cdef int put_row(MDB_cursor* cursor, Row* row, const Instant* now) noexcept nogil       # a status of LMDB
cdef bint goes(Removal which, const MDB_val* key, const MDB_val* value, const MDB_val* former) noexcept nogil
