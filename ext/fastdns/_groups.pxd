"""A group of upstreams: which is asked, in which order, how often, and how replies count."""

from libc.stdint cimport int64_t, uint16_t, uint64_t

from fastdns._answer cimport Limits
from fastdns._upstream cimport Upstream

cdef enum:
    UPSTREAMS_MAX = 64
    TRIES_MAX = 4               # questions of a group that try a dead upstream at the same time
    TRY_MS = 300                # for which a client waits for such a try
    TRY_PAUSE_MS = 1000         # between those for which the others have answered with an error

cdef class Group:
    cdef readonly uint16_t number       # 0: the default group
    cdef readonly Limits limits
    cdef readonly bint in_turn
    cdef readonly int attempts          # queries for one question, at most
    cdef readonly int64_t budget_ms     # that a question may take in all
    cdef readonly bint is_outage        # no upstream answers, or there is none
    cdef bint has_begun                 # it has had upstreams
    cdef int tries                      # questions of clients that test whether a dead one answers again
    cdef int64_t tried_ms               # when a dead one was last asked because the others only answer with errors
    cdef int version                    # of the list: another one, other positions
    cdef int64_t held_from_s            # stale answers are held when they were after the last outage
    cdef int count                      # of the members; own_count of them are not for the worst case alone
    cdef int own_count
    cdef int usable                     # so many, from the first, may be asked now
    cdef int alive                      # of these
    cdef int turn
    cdef list members                   # keeps them alive
    cdef void* at[UPSTREAMS_MAX]        # Upstreams

    cdef int first(self) noexcept nogil                             # the next one; -1: there is none
    cdef int after(self, int position, uint64_t spent) noexcept nogil
    # ^ the next one that may be asked, once around; spent: a bit for each that must not; -1: none
    cdef int dead_after(self, int position, uint64_t spent) noexcept nogil  # the same of those that count as dead
    cdef Upstream member(self, int position)
    cdef bint has_others(self, const void* upstream, uint64_t spent) noexcept nogil
    # ^ another one that answers, and may be asked
