"""Time: only this module of C reads a clock, and decides how old something is."""

from fastdns._siphash cimport SipKey, siphash13

PLAUSIBLE_MS = 1_735_689_600_000    # 2025-01-01T00:00Z: a wall clock before that was never set
cdef int64_t PLAUSIBLE = PLAUSIBLE_MS
cdef SipKey NO_KEY                  # a name for a boot, not a defence
NO_KEY.k0 = NO_KEY.k1 = 0


cdef uint64_t hash_of_boot():
    """A number for this boot; 0 if the kernel does not name it."""
    cdef bytes boot_id
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot_id = file.read().strip()
    except OSError:
        return 0
    return siphash13(&NO_KEY, boot_id, len(boot_id))


cdef uint64_t THIS_BOOT = hash_of_boot()


cdef inline int64_t milliseconds(const timespec* t) noexcept nogil:
    return <int64_t>t.tv_sec * 1000 + t.tv_nsec // 1000000


cdef void read_moment(Instant* out) noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    out.wall_ms = milliseconds(&t)
    clock_gettime(CLOCK_BOOTTIME, &t)
    out.boot_ms = milliseconds(&t)
    out.boot = THIS_BOOT


cdef inline bint same_boot(uint64_t one, uint64_t other) noexcept nogil:
    return one == other and one != 0


cdef int64_t age_since(const Instant* stored, const Instant* now) noexcept nogil:
    # Compared before the subtraction: a damaged number must not overflow.
    if same_boot(stored.boot, now.boot):
        if 0 <= stored.boot_ms <= now.boot_ms:
            return now.boot_ms - stored.boot_ms
    elif PLAUSIBLE <= stored.wall_ms <= now.wall_ms:
        return now.wall_ms - stored.wall_ms
    return AGE_UNKNOWN


cdef bint is_later(const Instant* one, const Instant* other) noexcept nogil:
    if same_boot(one.boot, other.boot):
        return one.boot_ms > other.boot_ms
    if one.wall_ms < PLAUSIBLE or other.wall_ms < PLAUSIBLE:     # then one of this boot is the later one
        if same_boot(one.boot, THIS_BOOT) or same_boot(other.boot, THIS_BOOT):
            return same_boot(one.boot, THIS_BOOT)
    return one.wall_ms > other.wall_ms


cdef class Moment:
    """One point in time, on the wall clock and on the clock of this boot."""

    def __init__(self, int64_t wall_ms, int64_t boot_ms, uint64_t boot):
        self.at.wall_ms = wall_ms
        self.at.boot_ms = boot_ms
        self.at.boot = boot

    @staticmethod
    def now():
        cdef Moment moment = Moment.__new__(Moment)
        read_moment(&moment.at)
        return moment

    @property
    def wall_ms(self):
        return self.at.wall_ms

    @property
    def boot_ms(self):
        return self.at.boot_ms

    @property
    def boot(self):
        return self.at.boot

    def __repr__(self):
        return f"Moment({self.at.wall_ms}, {self.at.boot_ms}, {self.at.boot})"


def age_of(int64_t wall_ms, int64_t boot_ms, uint64_t boot, Moment now not None):
    """Return the age in milliseconds of a value that was stored then; None: unknown."""
    cdef Moment stored = Moment(wall_ms, boot_ms, boot)
    cdef int64_t age = age_since(&stored.at, &now.at)
    return None if age == AGE_UNKNOWN else age
