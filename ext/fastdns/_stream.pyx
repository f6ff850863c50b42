"""Connections of clients as C structs behind one epoll: reading, TLS, sending, closing, and their limits of time.

What one wake-up of a connection brings is read by one system call and sent by one. A connection owns memory only for a
part of a message, or for what the kernel has not taken.
"""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset
from posix.unistd cimport close as close_descriptor

from fastdns._buffer cimport buffer_add, buffer_drop, buffer_free, buffer_length
from fastdns._tls cimport (
    TLS_CLOSED, TLS_OK, TLS_WANTS_INPUT, tls_free, tls_handshake, tls_read, tls_shut, tls_write,
)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* octets, size_t length, int flags)
    ssize_t send_octets "send"(int fd, const void* octets, size_t length, int flags)
    int shutdown(int fd, int how)
    int MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)

cdef extern from "<sys/eventfd.h>" nogil:
    int EFD_NONBLOCK, EFD_CLOEXEC
    int eventfd(unsigned int start, int flags)
    int eventfd_read(int fd, uint64_t* value)
    int eventfd_write(int fd, uint64_t value)

from fastdns.defects import report

PIPELINE_MAX = PIPELINED
UNWRITTEN_MAX_IN_ALL = UNWRITTEN_IN_ALL
CONNECTIONS_A_CLIENT = STREAMS_A_CLIENT
CONNECTIONS_MAX = STREAMS_MAX

cdef uint64_t SECOND = 1000000000
cdef uint64_t IDLE_NS = 10 * SECOND             # without a query: RFC 7766 section 6.2.3 asks for a few seconds
cdef uint64_t IDLE_ENCRYPTED_NS = 60 * SECOND   # a new handshake is dear for both sides
cdef uint64_t IDLE_CROWDED_NS = 2 * SECOND      # when three quarters of all connections are open
cdef uint64_t HANDSHAKE_NS = 5 * SECOND
cdef uint64_t FRAME_NS = 5 * SECOND             # from the first octet of a message to its last
cdef uint64_t WRITE_NS = 5 * SECOND             # for a client to read its answers
cdef uint64_t LAST_ANSWERS_NS = 5 * SECOND      # after a client has said that it sends no more
cdef uint64_t CLOSING_NS = SECOND               # for a client to close, too
cdef uint64_t STRANGER_NS = 2 * SECOND          # in all

IDLE_SECONDS = IDLE_NS / 1e9
FRAME_SECONDS = FRAME_NS / 1e9


cdef class Streams(Outlet):
    """The connections of a process."""

    def __cinit__(self, *_arguments, **_keywords):
        cdef epoll_event event
        cdef int i
        self.touched = SLOTS
        self.descriptor = epoll_create1(EPOLL_CLOEXEC)
        self.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.descriptor < 0 or self.bell < 0:
            raise OSError(errno, os.strerror(errno))
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN
        event.data.u64 = OF_BELL
        epoll_ctl(self.descriptor, EPOLL_CTL_ADD, self.bell, &event)
        self.at = <Stream*>calloc(SLOTS, sizeof(Stream))
        self.of_client = <uint64_t*>calloc(SLOTS, sizeof(uint64_t))
        self.inbox = <uint8_t*>malloc(READ_AT_ONCE)
        self.opened = <uint8_t*>malloc(READ_AT_ONCE)
        if self.at == NULL or self.of_client == NULL or self.inbox == NULL or self.opened == NULL:
            raise MemoryError
        for i in range(SLOTS):
            self.unused[i] = <uint32_t>(SLOTS - 1 - i)      # low ones first: the others' memory is never touched
        self.unused_count = SLOTS

    def __dealloc__(self):
        cdef int i
        if self.at != NULL:
            for i in range(self.high):
                if self.at[i].fd >= 0:
                    close_descriptor(self.at[i].fd)
                    tls_free(&self.at[i].tls)
                    buffer_free(&self.at[i].held)
                    buffer_free(&self.at[i].plain)
                    buffer_free(&self.at[i].unsent)
        for i in range(self.spares):
            buffer_free(&self.spare[i])
        free(self.at)
        free(self.of_client)
        free(self.inbox)
        free(self.opened)
        if self.descriptor >= 0:
            close_descriptor(self.descriptor)
        if self.bell >= 0:
            close_descriptor(self.bell)

    # --- for the class that inherits ----------------------------------------------------------------------

    cdef void introduce(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except *:
        self.pass_on(stream, octets, length, now_ns)

    cdef void octets(self, Stream* stream, const uint8_t* plain, size_t length, uint64_t now_ns) except *:
        pass

    cdef void resume(self, Stream* stream, uint64_t now_ns) except *:
        pass

    cdef void ready(self, Stream* stream) except *:
        pass

    cdef void failed(self, Stream* stream) noexcept:
        pass

    cdef bint fill(self, Stream* stream) noexcept:
        return False

    cdef size_t withheld(self, const Stream* stream) noexcept nogil:
        return 0

    cdef bint is_unfinished(self, const Stream* stream) noexcept nogil:
        return buffer_length(&stream.held) > 0 or stream.is_partial

    cdef void farewell(self, Stream* stream) noexcept:
        pass

    cdef void closed(self, Stream* stream) noexcept:
        pass

    # --- opening and closing ------------------------------------------------------------------------------

    cdef Stream* open(self, int fd, const Asker* asker, uint64_t client, uint64_t now_ns) noexcept:
        """Use a slot for it; NULL: there is none. The descriptor is the stream's from now on."""
        cdef epoll_event event
        cdef Stream* stream
        cdef uint32_t slot, serial, next_touched
        cdef bint is_touched
        if self.unused_count == 0:
            return NULL
        slot = self.unused[self.unused_count - 1]
        stream = &self.at[slot]
        serial = stream.serial + 1
        # The slot may still be in the list of those that `flush` looks at.
        is_touched, next_touched = stream.is_touched, stream.next_touched
        memset(stream, 0, sizeof(Stream))
        stream.is_touched, stream.next_touched = is_touched, next_touched
        stream.fd = fd
        stream.slot = slot
        stream.serial = serial
        stream.asker = asker[0]
        stream.queries_left = stream.octets_left = -1
        stream.opened_ns = stream.heard_ns = now_ns
        stream.events = EPOLLIN
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN
        event.data.u64 = <uint64_t>serial << 32 | slot
        if epoll_ctl(self.descriptor, EPOLL_CTL_ADD, fd, &event) != 0:
            stream.fd = -1
            return NULL
        self.unused_count -= 1
        self.high = max(self.high, <int>slot + 1)
        self.of_client[slot] = client
        return stream

    cdef Stream* find(self, uint32_t slot, uint32_t serial) noexcept nogil:
        """The connection of a ticket, NULL if it is gone."""
        cdef Stream* stream
        if slot >= <uint32_t>self.high:
            return NULL
        stream = &self.at[slot]
        return stream if stream.fd >= 0 and stream.serial == serial else NULL

    cdef int count_of(self, uint64_t client) noexcept nogil:
        cdef int i
        cdef int count = 0
        for i in range(self.high):
            count += self.of_client[i] == client
        return count

    cdef bint make_room(self, uint64_t now_ns) noexcept:
        """Close the connection that was idle longest: RFC 7766 section 6.2.3."""
        cdef Stream* stream
        cdef Stream* found = NULL
        cdef int i
        for i in range(self.high):
            stream = &self.at[i]
            if stream.fd < 0 or stream.is_stranger or stream.state != OPEN or stream.waiting or stream.counted:
                continue
            if found == NULL or stream.heard_ns < found.heard_ns:
                found = stream
        if found == NULL:
            return False
        self.shut(found, now_ns)
        if found.fd >= 0:
            self.close(found)
        return True

    cdef void end(self, Stream* stream, uint64_t now_ns) noexcept:
        if not stream.has_ended:
            stream.has_ended = True
            stream.ended_ns = now_ns
            self.touch(stream)

    cdef void shut(self, Stream* stream, uint64_t now_ns) noexcept:
        """Say goodbye and wait until the client closes, too: closing at once could destroy what it has not read."""
        if stream.state == CLOSING:
            return
        if stream.state == OPEN:
            self.farewell(stream)
            self.send(stream, now_ns)
        if stream.tls.ssl != NULL:
            stream.tls.output = &stream.unsent
            tls_shut(&stream.tls)
            self.send(stream, now_ns)
        if stream.state == HANDSHAKE:
            self.handshakes -= 1
        stream.state = CLOSING
        stream.ended_ns = now_ns
        self.ending += 1
        if stream.has_left or buffer_length(&stream.unsent) or shutdown(stream.fd, SHUT_WR) != 0:
            self.close(stream)
            return
        stream.has_ended = True
        self.touch(stream)

    cdef void close(self, Stream* stream) noexcept:
        """Close it now; nobody may hold a pointer to it afterwards, other than its slot and serial."""
        self.closed(stream)
        close_descriptor(stream.fd)
        stream.fd = -1
        if stream.state == HANDSHAKE:
            self.handshakes -= 1
        elif stream.state == CLOSING:
            self.ending -= 1
        if stream.tls.ssl != NULL:
            tls_free(&stream.tls)
            stream.tls.ssl = NULL
        self.unwritten -= stream.counted
        stream.counted = 0
        buffer_free(&stream.held)
        self.give_back(&stream.plain)
        self.give_back(&stream.unsent)
        self.of_client[stream.slot] = 0
        self.unused[self.unused_count] = stream.slot
        self.unused_count += 1

    # --- reading ------------------------------------------------------------------------------------------

    cdef void read(self, Stream* stream, uint64_t now_ns) noexcept:
        """Read what is there, once, and answer it."""
        self.current = stream
        try:
            self.receive(stream, now_ns)
        except Exception as defect:
            stream.is_broken = True
            report(defect)
        self.current = NULL
        self.touch(stream)

    cdef void receive(self, Stream* stream, uint64_t now_ns) except *:
        cdef size_t wanted = READ_AT_ONCE
        cdef ssize_t got
        if stream.octets_left >= 0:
            wanted = min(wanted, <size_t>stream.octets_left)
        got = recv(stream.fd, self.inbox, wanted, MSG_DONTWAIT) if wanted else 0
        if got < 0:
            stream.is_broken = errno != EAGAIN and errno != EINTR
            return
        if got == 0:
            stream.has_left = True
            self.end(stream, now_ns)
            return
        if stream.state == CLOSING:
            return
        if stream.octets_left >= 0:
            stream.octets_left -= got
        if stream.is_proxied and not stream.is_introduced:
            self.introduce(stream, self.inbox, <size_t>got, now_ns)
        else:
            self.pass_on(stream, self.inbox, <size_t>got, now_ns)

    cdef void pass_on(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except *:
        if stream.tls.ssl == NULL:
            self.octets(stream, octets, length, now_ns)
        else:
            self.open_records(stream, octets, length, now_ns)

    cdef void open_records(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except *:
        """Read TLS records: all of them before the first query is answered, so that there is one answer to all."""
        cdef size_t opened
        cdef ssize_t got
        stream.tls.input = octets
        stream.tls.input_length = length
        self.borrow(&stream.unsent)
        stream.tls.output = &stream.unsent
        if stream.state == HANDSHAKE and not self.shake_hands(stream):
            return
        while not stream.is_broken:
            opened = 0
            while True:
                got = tls_read(&stream.tls, self.opened + opened, READ_AT_ONCE - opened)
                if got <= 0:
                    break
                opened += <size_t>got
                if opened == READ_AT_ONCE:
                    break
            if opened:
                self.octets(stream, self.opened, opened, now_ns)
                if opened == READ_AT_ONCE:
                    continue
            if got == TLS_CLOSED:
                self.end(stream, now_ns)
            elif got != TLS_WANTS_INPUT:
                self.send(stream, now_ns)       # the alert
                stream.is_broken = True
            break

    cdef bint shake_hands(self, Stream* stream) except -1:
        """A step of the handshake; True: it is over."""
        cdef int status = tls_handshake(&stream.tls)
        if status == TLS_OK:
            stream.state = OPEN
            self.handshakes -= 1
            self.ready(stream)
            return not stream.is_broken
        if status != TLS_WANTS_INPUT:
            self.send(stream, stream.opened_ns)     # the alert
            stream.is_broken = True
            self.failed(stream)
        return False

    cdef bint hold(self, Stream* stream, const uint8_t* octets, size_t length) noexcept:
        """Keep octets of a message until the others have come."""
        if not buffer_add(&stream.held, octets, length):
            stream.is_broken = True
            return False
        return True

    # --- sending ------------------------------------------------------------------------------------------

    cdef Buffer* outbox(self, Stream* stream) noexcept nogil:
        """Where octets are put that `flush` sends."""
        cdef Buffer* buffer = &stream.unsent if stream.tls.ssl == NULL else &stream.plain
        self.borrow(buffer)
        return buffer

    cdef void touch(self, Stream* stream) noexcept nogil:
        """Let `flush` look at it."""
        if not stream.is_touched:
            stream.is_touched = True
            stream.next_touched = self.touched
            self.touched = stream.slot

    cdef void flush(self, uint64_t now_ns) noexcept:
        cdef uint32_t slot = self.touched
        cdef Stream* stream
        self.touched = SLOTS
        while slot != SLOTS:
            stream = &self.at[slot]
            slot = stream.next_touched
            stream.is_touched = False
            if stream.fd < 0:
                continue
            if stream.state != HANDSHAKE or stream.tls.ssl != NULL:
                self.send(stream, now_ns)
            if stream != self.current:      # else it is being read: `read` touches it when that is over
                self.settle(stream, now_ns)

    cdef void send(self, Stream* stream, uint64_t now_ns) noexcept:
        """Send what there is, as much as the kernel takes."""
        cdef ssize_t sent = 0
        cdef size_t length
        cdef bint more = stream.state == OPEN
        stream.has_more = False
        while more and not stream.is_broken:
            more = self.fill(stream)
            length = buffer_length(&stream.plain)
            if length and stream.tls.ssl != NULL:
                self.borrow(&stream.unsent)
                stream.tls.output = &stream.unsent
                if not tls_write(&stream.tls, stream.plain.octets + stream.plain.start, length):
                    stream.is_broken = True
                buffer_drop(&stream.plain, length)
            if buffer_length(&stream.unsent) >= UNWRITTEN:
                stream.has_more = more
                break
        self.give_back(&stream.plain)
        length = buffer_length(&stream.unsent)
        if length:
            sent = send_octets(
                stream.fd, stream.unsent.octets + stream.unsent.start, length, MSG_DONTWAIT | MSG_NOSIGNAL
            )
            if sent < 0:
                sent = 0
                if errno != EAGAIN and errno != EINTR:
                    stream.is_broken = True
            buffer_drop(&stream.unsent, <size_t>sent)
        if <size_t>sent == length:
            self.give_back(&stream.unsent)
        if <size_t>sent >= stream.due:
            stream.blocked_ns = now_ns
            stream.due = 0
        else:
            stream.due -= <size_t>sent
        self.account(stream, now_ns)

    cdef void account(self, Stream* stream, uint64_t now_ns) noexcept:
        """Count what it has not taken; the time for taking it begins when there is something."""
        cdef size_t now = buffer_length(&stream.unsent) + buffer_length(&stream.plain) + self.withheld(stream)
        self.unwritten += now - stream.counted
        stream.counted = now
        stream.due = min(stream.due, now)       # a client may also give up a response
        if now and stream.due == 0:
            stream.due = now
            stream.blocked_ns = now_ns

    cdef bint is_stuffed(self, const Stream* stream) noexcept nogil:
        """It must take its answers before it is read again."""
        # What waits for a window of HTTP/2 is left out: the client opens the window by what it sends.
        cdef size_t own = buffer_length(&stream.unsent) + buffer_length(&stream.plain)
        if stream.protocol == HTTP1 and stream.waiting:     # one request after the other
            return True
        return stream.waiting >= PIPELINED or own >= UNWRITTEN or (own > 0 and self.unwritten > UNWRITTEN_IN_ALL)

    cdef void settle(self, Stream* stream, uint64_t now_ns) noexcept:
        """Close it if it is over, and let epoll wait for what it waits for."""
        cdef epoll_event event
        cdef bint is_stuffed = self.is_stuffed(stream)
        if stream.is_broken or (stream.state == CLOSING and stream.has_left):
            self.close(stream)
            return
        if self.unwritten > UNWRITTEN_IN_ALL:
            self.drop_largest()
            if stream.fd < 0:
                return
        if stream.is_resting and not is_stuffed:
            self.ring()
        elif stream.has_ended and stream.state != CLOSING and not stream.waiting and not stream.counted:
            self.shut(stream, now_ns)
            if stream.fd < 0:
                return
        event.events = 0
        if not stream.has_left and (
            stream.state == CLOSING or not (stream.has_ended or is_stuffed or stream.is_resting)
        ):
            event.events |= EPOLLIN
        if buffer_length(&stream.unsent) or stream.has_more:
            event.events |= EPOLLOUT
        if event.events != stream.events:
            stream.events = event.events
            event.data.u64 = <uint64_t>stream.serial << 32 | stream.slot
            epoll_ctl(self.descriptor, EPOLL_CTL_MOD, stream.fd, &event)

    cdef void drop_largest(self) noexcept:
        """Disconnect the clients that have taken least while there is too much in all."""
        cdef Stream* found
        cdef int i
        while self.unwritten > UNWRITTEN_IN_ALL:
            found = NULL
            for i in range(self.high):
                if self.at[i].fd >= 0 and (found == NULL or self.at[i].counted > found.counted):
                    found = &self.at[i]
            if found == NULL or found.counted == 0 or found == self.current:
                return
            self.close(found)

    cdef void borrow(self, Buffer* buffer) noexcept nogil:
        """Have it use memory that is at hand."""
        if buffer.octets == NULL and self.spares:
            self.spares -= 1
            buffer[0] = self.spare[self.spares]

    cdef void give_back(self, Buffer* buffer) noexcept nogil:
        if buffer.octets == NULL:
            return
        if self.spares < SPARES and buffer.room <= 2 * READ_AT_ONCE:
            buffer.start = buffer.end = 0
            self.spare[self.spares] = buffer[0]
            self.spares += 1
            buffer.octets = NULL
            buffer.room = 0
        else:
            buffer_free(buffer)

    cdef void ring(self) noexcept nogil:
        """Have `turn` called for connections that were full."""
        eventfd_write(self.bell, 1)

    cdef void hear(self, uint64_t now_ns) noexcept:
        """Go on with the connections that were full."""
        cdef uint64_t rings
        cdef Stream* stream
        cdef int i
        eventfd_read(self.bell, &rings)
        for i in range(self.high):
            stream = &self.at[i]
            if stream.fd < 0 or not stream.is_resting or self.is_stuffed(stream):
                continue
            stream.is_resting = False
            self.current = stream
            try:
                self.resume(stream, now_ns)
            except Exception as defect:
                stream.is_broken = True
                report(defect)
            self.current = NULL
            self.touch(stream)

    # --- time ---------------------------------------------------------------------------------------------

    cdef uint64_t idle_ns(self, const Stream* stream) noexcept nogil:
        if self.count * 4 >= STREAMS_MAX * 3:
            return IDLE_CROWDED_NS
        return IDLE_NS if stream.tls.ssl == NULL else IDLE_ENCRYPTED_NS

    cdef bint is_overdue(self, const Stream* stream, uint64_t now_ns) noexcept nogil:
        """True if the client has used more than its time: for each thing that it may do."""
        if stream.is_stranger and now_ns > stream.opened_ns + STRANGER_NS:
            return True
        if stream.state == CLOSING:
            return now_ns > stream.ended_ns + CLOSING_NS
        if stream.state == HANDSHAKE:
            return now_ns > stream.opened_ns + HANDSHAKE_NS
        if stream.counted:
            return now_ns > stream.blocked_ns + WRITE_NS
        if stream.has_ended:
            return now_ns > stream.ended_ns + LAST_ANSWERS_NS
        if stream.waiting >= PIPELINED:
            return now_ns > stream.full_ns + WRITE_NS
        if self.is_unfinished(stream):
            return now_ns > stream.begun_ns + FRAME_NS
        return False

    cdef void look_at_clock(self, uint64_t now_ns) noexcept:
        cdef Stream* stream
        cdef int i
        for i in range(self.high):
            stream = &self.at[i]
            if stream.fd < 0:
                continue
            if self.is_overdue(stream, now_ns):
                self.close(stream)
            elif (
                stream.state == OPEN and not stream.waiting and not self.is_unfinished(stream)
                and now_ns > stream.heard_ns + self.idle_ns(stream)
            ):
                self.shut(stream, now_ns)
        self.flush(now_ns)
