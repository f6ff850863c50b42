"""Queries to upstreams in flight.

_ports chooses the port of a query over UDP. Queries from the same port are sent and their replies read in batches; each
has its own random id. Python carries queries over a stream (see Attempt).
"""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastdns._clock cimport read_clock_ns
from fastdns._key cimport key_length_of
from fastdns._ports cimport QUERY_MAX, Route
from fastdns._scrub cimport read_clean_reply
from fastdns._counters cimport UPSTREAM_BAD_REPLIES, UPSTREAM_QUERIES, UPSTREAM_QUERIES_TCP, UPSTREAM_TIMEOUTS
from fastdns._udp cimport MSG_DONTWAIT, TRIES, kernel_is_busy, recvmmsg, sendmmsg, wait_for_room
from fastdns._upstream cimport FORM_PROBE, sends_opt, write_query
from fastdns._wheel cimport OF_FLIGHT
from fastdns._wire cimport HEADER_LENGTH, WIRE_BAD_REPLY, load16

from fastdns.defects import report

cdef extern from "<sys/socket.h>":
    ssize_t send_octets "send"(int fd, const void* octets, size_t length, int flags)

cdef enum:
    # Odd multiples of a cache line apart, like the buffers of _udp; unwritten pages take no memory.
    REPLY_OCTETS = 65600
    KEPT_IDLE = 256         # flights whose memory is kept for the next ones


cdef class Attempt:
    """A query over a stream. Its transport sends it, and reports the outcome by `received` or `failed`.

    A transport (`Upstream.stream`) has `send(attempt)`, which is also called to send it again in another form,
    `late(attempt)`: no reply came in time, and `forget(attempt)`: no client waits for it any more.
    """

    @property
    def is_over(self):
        """True if no client waits for it any more."""
        return self.flight == NULL

    def message(self, int query_id):
        """Return the query in wire form with this id."""
        cdef uint8_t room[QUERY_MAX]
        if self.flight == NULL:
            raise ValueError("it is over")
        return room[:write_query(
            room, <uint16_t>query_id, self.flight.key, self.flight.key_length, self.flight.wants_ad,
            sends_opt(self.flight.form)
        )]

    def received(self, bytes wire not None, int query_id):
        """Read a message with this id; return False if it is not a reply to this query."""
        if self.flight == NULL:
            return False
        return self.flights.taker.received(self, wire, query_id)

    def failed(self, int number):
        """It cannot be answered, for this errno."""
        if self.flight != NULL:
            self.flights.fail(self.flight, number)


cdef inline uint64_t between(uint64_t one, uint64_t other) noexcept nogil:
    return one - other if one > other else other - one


cdef class Flights:
    """All queries of one process to upstreams."""

    def __cinit__(self, Counters counters not None):
        cdef int i
        self.counters = counters
        self.tally = counters.at
        self.wheel = Wheel()
        self.ports = Ports()
        self.unsent = []
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
                Py_DECREF(<Upstream>flight.upstream)
                free(flight)
                flight = next_one
        while self.idle != NULL:
            next_one = self.idle.next_in_bucket
            free(self.idle)
            self.idle = next_one
        free(self.rooms)

    @property
    def descriptor(self):
        """An epoll that is readable when a reply waits."""
        return self.ports.descriptor

    def forget(self, Upstream upstream not None):
        """Send nothing more to it; queries in flight may still be answered."""
        self.ports.forget(upstream.route)

    def give_up_ports(self):
        """Send nothing more from the open ports, because the network's routes have changed."""
        self.ports.give_up()

    def close_idle_ports(self):
        """Close idle ports."""
        self.ports.close_idle()

    # --- sending ----------------------------------------------------------------------------------------

    def probe(self, Upstream upstream not None, bytes key not None, int form):
        """Ask only to see whether and how it answers; its health learns from the reply.

        With an OPT whatever is known about it (PROBE), without one (PLAIN), or to test that it answers without (TRIAL).
        """
        cdef Flight* flight = self.start(
            upstream, key, key_length_of(key), <Form>form, False, upstream.is_stream, read_clock_ns(),
        )
        if flight == NULL:
            return
        self.wheel.set(&flight.timer, <int64_t>((flight.sent_ns + upstream.timeout_ns()) // 1000000))
        self.send()

    cdef Flight* start(
        self, Upstream upstream, const uint8_t* key, uint16_t key_length, Form form, bint wants_ad, bint by_stream,
        uint64_t now_ns
    ) except? NULL:
        cdef Flight* flight
        cdef Attempt attempt
        cdef Route route
        self.wheel.wake()       # a defect in it must not leave a flight without an owner
        flight = self.make(upstream, key, key_length, now_ns)
        if flight == NULL:
            return NULL
        flight.form = form
        flight.wants_ad = wants_ad
        if by_stream:
            attempt = Attempt.__new__(Attempt)
            attempt.flights = self
            attempt.upstream = upstream
            attempt.key = key[:key_length]
            attempt.flight = flight
            Py_INCREF(attempt)
            flight.attempt = <void*>attempt
            flight.is_sent = True
            self.tally[UPSTREAM_QUERIES] += 1
            self.tally[UPSTREAM_QUERIES_TCP] += 1
            upstream.queries += 1
            try:
                upstream.stream.send(attempt)
            except Exception as defect:     # `failed` reports an error
                report(defect)
                self.fail(flight, ENOBUFS)
            return flight
        if not self.join_port(flight, upstream, now_ns):
            self.count -= 1
            self.dispose(flight)
            return NULL
        route = upstream.route
        route.parts[route.queued].iov_len = write_query(
            &route.rooms[route.queued * QUERY_MAX], flight.id, key, key_length, wants_ad, sends_opt(form)
        )
        route.queue[route.queued] = flight
        route.queued += 1
        return flight

    cdef Flight* make(self, Upstream upstream, const uint8_t* key, uint16_t key_length, uint64_t now_ns) noexcept:
        cdef Flight* flight = self.idle
        if self.count >= FLIGHTS_MAX:
            (&errno)[0] = ENOBUFS
            return NULL
        if flight != NULL:
            self.idle = flight.next_in_bucket
            self.idle_count -= 1
        else:
            flight = <Flight*>malloc(sizeof(Flight))
            if flight == NULL:
                (&errno)[0] = ENOBUFS
                return NULL
        memset(flight, 0, sizeof(Flight) - KEY_MAX)
        flight.timer.kind = OF_FLIGHT
        flight.looked_after = &flight.timer
        Py_INCREF(upstream)
        flight.upstream = <void*>upstream
        flight.sent_ns = now_ns
        flight.sendings = 1
        flight.key_length = key_length
        memcpy(flight.key, key, key_length)
        self.count += 1
        return flight

    cdef bint join_port(self, Flight* flight, Upstream upstream, uint64_t now_ns) noexcept:
        """Give it a port and an id there; False with errno: no port is free."""
        cdef uint16_t query_id
        cdef int bucket
        cdef int port
        cdef Route route = upstream.route
        if route.queued and route.queued >= route.burst:
            self.send_to(upstream)
        if route.queued == 0:
            route.port = self.ports.choose(route, now_ns)
        port = route.port
        if port < 0:
            return False
        if route.queued == 0:
            self.unsent.append(upstream)
        query_id = self.ports.draw()
        while self.flight_of(port, query_id) != NULL:
            query_id = self.ports.draw()
        bucket = bucket_of(port, query_id)
        flight.id = query_id
        flight.port = <uint16_t>port
        flight.next_in_bucket = self.buckets[bucket]
        self.buckets[bucket] = flight
        flight.next_of_port = self.of_port[port]
        if flight.next_of_port != NULL:
            flight.next_of_port.previous_of_port = flight
        self.of_port[port] = flight
        self.ports.at[port].waiting += 1
        self.ports.at[port].uses += 1
        return True

    cdef void send(self) noexcept:
        cdef Upstream upstream
        if not len(self.unsent):
            return
        for upstream in self.unsent:
            self.send_to(upstream)
        self.unsent.clear()

    cdef void send_to(self, Upstream upstream) noexcept:
        cdef int sent = 0
        cdef int tries = 0
        cdef int i, count
        cdef int fd
        cdef Flight* flight
        cdef Route route = upstream.route
        if route.queued == 0:
            return
        fd = self.ports.at[route.port].fd
        while sent < route.queued:
            count = sendmmsg(fd, &route.outbox[sent], <unsigned int>(route.queued - sent), MSG_DONTWAIT)
            if count > 0:
                for i in range(sent, sent + count):
                    flight = <Flight*>route.queue[i]
                    if flight != NULL:
                        flight.is_sent = True
                sent += count
                continue
            tries += 1
            if tries <= TRIES and kernel_is_busy():
                wait_for_room(fd)
            elif tries <= TRIES and errno == ECONNREFUSED:
                self.refuse(route.port, errno)   # the error is about an earlier query; this one has not left yet
            else:
                flight = <Flight*>route.queue[sent]
                if flight != NULL:
                    self.fail(flight, errno)
                sent += 1
        self.tally[UPSTREAM_QUERIES] += <unsigned int>route.queued
        upstream.queries += <unsigned int>route.queued
        route.queued = 0

    cdef void repeat(self, Flight* flight, Form form, uint64_t now_ns) noexcept:
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint8_t query[QUERY_MAX]
        cdef size_t length
        flight.form = form
        flight.repeated_ns = now_ns
        flight.sendings += 1
        self.tally[UPSTREAM_QUERIES] += 1
        upstream.queries += 1
        if flight.attempt != NULL:
            self.tally[UPSTREAM_QUERIES_TCP] += 1
            try:
                upstream.stream.send(<Attempt>flight.attempt)
            except Exception as defect:
                report(defect)
                self.fail(flight, ENOBUFS)
            return
        length = write_query(query, flight.id, flight.key, flight.key_length, flight.wants_ad, sends_opt(form))
        # A query that the kernel refuses is lost like any other packet; errors of the network come with the replies.
        send_octets(self.ports.at[flight.port].fd, query, length, MSG_DONTWAIT)

    cdef void note_reply(self, Flight* flight, uint64_t now_ns) noexcept:
        """Tell the upstream that it is alive, and its round trip."""
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t sent_ns = flight.sent_ns
        cdef uint64_t usual = upstream.rtt_ns
        cdef uint64_t of_last = now_ns - flight.repeated_ns
        # Which sending this answers is unknown (Karn). It counts for the one that it follows by the usual time; if it
        # is later than either explains, the line is slow, and has lost nothing.
        if (
            flight.repeated_ns and not flight.is_late and usual and of_last <= upstream.patience_ns()
            and between(of_last, usual) < between(now_ns - sent_ns, usual)
        ):
            upstream.note_loss()
            sent_ns = flight.repeated_ns
        # The longer timeout stays until a question that was sent once is answered: RFC 6298 section 5.
        upstream.backs_off = flight.repeated_ns != 0 and not flight.is_late
        upstream.note_reply(sent_ns, now_ns)

    cdef void note_late(self, Flight* flight, uint64_t now_ns) noexcept:
        cdef Upstream upstream = <Upstream>flight.upstream
        if flight.is_late:
            return
        flight.is_late = True
        self.tally[UPSTREAM_TIMEOUTS] += 1
        if flight.form != FORM_PROBE:
            upstream.note_failure(flight.sent_ns, now_ns, 0)
        if flight.attempt != NULL:
            try:
                upstream.stream.late(<Attempt>flight.attempt)
            except Exception as defect:
                report(defect)

    # --- the end of a flight ----------------------------------------------------------------------------

    cdef void end(self, Flight* flight) noexcept:
        cdef Attempt attempt
        self.wheel.cancel(&flight.timer)
        self.count -= 1
        if flight.attempt != NULL:
            attempt = <Attempt>flight.attempt
            attempt.flight = NULL
            try:
                attempt.upstream.stream.forget(attempt)
            except Exception as defect:
                report(defect)
            Py_DECREF(attempt)
        else:
            self.leave_port(flight)
        self.dispose(flight)

    cdef void leave_port(self, Flight* flight) noexcept:
        cdef Flight** link = &self.buckets[bucket_of(flight.port, flight.id)]
        if not flight.is_sent:
            forget_queued((<Upstream>flight.upstream).route, flight)
        while link[0] != flight:
            link = &link[0].next_in_bucket
        link[0] = flight.next_in_bucket
        if flight.previous_of_port != NULL:
            flight.previous_of_port.next_of_port = flight.next_of_port
        else:
            self.of_port[flight.port] = flight.next_of_port
        if flight.next_of_port != NULL:
            flight.next_of_port.previous_of_port = flight.previous_of_port
        self.ports.leave(flight.port)

    cdef void dispose(self, Flight* flight) noexcept:
        Py_DECREF(<Upstream>flight.upstream)
        if self.idle_count < KEPT_IDLE:
            flight.next_in_bucket = self.idle
            self.idle = flight
            self.idle_count += 1
        else:
            free(flight)

    cdef void refuse(self, int port, int error) noexcept nogil:
        """The network reports that this port's queries do not arrive: those in flight end with the next tick."""
        cdef Flight* flight = self.of_port[port]
        while flight != NULL:
            if flight.is_sent:
                self.fail(flight, error)
            flight = flight.next_of_port

    cdef void fail(self, Flight* flight, int error) noexcept nogil:
        flight.error = error
        flight.error_ms = 0
        flight.wants_trial = False
        self.wheel.set(flight.looked_after, 0)

    # --- replies ----------------------------------------------------------------------------------------

    cdef Flight* flight_of(self, int port, uint16_t query_id) noexcept nogil:
        cdef Flight* flight = self.buckets[bucket_of(port, query_id)]
        while flight != NULL and (flight.id != query_id or flight.port != port):
            flight = flight.next_in_bucket
        return flight

    cdef void look(self) noexcept:
        self.ready_count = self.ports.look(self.ready)
        self.ready_at = self.arrived = self.arrived_at = 0

    cdef bint next_reply(self, Landing* out) noexcept:
        cdef const uint8_t* wire
        cdef int port
        cdef int i
        while True:
            while self.arrived_at < self.arrived:
                i = self.arrived_at
                self.arrived_at += 1
                port = self.ready[self.ready_at - 1]
                out.wire = self.rooms + i * REPLY_OCTETS
                out.length = self.inbox[i].msg_len
                if out.length >= HEADER_LENGTH and self.ports.at[port].serial == self.serial:
                    out.flight = self.flight_of(port, load16(out.wire))
                    if out.flight != NULL:
                        wire = out.wire
                        out.status = read_clean_reply(
                            &wire, &out.length, out.flight.id, out.flight.key, out.flight.key_length, &out.reply,
                            self.ttl_at, &self.findings,
                        )
                        out.wire = <uint8_t*>wire
                        if out.status != WIRE_BAD_REPLY:
                            return True
                # The true reply may still come: only a matching one counts.
                self.tally[UPSTREAM_BAD_REPLIES] += 1
            if self.ready_at >= self.ready_count:
                return False
            port = self.ready[self.ready_at]
            self.ready_at += 1
            self.arrived_at = self.arrived = 0
            if self.ports.at[port].fd < 0:
                continue    # closed since
            self.serial = self.ports.at[port].serial
            self.arrived = recvmmsg(self.ports.at[port].fd, self.inbox, BATCH, MSG_DONTWAIT, NULL)
            if self.arrived < 0:
                self.arrived = 0
                if errno != EAGAIN and errno != EINTR:
                    self.refuse(port, errno)

    cdef bint read_stream_reply(
        self, Flight* flight, const uint8_t* wire, size_t length, uint16_t query_id, Landing* out
    ) noexcept:
        """Read a message that came for it over a stream; False: it is not a reply to it."""
        cdef const uint8_t* clean
        if length < HEADER_LENGTH or length > REPLY_OCTETS:
            return False
        memcpy(self.rooms, wire, length)        # its cached form is made in place
        clean = self.rooms
        out.flight = flight
        out.length = length
        out.status = read_clean_reply(
            &clean, &out.length, query_id, flight.key, flight.key_length, &out.reply, self.ttl_at,
            &self.findings,
        )
        out.wire = <uint8_t*>clean
        return out.status != WIRE_BAD_REPLY


cdef void forget_queued(Route route, const Flight* flight) noexcept:
    cdef int i
    for i in range(route.queued):
        if route.queue[i] == flight:
            route.queue[i] = NULL


cdef inline int bucket_of(int port, uint16_t query_id) noexcept nogil:
    # Ids are random; ports with the same id should not meet.
    return (query_id ^ (port * 40503)) & (BUCKETS - 1)
