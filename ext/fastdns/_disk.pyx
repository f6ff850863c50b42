"""Reading the disk cache (LMDB) in place.

The worker's own thread looks up entries in memory (the page cache). As soon as one look-up had to wait for the disk,
the cache counts as cold, and another thread looks up (`fetch`) until several in a row did not wait.
"""

import os
import threading
import time

from libc.string cimport memcmp, memcpy

from libc.stdint cimport uint32_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant, age_since, read_clock_ns
from fastdns._entry cimport Header, entry_answers, read_entry
from fastdns._key cimport DISK_KEY_MAX, disk_key_of
from fastdns._lmdb cimport (
    MDB_MAP_RESIZED,
    MDB_NEXT,
    MDB_NOTFOUND,
    MDB_NOTLS,
    MDB_RDONLY,
    MDB_SET_RANGE,
    MDB_cursor,
    MDB_dbi,
    MDB_envinfo,
    MDB_stat,
    MDB_txn,
    MDB_val,
    comes_after,
    mdb_cursor_close,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_dbi_open,
    mdb_env_close,
    mdb_env_create,
    mdb_env_get_fd,
    mdb_env_info,
    mdb_env_open,
    mdb_env_set_maxdbs,
    mdb_env_stat,
    mdb_get,
    mdb_strerror,
    mdb_txn_abort,
    mdb_txn_begin,
    mdb_txn_commit,
    mdb_txn_renew,
    mdb_txn_reset,
)
from fastdns._pages cimport release_file

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <stdint.h>
    #include <sys/resource.h>
    #include <sys/stat.h>

    /* Major page faults of this thread: those that waited for a disk. */
    static long fastdns_major_faults(void)
    {
        struct rusage usage;
        return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_majflt : 0;
    }

    static int64_t fastdns_file_octets(int descriptor)
    {
        struct stat found;
        return fstat(descriptor, &found) == 0 ? (int64_t)found.st_size : -1;
    }
    """
    long fastdns_major_faults() nogil
    int64_t fastdns_file_octets(int descriptor) nogil

cdef enum:
    WARM_LOOK_UPS = 32      # look-ups in a row that did not wait for the disk, after which it counts as in memory
    LOOK_UP_NS = 10000      # of one in memory at most: only a longer one can have waited for the disk
    SCAN_AT_ONCE = 1024     # entries between two looks at the GIL
    LOOP_SECONDS = 5        # of CPU time, more than any thread needs in the file
    MAX_DBS = 2
    LOCK_OCTETS_MIN = 8192  # a smaller lock.mdb LMDB would grow; on a full tmpfs that ends in a SIGBUS


cdef class Environment:
    """An open LMDB environment, closed when its last reader releases it."""

    def __dealloc__(self):
        if self.txn != NULL:
            mdb_txn_abort(self.txn)
        if self.env != NULL:
            mdb_env_close(self.env)

    cdef bint is_cut(self) noexcept nogil:
        """True if the file was truncated; it never shrinks otherwise. It must not be read then."""
        cdef int64_t octets = fastdns_file_octets(self.descriptor)
        if octets < self.octets:
            return True
        self.octets = octets
        return False

    cdef bint is_whole(self) noexcept nogil:
        """Return whether the file has all its pages: reading past the end of a mapped file is a SIGBUS.

        It may lack some for a moment, after the keeper has committed and before it has extended the file.
        """
        cdef MDB_envinfo info
        mdb_env_info(self.env, &info)
        return fastdns_file_octets(self.descriptor) >= <int64_t>(info.me_last_pgno + 1) * self.page_octets


cdef check(int status):
    if status != 0:
        raise OSError(f"LMDB: {mdb_strerror(status).decode()}")


cdef Environment open_environment(str path):
    """Open an existing, intact environment, else OSError. Creates nothing."""
    cdef Environment opened = Environment.__new__(Environment)
    cdef MDB_txn* txn = NULL
    cdef MDB_stat stat
    opened.files = files_of(path)
    if os.stat(os.path.join(path, "lock.mdb")).st_size < LOCK_OCTETS_MIN:
        raise OSError("lock.mdb is not ready")
    check(mdb_env_create(&opened.env))
    check(mdb_env_set_maxdbs(opened.env, MAX_DBS))
    check(mdb_env_open(opened.env, os.fsencode(path), MDB_RDONLY | MDB_NOTLS, 0o600))
    check(mdb_env_stat(opened.env, &stat))
    check(mdb_env_get_fd(opened.env, &opened.descriptor))
    opened.page_octets = stat.ms_psize
    if not opened.is_whole():
        raise OSError("data.mdb is truncated")
    check(mdb_txn_begin(opened.env, NULL, MDB_RDONLY, &txn))
    status = mdb_dbi_open(txn, b"entries", 0, &opened.entries)
    if status != 0:
        mdb_txn_abort(txn)
        check(status)
    check(mdb_txn_commit(txn))      # the handle outlives the transaction that is committed
    check(mdb_txn_begin(opened.env, NULL, MDB_RDONLY, &opened.txn))
    mdb_txn_reset(opened.txn)
    return opened


cdef tuple files_of(str path):
    """The files of an environment: another file under either name is another environment."""
    found = [os.stat(os.path.join(path, name)) for name in ("data.mdb", "lock.mdb")]
    return tuple([(one.st_dev, one.st_ino) for one in found])


cdef class Disk:
    """A worker's view of the disk cache. Never writes, never creates a file."""

    def __cinit__(self, path, uint64_t origin=0):
        self.path = os.fspath(path)
        self.origin = origin
        self.in_disk = &self.nowhere
        self.reading = {}
        self.is_cold = True     # until the first look-ups have shown otherwise

    def open(self):
        """Open it, or reopen it after other files have replaced it or it has become unusable.

        OSError: it cannot be read.
        """
        cdef Environment opened
        if self.former is not None and self.former.threads == 0:
            self.former = None
        try:
            files = files_of(self.path)
        except OSError:
            self.close()
            raise
        # The same files must not be open twice: closing one would drop LMDB's locks of the other.
        if self.environment is None or self.environment.is_spent or self.environment.files != files:
            self.close()
            if self.former is not None:
                raise OSError("a thread still reads in the former one")
            opened = open_environment(self.path)
            self.environment = opened
            self.txn = opened.txn
            self.entries = opened.entries
        self.is_open = True

    def suspend(self):
        """Read nothing until `open` is called; the file stays open."""
        self.is_open = False

    def close(self):
        """Let go of the file."""
        self.is_open = False
        if self.environment is not None and self.environment.threads > 0:
            self.former = self.environment      # at most one, because nothing is opened beside it
        self.environment = None

    def release_pages(self):
        """Let the kernel have the pages of the file that were read: they no longer count as this process's."""
        if self.environment is not None:
            release_file(self.environment.descriptor)

    cdef int begin(self) noexcept nogil:
        cdef int status
        if not self.is_open:
            return DISK_ABSENT
        status = mdb_txn_renew(self.txn) if not self.environment.is_cut() else -1
        if status != 0:
            self.environment.is_spent = True
            if status != MDB_MAP_RESIZED:
                return DISK_DAMAGED
            self.is_open = False        # the keeper has enlarged it for another cache.disk
            return DISK_ABSENT
        if not self.environment.is_whole():
            mdb_txn_reset(self.txn)
            return DISK_ABSENT
        self.faults = fastdns_major_faults()
        self.looked_ns = read_clock_ns()
        return DISK_FOUND

    cdef bint would_wait(self) noexcept nogil:
        return self.is_cold and self.is_open

    cdef void end(self) noexcept nogil:
        mdb_txn_reset(self.txn)

    cdef int find(
        self, const uint8_t* key, uint16_t key_length, const Instant* now, Found* out
    ) noexcept nogil:
        cdef uint8_t disk_key[DISK_KEY_MAX]
        cdef MDB_val wanted, value
        cdef int status
        cdef long faults
        cdef uint64_t since_ns = self.looked_ns
        wanted.mv_size = disk_key_of(key, key_length, disk_key)
        wanted.mv_data = disk_key
        if wanted.mv_size == 0:
            return DISK_ABSENT
        self.in_disk[0] = 1
        status = mdb_get(self.txn, self.entries, &wanted, &value)
        if status == 0:
            status = self.read(key, key_length, value.mv_data, value.mv_size, now, out)
        else:
            status = DISK_ABSENT if status == MDB_NOTFOUND else DISK_DAMAGED
        self.in_disk[0] = 0
        self.looked_ns = read_clock_ns()
        if self.looked_ns - since_ns < LOOK_UP_NS:
            return status       # to ask the kernel costs more than all of the above
        faults = fastdns_major_faults()
        if faults != self.faults:
            self.faults = faults
            self.warm_look_ups = 0
            self.is_cold = True
        return status

    cdef int read(
        self, const uint8_t* key, uint16_t key_length, const void* value, size_t length, const Instant* now, Found* out
    ) noexcept nogil:
        cdef Header header
        if read_entry(<const uint8_t*>value, length, &header, &out.answer) != 0:
            return DISK_SPOILED
        if not entry_answers(&out.answer, key, key_length):
            return DISK_SPOILED
        out.origin = header.origin
        out.by_wall = header.stored.boot != now.boot or now.boot == 0
        out.age_ms = age_since(&header.stored, now)
        # In the file they may be at an odd address.
        memcpy(self.ttl_at, out.answer.ttl_at, 2 * <size_t>out.answer.ttl_count)
        out.answer.ttl_at = self.ttl_at
        return DISK_FOUND

    def fetch(self, bytes key not None):
        """Return a copy of the value of this key, or None; for threads that may wait for the disk.

        The caller checks that the value is intact. ValueError: the file is damaged.
        """
        cdef Environment environment = self.environment     # kept open while this thread reads in it
        if environment is None or not self.is_open:
            return None
        self.enter(environment)
        try:
            return self.fetch_in(environment, key)
        finally:
            self.leave(environment)

    cdef fetch_in(self, Environment environment, bytes key):
        cdef uint8_t disk_key[DISK_KEY_MAX]
        cdef MDB_txn* txn = NULL
        cdef MDB_val wanted, value
        cdef Header header
        cdef Stored stored
        cdef int status
        cdef long faults
        cdef bytes copy = None
        wanted.mv_size = disk_key_of(key, <uint16_t>len(key), disk_key)
        wanted.mv_data = disk_key
        if wanted.mv_size == 0:
            return None
        status = self.begin_in(environment, &txn)
        if status == DISK_DAMAGED:
            raise ValueError("data.mdb is truncated")
        if status != DISK_FOUND:
            return None
        try:
            with nogil:
                faults = fastdns_major_faults()
                status = mdb_get(txn, environment.entries, &wanted, &value)
                if status == 0:
                    # Without checking it, which would wait for all of it.
                    read_entry(<const uint8_t*>value.mv_data, value.mv_size, &header, &stored)
                faults = fastdns_major_faults() - faults
            self.saw(faults, 1)
            if status == 0:
                copy = (<const char*>value.mv_data)[:value.mv_size]
            elif status != MDB_NOTFOUND:
                raise ValueError(f"LMDB: {mdb_strerror(status).decode()}")
            return copy
        finally:
            mdb_txn_abort(txn)

    def touch(self, list disk_keys not None):
        """Have the values of these keys read into memory (the page cache); for threads that may wait."""
        cdef Environment environment = self.environment
        cdef MDB_txn* txn = NULL
        if environment is None or not self.is_open:
            return
        self.enter(environment)
        try:
            if self.begin_in(environment, &txn) == DISK_FOUND:
                try:
                    for disk_key in disk_keys:
                        touch_one(txn, environment.entries, disk_key)
                finally:
                    mdb_txn_abort(txn)
        finally:
            self.leave(environment)

    cdef enter(self, Environment environment):
        """Begin to read in a thread other than the worker's own."""
        environment.threads += 1
        self.reading[threading.get_ident()] = time.thread_time()

    cdef leave(self, Environment environment):
        environment.threads -= 1
        del self.reading[threading.get_ident()]

    def loops(self):
        """Return whether a thread runs in a loop in the file: it uses the CPU without end, and waits for no disk."""
        return any([
            time.clock_gettime(time.pthread_getcpuclockid(thread)) - since > LOOP_SECONDS
            for thread, since in self.reading.items()
        ])

    def is_in_place(self):
        """Return whether the open files are still those on disk."""
        try:
            return self.environment is not None and self.environment.files == files_of(self.path)
        except OSError:
            return False

    cdef int begin_in(self, Environment environment, MDB_txn** txn) except? -1:
        """Begin a read transaction of a thread; return a DiskStatus. Only after DISK_FOUND there is one."""
        cdef int status
        if environment.is_cut():
            return DISK_DAMAGED
        with nogil:         # it also reads in the file
            status = mdb_txn_begin(environment.env, NULL, MDB_RDONLY, txn)
        if status != 0:
            if status == MDB_MAP_RESIZED:
                environment.is_spent = True
                if environment is self.environment:
                    self.is_open = False
            return DISK_ABSENT
        if not environment.is_whole():
            mdb_txn_abort(txn[0])
            return DISK_ABSENT
        return DISK_FOUND

    cdef void saw(self, long faults, int look_ups) noexcept:
        """Learn from a look-up of another thread."""
        self.warm_look_ups = min(self.warm_look_ups + look_ups, WARM_LOOK_UPS) if faults == 0 else 0
        self.is_cold = self.warm_look_ups < WARM_LOOK_UPS

    def scan(self, bytes after not None, int entries, uint32_t hits_min):
        """Look at so many entries after the disk key `after`; for threads that may wait for the disk.

        Returns ([(hits, disk key)] of those with at least hits_min hits, last disk key looked at), the latter None at
        the end. Its snapshot lasts for this call only.
        """
        cdef Environment environment = self.environment
        cdef MDB_txn* txn = NULL
        if environment is None or not self.is_open:
            return [], None
        self.enter(environment)
        try:
            if self.begin_in(environment, &txn) != DISK_FOUND:
                return [], None
            try:
                return self.scan_in(txn, environment.entries, after, entries, hits_min)
            finally:
                mdb_txn_abort(txn)
        finally:
            self.leave(environment)

    cdef scan_in(self, MDB_txn* txn, MDB_dbi dbi, bytes after, int entries, uint32_t hits_min):
        cdef MDB_cursor* cursor = NULL
        cdef MDB_val key, value, wanted
        cdef MDB_val found[SCAN_AT_ONCE]
        cdef uint32_t hits[SCAN_AT_ONCE]
        cdef Header header
        cdef int count, looked, i, status
        cdef long faults = fastdns_major_faults()
        cdef list result = []
        last = after
        wanted.mv_data = <void*><const char*>after
        wanted.mv_size = len(after)
        with nogil:
            status = mdb_cursor_open(txn, dbi, &cursor)
            if status == 0:
                key = wanted
                # LMDB does not accept an empty key; the first step of a new cursor leads to the first entry.
                status = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE if wanted.mv_size else MDB_NEXT)
            if status == 0 and key.mv_size == wanted.mv_size:
                if memcmp(key.mv_data, wanted.mv_data, key.mv_size) == 0:
                    status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
        if cursor == NULL:
            check(status)
        try:
            while entries > 0 and status == 0:
                with nogil:
                    count = 0
                    looked = 0
                    while status == 0 and looked < SCAN_AT_ONCE and comes_after(&key, &wanted):
                        looked += 1
                        if value.mv_size >= sizeof(Header):
                            memcpy(&header, value.mv_data, sizeof(Header))
                            if header.hits >= hits_min and (header.origin == self.origin or self.has_marks):
                                found[count] = key
                                hits[count] = header.hits
                                count += 1
                        wanted = key
                        status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
                if status == 0 and not comes_after(&key, &wanted):
                    raise ValueError("keys are out of order")
                entries -= looked
                last = (<const char*>wanted.mv_data)[:wanted.mv_size]
                for i in range(count):
                    result.append((hits[i], (<const char*>found[i].mv_data)[:found[i].mv_size]))
            self.saw(fastdns_major_faults() - faults, WARM_LOOK_UPS)
            return result, last if status == 0 else None
        finally:
            mdb_cursor_close(cursor)


cdef touch_one(MDB_txn* txn, MDB_dbi entries, bytes disk_key):
    cdef MDB_val wanted, value
    cdef Header header
    cdef Stored stored
    wanted.mv_data = <void*><const char*>disk_key
    wanted.mv_size = len(disk_key)
    with nogil:
        if mdb_get(txn, entries, &wanted, &value) == 0:
            read_entry(<const uint8_t*>value.mv_data, value.mv_size, &header, &stored)
