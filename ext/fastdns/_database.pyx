"""The environment of the disk cache (LMDB), opened for writing: its size, its length, and its content.

liblmdb and python-lmdb do not know of each other, and closing a file drops all locks that a process has on it. So a
process opens an environment with one of them only.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINVAL
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from fastdns._entry cimport hits_in
from fastdns._lmdb cimport (
    MDB_BAD_TXN,
    MDB_CORRUPTED,
    MDB_CP_COMPACT,
    MDB_CREATE,
    MDB_CURSOR_FULL,
    MDB_INCOMPATIBLE,
    MDB_INVALID,
    MDB_MAP_FULL,
    MDB_NEXT,
    MDB_NOMEMINIT,
    MDB_NORDAHEAD,
    MDB_NOTFOUND,
    MDB_NOTLS,
    MDB_PAGE_FULL,
    MDB_PAGE_NOTFOUND,
    MDB_RDONLY,
    MDB_READERS_FULL,
    MDB_SET_RANGE,
    MDB_VERSION_MISMATCH,
    MDB_cursor,
    MDB_envinfo,
    MDB_stat,
    MDB_val,
    mdb_cursor_close,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_dbi_open,
    mdb_env_close,
    mdb_env_copyfd2,
    mdb_env_create,
    mdb_env_get_fd,
    mdb_env_info,
    mdb_env_open,
    mdb_env_set_mapsize,
    mdb_env_set_maxdbs,
    mdb_env_stat,
    mdb_get,
    mdb_put,
    mdb_reader_check,
    mdb_stat,
    mdb_strerror,
    mdb_txn_abort,
    mdb_txn_begin,
    mdb_txn_commit,
    mdb_txn_id,
    comes_after,
    val_of,
)
from fastdns._pages cimport release_file

from fastdns.errors import Damaged, LmdbError, MapFull, ReadersFull

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t pad)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <stdint.h>
    #include <sys/stat.h>

    /* Have a file reach so far; return its length, whether that could be done or not. */
    static int64_t fastdns_lengthen(int descriptor, int64_t octets)
    {
        struct stat found;
        if (fstat(descriptor, &found) != 0)
            return -1;
        if (found.st_size >= octets)
            return found.st_size;
        if (posix_fallocate(descriptor, found.st_size, octets - found.st_size) != 0)
            (void)0;    /* a full disk; then it is examined at the next opening */
        return fstat(descriptor, &found) == 0 ? (int64_t)found.st_size : -1;
    }
    """
    int64_t fastdns_lengthen(int descriptor, int64_t octets) nogil

cdef enum:
    MAX_DBS = 2
    SLICE = 1000            # entries that are read in one go
    SLICE_OCTETS = 1 << 20  # and octets

# Statuses that say that the file is not our cache, or no longer. Others are the disk's or LMDB's.
DAMAGE = frozenset((
    MDB_BAD_TXN,            # the status of a transaction after it has met a damaged page
    MDB_CORRUPTED,
    MDB_CURSOR_FULL,
    MDB_INCOMPATIBLE,
    MDB_INVALID,
    MDB_PAGE_FULL,
    MDB_PAGE_NOTFOUND,
    MDB_VERSION_MISMATCH,
))


cdef int check(int status, what) except -1:
    """Raise the error of a status: MapFull, ReadersFull, Damaged, OSError of the system below, LmdbError."""
    cdef str text
    if status == 0:
        return 0
    text = mdb_strerror(status).decode()
    if status in DAMAGE:
        raise Damaged(f"cannot be read by LMDB: {what}: {text}")
    if status == MDB_MAP_FULL:
        raise MapFull(f"{what}: {text}")
    if status == MDB_READERS_FULL:
        raise ReadersFull(f"{what}: {text}")
    if status > 0 and status != EINVAL:     # LMDB also returns this when it was used wrongly
        raise OSError(status, text)
    raise LmdbError(f"{what}: {text}")


cdef class Database:
    """An environment that is open for writing. It never crosses a fork, and is open once in a process."""

    def __cinit__(self, place, size_t size, *args, **kwargs):
        """Open the environment of this directory, or create it; a size of 0 keeps its size."""
        cdef bytes path = os.fsencode(place)
        cdef MDB_stat stat
        check(mdb_env_create(&self.env), "mdb_env_create")
        if size:
            check(mdb_env_set_mapsize(self.env, size), "mdb_env_set_mapsize")
        check(mdb_env_set_maxdbs(self.env, MAX_DBS), "mdb_env_set_maxdbs")
        check(mdb_env_open(self.env, path, MDB_NOTLS | MDB_NORDAHEAD | MDB_NOMEMINIT, 0o600), "mdb_env_open")
        check(mdb_env_stat(self.env, &stat), "mdb_env_stat")
        check(mdb_env_get_fd(self.env, &self.descriptor), "mdb_env_get_fd")
        self.page_octets = stat.ms_psize
        self.length = fastdns_lengthen(self.descriptor, 0)

    def __dealloc__(self):
        if self.env != NULL:
            mdb_env_close(self.env)

    def close(self):
        """Close the files, and free the memory that LMDB took for changed pages."""
        if self.env != NULL:
            mdb_env_close(self.env)
            self.env = NULL
            malloc_trim(0)

    def release_pages(self):
        """Let the kernel have the pages of the file that were read: they no longer count as this process's."""
        if self.env != NULL:
            release_file(self.descriptor)

    cdef MDB_txn* begin(self, unsigned int flags) except NULL:
        cdef MDB_txn* txn = NULL
        cdef int status
        if self.env == NULL:
            raise ValueError("the disk cache is closed")
        with nogil:         # another process may write
            status = mdb_txn_begin(self.env, NULL, flags, &txn)
        check(status, "mdb_txn_begin")
        return txn

    cdef int commit(self, MDB_txn* txn) except -1:
        """Commit, and make the file as long as LMDB assumes; return MDB_MAP_FULL if it did not fit."""
        cdef int status
        with nogil:
            status = mdb_txn_commit(txn)
        if status == MDB_MAP_FULL:
            return status
        check(status, "mdb_txn_commit")
        self.fill_up()
        return 0

    cdef MDB_envinfo info(self) except *:
        cdef MDB_envinfo info
        if self.env == NULL:
            raise ValueError("the disk cache is closed")
        mdb_env_info(self.env, &info)
        return info

    @property
    def map_octets(self):
        return self.info().me_mapsize

    @property
    def wanted_length(self):
        """How long the file should be: up to the last page that LMDB has allocated."""
        return (self.info().me_last_pgno + 1) * self.page_octets

    @property
    def last_transaction(self):
        """The number of the last one in the file."""
        return self.info().me_last_txnid

    @property
    def max_readers(self):
        return self.info().me_maxreaders

    def seen_transaction(self):
        """Return the number of the one whose state a reader sees now."""
        cdef MDB_txn* txn = self.begin(MDB_RDONLY)
        number = mdb_txn_id(txn)
        mdb_txn_abort(txn)
        return number

    def open_databases(self, bytes format not None, *, bint create):
        """Open the two databases; in an empty environment they are created, with this format.

        Return the format that is there. Damaged: the environment is empty and nothing may be created, or it belongs to
        another program.
        """
        cdef MDB_txn* txn
        cdef MDB_stat stat
        cdef bint is_empty
        cdef int status
        mdb_env_stat(self.env, &stat)
        is_empty = stat.ms_entries == 0
        if is_empty and not create:
            raise Damaged("is empty")
        txn = self.begin(0 if is_empty else MDB_RDONLY)
        status = mdb_dbi_open(txn, b"entries", MDB_CREATE if is_empty else 0, &self.entries)
        if status == 0:
            status = mdb_dbi_open(txn, b"about", MDB_CREATE if is_empty else 0, &self.about)
        if status == 0 and is_empty:
            status = put_octets(txn, self.about, b"format", format)
        if status != 0:
            mdb_txn_abort(txn)
            if status == MDB_NOTFOUND:
                raise Damaged("belongs to another program")
            check(status, "mdb_dbi_open")
        check(self.commit(txn), "mdb_txn_commit")       # also after reading: so the handles outlive it
        return self.get_about(b"format")

    def stat(self):
        """Return (entries, live pages)."""
        cdef MDB_txn* txn = self.begin(MDB_RDONLY)
        cdef MDB_stat entries, about
        cdef int status = mdb_stat(txn, self.entries, &entries)
        if status == 0:
            status = mdb_stat(txn, self.about, &about)
        mdb_txn_abort(txn)
        check(status, "mdb_stat")
        return entries.ms_entries, (
            entries.ms_branch_pages + entries.ms_leaf_pages + entries.ms_overflow_pages
            + about.ms_branch_pages + about.ms_leaf_pages + about.ms_overflow_pages
        )

    def set_map_octets(self, size_t octets):
        """Give the map another size; workers must reopen it."""
        check(mdb_env_set_mapsize(self.env, octets), "mdb_env_set_mapsize")

    def check_readers(self):
        """Free the slots of dead readers: the pages that only they saw become free."""
        cdef int dead
        check(mdb_reader_check(self.env, &dead), "mdb_reader_check")

    cpdef fill_up(self):
        """Extend the file to the end of the last page (see CutOff), if the disk allows it."""
        cdef MDB_envinfo info = self.info()
        self.length = fastdns_lengthen(self.descriptor, <int64_t>((info.me_last_pgno + 1) * self.page_octets))

    def copy_compact(self, int descriptor):
        """Write a copy without free pages."""
        cdef int status
        with nogil:
            status = mdb_env_copyfd2(self.env, descriptor, MDB_CP_COMPACT)
        check(status, "mdb_env_copyfd2")

    # Reading

    cdef get_in(self, MDB_dbi database, bytes key):
        cdef MDB_txn* txn = self.begin(MDB_RDONLY)
        cdef MDB_val wanted = val_of(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        cdef MDB_val value
        cdef int status
        try:
            status = mdb_get(txn, database, &wanted, &value)
            if status == MDB_NOTFOUND:
                return None
            check(status, "mdb_get")
            return bytes_of(&value)
        finally:
            mdb_txn_abort(txn)

    def get(self, bytes disk_key not None):
        """Return a copy of the value, or None."""
        return self.get_in(self.entries, disk_key)

    def get_about(self, bytes key not None):
        """The same for records about the cache itself."""
        return self.get_in(self.about, key)

    def hits_of(self, disk_keys not None):
        """Return the hit counts of these entries; None: there is none, or its header cannot be read."""
        cdef MDB_txn* txn = self.begin(MDB_RDONLY)
        cdef MDB_val wanted, value
        cdef uint32_t hits
        cdef bytes key
        cdef int status
        cdef list found = []
        try:
            for key in disk_keys:
                wanted = val_of(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
                status = mdb_get(txn, self.entries, &wanted, &value)
                if status != MDB_NOTFOUND:
                    check(status, "mdb_get")
                if status == 0 and hits_in(<const uint8_t*>value.mv_data, value.mv_size, &hits) == 0:
                    found.append(hits)
                else:
                    found.append(None)
            return found
        finally:
            mdb_txn_abort(txn)

    def read_slice(self, bytes start not None, int limit=SLICE):
        """Return the next entries from a key on, at most so many; the read transaction ends with it."""
        cdef MDB_txn* txn = self.begin(MDB_RDONLY)
        cdef MDB_cursor* cursor = NULL
        cdef MDB_val key = val_of(PyBytes_AS_STRING(start), PyBytes_GET_SIZE(start))
        cdef MDB_val value, before
        cdef size_t octets = 0
        cdef list found = []
        cdef int status = mdb_cursor_open(txn, self.entries, &cursor)
        try:
            before = val_of(key.mv_data, key.mv_size - 1 if key.mv_size else 0)     # the first may be `start` itself
            if status == 0:
                # LMDB does not accept an empty key; the first step of a new cursor leads to the first entry.
                status = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE if key.mv_size else MDB_NEXT)
            while status == 0 and len(found) < limit and octets < SLICE_OCTETS:
                check_order(&key, &before)
                found.append((bytes_of(&key), bytes_of(&value)))
                octets += value.mv_size
                before = key
                status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
            if status != MDB_NOTFOUND:
                check(status, "mdb_cursor_get")
            return found
        finally:
            mdb_cursor_close(cursor)
            mdb_txn_abort(txn)

    def keys_with(self, bytes prefix not None, Py_ssize_t length):
        """Return the disk keys with this beginning and this length."""
        cdef MDB_txn* txn = self.begin(MDB_RDONLY)
        cdef MDB_cursor* cursor = NULL
        cdef MDB_val key = val_of(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
        cdef MDB_val wanted = key
        cdef MDB_val value, before
        cdef list found = []
        cdef int status = mdb_cursor_open(txn, self.entries, &cursor)
        try:
            before = val_of(key.mv_data, key.mv_size - 1 if key.mv_size else 0)
            if status == 0:
                status = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE if key.mv_size else MDB_NEXT)
            while status == 0 and key.mv_size >= wanted.mv_size:
                if memcmp(key.mv_data, wanted.mv_data, wanted.mv_size) != 0:
                    break
                check_order(&key, &before)
                if <Py_ssize_t>key.mv_size == length:
                    found.append(bytes_of(&key))
                before = key
                status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
            if status != MDB_NOTFOUND:
                check(status, "mdb_cursor_get")
            return found
        finally:
            mdb_cursor_close(cursor)
            mdb_txn_abort(txn)


cdef int check_order(const MDB_val* key, const MDB_val* before) except -1:
    if not comes_after(key, before):
        raise Damaged("has keys out of order")
    return 0


cdef bytes bytes_of(const MDB_val* val):
    return PyBytes_FromStringAndSize(<const char*>val.mv_data, val.mv_size)


cdef int put_octets(MDB_txn* txn, MDB_dbi database, bytes key, bytes value) noexcept:
    cdef MDB_val name = val_of(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    cdef MDB_val octets = val_of(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    return mdb_put(txn, database, &name, &octets, 0)
