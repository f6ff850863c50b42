"""Changing one entry of the disk cache: the newer of two stays, hits are carried over."""

from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp, memcpy

from fastdns._answer cimport Stored
from fastdns._clock cimport AGE_UNKNOWN, age_since, is_later
from fastdns._entry cimport Header, entry_answers, read_entry, set_hits
from fastdns._key cimport KEY_MAX, cache_key_of
from fastdns._lmdb cimport (
    MDB_KEYEXIST,
    MDB_NOOVERWRITE,
    MDB_NOTFOUND,
    MDB_RESERVE,
    MDB_SET,
    mdb_cursor_del,
    mdb_cursor_get,
    mdb_cursor_put,
    val_of,
)


cdef int by_key(const void* one, const void* other) noexcept nogil:
    cdef const Row* a = <const Row*>one
    cdef const Row* b = <const Row*>other
    cdef int found = memcmp(a.key, b.key, min(a.key_length, b.key_length))
    if found != 0:
        return found
    if a.key_length != b.key_length:
        return <int>a.key_length - <int>b.key_length
    return -1 if a.put < b.put else 1


cdef void sort_rows(Row* rows, size_t count) noexcept nogil:
    qsort(rows, count, sizeof(Row), &by_key)


cdef inline uint32_t sum_of(uint64_t one, uint64_t two, uint64_t three) noexcept nogil:
    return <uint32_t>min(one + two + three, <uint64_t>0xffffffff)


cdef inline bint gives_way(const Header* old, const Header* ours, const Instant* now) noexcept nogil:
    """True if our entry must replace the one on disk.

    Namely by a newer one; by one of other upstreams, which may come from an export; and if the one on disk is from the
    future, or of a wrong clock, because it would stay for ever.
    """
    return is_later(&ours.stored, &old.stored) or ours.origin != old.origin \
        or age_since(&old.stored, now) == AGE_UNKNOWN


cdef int put_value(
    MDB_cursor* cursor, Row* row, uint32_t hits, uint32_t own, unsigned int flags, MDB_val* out
) noexcept nogil:
    """Put the value of a Row, with so many hits; `own` is its value. With MDB_KEYEXIST, out is the existing one."""
    cdef MDB_val key = val_of(row.key, row.key_length)
    cdef int status
    out.mv_size = row.put.value_length
    status = mdb_cursor_put(cursor, &key, out, flags | MDB_RESERVE)
    if status == 0:
        memcpy(out.mv_data, row.put.value, row.put.value_length)
        if hits != own:
            set_hits(<uint8_t*>out.mv_data, row.put.value_length, hits)
        row.at = out.mv_data
        row.state = PUT_WRITTEN
    return status


cdef int put_row(MDB_cursor* cursor, Row* row, const Instant* now) noexcept nogil:
    """Change one entry and note the result in `state`; return a status of LMDB."""
    cdef const Put* put = row.put
    cdef MDB_val key, found
    cdef Header ours, old
    cdef Stored answer
    cdef uint64_t before = 0
    cdef int status
    cdef bint stays
    row.at = NULL
    row.state = PUT_NEEDLESS
    if put.value == NULL:
        return 0 if row.is_refused else add_hits(cursor, row)
    # A damaged entry must not get a new checksum, or a place.
    if read_entry(put.value, put.value_length, &ours, &answer) != 0:
        return 0
    stays = ours.ttl != 0 and not row.is_refused
    if row.is_refused:
        row.state = PUT_REFUSED
    if stays:
        # One descent of the tree for both: does it exist, and where does it belong?
        status = put_value(cursor, row, sum_of(0, ours.hits, put.hits), ours.hits, MDB_NOOVERWRITE, &found)
        if status != MDB_KEYEXIST:
            return status
    else:
        key = val_of(row.key, row.key_length)
        status = mdb_cursor_get(cursor, &key, &found, MDB_SET)
        if status != 0:
            return 0 if status == MDB_NOTFOUND else status
    if read_entry(<const uint8_t*>found.mv_data, found.mv_size, &old, &answer) == 0:
        # Another entry counts as absent.
        if not gives_way(&old, &ours, now):
            return 0
        before = old.hits
    if stays:
        return put_value(cursor, row, sum_of(before, ours.hits, put.hits), ours.hits, 0, &found)
    row.at = found.mv_data
    if not row.is_refused:
        row.state = PUT_WRITTEN
    return mdb_cursor_del(cursor, 0)


cdef int add_hits(MDB_cursor* cursor, Row* row) noexcept nogil:
    cdef MDB_val key = val_of(row.key, row.key_length)
    cdef MDB_val found
    cdef Header old
    cdef Stored answer
    cdef Put put
    cdef Row own
    cdef uint8_t* copy
    cdef int status = mdb_cursor_get(cursor, &key, &found, MDB_SET)
    if status != 0:
        return 0 if status == MDB_NOTFOUND else status
    if row.put.hits == 0 or read_entry(<const uint8_t*>found.mv_data, found.mv_size, &old, &answer) != 0:
        return 0
    # LMDB may use its page for the new one.
    copy = <uint8_t*>malloc(found.mv_size)
    if copy == NULL:
        return 0
    memcpy(copy, found.mv_data, found.mv_size)
    put = row.put[0]
    put.value = copy
    put.value_length = <uint32_t>found.mv_size
    own = row[0]
    own.put = &put
    status = put_value(cursor, &own, sum_of(old.hits, put.hits, 0), old.hits, 0, &found)
    row.at = own.at
    row.state = own.state
    free(copy)
    return status


cdef bint goes(Removal which, const MDB_val* key, const MDB_val* value, const MDB_val* former) noexcept nogil:
    """Return whether an entry is one of those to remove."""
    cdef uint8_t cache_key[KEY_MAX]
    cdef size_t length
    cdef Header header
    cdef Stored answer
    if which == REMOVE_UNCHANGED:
        return value.mv_size == former.mv_size and memcmp(value.mv_data, former.mv_data, value.mv_size) == 0
    if which == REMOVE_SPOILED:
        length = cache_key_of(<const uint8_t*>key.mv_data, key.mv_size, cache_key)
        return length == 0 or read_entry(<const uint8_t*>value.mv_data, value.mv_size, &header, &answer) != 0 \
            or not entry_answers(&answer, cache_key, <uint16_t>length)
    return True
