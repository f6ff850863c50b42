"""Connections of clients as C structs behind one epoll: reading, TLS, sending, closing, and their limits of time."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._buffer cimport Buffer
from fastdns._http2 cimport Http2
from fastdns._outlet cimport Outlet
from fastdns._query cimport Asker
from fastdns._tls cimport Tls

cdef enum:
    STREAMS_MAX = 3072
    STREAMS_A_CLIENT = 32
    STRANGERS_MAX = 16      # clients that may not ask: they are told so, but have no share of the limits above
    SLOTS = STREAMS_MAX + STRANGERS_MAX
    HANDSHAKES_MAX = 64     # under way; the others wait in the backlog of the listening socket
    HANDSHAKES_A_TURN = 2   # steps, so that others get their turn: each takes half a millisecond
    PIPELINED = 64          # queries of a connection that wait for an answer; with more, reading stops
    UNWRITTEN = 256 * 1024  # bytes of a connection; with more, no further query is read
    UNWRITTEN_IN_ALL = 8 * 1024 * 1024
    READ_AT_ONCE = 16384
    SPARES = 16             # buffers that are kept for the next connection that needs one

cdef enum:                  # what an event of epoll is about, in place of a slot and serial
    OF_BELL = 0xffffffff
    OF_LISTENER = 0xfffff000    # and the number of the listener

cdef enum StreamState:
    HANDSHAKE               # and before it a header of a proxy
    OPEN
    CLOSING                 # told the client; until it closes, too

cdef enum StreamProtocol:
    UNKNOWN                 # its first octets have not come
    FRAMES
    HTTP2
    HTTP1

cdef enum StreamService:
    SERVES_DNS
    SERVES_TLS
    SERVES_HTTPS

cdef struct Stream:
    int fd                  # -1: the slot is free; so are those from `high` on
    uint32_t slot
    uint32_t serial         # of this use of the slot
    uint32_t events         # that epoll waits for
    uint8_t state
    uint8_t protocol
    uint8_t service
    bint is_stranger
    bint is_proxied         # from a proxy that may tell who its client is
    bint is_named           # it has told
    bint is_introduced      # and what follows is known to be TLS or not
    bint is_partial         # a request over HTTP has begun and is not whole
    bint is_touched
    bint is_broken          # to be closed without another word
    bint has_ended          # no more is read
    bint has_left           # the client has closed its side
    bint has_more           # to send, though there was enough for once
    bint is_resting         # it was full with a message at hand
    int waiting             # queries without an answer yet
    uint32_t next_touched
    Asker asker
    Tls tls                 # tls.ssl NULL: plain
    Http2* http2
    Buffer held             # the part of a message that has come
    Buffer plain            # for libssl
    Buffer unsent           # for the kernel
    size_t counted          # octets of the last three that count as unsent
    long queries_left       # -1: any number
    long octets_left
    uint64_t opened_ns, heard_ns, begun_ns, blocked_ns, full_ns, ended_ns
    size_t due              # octets that must be taken before the time for reading starts again

cdef class Streams(Outlet):
    cdef readonly int descriptor    # an epoll: readable when a connection has something
    cdef int bell                   # an eventfd in it
    cdef Stream* at                 # SLOTS
    cdef uint64_t* of_client        # by slot: its client's address or network, hashed; 0: free
    cdef uint32_t unused[SLOTS]
    cdef int unused_count
    cdef readonly int count         # connections
    cdef readonly int strangers
    cdef readonly int handshakes
    cdef readonly int ending        # of CLOSING
    cdef int high                   # slots below it have been used
    cdef readonly size_t unwritten
    cdef uint32_t touched           # the first of a list; SLOTS: none
    cdef Stream* current            # whose octets are being looked at
    cdef Buffer spare[SPARES]
    cdef int spares
    cdef uint8_t* inbox             # READ_AT_ONCE octets that have come
    cdef uint8_t* opened            # the same without TLS

    # for the class that inherits
    cdef void introduce(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except *
    # ^ the first octets of a connection that comes from a proxy
    cdef void octets(self, Stream* stream, const uint8_t* plain, size_t length, uint64_t now_ns) except *
    # ^ what has come; all of it is used, held or given up
    cdef void resume(self, Stream* stream, uint64_t now_ns) except *    # it is not full any more
    cdef void ready(self, Stream* stream) except *          # the handshake is over
    cdef void failed(self, Stream* stream) noexcept         # it never will be
    cdef bint fill(self, Stream* stream) noexcept           # put something to send into the outbox; True: there is more
    cdef size_t withheld(self, const Stream* stream) noexcept nogil     # octets that `fill` cannot give yet
    cdef bint is_unfinished(self, const Stream* stream) noexcept nogil  # a message has begun and is not whole
    cdef void farewell(self, Stream* stream) noexcept       # before an orderly end: what its protocol says then
    cdef void closed(self, Stream* stream) noexcept         # before its slot is free
    # for both
    cdef Stream* find(self, uint32_t slot, uint32_t serial) noexcept nogil
    cdef Stream* open(self, int fd, const Asker* asker, uint64_t client, uint64_t now_ns) noexcept
    cdef void pass_on(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except *
    cdef Buffer* outbox(self, Stream* stream) noexcept nogil
    cdef void touch(self, Stream* stream) noexcept nogil
    cdef bint is_stuffed(self, const Stream* stream) noexcept nogil
    cdef bint hold(self, Stream* stream, const uint8_t* octets, size_t length) noexcept
    cdef void end(self, Stream* stream, uint64_t now_ns) noexcept       # read nothing more
    cdef void shut(self, Stream* stream, uint64_t now_ns) noexcept      # an orderly end, now
    cdef void close(self, Stream* stream) noexcept
    cdef int count_of(self, uint64_t client) noexcept nogil
    cdef bint make_room(self, uint64_t now_ns) noexcept
    cdef void read(self, Stream* stream, uint64_t now_ns) noexcept
    cdef void look_at_clock(self, uint64_t now_ns) noexcept
    # private
    cdef void receive(self, Stream* stream, uint64_t now_ns) except *
    cdef void open_records(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except *
    cdef bint shake_hands(self, Stream* stream) except -1
    cdef void send(self, Stream* stream, uint64_t now_ns) noexcept
    cdef void settle(self, Stream* stream, uint64_t now_ns) noexcept
    cdef void account(self, Stream* stream, uint64_t now_ns) noexcept
    cdef void borrow(self, Buffer* buffer) noexcept nogil
    cdef void give_back(self, Buffer* buffer) noexcept nogil
    cdef void drop_largest(self) noexcept
    cdef void ring(self) noexcept nogil
    cdef void hear(self, uint64_t now_ns) noexcept
    cdef bint is_overdue(self, const Stream* stream, uint64_t now_ns) noexcept nogil
    cdef uint64_t idle_ns(self, const Stream* stream) noexcept nogil
