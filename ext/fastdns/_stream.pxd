"""A client's connection: messages in frames of two octets of length (RFC 1035 section 4.2.2), bounded everywhere."""

from libc.stdint cimport uint8_t, uint64_t

from fastdns._query cimport Asker

cdef enum:
    PIPELINED = 64          # queries of a connection that wait for an answer; with more, reading stops
    UNWRITTEN = 256 * 1024  # bytes of a connection; with more, no further query is read
    UNWRITTEN_IN_ALL = 8 * 1024 * 1024
    READ_AT_ONCE = 16384

cdef class Backlog:           # of all connections of a process
    cdef readonly size_t unwritten

cdef class Stream:
    cdef Asker asker
    cdef int fd             # -1: closed
    cdef readonly int waiting       # queries without an answer yet
    cdef readonly size_t unwritten  # octets
    cdef Backlog backlog
    cdef uint8_t* inbox     # unread data, `held` bytes
    cdef size_t held
    cdef uint8_t* outbox
    cdef size_t written     # bytes of the outbox that were sent
    cdef size_t room
    cdef bint is_queued     # in a list of connections with something to send
    cdef bint is_told       # the owner knows that there is something to do
    cdef bint is_watched    # the owner waits for a change
    cdef readonly bint is_broken    # or out of step, or refused: it must be closed
    cdef readonly bint has_ended    # the client sends nothing more
    cdef long queries_left  # -1: any number
    cdef long octets_left
    cdef uint64_t heard_ns, begun_ns, blocked_ns, full_ns, ended_ns
    cdef size_t due         # bytes that must be taken before the write timer starts again

    cdef const uint8_t* receive(self, uint8_t* room, size_t* length, uint64_t now_ns) noexcept
    # ^ the data that is available: in room, which has READ_AT_ONCE bytes, or in the inbox
    cdef void hold(self, const uint8_t* octets, size_t read, size_t length, uint64_t now_ns) noexcept
    # ^ the unread part of that data
    cdef void end(self, uint64_t now_ns) noexcept       # read no more messages
    cdef void put(self, const uint8_t* response, size_t length, uint64_t now_ns) noexcept     # `send` sends it
    cdef void send(self, uint64_t now_ns) noexcept
    cdef bint is_full(self) noexcept
    cdef void wait_more(self) noexcept
    cdef void wait_less(self) noexcept
    cdef void break_off(self) noexcept
    cdef void tell_owner(self) noexcept

cdef inline bint frame_is_whole(const uint8_t* octets, size_t length) noexcept nogil:
    return length >= 2 and length - 2 >= <size_t>(octets[0] << 8 | octets[1])
