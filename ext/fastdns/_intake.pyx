"""How the keeper handles the rings: which of the answers in them are written, and when.

Most of a day's answers are never asked for again, and most of those are outdated soon. So answers wait in their ring,
where every worker finds them, and a mark there says whether a client has asked again. At a commit

- an answer that was asked for again is written if it is valid for a while yet;
- the others wait until the oldest is about an hour old. Then, or when their ring is nearly full, those that were asked
  for again are written, those with hours to live, and those with an older entry on disk, which they replace;
- the rest is spared: it is not written.

No Python object is made for an answer.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from fastdns._clock cimport AGE_UNKNOWN, Instant, Moment, age_since, is_later
from fastdns._control cimport Control
from fastdns._entry cimport HEADER_OCTETS, Header
from fastdns._key cimport DISK_KEY_MAX, disk_key_of
from fastdns._lmdb cimport MDB_RDONLY, MDB_txn, MDB_val, mdb_get, mdb_txn_abort, val_of
from fastdns._put cimport PUT_WAITS, PUT_WRITTEN, Put
from fastdns._ring cimport (
    RECORD_ANSWER, RECORD_ASKED, RECORD_DONE, RECORD_HITS, RECORD_REMOVAL, RECORD_SPOILED, RecordHead, Ring,
)
from fastdns._siphash cimport keyed_hash
from fastdns._writer cimport Writer

cdef enum:
    WAIT_MS = 3300 * 1000       # that an answer waits to be asked for again, and then for the next commit
    BATCH_MS = 1800 * 1000      # when one has, all of this age are handled together
    WORTH_MS = 300 * 1000       # that an answer must have left to be worth a page: a machine takes a while to start
    WORTH_PRESSED_MS = 60 * 1000    # the same when a ring is nearly full: a restart of this program takes a second
    LONG_TTL = 6 * 3600         # seconds; most live shorter
    ALLOWED_A_SECOND = 1000
    ALLOWANCE_MAX = 4000
    PLACE_BITS = 16             # of a Put's mark: which ring; above them the position there
    PUTS_FIRST = 1024
    PUTS_KEPT = 4096            # more are allocated
    MISSED_MAX = 10000

cdef uint64_t NO_PLACE = ~<uint64_t>0


cdef inline const uint8_t* key_at(Ring ring, uint64_t at) noexcept nogil:
    return ring.place_of(at) + sizeof(RecordHead)


cdef inline void read_header(Ring ring, uint64_t at, const RecordHead* record, Header* header) noexcept nogil:
    memcpy(header, key_at(ring, at) + record.key_length, HEADER_OCTETS)


cdef class Intake:
    """The answers in these rings, and what becomes of each."""

    def __cinit__(self, rings not None, Control control not None, *_more):
        cdef Ring ring
        self.rings = list(rings)
        self.control = control
        self.ring = <void**>malloc(max(len(self.rings), 1) * sizeof(void*))
        if self.ring == NULL:
            raise MemoryError
        for ring in self.rings:
            self.ring[self.count] = <void*>ring
            self.count += 1
        self.allowance = ALLOWANCE_MAX

    def __dealloc__(self):
        free(self.ring)
        free(self.puts)

    @property
    def presses(self):
        """Whether a ring is so full that it must be emptied now."""
        cdef Ring ring
        for ring in self.rings:
            if ring.octets_used() > ring.capacity // 2:
                return True
        return False

    # --- what has come ------------------------------------------------------------------------------------

    def take(self, set spoiled not None, list missed not None):
        """Read new records of the rings; return (key, hits) as workers have counted them.

        Keys of entries that a worker found unusable are added to `spoiled`, with `tells_misses` those of new answers to
        `missed`. ValueError: a ring was damaged, and its content is lost; the others were read.
        """
        cdef list hits = []
        cdef Ring ring
        damage = None
        for ring in self.rings:
            try:
                self.take_from(ring, hits, spoiled, missed)
            except ValueError as error:
                damage = error
            ring.give_back()
        if damage is not None:
            raise damage
        return hits

    cdef int take_from(self, Ring ring, list hits, set spoiled, list missed) except -1:
        cdef RecordHead record
        cdef uint64_t at = 0
        cdef uint32_t delta
        cdef int status
        cdef const uint8_t* key
        ring.take_up()
        while True:
            status = ring.read_next(&at, &record)
            if status <= 0:
                break
            key = key_at(ring, at)
            if record.kind == RECORD_ANSWER or record.kind == RECORD_REMOVAL:
                self.note_answer(ring, at, &record)
                if self.tells_misses and not record.marks & RECORD_DONE and len(missed) < MISSED_MAX:
                    missed.append((<const char*>key)[:record.key_length])
            elif record.kind == RECORD_HITS and not record.marks & RECORD_DONE:
                memcpy(&delta, key + record.key_length, sizeof(uint32_t))
                ring.mark(at, RECORD_DONE)
                self.note_asked(keyed_hash(key, record.key_length), key, record.key_length)
                hits.append(((<const char*>key)[:record.key_length], delta))
            elif record.kind == RECORD_SPOILED:
                spoiled.add((<const char*>key)[:record.key_length])
        if status < 0:
            ring.drop(ring.head[0])
        return 0

    cdef void note_answer(self, Ring ring, uint64_t at, const RecordHead* record) noexcept nogil:
        """An answer that another worker also asked for was asked for twice."""
        cdef const uint8_t* key = key_at(ring, at)
        cdef uint64_t hash = 0
        cdef uint64_t place = 0
        cdef RecordHead other
        cdef int i
        if record.marks & RECORD_DONE:
            return
        self.removals += record.kind == RECORD_REMOVAL
        for i in range(self.count):
            if self.ring[i] == <void*>ring or (<Ring>self.ring[i]).octets_used() == 0:
                continue
            if hash == 0:
                hash = keyed_hash(key, record.key_length)
            if (<Ring>self.ring[i]).locate(hash, key, record.key_length, &place, &other):
                (<Ring>self.ring[i]).mark(place, RECORD_ASKED)
                ring.mark(at, RECORD_ASKED)

    cdef void note_asked(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef uint64_t place = 0
        cdef RecordHead record
        cdef int i
        for i in range(self.count):
            if (<Ring>self.ring[i]).locate(hash, key, key_length, &place, &record):
                (<Ring>self.ring[i]).mark(place, RECORD_ASKED)

    def waits(self, bytes key not None):
        """Return True while an answer of this key is in a ring."""
        cdef uint64_t hash = keyed_hash(key, len(key))
        cdef uint64_t place = 0
        cdef RecordHead record
        cdef Ring ring
        for ring in self.rings:
            if ring.locate(hash, key, <uint16_t>len(key), &place, &record) and not record.marks & RECORD_DONE:
                return True
        return False

    # --- which are written --------------------------------------------------------------------------------

    def choose(self, Writer store not None, Moment now not None, int choice):
        """Choose the answers to write to this store now; return how many."""
        cdef MDB_txn* txn = store.begin(MDB_RDONLY)
        cdef int i
        self.chosen = self.unwritten = 0
        self.changes = None
        self.allowance = min(
            <double>ALLOWANCE_MAX,
            self.allowance + max(now.at.boot_ms - self.allowed_at, <int64_t>0) * ALLOWED_A_SECOND / 1000.0,
        )
        self.allowed_at = now.at.boot_ms
        try:
            for i in range(self.count):
                self.choose_from(i, store, txn, &now.at, choice)
        finally:
            mdb_txn_abort(txn)
            self.changes = None
        self.removals = 0       # they are chosen, or outdated
        self.give_back()
        return self.chosen

    cdef int choose_from(
        self, int number, Writer store, MDB_txn* txn, const Instant* now, int choice
    ) except -1:
        cdef Ring ring = <Ring>self.ring[number]
        cdef uint64_t head = ring.head[0]
        cdef uint64_t next_at = ring.tail[0]
        cdef uint64_t at
        # When it is nearly full, three quarters of it must become free again.
        cdef uint64_t pressing = 0
        cdef RecordHead record
        cdef Header header
        cdef Fate fate
        cdef Put* put
        cdef int64_t age
        cdef bint has_old = False
        cdef bint is_first = True
        if head - next_at > ring.capacity // 2:
            pressing = ring.capacity // 4
        while True:
            at = next_at
            if not ring.pass_over(&next_at, &record):
                return 0
            if record.kind != RECORD_ANSWER and record.kind != RECORD_REMOVAL or record.marks & RECORD_DONE:
                continue
            memcpy(&record, ring.place_of(at), sizeof(RecordHead))
            if is_first:
                read_header(ring, at, &record, &header)
                age = age_since(&header.stored, now)
                has_old = age == AGE_UNKNOWN or age >= WAIT_MS
                is_first = False
            fate = self.fate_of(
                ring, at, &record, store, txn, now, choice, has_old, pressing and head - at > pressing
            )
            if fate == WRITTEN:
                put = self.more_room()
                put.key = key_at(ring, at)
                put.key_length = record.key_length
                put.value = put.key + record.key_length
                put.value_length = <uint32_t>(record.size - sizeof(RecordHead) - record.key_length)
                put.hits = 0
                put.done = PUT_WAITS
                put.mark = at << PLACE_BITS | <uint64_t>number
                self.chosen += 1
            elif fate != WAITS:
                self.spared += fate == SPARED
                self.settle(ring, at, &record)

    cdef Fate fate_of(
        self, Ring ring, uint64_t at, const RecordHead* record, Writer store, MDB_txn* txn, const Instant* now,
        int choice, bint is_old, bint presses,
    ) except *:
        cdef const uint8_t* key = key_at(ring, at)
        cdef bint asked = record.marks & RECORD_ASKED
        cdef bint is_worth, goes
        cdef Header header
        cdef int64_t age, left
        read_header(ring, at, record, &header)
        age = age_since(&header.stored, now)
        if age == AGE_UNKNOWN:
            age = WAIT_MS
        left = 1000 * <int64_t>header.ttl - age
        goes = presses or is_old and age >= BATCH_MS
        is_worth = (
            record.kind == RECORD_REMOVAL or choice == CHOOSE_ALL or asked and left >= WORTH_MS
            or choice == CHOOSE_LAST and (asked or left >= WORTH_MS)
            or goes and (asked or left > 0 and header.ttl >= LONG_TTL)
        )
        if not is_worth and not goes and choice == CHOOSE_DUE:
            return WAITS
        if self.has_newer(keyed_hash(key, record.key_length), ring, at, record) or self.overtook(record, key):
            return SETTLED
        if is_worth:
            return WRITTEN
        if presses and choice == CHOOSE_DUE and left >= WORTH_PRESSED_MS and self.allowance >= 1:
            self.allowance -= 1
            return WRITTEN
        # The entry that it has replaced must not return.
        if is_on_disk(store, txn, key, record.key_length):
            return WRITTEN
        return SPARED if choice == CHOOSE_DUE else WAITS

    cdef bint has_newer(self, uint64_t hash, Ring ring, uint64_t at, const RecordHead* record) noexcept nogil:
        """Return whether a ring has a newer answer to the same question."""
        cdef const uint8_t* key = key_at(ring, at)
        cdef Header ours, theirs
        cdef RecordHead other
        cdef uint64_t place = 0
        cdef bint found
        cdef int i
        for i in range(self.count):
            found = (<Ring>self.ring[i]).locate(hash, key, record.key_length, &place, &other)
            if self.ring[i] == <void*>ring:
                if found and ring.cursor - place < ring.cursor - at:
                    return True         # the index has the newest of its ring
                if not found or place != at:
                    ring.index_one(hash, at)    # its producer died while writing it, or had no slot left
                continue
            if not found:
                continue
            read_header(ring, at, record, &ours)
            read_header(<Ring>self.ring[i], place, &other, &theirs)
            if is_later(&theirs.stored, &ours.stored):
                return True
        return False

    cdef bint overtook(self, const RecordHead* record, const uint8_t* key) except -1:
        """Return whether a command has removed it since it was asked for."""
        if record.epoch >= self.control.epoch_now():
            return False
        if self.changes is None or record.epoch < self.changes_since:
            self.changes = self.changes_after(record.epoch)
            self.changes_since = record.epoch
        return self.changes.overtook((<const char*>key)[:record.key_length], record.epoch)

    def changes_after(self, epoch):
        """Return the changes of commands since then; a subclass implements it."""
        raise NotImplementedError

    # --- writing ------------------------------------------------------------------------------------------

    def write(self, Writer store not None, Moment now not None, bytes record, counts not None, hits not None):
        """Write the chosen answers, and hit counts in addition to those on disk; return how many answers were written.

        `counts` are (key, count), `hits` the known hits of answers that are written. After an exception a part is
        committed.
        """
        cdef size_t answers = self.chosen
        cdef size_t written = 0
        cdef size_t i
        cdef Put* put
        cdef bytes key
        cdef set together = set()       # keys whose hits go with an answer
        for i in range(answers if len(hits) else 0):
            put = &self.puts[i]
            key = (<const char*>put.key)[:put.key_length]
            put.hits = <uint32_t>min(hits.of(key), 0xffffffff)
            if put.hits:
                together.add(key)
        for key, count in [one for one in counts if one[0] not in together]:
            put = self.more_room()
            put.key = <const uint8_t*><const char*>key
            put.key_length = <uint16_t>len(key)
            put.value = NULL
            put.value_length = 0
            put.hits = <uint32_t>min(count, 0xffffffff)
            put.done = PUT_WAITS
            put.mark = NO_PLACE
            self.chosen += 1
        try:
            if self.chosen:
                store.apply(self.puts, self.chosen, &now.at, record)
        finally:
            for i in range(self.chosen):
                put = &self.puts[i]
                self.unwritten += put.done == PUT_WAITS
                if put.done == PUT_WRITTEN:
                    written += put.value != NULL
                    if put.hits:
                        hits.settle((<const char*>put.key)[:put.key_length], put.hits)
                if put.done != PUT_WAITS and put.mark != NO_PLACE:
                    self.settle_put(put)
            self.chosen = 0
            if self.room > PUTS_KEPT:
                free(self.puts)
                self.puts = NULL
                self.room = 0
            self.give_back()
        return written

    cdef void settle_put(self, const Put* put) noexcept:
        cdef Ring ring = <Ring>self.ring[put.mark & ((1 << PLACE_BITS) - 1)]
        cdef uint64_t at = put.mark >> PLACE_BITS
        cdef RecordHead record
        memcpy(&record, ring.place_of(at), sizeof(RecordHead))
        self.settle(ring, at, &record)

    cdef void settle(self, Ring ring, uint64_t at, const RecordHead* record) noexcept nogil:
        """Release it and what is older: it is on disk, or must not be."""
        cdef const uint8_t* key = key_at(ring, at)
        cdef Header ours, theirs
        cdef RecordHead other
        cdef uint64_t place = 0
        cdef int i
        ring.mark(at, RECORD_DONE)
        for i in range(self.count):
            if self.ring[i] == <void*>ring or (<Ring>self.ring[i]).octets_used() == 0:
                continue
            if (<Ring>self.ring[i]).locate(
                keyed_hash(key, record.key_length), key, record.key_length, &place, &other
            ):
                read_header(ring, at, record, &ours)
                read_header(<Ring>self.ring[i], place, &other, &theirs)
                if not is_later(&theirs.stored, &ours.stored):
                    (<Ring>self.ring[i]).mark(place, RECORD_DONE)

    cdef void give_back(self) noexcept nogil:
        cdef int i
        for i in range(self.count):
            (<Ring>self.ring[i]).give_back()

    cdef Put* more_room(self) except NULL:
        """Return the Put of those that were chosen."""
        cdef Put* puts
        if self.chosen == self.room:
            self.room = max(2 * self.room, <size_t>PUTS_FIRST)
            puts = <Put*>realloc(self.puts, self.room * sizeof(Put))
            if puts == NULL:
                self.room = self.chosen
                raise MemoryError
            self.puts = puts
        return &self.puts[self.chosen]


cdef bint is_on_disk(Writer store, MDB_txn* txn, const uint8_t* key, uint16_t key_length) noexcept nogil:
    cdef uint8_t disk_key[DISK_KEY_MAX]
    cdef MDB_val wanted = val_of(disk_key, disk_key_of(key, key_length, disk_key))
    cdef MDB_val value
    return wanted.mv_size != 0 and mdb_get(txn, store.entries, &wanted, &value) == 0
