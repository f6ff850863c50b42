"""The part of liblmdb that we use. A process opens an environment by this or by python-lmdb, never by both at once."""

from libc.string cimport memcmp

cdef extern from "<lmdb.h>" nogil:
    ctypedef struct MDB_env:
        pass
    ctypedef struct MDB_txn:
        pass
    ctypedef struct MDB_cursor:
        pass
    ctypedef unsigned int MDB_dbi
    ctypedef struct MDB_val:
        size_t mv_size
        void* mv_data
    ctypedef struct MDB_envinfo:
        size_t me_mapsize
        size_t me_last_pgno
        size_t me_last_txnid
        unsigned int me_maxreaders
    ctypedef struct MDB_stat:
        unsigned int ms_psize
        size_t ms_branch_pages
        size_t ms_leaf_pages
        size_t ms_overflow_pages
        size_t ms_entries
    ctypedef enum MDB_cursor_op:
        MDB_NEXT
        MDB_SET
        MDB_SET_RANGE
    int MDB_RDONLY
    int MDB_NOTLS
    int MDB_NORDAHEAD
    int MDB_NOMEMINIT
    int MDB_CREATE
    int MDB_NOOVERWRITE
    int MDB_RESERVE
    int MDB_CP_COMPACT
    int MDB_KEYEXIST
    int MDB_NOTFOUND
    int MDB_PAGE_NOTFOUND
    int MDB_CORRUPTED
    int MDB_VERSION_MISMATCH
    int MDB_INVALID
    int MDB_MAP_FULL
    int MDB_READERS_FULL
    int MDB_CURSOR_FULL
    int MDB_PAGE_FULL
    int MDB_MAP_RESIZED
    int MDB_INCOMPATIBLE
    int MDB_BAD_TXN
    const char* mdb_strerror(int status)
    int mdb_env_create(MDB_env** env)
    int mdb_env_open(MDB_env* env, const char* path, unsigned int flags, unsigned int mode)
    void mdb_env_close(MDB_env* env)
    int mdb_env_set_maxdbs(MDB_env* env, MDB_dbi count)
    int mdb_env_set_mapsize(MDB_env* env, size_t octets)
    int mdb_env_info(MDB_env* env, MDB_envinfo* info)
    int mdb_env_stat(MDB_env* env, MDB_stat* stat)
    int mdb_env_get_fd(MDB_env* env, int* descriptor)
    int mdb_env_copyfd2(MDB_env* env, int descriptor, unsigned int flags)
    int mdb_reader_check(MDB_env* env, int* dead)
    int mdb_txn_begin(MDB_env* env, MDB_txn* parent, unsigned int flags, MDB_txn** txn)
    size_t mdb_txn_id(MDB_txn* txn)
    int mdb_txn_commit(MDB_txn* txn)
    void mdb_txn_abort(MDB_txn* txn)
    void mdb_txn_reset(MDB_txn* txn)
    int mdb_txn_renew(MDB_txn* txn)
    int mdb_dbi_open(MDB_txn* txn, const char* name, unsigned int flags, MDB_dbi* dbi)
    int mdb_stat(MDB_txn* txn, MDB_dbi dbi, MDB_stat* stat)
    int mdb_drop(MDB_txn* txn, MDB_dbi dbi, int delete)
    int mdb_get(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* value)
    int mdb_put(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* value, unsigned int flags)
    int mdb_cursor_open(MDB_txn* txn, MDB_dbi dbi, MDB_cursor** cursor)
    void mdb_cursor_close(MDB_cursor* cursor)
    int mdb_cursor_get(MDB_cursor* cursor, MDB_val* key, MDB_val* value, MDB_cursor_op op)
    int mdb_cursor_put(MDB_cursor* cursor, MDB_val* key, MDB_val* value, unsigned int flags)
    int mdb_cursor_del(MDB_cursor* cursor, unsigned int flags)


cdef inline MDB_val val_of(const void* octets, size_t length) noexcept nogil:
    cdef MDB_val val
    val.mv_data = <void*>octets
    val.mv_size = length
    return val


cdef inline bint comes_after(const MDB_val* key, const MDB_val* before) noexcept nogil:
    # In a damaged file the next key may be anything: a reader that continues from it may run in a loop.
    cdef int found = memcmp(key.mv_data, before.mv_data, min(key.mv_size, before.mv_size))
    return found > 0 or (found == 0 and key.mv_size > before.mv_size)
