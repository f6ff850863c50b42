"""A client's connection: messages in frames, read and written without waiting."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from fastdns._clients cimport name_asker
from fastdns._clock cimport read_clock_ns
from fastdns._query cimport OVER_TCP

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* octets, size_t length, int flags)
    ssize_t send_octets "send"(int fd, const void* octets, size_t length, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

from fastdns.defects import report

PIPELINE_MAX = PIPELINED
UNWRITTEN_MAX_IN_ALL = UNWRITTEN_IN_ALL


cdef class Backlog:
    """The answers that the clients of a process have not taken yet."""


cdef class Stream:
    """One connection. `changed()` is called if there is something that only its owner can do.

    Subclasses implement it, and it must not call back at once. After `watch()` it is also called when an answer has
    come or bytes were taken.
    """

    def __cinit__(self, *_arguments, **_keywords):
        self.fd = -1
        self.queries_left = self.octets_left = -1

    def open(self, int fd, tuple address not None, Backlog backlog not None, *, int listener=0):
        """Serve the connection of this descriptor, which still belongs to its owner, with the client at that address.
        """
        name_asker(address, &self.asker)
        self.asker.listener = listener
        self.asker.transport = OVER_TCP
        self.backlog = backlog
        self.fd = fd
        self.heard_ns = read_clock_ns()

    def bound(self, *, long queries, long octets):
        """Read no more than that from this client."""
        self.queries_left = queries
        self.octets_left = octets

    def __dealloc__(self):
        free(self.inbox)
        free(self.outbox)

    def close(self):
        """Read and send nothing more; the owner closes the descriptor."""
        self.fd = -1
        if self.backlog is not None:
            self.backlog.unwritten -= self.unwritten
        self.unwritten = self.written = self.room = self.held = 0
        free(self.inbox)
        free(self.outbox)
        self.inbox = self.outbox = NULL

    def changed(self):
        """There is something to do."""

    def look(self):
        """Call `changed` again for anything new; return True while the client may send."""
        self.is_told = False
        self.is_watched = False
        return not (self.is_broken or self.has_ended or self.is_full())

    def watch(self):
        """Call `changed` for every answer, and for all that the client takes."""
        self.is_watched = True

    @property
    def is_open(self):
        return self.fd >= 0

    @property
    def is_busy(self):
        """True while an answer is missing or not taken yet."""
        return self.waiting > 0 or self.unwritten > 0

    @property
    def has_more(self):
        """True if a complete message is available."""
        return frame_is_whole(self.inbox, self.held)

    @property
    def idle_since(self):
        """When the last message came, in nanoseconds."""
        return self.heard_ns

    def is_overdue(self, double idle, double frame, double write, double last):
        """Return True if the client has used more than its time: for each thing that it may do."""
        cdef uint64_t now_ns = read_clock_ns()
        if self.unwritten:
            return now_ns > self.blocked_ns + <uint64_t>(write * 1e9)
        if self.has_ended:
            return now_ns > self.ended_ns + <uint64_t>(last * 1e9)
        if self.is_full():
            return now_ns > self.full_ns + <uint64_t>(write * 1e9)
        if self.held:
            return now_ns > self.begun_ns + <uint64_t>(frame * 1e9)
        return self.waiting == 0 and now_ns > self.heard_ns + <uint64_t>(idle * 1e9)

    def send_more(self):
        """Send the waiting answers; never raises an OSError."""
        self.send(read_clock_ns())

    # --- what the stages use ------------------------------------------------------------------------------

    cdef bint is_full(self) noexcept:
        return self.waiting >= PIPELINED or self.unwritten >= UNWRITTEN or (
            self.unwritten > 0 and self.backlog.unwritten > UNWRITTEN_IN_ALL
        )

    cdef const uint8_t* receive(self, uint8_t* room, size_t* length, uint64_t now_ns) noexcept:
        cdef size_t wanted = READ_AT_ONCE if self.octets_left < 0 else min(READ_AT_ONCE, self.octets_left)
        cdef uint8_t* more
        cdef ssize_t got
        length[0] = self.held
        if frame_is_whole(self.inbox, self.held):
            return self.inbox
        got = recv(self.fd, room, wanted, MSG_DONTWAIT) if wanted else 0
        if got < 0:
            if errno != EAGAIN and errno != EINTR:
                self.break_off()
            return self.inbox
        if got == 0:
            self.end(now_ns)
            return self.inbox
        if self.octets_left >= 0:
            self.octets_left -= got
        length[0] += <size_t>got
        if self.held == 0:
            return room
        more = <uint8_t*>realloc(self.inbox, self.held + <size_t>got)
        if more == NULL:
            length[0] = self.held
            self.break_off()
            return self.inbox
        self.inbox = more
        memcpy(more + self.held, room, <size_t>got)
        self.held += <size_t>got
        return more

    cdef void hold(self, const uint8_t* octets, size_t read, size_t length, uint64_t now_ns) noexcept:
        if read or self.held == 0:
            self.begun_ns = now_ns
        if read == length:
            free(self.inbox)
            self.inbox = NULL
        elif self.held == 0:
            self.inbox = <uint8_t*>malloc(length - read)
            if self.inbox == NULL:
                self.break_off()
                return
            memcpy(self.inbox, octets + read, length - read)
        elif read:
            memmove(self.inbox, octets + read, length - read)
        self.held = length - read

    cdef void end(self, uint64_t now_ns) noexcept:
        if not self.has_ended:
            self.has_ended = True
            self.ended_ns = now_ns
            self.tell_owner()

    cdef void put(self, const uint8_t* response, size_t length, uint64_t now_ns) noexcept:
        cdef size_t end = self.written + self.unwritten
        cdef size_t room = self.room
        cdef uint8_t* more
        if self.fd < 0 or self.is_broken:
            return
        if self.written and end + length + 2 > room:
            memmove(self.outbox, self.outbox + self.written, self.unwritten)
            self.written = 0
            end = self.unwritten
        if end + length + 2 > room:
            room = max(2 * room, end + length + 2)
            more = <uint8_t*>realloc(self.outbox, room)
            if more == NULL:
                self.break_off()
                return
            self.outbox = more
            self.room = room
        self.outbox[end] = <uint8_t>(length >> 8)
        self.outbox[end + 1] = <uint8_t>length
        memcpy(self.outbox + end + 2, response, length)
        if self.unwritten == 0:
            self.blocked_ns = now_ns
            self.due = length + 2
        self.unwritten += length + 2
        self.backlog.unwritten += length + 2

    cdef void send(self, uint64_t now_ns) noexcept:
        cdef ssize_t sent
        if self.unwritten == 0:
            return
        sent = send_octets(self.fd, self.outbox + self.written, self.unwritten, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0:
            if errno == EAGAIN or errno == EINTR:
                self.tell_owner()
            else:
                self.break_off()
            return
        self.written += <size_t>sent
        self.unwritten -= <size_t>sent
        self.backlog.unwritten -= <size_t>sent
        if <size_t>sent >= self.due:
            self.blocked_ns = now_ns
            self.due = self.unwritten
        else:
            self.due -= <size_t>sent
        if self.unwritten:
            self.tell_owner()
            return
        self.written = 0
        if self.room > READ_AT_ONCE:    # an idle connection must take little memory
            free(self.outbox)
            self.outbox = NULL
            self.room = 0
        if self.is_watched:
            self.tell_owner()

    cdef void wait_more(self) noexcept:
        self.waiting += 1
        if self.waiting == PIPELINED:
            self.full_ns = read_clock_ns()

    cdef void wait_less(self) noexcept:
        self.waiting -= 1
        if self.is_watched:
            self.tell_owner()

    cdef void break_off(self) noexcept:
        self.is_broken = True
        self.tell_owner()

    cdef void tell_owner(self) noexcept:
        if not self.is_told:
            self.is_told = True
            try:
                self.changed()
            except Exception as defect:
                report(defect)
