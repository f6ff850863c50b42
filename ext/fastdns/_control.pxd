"""run_dir/control: the words and the ring of changes through which commands, keeper and workers communicate."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

cpdef enum:                 # kinds of changes
    CHANGE_NAME = 1         # this name; qtype 0: every type
    CHANGE_UNDER = 2        # this domain and all under it
    CHANGE_ALL = 3
    CHANGE_REFRESH = 4      # name, qtype: ask upstream again. Invalidates nothing.

cdef enum:
    CHANGES_KEPT = 1024     # a reader that is further behind assumes that everything has changed

ctypedef struct Change:
    uint64_t counter
    uint16_t kind
    uint16_t qtype
    uint16_t name_length
    uint8_t name[256]       # wire form, lower case
    uint16_t variants       # of CHANGE_REFRESH: bit 1 << KeyFlags for each to be asked for; 0: the one without flags

cdef class Control:
    cdef readonly bint is_new       # made by this open: rings of before know another epoch
    cdef readonly object cache_path  # of the LMDB environment, as the page named it when it was mapped
    cdef uint8_t* page
    cdef object memory

    # Python's epoch, generation, suspect, tally
    cdef uint64_t epoch_now(self) noexcept nogil            # the counter of the last change
    cdef uint64_t generation_now(self) noexcept nogil       # of the LMDB environment: another one, another file
    cdef bint is_suspect(self) noexcept nogil               # a worker has found the environment damaged
    cdef void set_suspect(self, bint suspect) noexcept nogil
    cdef uint64_t tally_now(self) noexcept nogil            # how often hit counts were asked for
    cdef bint claim_refresh(self, uint64_t counter) noexcept nogil
    # ^ True for the first one that asks: that process must have it done
    cdef int read_change(self, uint64_t counter, Change* out) noexcept nogil    # 0; -1: overrun or unreadable
    # private
    cdef int use(self, memory) except -1
    cdef Change* slot_of(self, uint64_t counter) noexcept nogil
    cdef void write_change(self, Change* change) noexcept nogil

cdef bint change_matches(const Change* change, const uint8_t* key, uint16_t key_length) noexcept nogil
