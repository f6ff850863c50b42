"""The way of a query that memory can answer, from the packet to its answer, in the order of the journey.

A hit makes no Python object. What memory does not hold becomes a `Query` and goes to the callback that the owner gave.
"""

from libc.stdlib cimport free, malloc

from fastdns._answer cimport Answer
from fastdns._hotcache cimport Entry
from fastdns._response cimport RESPONSE_MAX, write_answer, write_error
from fastdns._shared cimport (
    CACHE_BYTES, CACHE_ENTRIES, CACHE_EVICTIONS, CACHE_HITS, CACHE_INSERTS, CACHE_MISSES, CACHE_REFUSED,
    QUERIES_DROPPED, QUERIES_TCP, QUERIES_UDP, RESPONSES_FORMERR, RESPONSES_NOERROR, RESPONSES_NOTIMP,
    RESPONSES_NXDOMAIN, RESPONSES_OTHER, RESPONSES_REFUSED, RESPONSES_SERVFAIL, RESPONSES_TRUNCATED, SEND_ERRORS,
)
from fastdns._udp cimport ANSWER_OCTETS, send_one
from fastdns._wire cimport (
    CLASS_CHAOS, FLAG_RD, FLAG_TC, HEADER_LENGTH, KEY_CD, KEY_DO, KEY_TAIL, WIRE_BADVERS, WIRE_DROP, WIRE_FORMERR,
    WIRE_NOTIMP, WIRE_OK, load16, read_query,
)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_BOOTTIME
    int clock_gettime(int clock, timespec* now)

cdef enum:
    BATCHES_A_WAKEUP = 8    # so that timers and connections get their turn under a flood
    UNCOMMON_A_WAKEUP = 64  # these cost a greenlet each
    RCODE_FORMERR = 1
    RCODE_NOTIMP = 4
    RCODE_REFUSED = 5
    RCODE_BADVERS = 16


cdef inline int64_t read_clock() noexcept nogil:
    """Milliseconds since boot: no step of the wall clock and no suspended hour makes an old answer young."""
    cdef timespec now
    clock_gettime(CLOCK_BOOTTIME, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef inline uint16_t rcode_of(int status) noexcept nogil:
    if status == WIRE_FORMERR:
        return RCODE_FORMERR
    if status == WIRE_NOTIMP:
        return RCODE_NOTIMP
    if status == WIRE_BADVERS:
        return RCODE_BADVERS
    return RCODE_REFUSED


cdef void count_response(uint64_t* tally, const uint8_t* response) noexcept nogil:
    cdef uint16_t flags = load16(response + 2)
    cdef int rcode = flags & 15
    if rcode == 0:
        tally[RESPONSES_NOERROR] += 1
    elif rcode == 3:
        tally[RESPONSES_NXDOMAIN] += 1
    elif rcode == 2:
        tally[RESPONSES_SERVFAIL] += 1
    elif rcode == 1:
        tally[RESPONSES_FORMERR] += 1
    elif rcode == 4:
        tally[RESPONSES_NOTIMP] += 1
    elif rcode == 5:
        tally[RESPONSES_REFUSED] += 1
    else:
        tally[RESPONSES_OTHER] += 1
    if flags & FLAG_TC:
        tally[RESPONSES_TRUNCATED] += 1


cdef class FastPath:
    """Answers from memory; calls `on_uncommon(query)` for each query that needs more."""

    def __cinit__(self, HotCache cache not None, Counters counters not None, object on_uncommon):
        self.cache = cache
        self.counters = counters
        self.tally = counters.at
        self.on_uncommon = on_uncommon
        self.batch = Batch()
        self.stream_room = <uint8_t*>malloc(RESPONSE_MAX)
        self.seen = <Seen*>malloc(BATCH * sizeof(Seen))
        if self.stream_room == NULL or self.seen == NULL:
            raise MemoryError
        self.show_cache()

    def __dealloc__(self):
        free(self.stream_room)
        free(self.seen)

    cdef void look_at(self, Seen* seen, const uint8_t* packet, size_t length) noexcept nogil:
        seen.packet = packet
        seen.status = read_query(packet, length, &seen.question)
        if seen.status == WIRE_OK:
            seen.hash = self.cache.hash_of(seen.question.key, seen.question.key_length)
            self.cache.expect(seen.hash)

    cdef int consider(
        self, const Seen* seen, uint8_t* out, size_t limit, int64_t now_ms, size_t* written
    ) noexcept nogil:
        cdef const Question* question = &seen.question
        cdef uint16_t rcode = RCODE_REFUSED
        cdef Entry* entry
        if seen.status == WIRE_DROP:
            self.tally[QUERIES_DROPPED] += 1
            return DROPPED
        if seen.status != WIRE_OK:
            rcode = rcode_of(seen.status)
        elif question.qclass == CLASS_CHAOS:
            return UNCOMMON
        else:
            entry = self.cache.find(seen.hash, question.key, question.key_length, now_ms)
            if entry != NULL:
                self.tally[CACHE_HITS] += 1
                written[0] = write_answer(
                    out, seen.packet + HEADER_LENGTH, question, &entry.answer,
                    <uint32_t>((now_ms - entry.stored_ms) // 1000), limit if limit else question.udp_size,
                )
                count_response(self.tally, out)
                return ANSWERED
            self.tally[CACHE_MISSES] += 1
            # Without RD the client asks what is known already: RFC 1035 section 4.1.1.
            if question.flags & FLAG_RD:
                return UNCOMMON
        written[0] = write_error(out, seen.packet + HEADER_LENGTH, question, rcode)
        count_response(self.tally, out)
        return ANSWERED

    def drain(self, int fd):
        """Answer what waits in a UDP socket, a bounded amount; hits leave before any miss is looked at."""
        cdef int _batch, i, count, verdict
        cdef size_t length = 0
        cdef size_t written = 0
        cdef const uint8_t* packet
        cdef UdpQuery query
        cdef list uncommon = None
        cdef int64_t now_ms = read_clock()
        for _batch in range(BATCHES_A_WAKEUP):
            count = self.batch.receive(fd)
            self.tally[QUERIES_UDP] += <unsigned int>count
            # Memory is slow: while one query is read, what the one before needs is on its way.
            for i in range(count):
                packet = self.batch.packet(i, &length)
                self.look_at(&self.seen[i], packet, length)
            for i in range(count):
                if self.seen[i].status == WIRE_OK:
                    self.cache.expect_entry(self.seen[i].hash)
            for i in range(count):
                verdict = self.consider(&self.seen[i], self.batch.room(), 0, now_ms, &written)
                if verdict == ANSWERED:
                    self.batch.queue(i, written)
                elif verdict == UNCOMMON:
                    query = UdpQuery.__new__(UdpQuery)
                    query.take(self, &self.seen[i])
                    query.fd = fd
                    query.sender = self.batch.senders[i]
                    if uncommon is None:
                        uncommon = []
                    uncommon.append(query)
            self.tally[SEND_ERRORS] += <unsigned int>self.batch.send(fd)
            if count < BATCH or (uncommon is not None and len(uncommon) >= UNCOMMON_A_WAKEUP):
                break
        if uncommon is not None:
            for query in uncommon:
                self.on_uncommon(query)

    def answer_stream(self, bytes packet not None, make_query):
        """Return the response to one message of a stream, or None when it has none or will have it later.

        In the second case make_query() has been called for the Query object whose `reply` will bring it.
        """
        cdef size_t written = 0
        cdef Seen seen
        cdef Query query
        cdef int verdict
        self.tally[QUERIES_TCP] += 1
        self.look_at(&seen, packet, len(packet))
        verdict = self.consider(&seen, self.stream_room, RESPONSE_MAX, read_clock(), &written)
        if verdict == ANSWERED:
            return self.stream_room[:written]
        if verdict == UNCOMMON:
            query = make_query()
            query.take(self, &seen)
            self.on_uncommon(query)
        return None

    def keep(self, bytes key not None, Answer answer not None):
        """Take an answer into memory, if it may be kept."""
        cdef size_t evictions = self.cache.evictions
        if answer.stored.ttl == 0:
            return
        if self.cache.insert(key, answer, read_clock()):
            self.tally[CACHE_INSERTS] += 1
        else:
            self.tally[CACHE_REFUSED] += 1
        self.tally[CACHE_EVICTIONS] += self.cache.evictions - evictions
        self.show_cache()

    cdef void show_cache(self):
        self.tally[CACHE_ENTRIES] = self.cache.count
        self.tally[CACHE_BYTES] = self.cache.octets


cdef class Query:
    """A query that memory could not answer. Subclasses have `reply(answer)`, which sends the answer to the client."""

    def drop(self):
        """Forget the query without a word: there are too many."""

    cdef void take(self, FastPath home, const Seen* seen):
        self.home = home
        self.question = seen.question
        self.spelling = seen.packet[HEADER_LENGTH:HEADER_LENGTH + seen.question.length]

    @property
    def key(self):
        """The canonical key: lower-cased QNAME in wire form, QTYPE 2, QCLASS 2, flags 1, view 2 octets."""
        return self.question.key[:self.question.key_length]

    @property
    def qtype(self):
        return self.question.qtype

    @property
    def qclass(self):
        return self.question.qclass

    def render(self, Answer answer not None):
        """Return the whole response for this client, as it goes over a stream."""
        if self.home is None:
            raise ValueError("a query that no packet made")
        cdef uint8_t* room = self.home.stream_room
        cdef size_t written = write_answer(
            room, self.spelling, &self.question, &answer.stored, 0, RESPONSE_MAX
        )
        count_response(self.home.tally, room)
        return room[:written]


cdef class UdpQuery(Query):
    """A query that came over UDP."""

    def reply(self, Answer answer not None):
        """Send the answer, cut to TC=1 when it is larger than the client takes; a failure to send is counted."""
        if self.home is None:
            raise ValueError("a query that no packet made")
        cdef uint8_t room[ANSWER_OCTETS]
        cdef size_t written = write_answer(
            room, self.spelling, &self.question, &answer.stored, 0, self.question.udp_size
        )
        count_response(self.home.tally, room)
        if send_one(self.fd, room, written, &self.sender) < 0:
            self.home.tally[SEND_ERRORS] += 1


def key_parts(bytes key not None):
    """Return (name in wire form, qtype, qclass, do, cd) of a canonical key."""
    cdef const uint8_t* tail
    if len(key) <= KEY_TAIL:
        raise ValueError("not a key")
    tail = <const uint8_t*>key + len(key) - KEY_TAIL
    return (
        key[:len(key) - KEY_TAIL], load16(tail), load16(tail + 2), bool(tail[4] & KEY_DO), bool(tail[4] & KEY_CD)
    )
