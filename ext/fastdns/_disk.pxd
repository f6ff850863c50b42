"""Reading the disk cache (LMDB) in place: no copy, no Python object, no GIL; the one writer is another process."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._entry cimport Header, Instant
from fastdns._wire cimport RECORDS_MAX

cdef extern from "<lmdb.h>" nogil:
    ctypedef struct MDB_env:
        pass
    ctypedef struct MDB_txn:
        pass
    ctypedef unsigned int MDB_dbi

cdef enum DiskStatus:
    DISK_FOUND
    DISK_ABSENT
    DISK_DAMAGED            # the file is not what it should be: somebody should look

ctypedef struct Found:      # borrowed memory, valid until `end` or the next find
    Stored answer
    int64_t age_ms          # AGE_UNKNOWN: the clocks do not tell

cdef class Environment:
    cdef MDB_env* env
    cdef MDB_txn* txn                   # a snapshot that is renewed for each batch
    cdef MDB_dbi entries
    cdef readonly object file           # (device, inode) of data.mdb
    cdef int descriptor                 # of data.mdb, LMDB's own
    cdef int64_t page_octets

cdef class Disk:
    cdef readonly str path
    cdef public uint64_t origin         # entries that another group of upstreams gave are not found
    cdef readonly bint is_open
    cdef readonly bint is_cold          # the file is not in memory: look-ups here would stall whoever makes them
    cdef Environment environment
    cdef MDB_env* env       # the environment's, as the next four
    cdef MDB_txn* txn
    cdef MDB_dbi entries
    cdef int descriptor
    cdef int64_t page_octets
    cdef int64_t octets     # the most that data.mdb was seen to have
    cdef int warm_look_ups              # in a row
    cdef long faults                    # major ones of this thread
    cdef uint16_t ttl_at[RECORDS_MAX]

    # Between `begin` and `end` finds are answered from one snapshot. Only after DISK_FOUND there is one to end.
    cdef int begin(self) noexcept nogil                 # a DiskStatus; DISK_ABSENT: it is not open
    cdef bint would_wait(self) noexcept nogil           # is_cold
    cdef int find(
        self, const uint8_t* key, uint16_t key_length, const Instant* now, Found* out
    ) noexcept nogil                                    # a DiskStatus
    cdef int read(
        self, const uint8_t* key, uint16_t key_length, const void* value, size_t length, const Instant* now, Found* out
    ) noexcept nogil                                    # the same for a value at hand
    cdef void saw(self, long faults, int look_ups) noexcept
    cdef void end(self) noexcept nogil
