"""The environment of the disk cache (LMDB), opened for writing."""

from libc.stdint cimport int64_t

from fastdns._lmdb cimport MDB_dbi, MDB_env, MDB_envinfo, MDB_txn

cdef class Database:
    cdef MDB_env* env
    cdef MDB_dbi entries
    cdef MDB_dbi about
    cdef int descriptor                 # of data.mdb, LMDB's own
    cdef readonly size_t page_octets
    cdef public int64_t length          # octets of data.mdb after the last look

    cdef MDB_txn* begin(self, unsigned int flags) except NULL
    cdef int commit(self, MDB_txn* txn) except -1        # 0 or MDB_MAP_FULL; raises what else went wrong
    cdef MDB_envinfo info(self) except *
    cdef get_in(self, MDB_dbi database, bytes key)
    cpdef fill_up(self)

cdef int check(int status, what) except -1      # raises what a status of LMDB means, unless that is nothing
cdef int put_octets(MDB_txn* txn, MDB_dbi database, bytes key, bytes value) noexcept     # a status of LMDB
