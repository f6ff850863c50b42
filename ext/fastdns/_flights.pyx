"""Queries to upstreams over UDP that are under way.

Which port a query leaves by is for _ports to say. Where some leave by the same one, the kernel takes and brings them in
one go; ids are random, each by itself.
"""

import os

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastdns._query cimport read_clock_ns
from fastdns._scrub cimport read_clean_reply
from fastdns._shared cimport UPSTREAM_BAD_REPLIES, UPSTREAM_QUERIES, UPSTREAM_TIMEOUTS
from fastdns._udp cimport MSG_DONTWAIT, TRIES, kernel_is_busy, recvmmsg, sendmmsg, wait_for_room
from fastdns._upstream cimport FORM_OPT, FORM_PROBE, FORM_TRIAL, QUERY_MAX, write_query
from fastdns._wire cimport HEADER_LENGTH, WIRE_BAD_REPLY, key_length_of, load16

cdef extern from "<sys/socket.h>":
    ssize_t send_octets "send"(int fd, const void* octets, size_t length, int flags)

cdef enum:
    # Odd multiples of a cache line apart, like the rooms of _udp; of a page nobody has written to there is none.
    REPLY_OCTETS = 65600
    KEPT_IDLE = 256         # flights whose memory is kept for the next ones

TICK_SECONDS = 0.001 * TICK_MS


cdef class Sent:
    """A query under way. Each reply that matches is told to the listener: `received(wire)`, which may then end it.

    When none has come in time, `late()` says so, and it is still listened to. When it ends without one, that is told by
    `failed(errno)`; EBADMSG: what came cannot be used.
    """

    cdef void adopt(self, Flights flights, Flight* flight):
        self.flights = flights
        self.flight = flight
        self.id = flight.id
        flight.listener = <void*>self
        Py_INCREF(self)

    def listen(self, listener not None):
        """Tell this one what comes, and at once what has come already."""
        self.listener = listener
        early, self.early = self.early, None
        if early is not None:
            listener.received(early)
        elif self.error:
            listener.failed(self.error)
        elif self.is_late:
            listener.late()

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
        self.counters = counters
        self.tally = counters.at
        self.wants_ad = wants_ad
        self.ports = Ports()
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
        free(self.rooms)

    @property
    def descriptor(self):
        """An epoll that is readable when a reply waits."""
        return self.ports.descriptor

    def forget(self, Upstream upstream not None):
        """Send nothing more to it; what is under way may still be answered."""
        self.ports.forget(upstream)

    def give_up_ports(self):
        """Send nothing more by the ports that are open: the ways of the network are others now."""
        self.ports.give_up()

    def close_idle_ports(self):
        """Close ports that are open in vain."""
        self.ports.close_idle()

    # --- sending ----------------------------------------------------------------------------------------

    def ask(self, Upstream upstream not None, bytes key not None, *, bint is_trial=False, bint is_probe=False):
        """Send the question of a key. What becomes of it is the Sent's; OSError: not sent.

        A trial goes without OPT, since nothing came with one; a probe with OPT, whatever is known of the upstream.
        """
        cdef Flight* flight
        cdef Sent sent = Sent()
        cdef int error
        flight = self.start(
            upstream, key, key_length_of(key),
            FORM_TRIAL if is_trial and upstream.form() == FORM_OPT else FORM_PROBE if is_probe else upstream.form(),
            read_clock_ns(), <int64_t>(upstream.timeout_ns() // 1000000),
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
        self, Upstream upstream, const uint8_t* key, uint16_t key_length, Form form, uint64_t now_ns, int64_t wait_ms
    ):
        cdef Flight* flight
        cdef uint16_t query_id
        cdef int bucket
        cdef int port
        if self.count >= FLIGHTS_MAX:
            (&errno)[0] = ENOBUFS
            return NULL
        if self.count == 0 and self.on_busy is not None:
            self.on_busy()      # a defect of it must not leave a flight behind that is nobody's
        if upstream.queued and upstream.queued >= upstream.burst:
            self.send(upstream)
        flight = self.idle
        if flight != NULL:
            self.idle = flight.next_in_bucket
            self.idle_count -= 1
        else:
            flight = <Flight*>malloc(sizeof(Flight))
            if flight == NULL:
                (&errno)[0] = ENOBUFS
                return NULL
        if upstream.queued == 0:
            upstream.port = self.ports.choose(upstream, now_ns)
        port = upstream.port
        if port < 0:
            free(flight)
            return NULL
        query_id = self.ports.draw()
        while self.flight_of(port, query_id) != NULL:
            query_id = self.ports.draw()
        bucket = bucket_of(port, query_id)
        memset(flight, 0, sizeof(Flight) - KEY_MAX)
        flight.id = query_id
        flight.port = <uint16_t>port
        flight.upstream = <void*>upstream
        flight.sent_ns = now_ns
        flight.sendings = 1
        flight.form = form
        flight.key_length = key_length
        memcpy(flight.key, key, key_length)
        flight.next_in_bucket = self.buckets[bucket]
        self.buckets[bucket] = flight
        flight.next_of_port = self.of_port[port]
        if flight.next_of_port != NULL:
            flight.next_of_port.previous_of_port = flight
        self.of_port[port] = flight
        self.ports.at[port].waiting += 1
        self.ports.at[port].uses += 1
        self.count += 1
        flight.due_tick = -1
        self.wait_until(flight, <int64_t>(now_ns // 1000000) + wait_ms)
        upstream.parts[upstream.queued].iov_len = write_query(
            &upstream.rooms[upstream.queued * QUERY_MAX], query_id, key, key_length, self.wants_ad,
            form == FORM_OPT or form == FORM_PROBE
        )
        upstream.queue[upstream.queued] = flight
        upstream.queued += 1
        return flight

    cdef void send(self, Upstream upstream):
        cdef int sent = 0
        cdef int tries = 0
        cdef int i, count
        cdef int fd
        cdef Flight* flight
        if upstream.queued == 0:
            return
        fd = self.ports.at[upstream.port].fd
        while sent < upstream.queued:
            count = sendmmsg(fd, &upstream.outbox[sent], <unsigned int>(upstream.queued - sent), MSG_DONTWAIT)
            if count > 0:
                for i in range(sent, sent + count):
                    flight = <Flight*>upstream.queue[i]
                    if flight != NULL:
                        flight.is_sent = True
                sent += count
                continue
            tries += 1
            if tries <= TRIES and kernel_is_busy():
                wait_for_room(fd)
            elif tries <= TRIES and errno == ECONNREFUSED:
                self.refuse(upstream.port, errno)   # the word is of an earlier query; this one has not left yet
            else:
                flight = <Flight*>upstream.queue[sent]
                if flight != NULL:
                    flight.error = errno
                    self.wait_until(flight, 0)
                sent += 1
        self.tally[UPSTREAM_QUERIES] += <unsigned int>upstream.queued
        upstream.queries += <unsigned int>upstream.queued
        upstream.queued = 0

    cdef void repeat(self, Flight* flight, Form form, uint64_t now_ns) noexcept:
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint8_t query[QUERY_MAX]
        cdef size_t length = write_query(
            query, flight.id, flight.key, flight.key_length, self.wants_ad, form == FORM_OPT or form == FORM_PROBE
        )
        flight.form = form
        flight.repeated_ns = now_ns
        # What the kernel does not take is lost like any other packet; an error of the network comes with the replies.
        send_octets(self.ports.at[flight.port].fd, query, length, MSG_DONTWAIT)
        self.tally[UPSTREAM_QUERIES] += 1
        upstream.queries += 1

    cdef void note_reply(self, Flight* flight, uint64_t now_ns) except *:
        """Tell the upstream that it lives, and how long it takes."""
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t sent_ns = flight.sent_ns
        if flight.repeated_ns and not flight.is_late:
            # Nobody knows which sending this answers (Karn): only what neither of them explains is news. After so long
            # a time the line is taken to be slow, and not to lose one packet after the other.
            if upstream.rtt_ns < now_ns - flight.repeated_ns:
                sent_ns = flight.repeated_ns
            elif upstream.rtt_ns <= now_ns - sent_ns:
                sent_ns = now_ns - upstream.rtt_ns
        upstream.note_reply(sent_ns, now_ns)

    cdef void note_late(self, Flight* flight, uint64_t now_ns) except *:
        if not flight.is_late:
            flight.is_late = True
            self.tally[UPSTREAM_TIMEOUTS] += 1
            if flight.form != FORM_PROBE:
                (<Upstream>flight.upstream).note_failure(flight.sent_ns, now_ns)

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
            self.of_port[port] = flight.next_of_port
        if flight.next_of_port != NULL:
            flight.next_of_port.previous_of_port = flight.previous_of_port
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
        self.ports.leave(port)

    cdef void refuse(self, int port, int error) noexcept nogil:
        """The network says that what this port has sent does not arrive: what is under way ends with the next tick."""
        cdef Flight* flight = self.of_port[port]
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
        self.ready_count = self.ports.look(self.ready)
        self.ready_at = self.arrived = self.arrived_at = 0

    cdef bint next_reply(self, Landing* out):
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
                            self.ttl_at, &self.findings
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


cdef void forget_queued(Upstream upstream, const Flight* flight) noexcept:
    cdef int i
    for i in range(upstream.queued):
        if upstream.queue[i] == flight:
            upstream.queue[i] = NULL


cdef inline int bucket_of(int port, uint16_t query_id) noexcept nogil:
    # Ids are random; ports with the same id should not meet.
    return (query_id ^ (port * 40503)) & (BUCKETS - 1)
