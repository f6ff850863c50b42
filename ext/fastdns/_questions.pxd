"""Questions in flight, the clients that wait for each, and their answers."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._flights cimport Flight
from fastdns._entry cimport AnswerSource
from fastdns._key cimport KEY_MAX
from fastdns._policy cimport Decision
from fastdns._query cimport Asker, Tier
from fastdns._shares cimport Place, Shares
from fastdns._cache cimport Cache
from fastdns._waiters cimport Outgoing, Waiter
from fastdns._wheel cimport Timer

cdef enum:
    SHELVES = 4096
    QUESTIONS_MAX = 4096    # in flight at once
    WAITING_MAX = 8192      # clients that wait for them

cdef struct Rest:           # of an answer whose chain leads to a name of another group: that group is asked for it
    Stored* parts           # what has come of it
    Decision decision       # about the name that the clients have asked for
    uint64_t origin
    int count               # of names that were asked for so far
    bint is_alternative     # what is asked for now is an IPv4 address; without one the parts are the answer
    uint16_t key_length
    uint8_t key[KEY_MAX]    # what is asked for now

cdef struct Pending:        # a question in flight
    Timer timer
    Pending* next_on_shelf
    Place of_client         # in the shares of the clients that asked first
    Place of_domain         # in the shares of the domains of two labels
    Place of_parent         # and of those with a label more
    Flight* flights         # queries to upstreams in flight for it, the last one first
    Waiter* first
    Waiter* last
    Rest* rest              # NULL but for the few whose chain leads out of their group
    Stored* error           # the last bad reply: served if no upstream does better
    uint64_t hash
    uint64_t began_ns
    int64_t next_ms         # when it is sent once more; 0: not again
    int64_t stale_ms        # when a stale answer is served; 0: there is none, or it was served
    int64_t until_ms        # the latest end
    uint64_t epoch          # of the changes, when it was asked
    uint64_t origin
    uint64_t client         # the client whose share it is in; a hash
    uint64_t asked          # a bit for each upstream of the group that has been asked
    uint64_t spent          # a bit for each upstream of the group that must not be asked again
    int position            # in the group, of the one asked last
    int version             # of the group's list, which positions belong to
    int sendings
    int extra               # sendings that a lossy line has cost
    int failure             # why no upstream has answered: a Cause
    Decision decision       # the decision about it, and its rule
    bint is_searching       # another thread reads the disk for it; no upstream was asked
    bint is_late            # a stale answer was served: later clients get it at once
    bint is_trial           # whether it tries one that counts as dead
    bint is_shared          # several clients wait for it: it is in no client's share
    uint16_t key_length
    uint8_t key[KEY_MAX]

cdef class Questions:
    cdef readonly Cache cache
    cdef readonly int count             # questions in flight
    cdef readonly int waiting           # clients
    cdef uint64_t* tally
    cdef Pending* shelves[SHELVES]
    cdef Shares of_clients
    cdef Shares of_domains
    cdef Shares of_parents
    cdef Outgoing outgoing              # answers to the waiting clients

    cdef Pending* find(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ the last one that was begun about this key; NULL: there is none
    cdef Pending* find_earlier(self, const Pending* pending) noexcept nogil     # about the same key
    cdef bint is_alike(self, const Pending* pending, const Decision* decision) noexcept nogil
    # ^ a question with this decision would be asked in the same way: no reload has changed that since
    cdef Pending* shelve(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, uint64_t now_ns
    ) noexcept
    cdef void remove(self, Pending* pending) noexcept       # no client waits for it any more
    cdef void wait(self, Pending* pending, Waiter* waiter) noexcept
    cdef bint has_waiting(self, const Pending* pending) noexcept
    cdef bint is_crowded(self) noexcept nogil               # a question must give way
    cdef Pending* who_gives_way(self) noexcept nogil
    cdef void answer(
        self, Pending* pending, Tier tier, const AnswerSource* upstream, const Stored* stored, uint32_t age,
        uint64_t now_ns
    ) noexcept
    # ^ with TIER_STALE the answer is a stale one; upstream: its source, if known
    cdef void drop(self, Pending* pending) noexcept
    cdef void flush(self) noexcept                          # send the answers that are queued
    # private
    cdef void note_leaving(self, Pending* pending) noexcept
    cdef void note_waiter(self, Pending* pending, uint64_t client) noexcept

cdef void end_rest(Pending* pending) noexcept nogil
cdef uint64_t client_of(const Asker* asker) noexcept nogil
