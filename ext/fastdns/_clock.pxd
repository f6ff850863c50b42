"""Time: only this module of C reads a clock, and decides how old something is."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_REALTIME
    int CLOCK_BOOTTIME
    int clock_gettime(int clock, timespec* now)

cdef enum:
    AGE_UNKNOWN = -1

ctypedef struct Instant:    # one point in time; Python's Moment
    int64_t wall_ms         # Unix
    int64_t boot_ms         # CLOCK_BOOTTIME
    uint64_t boot           # hash of the boot id; 0: unknown, equal to none

cdef class Moment:
    cdef Instant at

cdef void read_moment(Instant* out) noexcept nogil
cdef int64_t age_since(const Instant* stored, const Instant* now) noexcept nogil   # milliseconds, or AGE_UNKNOWN
cdef bint is_later(const Instant* one, const Instant* other) noexcept nogil

cdef inline uint64_t read_clock_ns() noexcept nogil:
    # Nanoseconds since boot: neither a step of the wall clock nor a suspended hour makes an old answer young.
    cdef timespec now
    clock_gettime(CLOCK_BOOTTIME, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec

cdef inline uint32_t read_wall_seconds() noexcept nogil:
    # Unix time, of which cookies have 32 bits.
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <uint32_t>now.tv_sec

cdef inline uint8_t coarse(int64_t now_ms) noexcept nogil:
    # A time in one byte, never 0: steps of about 8 seconds, which repeat after 35 minutes.
    return <uint8_t>(1 + (now_ms >> 13) % 255)
