"""What has changed since an entry was last found good: rules, upstreams, or a removal by a command."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._control cimport CHANGES_KEPT, Change, Control
from fastdns._policy cimport Decision, Policy

cdef enum:
    RECENT_SLOTS = 4096     # of the table of recent changes, which is half full at most

cdef struct Recent:
    uint64_t hash           # of a name, and of what has changed about it; 0: free
    uint64_t epoch          # of the last such change

cdef class Ticket:          # the state when an upstream was asked
    cdef uint64_t epoch
    cdef uint64_t origin
    cdef uint16_t group

cdef class Changes:
    cdef readonly Policy policy
    cdef readonly Control control
    cdef uint64_t epoch     # of the last change that was applied
    cdef uint64_t stamp     # the current one: the policy's generation above EPOCH_BITS of epoch
    # private
    cdef list wanted        # keys that a command wants renewed
    cdef uint64_t* origins  # of the groups, by number; GROUPS_MAX of them
    cdef uint64_t removed   # epoch of the last change that has taken anything away
    cdef uint64_t all_removed       # and of the last that has taken everything
    cdef uint64_t hashes[CHANGES_KEPT]      # of the changes kept, by epoch
    cdef Recent* recent
    cdef int used           # slots of it
    cdef int64_t clock_offset       # wall clock minus clock of the boot, when entries of earlier boots were last judged
    cdef uint32_t clock_steps       # how often that was

    cdef int take_in(self) except -1
    # ^ read new changes from the control page; return how many of them removed something
    cdef bint is_removed(self, uint64_t epoch, const uint8_t* key, uint16_t key_length) noexcept nogil
    # ^ a command has removed the key since that epoch, or it is no longer known
    cdef bint is_outdated(
        self, uint64_t epoch, uint16_t group, uint64_t origin, const uint8_t* key, uint16_t key_length,
        const Decision* decided,
    ) noexcept nogil
    # ^ an answer to a question of that state must not be cached: the key was removed, or the upstreams have changed.
    # decided: about the key, if that is known
    cdef Ticket ticket(self, const Decision* decision)
    cdef bint advance(self) noexcept nogil  # entries that were found good must be judged again
    cdef uint64_t origin_of(self, const Decision* decision) noexcept nogil
    # ^ of its group's answers, joined with the mark of the name's rule
    cdef uint32_t mark_of(self, const Decision* decision, uint64_t origin, bint by_wall) noexcept nogil
    # ^ the origin in an entry: 32 bits, which for one of an earlier boot change with the wall clock
    cdef bint is_mark_of(self, const Decision* decision, uint32_t mark) noexcept nogil
    # ^ it is the current one, and the wall clock was not set since
    cdef bint follow_clock(self, int64_t wall_ms, int64_t boot_ms) noexcept nogil   # True: it was set
    # private
    cdef void join_stamp(self) noexcept nogil
    cdef void want(self, const Change* change) except *
    cdef void note(self, uint64_t epoch, uint64_t hash) noexcept nogil
    cdef Recent* slot_of(self, uint64_t hash) noexcept nogil


cdef inline uint32_t short_of(uint64_t fingerprint) noexcept nogil:
    """The mark of an origin whose age this boot's clock tells."""
    return <uint32_t>(fingerprint ^ (fingerprint >> 32))
