"""The miss: a question is sent to upstreams until one has answered, or nobody does."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant
from fastdns._flights cimport Flight, Flights, Landing
from fastdns._groups cimport Group
from fastdns._hotcache cimport Entry
from fastdns._key cimport Key
from fastdns._questions cimport Pending, Questions
from fastdns._cache cimport Cache
from fastdns._upstream cimport Upstream
from fastdns._waiters cimport Waiter

cdef enum Cause:            # why nobody has answered
    NOBODY_IN_TIME = 0
    UNUSABLE                # what came must not be used
    LAME                    # a referral, or nothing, from who does not recurse
    REFUSED_BY_NETWORK
    SHORTAGE                # of our own descriptors or memory
    NO_NETWORK              # or there is no upstream

cdef class Forward(Questions):
    cdef readonly Flights flights
    cdef readonly Group group           # the default one
    cdef int64_t stale_wait_ms
    cdef object on_cold
    cdef int searching                  # questions for which another thread reads the disk
    cdef int lingering                  # flights without an owner

    cdef void take(self, const Key* key, Waiter* waiter, uint64_t now_ns, bint wants_disk) except *
    cdef bint is_outage(self, uint16_t group) noexcept nogil
    cdef bint has_no_try(self, uint16_t group, bint is_cold) noexcept nogil
    # ^ in an outage: enough is asked for already, so that the answer to another question is known
    cdef bint holds(self, const Entry* entry, int64_t now_ms) noexcept nogil
    # ^ asking for it has failed a moment ago: it is told past its TTL without another try
    cdef void send(self) noexcept               # what has been taken
    # private
    cdef Group group_of(self, uint16_t number)
    cdef Pending* open(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t now_ns, bint* is_new
    ) except? NULL
    cdef void begin(self, Pending* pending, bint is_new, bint wants_disk, uint64_t now_ns) except *
    cdef void ask_upstreams(self, Pending* pending, uint64_t now_ns) except *
    cdef bint tell_known(self, Pending* pending, bint in_outage, uint64_t now_ns) except -1
    cdef void tell_late(self, Pending* pending, uint64_t now_ns) except *
    cdef void next_attempt(self, Pending* pending, bint may_repeat, uint64_t now_ns) except *
    cdef bint floods(self, const Pending* pending) noexcept nogil
    cdef bint send_again(self, Flight* flight, uint64_t now_ns) noexcept
    cdef bint ask_one(self, Pending* pending, Upstream upstream, bint by_stream, uint64_t now_ns) except -1
    cdef int64_t pause_ms(self, const Pending* pending, Upstream upstream) noexcept nogil
    cdef void look_after(self, Pending* pending) noexcept
    cdef void overdue(self, Pending* pending, uint64_t now_ns) except *
    cdef void overdue_flight(self, Flight* flight, uint64_t now_ns) noexcept
    cdef void note_error(self, Flight* flight, Pending* pending, uint64_t now_ns) noexcept
    cdef void spend(self, Pending* pending, const void* upstream) noexcept
    cdef void land(self, Landing* landing, const Instant* now) except *
    cdef void land_alone(self, Landing* landing, const Instant* now) noexcept
    cdef bint is_put_off(self, Landing* landing) noexcept
    cdef void settle(self, Landing* landing, const Instant* now) noexcept
    cdef void keep_error(self, Landing* landing, Pending* pending) noexcept
    cdef void conclude(self, Pending* pending, uint64_t now_ns) except *
    cdef void close(self, Pending* pending, bint keeps_late) noexcept
    cdef void leave(self, Pending* pending, Flight* flight) noexcept
    cdef void detach(self, Flight* flight, bint keeps_late) noexcept
    cdef void end_alone(self, Flight* flight) noexcept
    cdef void make_room(self) except *
    cdef void give_up(self, Pending* pending, uint64_t now_ns) except *
    cdef void take_replies(self) except *
