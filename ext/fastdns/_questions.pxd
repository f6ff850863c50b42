"""Questions that are under way, the clients who wait for each, and their answers."""

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
    QUESTIONS_MAX = 4096    # under way at once
    WAITING_MAX = 8192      # clients that wait for them

cdef struct Pending:        # a question under way
    Timer timer
    Pending* next_on_shelf
    Place of_client         # in the shares of those who asked first
    Place of_domain         # in the shares of the domains of two labels
    Place of_parent         # and of those with a label more
    Flight* flights         # queries to upstreams that are under way for it, the last one first
    Waiter* first
    Waiter* last
    Stored* error           # the last one that an upstream has answered with: told when nobody does better
    uint64_t hash
    uint64_t began_ns
    int64_t next_ms         # when it is sent once more; 0: not again
    int64_t stale_ms        # when what is past its TTL is told; 0: there is nothing, or it has been
    int64_t until_ms        # when it ends at the latest
    uint64_t epoch          # of the changes, when it was asked
    uint64_t origin
    uint64_t client         # whose share it is in; a hash
    uint64_t asked          # a bit for each upstream of the group that has been asked
    uint64_t spent          # a bit for each upstream of the group that is not to be asked again
    int position            # in the group, of the one that was asked last
    int version             # of the group's list, which positions belong to
    int sendings
    int extra               # sendings that a lossy line has cost
    int failure             # why nobody has answered: a Cause
    Decision decision       # what is done about it, and by which rule
    bint is_searching       # another thread reads the disk for it; nobody has been asked
    bint is_late            # what is stale has been told: who joins is told so at once
    bint is_trial           # whether one that counts as dead answers again
    bint is_shared          # several clients wait for it: it is in no client's share
    uint16_t key_length
    uint8_t key[KEY_MAX]

cdef class Questions:
    cdef readonly Cache cache
    cdef readonly int count             # questions under way
    cdef readonly int waiting           # clients
    cdef uint64_t* tally
    cdef Pending* shelves[SHELVES]
    cdef Shares of_clients
    cdef Shares of_domains
    cdef Shares of_parents
    cdef Outgoing outgoing              # to who has waited

    cdef Pending* find(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil
    cdef Pending* shelve(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, uint64_t now_ns
    ) noexcept
    cdef void remove(self, Pending* pending) noexcept       # nobody waits for it any more
    cdef void wait(self, Pending* pending, Waiter* waiter) noexcept
    cdef bint has_waiting(self, const Pending* pending) noexcept
    cdef bint is_crowded(self) noexcept nogil               # somebody has to give way
    cdef Pending* who_gives_way(self) noexcept nogil
    cdef void answer(
        self, Pending* pending, Tier tier, const AnswerSource* upstream, const Stored* stored, uint32_t age,
        uint64_t now_ns
    ) noexcept
    # ^ of TIER_STALE the answer is one past its TTL; upstream: who gave it, if that is known
    cdef void drop(self, Pending* pending) noexcept
    cdef void flush(self) noexcept                          # send the answers that are queued
    # private
    cdef void note_leaving(self, Pending* pending) noexcept
    cdef void note_waiter(self, Pending* pending, uint64_t client) noexcept

cdef uint64_t client_of(const Asker* asker) noexcept nogil
