"""The disk cache (LMDB) as its one writer changes it."""

from libc.stdint cimport uint64_t

from fastdns._clock cimport Instant
from fastdns._database cimport Database
from fastdns._put cimport Put, Removal, Row

cdef class Writer(Database):
    cdef readonly uint64_t commits      # transactions that changed something
    cdef readonly uint64_t refused      # values that were not put, see PUT_REFUSED
    cdef public size_t step             # pages that one transaction may change, about
    cdef public size_t size             # octets that the map is to have
    cdef readonly size_t kept_pages     # the most that one transaction has changed: LMDB keeps memory for them

    cdef Py_ssize_t apply(self, Put* puts, size_t count, const Instant* now, bytes record) except -1
    # ^ Write these, in any order, in transactions of bounded size; return how many were PUT_WRITTEN. A newer entry is
    # never replaced. `record` (or None) is written with the first transaction: `written` reads it. After an exception
    # (MapFull, Damaged, LmdbError, OSError) the finished ones are committed and the others PUT_WAITS; also if the map
    # gets FULL on the way.

    cdef Py_ssize_t apply_rows(
        self, Row* rows, size_t count, const Instant* now, bytes record, bint leaves_room
    ) except -1
    cdef int put_rows(
        self, Row* rows, size_t count, const Instant* now, bytes record, size_t* pages, size_t* done
    ) except? -1
    cdef int remove_some(self, list keys, list values, Removal which, size_t* removed) except? -1
