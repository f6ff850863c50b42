"""The attempts of a question: which upstream is asked next, when, and what becomes of each attempt."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._clock cimport Instant
from fastdns._flights cimport Flight, Flights, Landing
from fastdns._groups cimport Group
from fastdns._policy cimport Decision
from fastdns._questions cimport Pending, Questions
from fastdns._upstream cimport Form, Upstream

cdef enum Cause:            # why nobody has answered
    NOBODY_IN_TIME = 0
    UNUSABLE                # the reply must not be used
    LAME                    # a referral or an empty answer: the upstream does not recurse
    REFUSED_BY_NETWORK
    SHORTAGE                # of our own descriptors or memory
    NO_NETWORK              # or there is no upstream

cdef class Attempts(Questions):
    cdef readonly Flights flights
    cdef readonly Group group           # the default one
    cdef list groups                    # keeps them alive
    cdef void** by_number               # Groups; GROUPS_MAX of them
    cdef Group nobody                   # in the place of a group that there is not
    cdef int lingering                  # flights without an owner
    cdef int64_t credit                 # to send queries again that may only be late, in quarters
    cdef int64_t credited_ms            # until when time has added some
    cdef public object trace            # called with each Event of a question; None: nobody looks, as in a daemon

    # what they come to
    cdef void conclude(self, Pending* pending, uint64_t now_ns) except *        # no upstream has answered well
    cdef void take_answer(self, Landing* landing, const Instant* now) noexcept
    cdef void take_late(self, Landing* landing, const Instant* now) noexcept    # no client waits for that one
    cdef void tell_late(self, Pending* pending, uint64_t now_ns) except *       # an answer is slow
    cdef void close(self, Pending* pending, bint keeps_late) noexcept           # a question that is over
    cdef void* group_at_number(self, uint16_t number) noexcept nogil
    cdef Group group_of(self, uint16_t number)
    cdef void next_attempt(self, Pending* pending, bint may_repeat, uint64_t now_ns) except *
    cdef bint may_send_again(self, const Pending* pending, uint64_t now_ns) noexcept nogil
    cdef bint has_many(self, const Pending* pending) noexcept nogil
    cdef bint is_mute(self, const Pending* pending) noexcept
    cdef bint floods(self, const Pending* pending) noexcept nogil
    cdef bint send_again(self, Flight* flight, uint64_t now_ns) noexcept
    cdef void repeat(self, Flight* flight, Form form, uint64_t now_ns) noexcept
    cdef void tell_event(self, str what, const Flight* flight, int number) noexcept
    cdef bint ask_one(self, Pending* pending, Upstream upstream, bint by_stream, uint64_t now_ns) except -1
    cdef int64_t pause_ms(self, const Pending* pending, Upstream upstream) noexcept nogil
    cdef void look_after(self, Pending* pending) noexcept
    cdef void overdue(self, Pending* pending, uint64_t now_ns) except *
    cdef void overdue_flight(self, Flight* flight, uint64_t now_ns) noexcept
    cdef void note_error(self, Flight* flight, Pending* pending, uint64_t now_ns) noexcept
    cdef void spend(self, Pending* pending, const void* upstream) noexcept
    cdef void land(self, Landing* landing, const Instant* now) except *
    cdef bint is_put_off(self, Landing* landing) noexcept
    cdef void keep_error(self, Landing* landing, Pending* pending) noexcept
    cdef void settle_by(self, Landing* landing, const Decision* decision, uint8_t* options, Stored* out) noexcept
    cdef void ignore_forged(self, Landing* landing) noexcept
    cdef void leave(self, Pending* pending, Flight* flight) noexcept
    cdef void detach(self, Flight* flight, bint keeps_late) noexcept
    cdef void end_alone(self, Flight* flight) noexcept
