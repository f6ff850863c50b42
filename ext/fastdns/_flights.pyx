"""Queries to upstreams over UDP that are under way.

Each upstream has a pool of connected sockets on random ports, and a port is given up after a number of queries or
seconds. A burst of queries leaves by one port of the pool, chosen anew each time, so that the kernel takes and brings
it in one go; ids are random, each by itself.
"""

import os

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from fastdns._query cimport read_clock_ns
from fastdns._shared cimport UPSTREAM_BAD_REPLIES, UPSTREAM_QUERIES
from fastdns._udp cimport MSG_DONTWAIT, TRIES, kernel_is_busy, recvmmsg, sendmmsg, wait_for_room
from fastdns._wire cimport (
    FLAG_AD, FLAG_CD, FLAG_RD, HEADER_LENGTH, KEY_CD, KEY_DO, KEY_TAIL, TYPE_OPT, UDP_SIZE_MAX, WIRE_OK, load16,
    read_reply, store16,
)

cdef extern from "<sys/random.h>":
    ssize_t getrandom(void* out, size_t length, unsigned int flags)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int EPOLLIN, EPOLL_CTL_ADD, EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int count, int timeout)

cdef enum:
    # Odd multiples of a cache line apart, like the rooms of _udp; of a page nobody has written to there is none.
    REPLY_OCTETS = 65600
    OPT_OCTETS = 11
    KEPT_OF_TAIL = 4        # type and class: what follows in a key is no part of the question
    PORT_USES = 256
    PORT_SECONDS = 10
    DEADLY_FAILURES = 2     # in a row, with no reply between: one lost packet is no death
    KEPT_IDLE = 256         # flights whose memory is kept for the next ones

cdef uint64_t SECOND = 1000000000
cdef uint64_t PATIENCE_MIN = 150000000
cdef uint64_t PATIENCE_UNKNOWN = 300000000
cdef uint64_t PATIENCE_MAX = 500000000


TICK_SECONDS = 0.001 * TICK_MS


cdef size_t write_query(
    uint8_t* out, uint16_t query_id, const uint8_t* key, uint16_t key_length, bint wants_ad
) noexcept nogil:
    """Write the query for a canonical key: nothing of the client but DO and CD is in it; at most QUERY_MAX octets."""
    cdef uint16_t question = key_length - KEY_TAIL + KEPT_OF_TAIL
    cdef uint8_t flags = key[key_length - KEY_TAIL + KEPT_OF_TAIL]
    cdef uint8_t* opt = out + HEADER_LENGTH + question
    memset(out, 0, HEADER_LENGTH)
    store16(out, query_id)
    # AD asks for the AD bit in return: RFC 6840 section 5.7.
    store16(out + 2, FLAG_RD | (FLAG_AD if wants_ad else 0) | (FLAG_CD if flags & KEY_CD else 0))
    out[5] = 1
    out[11] = 1
    memcpy(out + HEADER_LENGTH, key, question)
    memset(opt, 0, OPT_OCTETS)
    store16(opt + 1, TYPE_OPT)
    store16(opt + 3, UDP_SIZE_MAX)
    opt[7] = 0x80 if flags & KEY_DO else 0
    return HEADER_LENGTH + question + OPT_OCTETS


def query_message(int query_id, bytes key not None, bint wants_ad):
    """Return the query in wire form that asks an upstream for a canonical key."""
    cdef uint8_t room[QUERY_MAX]
    if not KEY_TAIL < len(key) <= KEY_MAX:
        raise ValueError("not a key")
    return room[:write_query(room, <uint16_t>query_id, key, <uint16_t>len(key), wants_ad)]


cdef class Upstream:
    """One upstream as UDP sees it: its ports, its round trip, whether it is alive.

    `open_socket()` returns the descriptor of a socket that is connected to it from a random port; OSError when there is
    none to be had. `on_turn()` is called when it dies, and when it answers again.
    """

    def __cinit__(self, Source source not None, double timeout, open_socket, on_turn):
        cdef int i
        self.source = source
        self.timeout = timeout
        self.open_socket = open_socket
        self.on_turn = on_turn
        self.alive = True
        self.port = -1
        for i in range(POOL):
            self.pool[i] = -1
        for i in range(BATCH):
            self.parts[i].iov_base = &self.rooms[i * QUERY_MAX]
            self.outbox[i].msg_hdr.msg_iov = &self.parts[i]
            self.outbox[i].msg_hdr.msg_iovlen = 1

    @property
    def rtt(self):
        """The smoothed round trip in seconds; None: unknown."""
        return self.rtt_ns / 1e9 if self.rtt_ns else None

    @property
    def patience(self):
        """Seconds after which another upstream is asked as well: what it takes when it is well."""
        return self.patience_ns() / 1e9

    cdef uint64_t patience_ns(self) noexcept nogil:
        if self.rtt_ns == 0:
            return PATIENCE_UNKNOWN
        return min(max(2 * self.rtt_ns + 4 * self.deviation_ns, PATIENCE_MIN), PATIENCE_MAX)

    def answered(self, double seconds):
        """It replied after so many seconds."""
        cdef uint64_t now_ns = read_clock_ns()
        self.note_reply(now_ns - <uint64_t>(seconds * 1e9), now_ns)

    def failed(self, double seconds):
        """What was sent so many seconds ago was not answered, or could not be sent."""
        cdef uint64_t now_ns = read_clock_ns()
        self.note_failure(now_ns - <uint64_t>(seconds * 1e9), now_ns)

    cdef void note_reply(self, uint64_t sent_ns, uint64_t now_ns):
        # RFC 6298 section 2.
        cdef int64_t sample = <int64_t>max(now_ns - sent_ns, <uint64_t>1)
        cdef int64_t off = sample - <int64_t>self.rtt_ns
        if self.rtt_ns == 0:
            self.rtt_ns = <uint64_t>sample
            self.deviation_ns = <uint64_t>(sample // 2)
        else:
            self.deviation_ns = <uint64_t>(<int64_t>self.deviation_ns + (abs(off) - <int64_t>self.deviation_ns) // 4)
            self.rtt_ns = <uint64_t>max(<int64_t>self.rtt_ns + off // 8, <int64_t>1)
        self.in_a_row = 0
        self.last_reply_ns = now_ns
        if not self.alive:
            self.alive = True
            self.on_turn()

    cdef void note_failure(self, uint64_t sent_ns, uint64_t now_ns):
        self.failures += 1
        self.last_failure_ns = now_ns
        if sent_ns < self.last_reply_ns:
            return      # it has answered others since: one name is slow, not the upstream
        self.in_a_row += 1
        if self.alive and self.in_a_row >= DEADLY_FAILURES:
            self.alive = False
            self.on_turn()


cdef class Sent:
    """A query under way. Each reply that matches is told to `listener`: `received(wire)`; to end it is the listener's.

    When it ends without one, that is told by `failed(errno)`; ETIMEDOUT: no reply in time.
    """

    cdef void adopt(self, Flights flights, Flight* flight):
        self.flights = flights
        self.flight = flight
        self.id = flight.id
        flight.listener = <void*>self
        Py_INCREF(self)

    def cancel(self):
        """Wait no longer."""
        if self.flight != NULL:
            self.flights.end(self.flight)


cdef Sent sent_of(Flight* flight):
    return <Sent>flight.listener if flight.listener != NULL else None


cdef class Flights:
    """All queries of one process to upstreams over UDP. Each belongs to a C owner or to a Sent."""

    def __cinit__(self, Counters counters not None, *, bint wants_ad=False):
        cdef int i
        self.descriptor = epoll_create1(EPOLL_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(errno, os.strerror(errno))
        self.counters = counters
        self.tally = counters.at
        self.wants_ad = wants_ad
        self.owners = [None] * PORTS_MAX
        for i in range(PORTS_MAX):
            self.ports[i].fd = -1
        self.rooms = <uint8_t*>malloc(<size_t>BATCH * REPLY_OCTETS)
        if self.rooms == NULL:
            raise MemoryError
        for i in range(BATCH):
            self.parts[i].iov_base = self.rooms + i * REPLY_OCTETS
            self.parts[i].iov_len = REPLY_OCTETS
            self.inbox[i].msg_hdr.msg_iov = &self.parts[i]
            self.inbox[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        cdef int i
        cdef Flight* flight
        cdef Flight* next_one
        for i in range(BUCKETS):
            flight = self.buckets[i]
            while flight != NULL:
                next_one = flight.next_in_bucket
                if flight.listener != NULL:
                    Py_DECREF(<object>flight.listener)
                free(flight)
                flight = next_one
        while self.idle != NULL:
            next_one = self.idle.next_in_bucket
            free(self.idle)
            self.idle = next_one
        for i in range(PORTS_MAX):
            if self.ports[i].fd >= 0:
                close(self.ports[i].fd)
        close(self.descriptor)
        free(self.rooms)

    # --- ports ------------------------------------------------------------------------------------------

    cdef uint16_t draw(self) noexcept:
        """A number that nobody can guess."""
        if self.random_left == 0:
            # The kernel's generator is ready long before anybody asks; 1,024 octets it gives without interruption.
            while getrandom(self.random, sizeof(self.random), 0) != sizeof(self.random):
                pass
            self.random_left = sizeof(self.random) // sizeof(uint16_t)
        self.random_left -= 1
        return self.random[self.random_left]

    cdef int choose_port(self, Upstream upstream, uint64_t now_ns):
        """Return the index of a random port of the pool, a new one when it has served its time; -1 with errno."""
        cdef int slot = self.draw() % POOL
        cdef int port = upstream.pool[slot]
        cdef int i
        if port >= 0:
            if (
                self.ports[port].uses < PORT_USES and now_ns - self.ports[port].opened_ns < PORT_SECONDS * SECOND
                # Since then its address may not be ours any more, or a filter has forgotten it.
                and self.ports[port].opened_ns >= upstream.last_failure_ns
            ):
                return port
            upstream.pool[slot] = -1
            self.retire(port)
        port = self.open_port(upstream, now_ns)
        if port >= 0:
            upstream.pool[slot] = port
            return port
        for i in range(POOL):
            if upstream.pool[i] >= 0:
                return upstream.pool[i]
        return -1

    cdef int open_port(self, Upstream upstream, uint64_t now_ns):
        cdef epoll_event event
        cdef int port = 0
        cdef int fd
        while port < PORTS_MAX and self.ports[port].fd >= 0:
            port += 1
        if port == PORTS_MAX:
            (&errno)[0] = ENOBUFS
            return -1
        try:
            fd = upstream.open_socket()
        except OSError as error:
            (&errno)[0] = <int>(error.errno or ENOBUFS)
            return -1
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN
        event.data.fd = port
        if epoll_ctl(self.descriptor, EPOLL_CTL_ADD, fd, &event) != 0:
            close(fd)
            return -1
        self.ports[port].fd = fd
        self.ports[port].serial += 1
        self.ports[port].uses = 0
        self.ports[port].waiting = 0
        self.ports[port].opened_ns = now_ns
        self.ports[port].is_retired = False
        self.ports[port].flights = NULL
        self.ports[port].upstream = <void*>upstream
        self.owners[port] = upstream
        return port

    cdef void retire(self, int port) noexcept:
        """Let a port send no more, and close it when nothing is waited for there."""
        self.ports[port].is_retired = True
        if self.ports[port].waiting == 0:
            self.close_port(port)

    cdef void close_port(self, int port) noexcept:
        close(self.ports[port].fd)
        self.ports[port].fd = -1
        self.owners[port] = None

    def forget(self, Upstream upstream not None):
        """Send nothing more to it; what is under way may still be answered."""
        cdef int i
        for i in range(POOL):
            if upstream.pool[i] >= 0:
                self.retire(upstream.pool[i])
                upstream.pool[i] = -1

    # --- sending ----------------------------------------------------------------------------------------

    def ask(self, Upstream upstream not None, bytes key not None):
        """Send the question of a key; what becomes of it in `upstream.timeout` seconds is the Sent's. OSError: not sent."""
        cdef Flight* flight
        cdef Sent sent = Sent()
        cdef int error
        if not KEY_TAIL < len(key) <= KEY_MAX:
            raise ValueError("not a key")
        flight = self.start(
            upstream, key, <uint16_t>len(key), read_clock_ns(), <int64_t>(upstream.timeout * 1000)
        )
        if flight == NULL:
            raise OSError(errno, os.strerror(errno))
        self.send(upstream)
        error = flight.error
        if error:
            self.end(flight)
            raise OSError(error, os.strerror(error))
        sent.adopt(self, flight)
        return sent

    cdef Flight* start(
        self, Upstream upstream, const uint8_t* key, uint16_t key_length, uint64_t now_ns, int64_t wait_ms
    ):
        cdef Flight* flight
        cdef uint16_t query_id
        cdef int bucket
        cdef int port
        if self.count >= FLIGHTS_MAX:
            (&errno)[0] = ENOBUFS
            return NULL
        if upstream.queued == BATCH:
            self.send(upstream)
        if upstream.queued == 0:
            upstream.port = self.choose_port(upstream, now_ns)
        port = upstream.port
        if port < 0:
            return NULL
        flight = self.idle
        if flight != NULL:
            self.idle = flight.next_in_bucket
            self.idle_count -= 1
        else:
            flight = <Flight*>malloc(sizeof(Flight))
            if flight == NULL:
                (&errno)[0] = ENOBUFS
                return NULL
        query_id = self.draw()
        while self.flight_of(port, query_id) != NULL:
            query_id = self.draw()
        bucket = bucket_of(port, query_id)
        memset(flight, 0, sizeof(Flight) - KEY_MAX)
        flight.id = query_id
        flight.port = <uint16_t>port
        flight.upstream = <void*>upstream
        flight.sent_ns = now_ns
        flight.key_length = key_length
        memcpy(flight.key, key, key_length)
        flight.next_in_bucket = self.buckets[bucket]
        self.buckets[bucket] = flight
        flight.next_of_port = self.ports[port].flights
        if flight.next_of_port != NULL:
            flight.next_of_port.previous_of_port = flight
        self.ports[port].flights = flight
        self.ports[port].waiting += 1
        self.ports[port].uses += 1
        self.count += 1
        flight.due_tick = -1
        self.wait_until(flight, <int64_t>(now_ns // 1000000) + wait_ms)
        upstream.parts[upstream.queued].iov_len = write_query(
            &upstream.rooms[upstream.queued * QUERY_MAX], query_id, key, key_length, self.wants_ad
        )
        upstream.queue[upstream.queued] = flight
        upstream.queued += 1
        if self.count == 1 and self.on_busy is not None:
            self.on_busy()
        return flight

    cdef void send(self, Upstream upstream):
        cdef int sent = 0
        cdef int tries = 0
        cdef int i, count
        cdef int fd
        if upstream.queued == 0:
            return
        fd = self.ports[upstream.port].fd
        while sent < upstream.queued:
            count = sendmmsg(fd, &upstream.outbox[sent], <unsigned int>(upstream.queued - sent), MSG_DONTWAIT)
            if count > 0:
                for i in range(sent, sent + count):
                    if upstream.queue[i] != NULL:
                        upstream.queue[i].is_sent = True
                sent += count
                continue
            tries += 1
            if tries <= TRIES and kernel_is_busy():
                wait_for_room(fd)
            elif tries <= TRIES and errno == ECONNREFUSED:
                self.refuse(upstream.port, errno)   # the word is of an earlier query; this one has not left yet
            else:
                if upstream.queue[sent] != NULL:
                    upstream.queue[sent].error = errno
                    self.wait_until(upstream.queue[sent], 0)
                sent += 1
        self.tally[UPSTREAM_QUERIES] += <unsigned int>upstream.queued
        upstream.queries += <unsigned int>upstream.queued
        upstream.queued = 0

    # --- the end of a flight ----------------------------------------------------------------------------

    cdef void end(self, Flight* flight) noexcept:
        cdef int port = flight.port
        cdef Flight** link = &self.buckets[bucket_of(port, flight.id)]
        cdef Sent sent
        if not flight.is_sent:
            forget_queued(<Upstream>flight.upstream, flight)
        while link[0] != flight:
            link = &link[0].next_in_bucket
        link[0] = flight.next_in_bucket
        self.leave_wheel(flight)
        if flight.previous_of_port != NULL:
            flight.previous_of_port.next_of_port = flight.next_of_port
        else:
            self.ports[port].flights = flight.next_of_port
        if flight.next_of_port != NULL:
            flight.next_of_port.previous_of_port = flight.previous_of_port
        self.ports[port].waiting -= 1
        self.count -= 1
        if flight.listener != NULL:
            sent = <Sent>flight.listener
            sent.flight = NULL
            Py_DECREF(sent)
        if self.idle_count < KEPT_IDLE:
            flight.next_in_bucket = self.idle
            self.idle = flight
            self.idle_count += 1
        else:
            free(flight)
        if self.ports[port].is_retired and self.ports[port].waiting == 0:
            self.close_port(port)

    cdef void refuse(self, int port, int error) noexcept nogil:
        """The network says that what this port has sent does not arrive: what is under way ends with the next tick."""
        cdef Flight* flight = self.ports[port].flights
        while flight != NULL:
            if flight.is_sent:
                flight.error = error
                self.wait_until(flight, 0)
            flight = flight.next_of_port

    # --- the timer wheel --------------------------------------------------------------------------------

    cdef void wait_until(self, Flight* flight, int64_t due_ms) noexcept nogil:
        cdef Flight** slot
        self.leave_wheel(flight)
        # A whole tick later than due, never earlier; and never in a slot that has been passed.
        flight.due_tick = max(due_ms // TICK_MS + 1, self.tick)
        slot = &self.wheel[flight.due_tick % WHEEL_SLOTS]
        flight.previous_due = NULL
        flight.next_due = slot[0]
        if slot[0] != NULL:
            slot[0].previous_due = flight
        slot[0] = flight

    cdef void leave_wheel(self, Flight* flight) noexcept nogil:
        if flight.due_tick < 0:
            return
        if flight.previous_due != NULL:
            flight.previous_due.next_due = flight.next_due
        else:
            self.wheel[flight.due_tick % WHEEL_SLOTS] = flight.next_due
        if flight.next_due != NULL:
            flight.next_due.previous_due = flight.previous_due
        flight.due_tick = -1

    cdef Flight* next_due(self, int64_t now_ms) noexcept nogil:
        cdef int64_t now_tick = now_ms // TICK_MS
        cdef Flight* flight
        if now_tick - self.tick > WHEEL_SLOTS:
            self.tick = now_tick - WHEEL_SLOTS      # one turn sees every slot
        while self.tick <= now_tick:
            flight = self.wheel[self.tick % WHEEL_SLOTS]
            while flight != NULL and flight.due_tick > self.tick:
                flight = flight.next_due            # of a later turn of the wheel
            if flight != NULL:
                self.leave_wheel(flight)
                return flight
            self.tick += 1
        return NULL

    # --- replies ----------------------------------------------------------------------------------------

    cdef Flight* flight_of(self, int port, uint16_t query_id) noexcept nogil:
        cdef Flight* flight = self.buckets[bucket_of(port, query_id)]
        while flight != NULL and (flight.id != query_id or flight.port != port):
            flight = flight.next_in_bucket
        return flight

    cdef void look(self) noexcept:
        cdef epoll_event events[EVENTS]
        cdef int i
        self.ready_count = max(epoll_wait(self.descriptor, events, EVENTS, 0), 0)
        for i in range(self.ready_count):
            self.ready[i] = events[i].data.fd
        self.ready_at = self.arrived = self.arrived_at = 0

    cdef bint next_reply(self, Landing* out):
        cdef int port
        cdef int i
        while True:
            while self.arrived_at < self.arrived:
                i = self.arrived_at
                self.arrived_at += 1
                port = self.ready[self.ready_at - 1]
                out.wire = self.rooms + i * REPLY_OCTETS
                out.length = self.inbox[i].msg_len
                if out.length >= HEADER_LENGTH and self.ports[port].serial == self.serial:
                    out.flight = self.flight_of(port, load16(out.wire))
                    if out.flight != NULL and read_reply(
                        out.wire, out.length, out.flight.id, out.flight.key, out.flight.key_length, &out.reply,
                        self.ttl_at
                    ) == WIRE_OK:
                        return True
                # The true reply may still come: only a matching one ends the wait.
                self.tally[UPSTREAM_BAD_REPLIES] += 1
            if self.ready_at >= self.ready_count:
                return False
            port = self.ready[self.ready_at]
            self.ready_at += 1
            self.arrived_at = self.arrived = 0
            if self.ports[port].fd < 0:
                continue    # closed since
            self.serial = self.ports[port].serial
            self.arrived = recvmmsg(self.ports[port].fd, self.inbox, BATCH, MSG_DONTWAIT, NULL)
            if self.arrived < 0:
                self.arrived = 0
                if errno != EAGAIN and errno != EINTR:
                    self.refuse(port, errno)


cdef void forget_queued(Upstream upstream, const Flight* flight) noexcept:
    cdef int i
    for i in range(upstream.queued):
        if upstream.queue[i] == flight:
            upstream.queue[i] = NULL


cdef inline int bucket_of(int port, uint16_t query_id) noexcept nogil:
    # Ids are random; ports with the same id should not meet.
    return (query_id ^ (port * 40503)) & (BUCKETS - 1)
