"""Reading the disk cache (LMDB) in place: no copy, no Python object, no GIL; only another process writes."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant
from fastdns._entry cimport Header
from fastdns._lmdb cimport MDB_dbi, MDB_env, MDB_txn
from fastdns._wire cimport RECORDS_MAX

cdef enum DiskStatus:
    DISK_FOUND
    DISK_ABSENT
    DISK_SPOILED            # the entry under this key is unusable: the keeper must remove it
    DISK_DAMAGED            # the file is not as it should be: the keeper must examine it

ctypedef struct Found:      # borrowed memory, valid until `end` or the next find
    Stored answer
    int64_t age_ms          # AGE_UNKNOWN: the clocks do not tell
    uint64_t origin         # fingerprint of the upstreams that gave it
    bint by_wall            # it is of an earlier boot: its age is as right as the wall clock

cdef class Environment:
    cdef MDB_env* env
    cdef MDB_txn* txn                   # a snapshot that is renewed for each batch
    cdef MDB_dbi entries
    cdef object files                   # which they are
    cdef int descriptor                 # of data.mdb, LMDB's own
    cdef int64_t page_octets
    cdef int64_t octets                 # the most that data.mdb was seen to have
    cdef int threads                    # that read in it now
    cdef bint is_spent                  # it is not usable any more: reopen it
    cdef bint is_cut(self) noexcept nogil
    cdef bint is_whole(self) noexcept nogil

cdef class Disk:
    cdef readonly str path
    cdef public uint64_t origin         # of the current upstreams; answers of others are found as well
    cdef bint has_marks                 # origins of entries may be joined with the marks of rules
    cdef readonly bint is_open
    cdef readonly bint is_cold          # the file is not in memory: look-ups here would stall the caller
    cdef Environment environment
    cdef Environment former     # in which a thread still read when it was closed
    cdef MDB_txn* txn       # the environment's, as the next
    cdef MDB_dbi entries
    cdef uint64_t* in_disk              # not 0 while this thread is in a look-up: there it hangs, if it does
    cdef dict reading                   # threads that read now: their processor time when they began
    cdef uint64_t nowhere               # for a process that does not show it
    cdef int warm_look_ups              # in a row
    cdef long faults                    # major ones of this thread
    cdef uint64_t looked_ns             # when the look-up before this one ended, or the first began
    cdef uint16_t ttl_at[RECORDS_MAX]

    # Between `begin` and `end` look-ups use one snapshot. Only after DISK_FOUND there is one to end.
    cdef int begin(self) noexcept nogil                 # a DiskStatus; DISK_ABSENT: it is not open
    cdef bint would_wait(self) noexcept nogil           # is_cold
    cdef int find(
        self, const uint8_t* key, uint16_t key_length, const Instant* now, Found* out
    ) noexcept nogil                                    # a DiskStatus
    cdef int read(
        self, const uint8_t* key, uint16_t key_length, const void* value, size_t length, const Instant* now, Found* out
    ) noexcept nogil                                    # the same for a given value
    cdef enter(self, Environment environment)
    cdef leave(self, Environment environment)
    cdef int begin_in(self, Environment environment, MDB_txn** txn) except? -1
    cdef fetch_in(self, Environment environment, bytes key)
    cdef scan_in(self, MDB_txn* txn, MDB_dbi dbi, bytes after, int entries, uint32_t hits_min)
    cdef void saw(self, long faults, int look_ups) noexcept
    cdef void end(self) noexcept nogil
