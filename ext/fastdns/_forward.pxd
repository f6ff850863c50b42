"""The common miss: asked upstream over UDP, answered to all who wait for it, kept; no Python object on its way."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Limits, Stored
from fastdns._entry cimport Instant
from fastdns._flights cimport Flight, Flights, Landing, Sent
from fastdns._hotcache cimport Entry
from fastdns._query cimport Query
from fastdns._cache cimport Cache
from fastdns._udp cimport Batch, Sender
from fastdns._upstream cimport Upstream
from fastdns._wire cimport KEY_MAX, Question

cdef enum:
    SHELVES = 4096

cdef struct Waiter:         # a client that asked over UDP; its spelling of the question follows
    Waiter* next
    uint64_t received_ns
    int fd
    Question question
    Sender sender

cdef struct Pending:        # a question under way
    Pending* next_on_shelf
    Pending* older          # of those that are in flight
    Pending* newer
    Flight* flight          # NULL: it has been handed over, or never was ours: `on_uncommon` takes who asks for it
    Waiter* first
    Waiter* last
    void* others            # a list of Query objects that came by other ways, or NULL
    uint64_t hash
    uint64_t began_ns
    int64_t until_ms        # when it is handed over at the latest
    uint64_t epoch          # of the changes, when it was asked
    uint64_t origin         # and of the group
    uint16_t group
    uint16_t key_length
    uint8_t key[KEY_MAX]

cdef class Forward:
    cdef readonly Cache tiers
    cdef readonly Flights flights
    cdef readonly int count             # questions under way, those handed over included
    cdef int in_flight                  # of them, those that have not been
    cdef uint64_t* tally
    cdef Limits limits
    cdef int64_t stale_wait_ms
    cdef uint32_t stale_ttl
    cdef object on_handover
    cdef list upstreams                 # that may be asked; None: one that is no matter of ours
    cdef bint in_turn
    cdef readonly bint is_outage        # no upstream answers, or there is none
    cdef int64_t held_from_s            # stale answers are held when they were after the last outage
    cdef bint is_alone                  # there is no other that could be asked
    cdef Upstream single                # which that is; it may have died since
    cdef int attempts                   # with a single one: how often it is asked
    cdef int64_t budget_ms              # and how long it is waited for
    cdef int turn
    cdef int waiting                    # clients
    cdef Pending* shelves[SHELVES]
    cdef Pending* oldest
    cdef Pending* newest
    cdef Batch batch
    cdef int fd                         # that the batch is for
    cdef Waiter* answered               # to be freed when it has left

    # Each returns False when the query is `on_uncommon`'s.
    cdef bint take_udp(
        self, uint64_t hash, const Question* question, const uint8_t* spelling, int fd, const Sender* sender,
        uint64_t received_ns, bint may_start
    ) except -1
    cdef bint take_other(self, uint64_t hash, Query query, bint may_start) except -1
    cdef bint holds(self, const Entry* entry, int64_t now_ms) noexcept nogil
    # ^ asking for it has failed a moment ago: it is told past its TTL without another try
    cdef void send(self) except *                # what has been taken
    # private
    cdef Pending* find(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    cdef Pending* start(self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t now_ns) except? NULL
    cdef Pending* shelve(self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t now_ns) except? NULL
    cdef void remove(self, Pending* pending) except *
    cdef void leave_queue(self, Pending* pending) noexcept
    cdef int64_t wait_ms(
        self, Upstream upstream, int64_t patience_ms, uint64_t hash, const uint8_t* key, uint16_t key_length,
        int64_t now
    ) except? -1
    cdef Upstream next_upstream(self)
    cpdef int take_turn(self)
    cdef void make_room(self) except *
    cdef void give_up(self, Pending* pending, bint in_vain, uint64_t now_ns) except *
    cdef bint knows_better(self, const Pending* pending, const Instant* now) except -1
    cdef void drop(self, Pending* pending) except *
    cdef void land(self, Landing* landing, const Instant* now) except *
    cdef bint is_put_off(self, Landing* landing) except -1
    cdef void settle(self, Landing* landing, const Instant* now) except *
    cdef void answer(self, Pending* pending, const Stored* stored, uint32_t stale_ttl, uint64_t now_ns) except *
    cdef void flush(self) except *
    cdef void hand_over(self, Pending* pending, Landing* landing, int error, uint64_t now_ns) except *
    cdef list clients_of(self, Pending* pending)
    cdef void overdue(self, Flight* flight, uint64_t now_ns) except *
    cdef void remind(self, Sent sent, Flight* flight, uint64_t now_ns) except *
    cdef void tell_late(self, Sent sent) except *
    cdef void ask_again(self, Pending* pending, uint64_t now_ns) except *
    cdef void take_replies(self) except *
    cdef void tell(self, call, argument) except *
