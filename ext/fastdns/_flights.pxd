"""Queries to upstreams in flight: unpredictable ports and ids, and the replies that match them.

RFC 5452: a reply counts if it comes from the address and port that was asked, to the port that asked, with the id of a
query that waits there. Everything is bounded; nothing in here waits.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._key cimport KEY_MAX
from fastdns._ports cimport EVENTS, PORTS_MAX, Ports
from fastdns._counters cimport Counters
from fastdns._udp cimport BATCH, iovec, mmsghdr
from fastdns._upstream cimport Form, Upstream
from fastdns._wheel cimport Timer, Wheel
from fastdns._wire cimport RECORDS_MAX, Findings, Reply

cdef enum:
    FLIGHTS_MAX = 12288
    BUCKETS = 4096
    LISTEN_MS = 10000       # to a query: an answer that comes too late for its client is still worth caching

cdef struct Flight:         # one query in flight
    Timer timer             # its own timer; if it has an owner, the owner's timer counts
    Timer* looked_after     # the one that fires after an event for it
    Flight* next_in_bucket
    Flight* next_of_port
    Flight* previous_of_port
    Flight* next_of_owner
    void* owner             # a Pending; NULL: no client waits for it any more, or it is a probe
    void* upstream          # an Upstream, kept alive by this
    void* attempt           # an Attempt: it goes over a stream; NULL: over UDP
    uint64_t sent_ns
    uint64_t repeated_ns    # when it was last sent; 0: only once
    int64_t error_ms        # when an error takes effect: the true reply may still come
    int error               # errno: it could not be sent, the network refused it, or the reply is useless (EBADMSG)
    int sendings
    bint is_sent
    bint is_late            # not answered within the timeout of its upstream
    bint is_mixed           # asked with OPT and, without a reply, without OPT: an error may be about the OPT
    bint wants_trial        # the reply is useless, perhaps because of the OPT
    bint wants_ad
    bint is_lingering       # no client waits for it any more
    bint keeps_late         # its clients were told of a failure: an answer is cached nevertheless
    Form form               # in which it was sent last
    uint64_t epoch          # of the changes, when it was asked
    uint64_t origin
    uint16_t group
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
    cdef readonly Wheel wheel
    cdef Ports ports
    cdef list unsent                    # upstreams with queries in their queue
    cdef object taker                   # of what comes over streams: `received(attempt, wire, id)`
    cdef uint64_t* tally
    cdef Counters counters
    cdef Flight* of_port[PORTS_MAX]
    cdef Flight* buckets[BUCKETS]
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
    cdef uint16_t ttl_at[RECORDS_MAX]   # of the last reply
    cdef Findings findings              # in it

    cdef Flight* start(
        self, Upstream upstream, const uint8_t* key, uint16_t key_length, Form form, bint wants_ad, bint by_stream,
        uint64_t now_ns
    ) except? NULL
    # ^ over UDP it is queued, and `send` sends it; NULL with errno set: no room, or no port
    cdef void send(self) noexcept               # sends the queued queries
    cdef void repeat(self, Flight* flight, Form form, uint64_t now_ns) noexcept
    # ^ the same question from the same port with the same id: a reply to either counts
    cdef void note_reply(self, Flight* flight, uint64_t now_ns) noexcept
    cdef void note_late(self, Flight* flight, uint64_t now_ns) noexcept      # once; it is still listened to
    cdef void end(self, Flight* flight) noexcept
    cdef void look(self) noexcept               # which ports have replies
    cdef bint next_reply(self, Landing* out) noexcept       # of those; a bounded number
    cdef bint read_stream_reply(
        self, Flight* flight, const uint8_t* wire, size_t length, uint16_t query_id, Landing* out
    ) noexcept
    # private
    cdef Flight* make(self, Upstream upstream, const uint8_t* key, uint16_t key_length, uint64_t now_ns) noexcept
    cdef bint join_port(self, Flight* flight, Upstream upstream, uint64_t now_ns) noexcept
    cdef void leave_port(self, Flight* flight) noexcept
    cdef void dispose(self, Flight* flight) noexcept
    cdef void send_to(self, Upstream upstream) noexcept
    cdef Flight* flight_of(self, int port, uint16_t query_id) noexcept nogil
    cdef void refuse(self, int port, int error) noexcept nogil
    cdef void fail(self, Flight* flight, int error) noexcept nogil

cdef class Attempt:         # a query over a stream, as its transport sees it
    cdef Flight* flight     # NULL: it is over
    cdef Flights flights
    cdef Upstream upstream
    cdef readonly bytes key
    cdef public object query            # the transport's own
