"""A timer wheel: what is to be done at which millisecond, set and cancelled in constant time."""

from libc.stdint cimport int64_t

cdef enum:
    TICK_MS = 4
    WHEEL_SLOTS = 4096

cdef enum TimerKind:
    OF_QUESTION
    OF_FLIGHT

cdef struct Timer:          # the first field of what it belongs to; all zeros: not set
    Timer* next
    Timer* previous
    int64_t tick
    bint is_set
    TimerKind kind

cdef class Wheel:
    cdef readonly int count             # timers that are set
    cdef object on_busy                 # called before the first one is set: from then on its time has to be kept
    cdef Timer* slots[WHEEL_SLOTS]
    cdef int64_t tick                   # the last one that was looked at

    cdef void wake(self) except *       # to be called before something is made that will set a timer
    cdef void set(self, Timer* timer, int64_t due_ms) noexcept nogil    # in place of what it was set to
    cdef void cancel(self, Timer* timer) noexcept nogil
    cdef Timer* next_due(self, int64_t now_ms) noexcept nogil           # cancelled then; NULL: none any more
