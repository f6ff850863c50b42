"""How many answers a client prefix gets over UDP: one bucket a prefix, for all workers together.

A bucket is one number: a tag of its prefix, and the time at which it is full again (a generic cell rate algorithm). A
second's worth of answers may come at once. The table has a fixed size. Eight buckets share a cache line, in which a
prefix that has none takes the place of the one that is full soonest. So a flood of forged prefixes takes no memory; a
client that loses its bucket to it begins with a full one.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

from fastdns._clients cimport name_asker
from fastdns._siphash cimport keyed_hash
from fastdns._wire cimport load64

from fastdns import mapped

cdef extern from * nogil:
    enum:
        __ATOMIC_RELAXED
    uint64_t __atomic_load_n(const uint64_t* at, int order)
    uint64_t __atomic_fetch_xor(uint64_t* at, uint64_t value, int order)
    bint __atomic_compare_exchange_n(
        uint64_t* at, uint64_t* expected, uint64_t value, bint weak, int success, int failure
    )

cdef enum:
    LINES = 4096            # a power of two
    BUCKETS_A_LINE = 8
    TIME_BITS = 40          # below the tag; these times come round after 19 hours
    TICK_SHIFT = 6          # a tick is 64 ns
    TICKS_A_SECOND = 15625000
    TRIES = 4
    TURN_WORDS = 1024       # a power of two

cdef uint64_t TIMES = (<uint64_t>1 << TIME_BITS) - 1

# For `spread`: one number for a daemon and all its children.
cdef uint64_t ADDED = keyed_hash(b"rate limit: added", 17)
cdef uint64_t FACTOR = keyed_hash(b"rate limit: factor", 18) | 1

BUCKETS = LINES * BUCKETS_A_LINE
RATE_MAX = 1_000_000        # answers a second; a step is then still 15 ticks
RATE_OCTETS = 8 * (BUCKETS + TURN_WORDS)


cdef inline uint64_t prefix_of(const Asker* asker) noexcept nogil:
    """The /32 of an IPv4 client, the /56 of another: as one number."""
    cdef uint64_t high = load64(asker.address)
    return high & ~<uint64_t>0xff if high else load64(asker.address + 8)


cdef inline uint64_t spread(uint64_t prefix) noexcept nogil:
    """A hash of a prefix. It need not be as strong as SipHash: nobody can see where a bucket is."""
    prefix = (prefix ^ ADDED) * FACTOR
    prefix = (prefix ^ prefix >> 32) * FACTOR
    return prefix ^ prefix >> 29


cdef class RateLimit:
    """Says for each query whether its client is above the limit. Workers that share the memory count together."""

    def __cinit__(self, memory, int rate, Access exempt not None, *, bint dry_run=False):
        """`rate`: answers a second and prefix, RATE_MAX at most; 0: no limit. `memory` has RATE_OCTETS, zero at first;
        None: of its own.
        """
        cdef Py_buffer view
        if not 0 <= rate <= RATE_MAX:
            raise ValueError(f"{rate} answers a second cannot be counted")
        self.is_dry = dry_run
        self.step = TICKS_A_SECOND // rate if rate else 0
        self.exempt = exempt
        self.memory = mapped.anonymous(RATE_OCTETS, b"") if memory is None else memory
        PyObject_GetBuffer(self.memory, &view, PyBUF_WRITABLE)
        self.lines = <uint64_t*>view.buf        # a mapping stays where it is
        PyBuffer_Release(&view)
        if view.len < RATE_OCTETS:
            raise ValueError("this memory is too small")
        self.turns = self.lines + <int>LINES * <int>BUCKETS_A_LINE

    def exempt_by(self, Access exempt not None):
        """Set which clients have no limit."""
        self.exempt = exempt

    cdef bint is_over(self, const Asker* asker, uint64_t now_ns) noexcept nogil:
        cdef uint64_t whole, tag, now, word, owed, least, seen, fresh
        cdef uint64_t* line
        cdef uint64_t* at
        cdef int _try, i
        cdef bint is_known
        if self.exempt.admits(asker):
            return False
        whole = spread(prefix_of(asker))
        line = self.lines + (whole & <uint64_t>(LINES - 1)) * <uint64_t>BUCKETS_A_LINE
        tag = whole & ~TIMES
        now = now_ns >> TICK_SHIFT & TIMES
        for _try in range(TRIES):
            least = ~<uint64_t>0
            at = line
            seen = 0
            is_known = False
            for i in range(BUCKETS_A_LINE):
                word = __atomic_load_n(&line[i], __ATOMIC_RELAXED)
                owed = (word - now) & TIMES
                # Another worker's clock may be ahead, and a time that has gone by long ago may come round.
                if owed > 2 * <uint64_t>TICKS_A_SECOND:
                    owed = 0
                is_known = word & ~TIMES == tag and word != 0
                if is_known or owed < least:
                    least = owed
                    at = &line[i]
                    seen = word
                if is_known:
                    break
            owed = least if is_known else 0
            if owed + self.step > <uint64_t>TICKS_A_SECOND:
                return True
            fresh = tag | ((now + owed + self.step) & TIMES)
            if __atomic_compare_exchange_n(at, &seen, fresh, False, __ATOMIC_RELAXED, __ATOMIC_RELAXED):
                return False
        return False        # so many others count in this line at this moment: one too few is counted

    cdef bint is_told(self, const Asker* asker, uint64_t question) noexcept nogil:
        # By client and question, in turns: a client that repeats its question is told the second time at the latest,
        # whatever others of its prefix ask meanwhile. Of two that repeat theirs and share a place, one is told each
        # time: that is why the place says who is told the first time, half of all, and not the rest of the hash.
        cdef uint64_t place = question ^ keyed_hash(asker.address, sizeof(asker.address))
        cdef uint64_t bit = <uint64_t>1 << (place & 63)
        cdef uint64_t former = __atomic_fetch_xor(
            &self.turns[place >> 6 & <uint64_t>(TURN_WORDS - 1)], bit, __ATOMIC_RELAXED
        )
        return (former & bit != 0) != (place & 1 != 0)

    def takes(self, tuple client not None, uint64_t now_ns):
        """Return True if a client at this address (as Python has it) is within its limit, and count one answer."""
        cdef Asker asker
        name_asker(client, &asker)
        return self.step == 0 or not self.is_over(&asker, now_ns)
