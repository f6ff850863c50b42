"""Writing the disk cache (LMDB): puts and removals under the writer lock.

LMDB copies a page before it changes it, so a transaction needs as many free pages as it changes. So everything that can
be large is done in transactions of bounded size, and in smaller ones if the map has no room for those.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from fastdns._clock cimport Instant, Moment
from fastdns._database cimport Database, check, put_octets
from fastdns._key cimport disk_key_of
from fastdns._lmdb cimport (
    MDB_MAP_FULL,
    MDB_NOTFOUND,
    MDB_SET,
    MDB_cursor,
    MDB_stat,
    MDB_txn,
    MDB_val,
    mdb_cursor_close,
    mdb_cursor_del,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_drop,
    mdb_stat,
    mdb_txn_abort,
    val_of,
)
from fastdns._put cimport (
    PUT_NEEDLESS,
    PUT_REFUSED,
    PUT_WAITS,
    PUT_WRITTEN,
    REMOVE_ANY,
    REMOVE_SPOILED,
    REMOVE_UNCHANGED,
    Put,
    Removal,
    Row,
    goes,
    put_row,
    sort_rows,
)

FULL = 0.80                 # live pages in the map from which on room must be made
ROOMY = 0.70                # a sweep ends at this level

cdef enum:
    LARGEST_SHARE = 256     # no single value may take a larger part of the map than one in so many


cdef class Writer(Database):
    """The environment, open for changes."""

    def __cinit__(self, place, size_t size, *args, **kwargs):
        self.size = size or self.map_octets
        self.step = 1

    @property
    def share(self):
        """How much of the map are live pages."""
        return self.stat()[1] * self.page_octets / self.size

    def put_about(self, bytes key not None, bytes value not None):
        """Commit as little as possible: a record about the cache itself."""
        cdef MDB_txn* txn = self.begin(0)
        cdef int status = put_octets(txn, self.about, key, value)
        if status != 0:
            mdb_txn_abort(txn)
        check(status, "mdb_put")
        check(self.commit(txn), "mdb_txn_commit")

    def clear(self):
        """Remove every entry; return how many there were."""
        cdef MDB_txn* txn = self.begin(0)
        cdef MDB_stat stat
        cdef int status = mdb_stat(txn, self.entries, &stat)
        if status == 0:
            status = mdb_drop(txn, self.entries, 0)
        if status != 0:
            mdb_txn_abort(txn)
        check(status, "mdb_drop")
        check(self.commit(txn), "mdb_txn_commit")
        return stat.ms_entries

    def remove(self, list keys not None, *, list values=None, bint spoiled=False):
        """Remove the entries of these sorted keys, in transactions of bounded size; return how many there were.

        With `values` only those that still have these, with `spoiled` only unusable ones.
        """
        cdef Removal which = REMOVE_SPOILED if spoiled else REMOVE_ANY if values is None else REMOVE_UNCHANGED
        cdef size_t step = self.step
        cdef size_t count = len(keys)
        cdef size_t removed = 0
        cdef size_t at = 0
        cdef int status
        while at < count:
            part = keys[at:at + step]
            status = self.remove_some(part, None if values is None else values[at:at + step], which, &removed)
            if status == MDB_MAP_FULL and step > 1:
                step = max(<size_t>1, step // 4)
                continue
            check(status, "mdb_del")
            at += len(part)
        return removed

    cdef int remove_some(self, list keys, list values, Removal which, size_t* removed) except? -1:
        cdef MDB_txn* txn = self.begin(0)
        cdef MDB_cursor* cursor = NULL
        cdef MDB_val wanted, value, former
        cdef size_t count = 0
        cdef bytes key, old
        cdef int i
        cdef int status = mdb_cursor_open(txn, self.entries, &cursor)
        former.mv_size = 0
        for i in range(len(keys)):
            if status != 0:
                break
            key = keys[i]
            wanted = val_of(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            if which == REMOVE_UNCHANGED:
                old = values[i]
                former = val_of(PyBytes_AS_STRING(old), PyBytes_GET_SIZE(old))
            status = mdb_cursor_get(cursor, &wanted, &value, MDB_SET)
            if status == 0 and goes(which, &wanted, &value, &former):
                status = mdb_cursor_del(cursor, 0)
                count += 1
            elif status == MDB_NOTFOUND:
                status = 0
        if cursor != NULL:
            mdb_cursor_close(cursor)
        if status != 0 or count == 0:
            mdb_txn_abort(txn)
            return status
        status = self.commit(txn)
        self.kept_pages = max(self.kept_pages, count)
        if status == 0:
            self.commits += 1
            removed[0] += count
        return status

    cdef Py_ssize_t apply(self, Put* puts, size_t count, const Instant* now, bytes record) except -1:
        cdef size_t room = 0
        cdef size_t rows_count = 0
        cdef size_t i
        cdef uint8_t* keys
        cdef uint8_t* at
        cdef Row* rows
        for i in range(count):
            puts[i].done = PUT_WAITS
            room += 2 * <size_t>puts[i].key_length      # each octet may be escaped
        keys = at = <uint8_t*>malloc(room + 1)
        rows = <Row*>malloc((count + 1) * sizeof(Row))
        try:
            if keys == NULL or rows == NULL:
                raise MemoryError
            for i in range(count):
                rows[rows_count].key = at
                rows[rows_count].key_length = <uint16_t>disk_key_of(puts[i].key, puts[i].key_length, at)
                rows[rows_count].put = &puts[i]
                if rows[rows_count].key_length == 0:
                    puts[i].done = PUT_NEEDLESS
                    continue
                at += rows[rows_count].key_length
                rows_count += 1
            sort_rows(rows, rows_count)
            return self.apply_rows(rows, rows_count, now, record, True)
        finally:
            free(keys)
            free(rows)

    def write(self, list updates not None, Moment now not None, bytes record, list done not None):
        """Do what `apply` does, for Updates; those that were written are in `done`, also after an exception."""
        cdef size_t count = len(updates)
        cdef Put* puts = <Put*>calloc(count + 1, sizeof(Put))
        cdef Row* rows = <Row*>calloc(count + 1, sizeof(Row))
        cdef bytes key, value
        cdef size_t i = 0
        try:
            if puts == NULL or rows == NULL:
                raise MemoryError
            for key, value, hits, _ in updates:
                rows[i].key = <const uint8_t*>PyBytes_AS_STRING(key)
                rows[i].key_length = <uint16_t>min(PyBytes_GET_SIZE(key), 0xffff)
                rows[i].put = &puts[i]
                if value is not None:
                    puts[i].value = <const uint8_t*>PyBytes_AS_STRING(value)
                    puts[i].value_length = <uint32_t>PyBytes_GET_SIZE(value)
                puts[i].hits = min(hits, 0xffffffff)
                i += 1
            sort_rows(rows, count)
            self.apply_rows(rows, count, &now.at, record, False)
        finally:
            if puts != NULL and rows != NULL:
                done.extend([updates[i] for i in range(count) if puts[i].done == PUT_WRITTEN])
            free(puts)
            free(rows)

    cdef Py_ssize_t apply_rows(
        self, Row* rows, size_t count, const Instant* now, bytes record, bint leaves_room
    ) except -1:
        cdef size_t largest = self.size // LARGEST_SHARE
        cdef size_t step = self.step
        cdef uint64_t commits = self.commits
        cdef size_t written = 0
        cdef size_t at = 0
        cdef size_t i, pages, done
        cdef Row* last
        cdef int status
        for i in range(count):
            rows[i].is_refused = rows[i].put.value_length > largest
        while at < count:
            if self.commits != commits:
                record = None
            pages = step
            status = self.put_rows(rows + at, count - at, now, record, &pages, &done)
            last = &rows[at + done - 1]
            if status == MDB_MAP_FULL and pages > 0 and step > 1:
                # Its own copies of pages may be what did not fit: fewer entries need fewer.
                step = max(<size_t>1, min(step, pages) // 4)
                continue
            if status == MDB_MAP_FULL and not last.is_refused and is_large(last, self.page_octets):
                # It needs consecutive free pages. A sweep frees pages, but not consecutive ones.
                if self.share <= ROOMY:
                    last.is_refused = True
                    continue
            check(status, "mdb_put")
            for i in range(at, at + done):
                rows[i].put.done = rows[i].state
                written += rows[i].state == PUT_WRITTEN
                self.refused += rows[i].state == PUT_REFUSED
            at += done
            step = min(2 * step, self.step)
            if leaves_room and at < count and self.share >= FULL:
                break       # the code that makes room needs some itself; the others are still there afterwards
        return <Py_ssize_t>written

    cdef int put_rows(
        self, Row* rows, size_t count, const Instant* now, bytes record, size_t* pages, size_t* done
    ) except? -1:
        """Write in one transaction what changes about so many pages; return the LMDB status that prevented it.

        `done` says how many rows those were; or which one was one too many, after so many pages.
        """
        cdef MDB_txn* txn = self.begin(0)
        cdef MDB_cursor* cursor = NULL
        cdef const char* page = NULL
        cdef const char* at
        cdef Py_ssize_t octets = self.page_octets
        cdef size_t changed = 0
        cdef size_t i = 0
        cdef int status = mdb_cursor_open(txn, self.entries, &cursor)
        with nogil:
            while status == 0 and i < count and changed < pages[0]:
                status = put_row(cursor, &rows[i], now)
                at = <const char*>rows[i].at
                if at != NULL and (page == NULL or at - page >= octets or page - at >= octets):
                    # Neighbours share a page; a large value has its own pages.
                    page = at
                    changed += 1 + rows[i].put.value_length // octets
                i += 1
            if cursor != NULL:
                mdb_cursor_close(cursor)
        pages[0] = changed
        done[0] = i
        self.kept_pages = max(self.kept_pages, changed)
        if status == 0 and changed and record is not None:
            status = put_octets(txn, self.about, b"written", record)
        if status == 0 and changed:
            status = self.commit(txn)
            self.commits += status == 0
        else:
            mdb_txn_abort(txn)
        return status


cdef bint is_large(const Row* row, size_t page_octets) noexcept nogil:
    """Return whether a value has its own pages; the value of an entry with hits may."""
    return row.put.value == NULL or row.put.value_length > page_octets // 2
