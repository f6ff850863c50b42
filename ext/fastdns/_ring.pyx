"""A ring of records in a mapped file. The producer publishes a record by moving `head` over it, as its last act."""

import struct

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcmp, memcpy, memset

from fastdns._answer cimport Answer
from fastdns._clock cimport Moment
from fastdns._entry cimport (
    ENTRY_VERSION, HEADER_OCTETS, Header, entry_octets, fill_source, is_negative, read_entry, write_entry,
)
from fastdns._key cimport key_is_sound
from fastdns._ring_index cimport RingIndex
from fastdns._siphash cimport keyed_hash

from fastdns import mapped

cdef extern from * nogil:
    enum:
        __ATOMIC_ACQUIRE
        __ATOMIC_RELEASE
    uint64_t __atomic_load_n(const uint64_t* at, int order)
    void __atomic_store_n(uint64_t* at, uint64_t value, int order)
    void __atomic_thread_fence(int order)

cdef enum:
    HEAD_PAGE = 4096
    HEAD_AT = 64            # a cache line each
    TAIL_AT = 128
    ALIGNMENT = 8
    CAPACITY_MIN = 4096
    SHORT_LIVED = 60        # seconds of TTL, under which an answer is the first to be shed

RING_OCTETS = 4 << 20       # a small answer takes about 200
MAGIC = b"fastdnsR"
VERSION = 1 << 16 | ENTRY_VERSION   # its records hold values
HEAD = struct.Struct("=8sIIQ")      # magic, version, zero, capacity


cdef inline uint64_t aligned(uint64_t octets) noexcept nogil:
    return (octets + ALIGNMENT - 1) & ~<uint64_t>(ALIGNMENT - 1)


cdef inline uint64_t published(const uint64_t* head) noexcept nogil:
    # Aligned, so that a damaged page cannot lead outside.
    return aligned(__atomic_load_n(head, __ATOMIC_ACQUIRE))


cdef bint record_is_sound(const RecordHead* record, const uint8_t* at, bint is_whole) noexcept nogil:
    """True if key and payload are as the kind requires; `size` bytes are known to be there.

    Only the length of a value is checked, unless it must be complete.
    """
    cdef const uint8_t* key = at + sizeof(RecordHead)
    cdef size_t payload
    cdef Header header
    cdef Stored stored
    if record.size < sizeof(RecordHead) + record.key_length or not key_is_sound(key, record.key_length):
        return False
    payload = record.size - sizeof(RecordHead) - record.key_length
    if record.kind == RECORD_ANSWER or record.kind == RECORD_REMOVAL:
        if not is_whole:
            return payload >= HEADER_OCTETS
        return read_entry(key + record.key_length, payload, &header, &stored) == 0
    if record.kind == RECORD_SPOILED:
        return payload == 0
    return record.kind == RECORD_HITS and payload == sizeof(uint32_t)


cdef class Ring:
    """Records from one process to another, in the order in which they were put, across restarts of both.

    If a consumer dies before `consume`, the next one gets them: a record may come twice.
    """

    @staticmethod
    def open(path, size_t capacity=RING_OCTETS):
        """Return the ring in the file at path with its content, or a new one (None: without a file).

        OSError: there is no room for it.
        """
        cdef Ring ring = Ring.__new__(Ring)
        if capacity < CAPACITY_MIN or capacity & (capacity - 1):
            raise ValueError(f"the capacity of a ring is a power of two, at least {CAPACITY_MIN}")
        octets = HEAD_PAGE + capacity
        head = HEAD.pack(MAGIC, VERSION, 0, capacity)
        ring.capacity = capacity
        if path is None:
            ring.use(mapped.anonymous(octets, head))
            return ring
        try:
            memory = mapped.attach(path, octets)
            if memory[:HEAD.size] == head:
                ring.use(memory)
                if ring.head[0] - ring.tail[0] <= capacity:
                    return ring
        except (OSError, ValueError):
            pass
        ring.use(mapped.create(path, octets, head))
        return ring

    cdef int use(self, memory) except -1:
        cdef Py_buffer view
        cdef uint8_t* start
        PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
        start = <uint8_t*>view.buf
        PyBuffer_Release(&view)
        self.memory = memory        # a mapping stays where it is
        self.head = <uint64_t*>(start + HEAD_AT)
        self.tail = <uint64_t*>(start + TAIL_AT)
        self.data = start + HEAD_PAGE
        self.cursor = self.tail[0]
        self.index = RingIndex(self.capacity)
        self.index_again()
        return 0

    def index_again(self):
        """Index all records by key; while no process puts any."""
        cdef uint64_t head = published(self.head)
        cdef uint64_t tail = self.tail[0]
        cdef uint64_t at = tail
        cdef RecordHead record
        if head - tail > self.capacity or tail != aligned(tail):
            return      # the consumer says so
        while at != head and self.step(head, &at, &record, True):
            if record.kind == RECORD_ANSWER or record.kind == RECORD_REMOVAL:
                self.index.put(
                    keyed_hash(self.key_before(at, &record), record.key_length), at - aligned(record.size), tail, head
                )

    # ---- the producer

    cdef uint8_t* reserve(self, RecordHead* record, const uint8_t* key, uint64_t* end) noexcept nogil:
        """Write head and key of a record; return the place of its payload, or NULL: no room. end: the next `head`."""
        cdef uint64_t head = published(self.head)
        cdef uint64_t used = head - __atomic_load_n(self.tail, __ATOMIC_ACQUIRE)
        cdef size_t at = head & (self.capacity - 1)
        cdef size_t room = aligned(record.size)
        cdef RecordHead pad
        if used > self.capacity or room > self.capacity - used:
            return NULL
        if room > self.capacity - at:
            memset(&pad, 0, sizeof(RecordHead))
            pad.size = <uint32_t>(self.capacity - at)
            if pad.size + room > self.capacity - used:
                return NULL
            memcpy(self.data + at, &pad, ALIGNMENT)     # its epoch may be outside the range
            head += pad.size
            at = 0
        memcpy(self.data + at, record, sizeof(RecordHead))
        memcpy(self.data + at + sizeof(RecordHead), key, record.key_length)
        end[0] = head + room
        return self.data + at + sizeof(RecordHead) + record.key_length

    cdef bint put_answer(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t epoch, const Stored* answer,
        const Instant* stored, const AnswerSource* origin,
    ) noexcept nogil:
        cdef RecordHead record
        cdef uint64_t end = 0
        cdef uint8_t* payload
        if answer.is_failure:
            return True
        if answer.ttl and self.capacity - self.octets_used() < self.capacity // 4:
            if answer.ttl < SHORT_LIVED or is_negative(answer):
                return False
        record.size = <uint32_t>(sizeof(RecordHead) + key_length + entry_octets(answer))
        record.kind = RECORD_ANSWER if answer.ttl else RECORD_REMOVAL
        record.marks = 0
        record.key_length = key_length
        record.epoch = epoch
        payload = self.reserve(&record, key, &end)
        if payload == NULL:
            return False
        write_entry(payload, answer, stored, origin, 0)
        __atomic_store_n(self.head, end, __ATOMIC_RELEASE)
        self.index.put(hash, end - aligned(record.size), __atomic_load_n(self.tail, __ATOMIC_ACQUIRE), end)
        return True

    cdef bint put_hits(self, const uint8_t* key, uint16_t key_length, uint32_t delta) noexcept nogil:
        cdef RecordHead record
        cdef uint64_t end = 0
        cdef uint8_t* payload
        if self.octets_used() > self.capacity - self.capacity // 4:
            return False
        record.size = <uint32_t>(sizeof(RecordHead) + key_length + sizeof(uint32_t))
        record.kind = RECORD_HITS
        record.marks = 0
        record.key_length = key_length
        record.epoch = 0
        payload = self.reserve(&record, key, &end)
        if payload == NULL:
            return False
        memcpy(payload, &delta, sizeof(uint32_t))
        __atomic_store_n(self.head, end, __ATOMIC_RELEASE)
        return True

    cdef bint put_spoiled(self, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef RecordHead record
        cdef uint64_t end = 0
        if self.octets_used() > self.capacity // 2:
            return False
        record.size = <uint32_t>(sizeof(RecordHead) + key_length)
        record.kind = RECORD_SPOILED
        record.marks = 0
        record.key_length = key_length
        record.epoch = 0
        if self.reserve(&record, key, &end) == NULL:
            return False
        __atomic_store_n(self.head, end, __ATOMIC_RELEASE)
        return True

    cdef size_t octets_used(self) noexcept nogil:
        cdef uint64_t tail = __atomic_load_n(self.tail, __ATOMIC_ACQUIRE)
        cdef uint64_t used = published(self.head) - tail
        return min(used, <uint64_t>self.capacity)

    @property
    def used(self):
        """Bytes that wait for the consumer."""
        return self.octets_used()

    def put(
        self, bytes key not None, Answer answer not None, uint64_t epoch, Moment stored not None, *,
        uint64_t origin=0, upstream=None, uint32_t rtt_us=0,
    ):
        """Put an answer; return False if it was shed. ValueError: not a key."""
        cdef AnswerSource source
        if not key_is_sound(key, len(key)):
            raise ValueError("not the key of an answer")
        fill_source(&source, origin, upstream, rtt_us)
        return self.put_answer(
            keyed_hash(key, len(key)), key, <uint16_t>len(key), epoch, &answer.stored, &stored.at, &source
        )

    def put_hits_of(self, bytes key not None, uint32_t delta):
        """Put a count of hits; return False if it must wait. ValueError: not a key."""
        if not key_is_sound(key, len(key)):
            raise ValueError("not the key of an answer")
        return self.put_hits(key, <uint16_t>len(key), delta)

    def put_spoiled_key(self, bytes key not None):
        """Report the entry on disk under this key as unusable; return False if that was shed. ValueError: not a key."""
        if not key_is_sound(key, len(key)):
            raise ValueError("not the key of an answer")
        return self.put_spoiled(key, <uint16_t>len(key))

    # ---- look-ups

    cdef size_t copy_newest(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, RecordHead* record, uint8_t* payload, size_t room
    ) noexcept nogil:
        cdef uint64_t head, tail, position
        cdef const uint8_t* at
        cdef size_t start, octets
        if published(self.head) == __atomic_load_n(self.tail, __ATOMIC_ACQUIRE):
            return 0        # so that rings of missing workers cost nothing
        if not self.index.find(hash, self.head, &position):
            return 0
        head = published(self.head)
        tail = __atomic_load_n(self.tail, __ATOMIC_ACQUIRE)
        start = position & (self.capacity - 1)
        if head - position > head - tail or head - tail > self.capacity or self.capacity - start < sizeof(RecordHead):
            return 0
        at = self.data + start
        memcpy(record, at, sizeof(RecordHead))
        octets = record.size - sizeof(RecordHead) - key_length
        if (
            record.key_length != key_length or record.size < sizeof(RecordHead) + key_length or octets > room
            or record.size > min(<uint64_t>(self.capacity - start), head - position)
            or record.kind != RECORD_ANSWER and record.kind != RECORD_REMOVAL or record.marks & RECORD_DONE
            or memcmp(at + sizeof(RecordHead), key, key_length) != 0
        ):
            return 0
        memcpy(payload, at + sizeof(RecordHead) + key_length, octets)
        __atomic_thread_fence(__ATOMIC_ACQUIRE)
        # If its space was released meanwhile, another record may have overwritten it.
        return octets if head - position <= head - __atomic_load_n(self.tail, __ATOMIC_ACQUIRE) else 0

    # ---- the consumer

    def records(self, size_t limit_octets):
        """Return the next records as (kind, epoch, key, payload), up to so many bytes.

        `consume` releases their space. ValueError: the next record is impossible; the whole content of the ring is
        lost.
        """
        cdef uint64_t head = published(self.head)
        cdef uint64_t tail = self.tail[0]
        cdef uint64_t octets = 0
        cdef RecordHead record
        cdef list found = []
        if head - tail > self.capacity or tail != aligned(tail):
            self.drop(head)
        if self.cursor - tail > head - tail:
            self.cursor = tail      # another process was the consumer since this one forked
        while self.cursor != head and octets < limit_octets:
            if not self.step(head, &self.cursor, &record, True):
                if found:
                    break           # these are good; the next call reports what follows them
                self.drop(head)
            if record.kind != RECORD_PAD:
                found.append(self.record_before(&record))
                octets += aligned(record.size)
        return found

    def consume(self):
        """Release the space of everything that `records` has returned."""
        cdef uint64_t tail = self.tail[0]
        if self.cursor - tail <= published(self.head) - tail:
            __atomic_store_n(self.tail, self.cursor, __ATOMIC_RELEASE)

    def rewind(self):
        """Let `records` start again with the first record that was not released."""
        self.cursor = self.tail[0]

    cdef void take_up(self) noexcept nogil:
        cdef uint64_t tail = self.tail[0]
        if self.cursor - tail > published(self.head) - tail:
            self.cursor = tail      # another process was the consumer since this one forked

    cdef int read_next(self, uint64_t* at, RecordHead* record) noexcept nogil:
        cdef uint64_t head = published(self.head)
        cdef uint64_t tail = self.tail[0]
        if head - tail > self.capacity or tail != aligned(tail):
            return -1
        at[0] = self.cursor
        if self.cursor == head:
            return 0
        return 1 if self.step(head, &self.cursor, record, False) else -1

    cdef bint pass_over(self, uint64_t* position, RecordHead* record) noexcept nogil:
        cdef size_t rest = self.capacity - (position[0] & (self.capacity - 1))
        if position[0] == self.cursor:
            return False
        memcpy(record, self.place_of(position[0]), ALIGNMENT)
        position[0] += aligned(record.size)
        # A record that was intact when it was read may be damaged now.
        if record.size == 0 or aligned(record.size) > rest or self.cursor - position[0] > self.capacity:
            return False
        return (
            record.kind != RECORD_ANSWER and record.kind != RECORD_REMOVAL
            or record.size >= sizeof(RecordHead) + record.key_length + HEADER_OCTETS
        )

    cdef uint8_t* place_of(self, uint64_t position) noexcept nogil:
        return self.data + (position & (self.capacity - 1))

    cdef bint locate(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t* position, RecordHead* record
    ) noexcept nogil:
        cdef uint64_t head, tail
        cdef const uint8_t* at
        if not self.octets_used() or not self.index.find(hash, self.head, position):
            return False
        head = published(self.head)
        tail = self.tail[0]
        at = self.place_of(position[0])
        if head - position[0] > head - tail or at + sizeof(RecordHead) + key_length > self.data + self.capacity:
            return False
        memcpy(record, at, sizeof(RecordHead))
        if record.kind != RECORD_ANSWER and record.kind != RECORD_REMOVAL or record.key_length != key_length:
            return False
        return (
            memcmp(at + sizeof(RecordHead), key, key_length) == 0
            and record.size >= sizeof(RecordHead) + key_length + HEADER_OCTETS
            and record.size <= min(<uint64_t>(self.data + self.capacity - at), head - position[0])
        )

    cdef void index_one(self, uint64_t hash, uint64_t position) noexcept nogil:
        # If the producer takes the same slot at this moment, one of the two is not found until it is on disk.
        self.index.put(hash, position, self.tail[0], published(self.head))

    cdef void mark(self, uint64_t position, int mark) noexcept nogil:
        cdef RecordHead* record = <RecordHead*>self.place_of(position)
        record.marks |= <uint8_t>mark

    cdef void give_back(self) noexcept nogil:
        cdef uint64_t tail = self.tail[0]
        cdef uint64_t at = tail
        cdef RecordHead record
        while self.pass_over(&at, &record):
            if (record.kind == RECORD_ANSWER or record.kind == RECORD_REMOVAL) and not record.marks & RECORD_DONE:
                break
            tail = at
        __atomic_store_n(self.tail, tail, __ATOMIC_RELEASE)

    def empty(self):
        """Drop the whole content."""
        self.cursor = published(self.head)
        __atomic_store_n(self.tail, self.cursor, __ATOMIC_RELEASE)

    cdef bint step(self, uint64_t head, uint64_t* cursor, RecordHead* record, bint is_whole) noexcept nogil:
        """Move a cursor past one record, which must be intact and end at `head` or before."""
        cdef size_t at = cursor[0] & (self.capacity - 1)
        cdef size_t rest = self.capacity - at
        cdef size_t left = min(<uint64_t>rest, head - cursor[0])
        if left < ALIGNMENT:
            return False
        memset(record, 0, sizeof(RecordHead))
        memcpy(record, self.data + at, min(left, sizeof(RecordHead)))
        if aligned(record.size) > left:
            return False
        if record.kind == RECORD_PAD:
            if record.size != rest:
                return False
        elif not record_is_sound(record, self.data + at, is_whole):
            return False
        cursor[0] += aligned(record.size)
        return True

    cdef const uint8_t* key_before(self, uint64_t cursor, const RecordHead* record) noexcept nogil:
        """The key of the record that ends at a cursor."""
        return self.data + ((cursor - aligned(record.size)) & (self.capacity - 1)) + sizeof(RecordHead)

    cdef tuple record_before(self, const RecordHead* record):
        """The record that ends at the cursor."""
        cdef const char* key = <const char*>self.key_before(self.cursor, record)
        return (
            record.kind, record.epoch, key[:record.key_length],
            key[record.key_length:record.size - sizeof(RecordHead)],
        )

    cdef int drop(self, uint64_t head) except -1:
        octets = self.octets_used()
        self.cursor = head
        __atomic_store_n(self.tail, head, __ATOMIC_RELEASE)
        raise ValueError(f"a ring was damaged; {octets} bytes of new answers are lost")
