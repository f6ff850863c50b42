"""Queries to upstreams over UDP that are under way: ports and ids that nobody can guess, replies matched, deadlines.

RFC 5452: a reply counts when it comes from the address and port that was asked, to the port that asked, with the id of
a query that is waited for there. Everything is bounded; nothing in here waits.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._ports cimport EVENTS, PORTS_MAX, Ports
from fastdns._shared cimport Counters
from fastdns._udp cimport BATCH, iovec, mmsghdr
from fastdns._upstream cimport Form, Upstream
from fastdns._wire cimport KEY_MAX, RECORDS_MAX, Findings, Reply

cdef enum:
    FLIGHTS_MAX = 8192
    WHEEL_SLOTS = 1024
    TICK_MS = 16
    BUCKETS = 4096
    LISTEN_MS = 10000       # to what was sent: an answer that comes too late for its client is still worth keeping

cdef struct Flight:         # one query under way
    Flight* next_in_bucket
    Flight* next_due        # in a slot of the wheel
    Flight* previous_due
    Flight* next_of_port
    Flight* previous_of_port
    void* owner             # whoever waits, when that is in C
    void* listener          # a Sent that has been handed to Python; NULL: none
    void* upstream          # an Upstream, which its port keeps alive
    uint64_t sent_ns
    uint64_t repeated_ns    # when it was sent the last time; 0: only once
    int64_t due_tick
    int error               # errno: it could not be sent, the network refused, or what came is of no use (EBADMSG)
    int sendings
    bint is_sent
    bint is_late            # not answered within the timeout of its upstream
    bint is_mixed           # asked with OPT and, as nothing came, without: an error may be about the OPT
    bint wants_trial        # what came is of no use, perhaps because of the OPT
    Form form               # in which it was sent last
    uint16_t id
    uint16_t port           # index of the socket
    uint16_t key_length
    uint8_t key[KEY_MAX]

cdef struct Landing:        # a reply that counts
    Flight* flight
    uint8_t* wire
    size_t length
    int status              # WIRE_OK, or WIRE_SPOILED_REPLY
    Reply reply

cdef class Flights:
    cdef readonly int count
    cdef Ports ports
    cdef object on_busy                 # called when there is one where there was none: its time has to be kept
    cdef uint64_t* tally
    cdef bint wants_ad
    cdef Counters counters
    cdef Flight* of_port[PORTS_MAX]
    cdef Flight* buckets[BUCKETS]
    cdef Flight* wheel[WHEEL_SLOTS]
    cdef int64_t tick                   # the last one that was looked at
    cdef Flight* idle                   # to be used again, linked by next_in_bucket
    cdef int idle_count
    # of a wake-up
    cdef int ready[EVENTS]              # ports with replies
    cdef int ready_count
    cdef int ready_at
    cdef uint32_t serial                # of the port that `inbox` came from
    cdef int arrived
    cdef int arrived_at
    cdef mmsghdr inbox[BATCH]
    cdef iovec parts[BATCH]
    cdef uint8_t* rooms
    cdef uint16_t ttl_at[RECORDS_MAX]   # of the reply that landed last
    cdef Findings findings              # in it

    cdef Flight* start(
        self, Upstream upstream, const uint8_t* key, uint16_t key_length, Form form, uint64_t now_ns, int64_t wait_ms
    )
    # ^ queued, and leaves with `send`; NULL with errno set: no room, or no port to be had
    cdef void send(self, Upstream upstream)
    cdef void repeat(self, Flight* flight, Form form, uint64_t now_ns) noexcept
    # ^ the same question from the same port under the same id: a reply to either counts
    cdef void note_reply(self, Flight* flight, uint64_t now_ns) except *
    cdef void note_late(self, Flight* flight, uint64_t now_ns) except *      # once; it is still listened to
    cdef void end(self, Flight* flight) noexcept
    cdef void wait_until(self, Flight* flight, int64_t due_ms) noexcept nogil
    cdef void look(self) noexcept               # which ports have replies
    cdef bint next_reply(self, Landing* out)    # of those; a bounded number
    cdef Flight* next_due(self, int64_t now_ms) noexcept nogil      # whose time is over; NULL: none any more
    # private
    cdef Flight* flight_of(self, int port, uint16_t query_id) noexcept nogil
    cdef void refuse(self, int port, int error) noexcept nogil
    cdef void leave_wheel(self, Flight* flight) noexcept nogil

cdef class Sent:            # a query under way that Python waits for
    cdef Flight* flight     # NULL: it is over
    cdef Flights flights
    cdef readonly object listener
    cdef bytes early        # a reply that came when nobody listened yet
    cdef int error          # and how it ended by then
    cdef bint is_late       # or that it takes long
    cdef readonly uint16_t id

    cdef void adopt(self, Flights flights, Flight* flight)

cdef Sent sent_of(Flight* flight)
