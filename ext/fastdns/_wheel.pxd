"""A timer wheel: timers in milliseconds, set and cancelled in constant time."""

from libc.stdint cimport int64_t

cdef enum:
    TICK_MS = 4
    WHEEL_SLOTS = 4096

cdef enum TimerKind:
    OF_QUESTION
    OF_FLIGHT

cdef struct Timer:          # the first field of the struct with the timer; all zeros: not set
    Timer* next
    Timer* previous
    int64_t tick
    bint is_set
    TimerKind kind

cdef class Wheel:
    cdef readonly int count             # timers that are set
    cdef object on_busy                 # called before the first one is set: from then on it must be advanced
    cdef Timer* slots[WHEEL_SLOTS]
    cdef int64_t tick                   # the last one that was visited

    cdef void wake(self) except *       # to be called before creating anything that will set a timer
    cdef void set(self, Timer* timer, int64_t due_ms) noexcept nogil    # instead of its former time
    cdef void cancel(self, Timer* timer) noexcept nogil
    cdef Timer* next_due(self, int64_t now_ms) noexcept nogil           # cancelled then; NULL: there are no more
