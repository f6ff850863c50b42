"""What a worker sends to the keeper through its ring, which the keeper reads when woken or at intervals."""

from fastdns._counters cimport DISK_DAMAGED, RING_SHED

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int descriptor, const void* octets, size_t count)

cdef uint64_t ONE = 1       # the value that is written to an eventfd


cdef class Outbox:
    """Sends to the keeper whose eventfd `keeper_wakeup` is; -1: there is none."""

    def __cinit__(
        self, Ring ring not None, Control control not None, Counters counters not None, int keeper_wakeup=-1
    ):
        self.ring = ring
        self.control = control
        self.counters = counters
        self.tally = counters.at
        self.keeper_wakeup = keeper_wakeup

    cdef void put_answer(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t epoch, const Stored* answer,
        const Instant* now, const AnswerSource* origin,
    ) noexcept nogil:
        """Send an answer that was asked for at this epoch; when the ring becomes half full, wake the keeper once."""
        cdef bint half_full
        if not self.ring.put_answer(hash, key, key_length, epoch, answer, now, origin):
            self.tally[RING_SHED] += 1
        half_full = self.ring.octets_used() > self.ring.capacity // 2
        if half_full and not self.has_woken:
            self.wake_keeper()
        self.has_woken = half_full

    cdef void put_removal(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t epoch, const Stored* answer,
        const Instant* now, const AnswerSource* origin, bint is_urgent,
    ) noexcept nogil:
        """Report that the entry on disk under this key is outdated; urgent: there is one."""
        if not self.ring.put_answer(hash, key, key_length, epoch, answer, now, origin):
            self.tally[RING_SHED] += 1
        elif is_urgent:
            self.wake_keeper()

    cdef bint put_hits(self, const uint8_t* key, uint16_t key_length, uint32_t hits) noexcept nogil:
        return self.ring.put_hits(key, key_length, hits)

    cdef void report_spoiled(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
        """Have the keeper remove the entry on disk under a key: a miss costs one entry, and no more."""
        self.tally[DISK_DAMAGED] += 1
        if hash == self.spoiled:
            return      # it is asked for again before the keeper, or an upstream, has replaced it
        self.spoiled = hash
        if self.ring.put_spoiled(key, key_length):
            self.wake_keeper()

    cdef void report_damage(self) noexcept nogil:
        """Have the keeper examine the file; no process reads it until then."""
        self.tally[DISK_DAMAGED] += 1
        self.control.set_suspect(True)
        self.wake_keeper()

    cdef void wake_keeper(self) noexcept nogil:
        if self.keeper_wakeup >= 0 and write(self.keeper_wakeup, &ONE, sizeof(ONE)) < 0:
            return  # its counter is full, so the keeper was woken
