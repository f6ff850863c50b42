"""A group of upstreams: which is asked, in which order, how often, and how replies count."""

from fastdns._clock cimport read_clock_ns

cdef enum:
    HOLD_STALE_SECONDS = 30     # until a failed question is tried again: RFC 8767 section 5
    POSITIONS = 0x3fffffff


cdef class Group:
    """The upstreams for some names. Those that are alive are asked; if none is, all are tried at intervals.

    `in_turn`: each one in its turn, else the first that is alive. A question is sent `attempts` times at most and may
    take `budget` seconds.
    """

    def __cinit__(
        self, Limits limits not None, *, uint16_t number=0, bint in_turn=False, int attempts=3, double budget=3.5
    ):
        self.number = number
        self.limits = limits
        self.in_turn = in_turn
        self.attempts = attempts
        self.budget_ms = <int64_t>(budget * 1000)
        self.members = []
        self.turn = -1
        self.is_outage = True

    def use(self, upstreams, fallback=()):
        """Use these from now on, in this order; those of `fallback` only while none of the others is alive.

        At most UPSTREAMS_MAX.
        """
        cdef int i
        own = list(upstreams)[:UPSTREAMS_MAX]
        self.members = (own + list(fallback))[:UPSTREAMS_MAX]
        self.own_count = <int>len(own)
        self.count = <int>len(self.members)
        for i in range(self.count):
            self.at[i] = <void*><Upstream>self.members[i]
        self.version = (self.version + 1) & POSITIONS
        self.turned()

    def turned(self):
        """One of them has died, or answers again."""
        cdef Upstream upstream
        self.alive = sum(upstream.alive for upstream in self.members[:self.own_count])
        self.usable = self.own_count
        if self.alive == 0:
            self.alive = sum(upstream.alive for upstream in self.members)
            self.usable = self.count
        for upstream in self.members:
            upstream.has_others = self.alive > upstream.alive
        if self.is_outage and self.alive and self.has_begun:    # questions that failed because of it may be asked again
            self.held_from_s = <int64_t>(read_clock_ns() // 1000000000) + HOLD_STALE_SECONDS
        self.is_outage = self.alive == 0
        self.has_begun = True

    @property
    def upstreams(self):
        """The upstreams in their order."""
        return list(self.members)

    cdef int first(self) noexcept nogil:
        if not self.in_turn and not self.is_outage:
            return self.after(-1, 0)
        self.turn = self.after(self.turn, 0)
        return self.turn

    cdef int after(self, int position, uint64_t spent) noexcept nogil:
        cdef int i, at
        for i in range(self.usable):
            at = (position + 1 + i) % self.usable
            if not (spent >> at) & 1 and ((<Upstream>self.at[at]).alive or self.is_outage):
                return at
        return -1

    cdef int dead_after(self, int position, uint64_t spent) noexcept nogil:
        cdef int i, at
        for i in range(self.own_count):
            at = (position + 1 + i) % self.own_count
            if not (spent >> at) & 1 and not (<Upstream>self.at[at]).alive:
                return at
        return -1

    cdef Upstream member(self, int position):
        return <Upstream>self.at[position]

    cdef bint has_others(self, const void* upstream, uint64_t spent) noexcept nogil:
        cdef int i
        for i in range(self.usable):
            if self.at[i] != upstream and (<Upstream>self.at[i]).alive and not (spent >> i) & 1:
                return True
        return False
