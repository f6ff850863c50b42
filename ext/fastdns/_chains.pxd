"""An answer that ends in a name of another group of upstreams: that group is asked for the rest."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._attempts cimport Attempts
from fastdns._clock cimport Instant
from fastdns._entry cimport AnswerSource
from fastdns._flights cimport Flight, Landing
from fastdns._hotcache cimport Entry
from fastdns._local cimport LocalAnswer
from fastdns._policy cimport Decision
from fastdns._questions cimport Pending, Rest
from fastdns._wire cimport Chain

cdef class Chains(Attempts):
    cdef bint leads_out(self, const Flight* flight, const Chain* chain, Rest* out) noexcept nogil
    cdef void take_part(
        self, Pending* pending, const Stored* part, uint32_t age, const Rest* rest, const AnswerSource* whence,
        uint32_t rtt_us, const Instant* now
    ) except *
    # ^ join what has come, `age` seconds old, to what was there; ask for the rest, or tell it when that was all
    cdef void join_part(
        self, Pending* pending, const Stored* part, uint32_t age, const Rest* rest, const AnswerSource* whence,
        uint32_t rtt_us, const Instant* now
    ) except *
    cdef void take_whole(
        self, Pending* pending, Stored* whole, const AnswerSource* whence, uint32_t rtt_us, const Instant* now
    ) except *
    cdef void strip_whole(
        self, const Pending* pending, Stored* whole, uint16_t* ttl_at, const Decision* decision
    ) noexcept
    cdef void begin_own(self, Pending* pending, const Instant* now) except *
    cdef void tell_own(self, Pending* pending, const Stored* part, const Rest* rest, const Instant* now) except *
    cdef void keep(
        self, Pending* pending, const Stored* whole, const AnswerSource* whence, uint32_t rtt_us, const Instant* now
    ) noexcept
    cdef bint tell_stale_chain(self, Pending* pending, uint64_t now_ns) except -1
    # ^ serve the clients the owner's CNAME record with a stale answer about its target; False: there is none
    cdef bint holds(self, const Entry* entry, uint16_t group, int64_t now_ms) noexcept nogil
    # ^ asking for it failed a moment ago: serve it past its TTL without another try
    cdef bint make_part(
        self, const uint8_t* key, uint16_t key_length, const Decision* decision, LocalAnswer* own, Rest* rest
    ) noexcept nogil
    # ^ the owner's records of a name; True: rest says what upstreams have to be asked for
    cdef void take_own(self, Pending* pending, const Instant* now) except *
    cdef void follow(self, Pending* pending, Stored* parts, const Rest* rest, const Instant* now) except *
    cdef bint is_conditional(self, const uint8_t* key, uint16_t key_length, const Decision* decision) noexcept nogil
    # ^ this answer is only given if the name has no IPv4 address
    cdef bint wants_a(
        self, const uint8_t* key, uint16_t key_length, const Decision* decision, Rest* out
    ) noexcept nogil            # the same; out says what is asked for then
    cdef void decide_anew(self, Decision* decision, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ after a reload rules have other numbers
    cdef void strip(self, Landing* landing, const Decision* decision) noexcept
    # ^ take out what the rule of the name does not allow
    cdef bint is_asked_for(self, const Pending* pending, const Rest* rest) noexcept nogil
    cdef void end_trial(self, Pending* pending) noexcept
    cdef void come_back(self, Pending* pending) noexcept
