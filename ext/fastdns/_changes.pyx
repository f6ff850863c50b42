"""The stamp: how changes of rules, upstreams and commands reach cached entries without a walk through memory.

An entry that was found good carries the stamp of that moment: the policy's generation joined with the epoch of the
changes by commands. While this process has the same stamp, the entry is served. Else it is judged when it is next asked
for: did one of the later changes, in a small table, remove it? Would the same group be asked for it, and are its
upstreams still the same? So a command costs only what it touches, and each entry pays once.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastdns._control cimport CHANGE_ALL, CHANGE_NAME, CHANGE_REFRESH, CHANGE_UNDER
from fastdns._hotcache cimport EPOCH_BITS
from fastdns._key cimport KEY_CD, KEY_DO, KEY_TAIL, key_of_question, key_view
from fastdns._policy cimport DEFAULT_GROUP, FORWARD, GROUPS_MAX, Decision, decide
from fastdns._wire cimport CLASS_IN, load16

cdef enum:
    CLOCK_STEP_MS = 3000    # by which the clocks drift apart before entries of earlier boots are judged again
    LABELS_MAX = 128

cdef uint32_t GOLDEN = 0x9e3779b1   # of 32 bits: no two steps of the clock look alike
cdef uint64_t FNV_BASIS = 0xcbf29ce484222325
cdef uint64_t FNV_PRIME = 0x100000001b3
cdef uint64_t GENERATIONS = (1 << (64 - EPOCH_BITS)) - 1


cdef class Ticket:
    """The state when an upstream was asked: which changes were applied, which upstreams the group had."""


cdef inline uint64_t hash_of(uint64_t name_hash, uint16_t kind, uint16_t qtype) noexcept nogil:
    """Two changes with one hash cost an unnecessary miss."""
    cdef uint64_t hash = (name_hash ^ (<uint64_t>kind << 16 | qtype)) * <uint64_t>0x9e3779b97f4a7c15
    hash ^= hash >> 32
    return hash if hash else 1


cdef inline uint64_t hash_back(uint64_t hash, const uint8_t* octets, int end, int start) noexcept nogil:
    """FNV-1a from the end of a name, so that it passes the hashes of all its parents."""
    while end > start:
        end -= 1
        hash = (hash ^ octets[end]) * FNV_PRIME
    return hash


cdef class Changes:
    """The changes that this process has seen, and what they mean for older answers.

    `origin` is the fingerprint of the default group's upstreams.
    """

    def __cinit__(self, Control control not None, uint64_t origin, int64_t wall_ms, int64_t boot_ms):
        self.control = control
        self.policy = Policy()
        self.wanted = []
        self.recent = <Recent*>calloc(RECENT_SLOTS, sizeof(Recent))
        # Most of it is never touched, and so takes no memory.
        self.origins = <uint64_t*>calloc(GROUPS_MAX, sizeof(uint64_t))
        if self.recent == NULL or self.origins == NULL:
            raise MemoryError
        self.clock_offset = wall_ms - boot_ms
        self.epoch = control.epoch_now()
        self.join_stamp()
        self.set_group(DEFAULT_GROUP, origin)

    def __dealloc__(self):
        free(self.recent)
        free(self.origins)

    # --- the policy, the groups, the clock -----------------------------------------------------------------

    def set_group(self, uint16_t number, uint64_t origin):
        """Set the fingerprint of a group's upstreams; return False if it is the same."""
        if self.origins[number] == origin:
            return False
        self.origins[number] = origin
        if number == 0:
            self.control.origin = origin
        self.advance()
        return True

    def use_policy(self, Policy policy not None):
        """Set the policy."""
        policy.generation = self.policy.generation
        self.policy = policy
        self.advance()

    cdef bint advance(self) noexcept nogil:
        self.policy.generation = self.policy.generation + 1
        self.join_stamp()
        return True

    cdef void join_stamp(self) noexcept nogil:
        # Never generation 0, which marks entries that are kept but not served fresh.
        self.stamp = (1 + self.policy.generation % GENERATIONS) << EPOCH_BITS | self.epoch

    cdef uint64_t origin_of(self, const Decision* decision) noexcept nogil:
        return self.origins[decision.group] ^ decision.mark

    cdef uint32_t mark_of(self, const Decision* decision, uint64_t origin, bint by_wall) noexcept nogil:
        if by_wall and origin == self.origin_of(decision):
            return short_of(origin) + GOLDEN * (1 + self.clock_steps)
        return short_of(origin)

    cdef bint is_mark_of(self, const Decision* decision, uint32_t mark) noexcept nogil:
        cdef uint32_t short = short_of(self.origin_of(decision))
        return mark == short or mark == short + GOLDEN * (1 + self.clock_steps)

    cdef bint follow_clock(self, int64_t wall_ms, int64_t boot_ms) noexcept nogil:
        """Have entries of earlier boots judged again after the wall clock was set: it tells their age."""
        cdef int64_t offset = wall_ms - boot_ms
        if offset - self.clock_offset <= CLOCK_STEP_MS and self.clock_offset - offset <= CLOCK_STEP_MS:
            return False
        self.clock_offset = offset
        self.clock_steps += 1
        return self.advance()

    # --- what commands change ------------------------------------------------------------------------------

    cdef int take_in(self) except -1:
        cdef uint64_t epoch = self.control.epoch_now()
        cdef uint64_t at = self.epoch
        cdef Change change
        cdef int removing = 0
        if epoch - self.epoch <= CHANGES_KEPT:
            while at != epoch and self.control.read_change(at + 1, &change) == 0:
                at += 1
                if change.kind == CHANGE_REFRESH:
                    self.note(at, 0)
                    if self.control.claim_refresh(at):
                        self.want(&change)
                    continue
                removing += 1
                self.removed = at
                if change.kind == CHANGE_ALL:
                    self.all_removed = at
                    self.note(at, 0)
                else:
                    self.note(at, hash_of(
                        hash_back(FNV_BASIS, change.name, change.name_length, 0), change.kind,
                        change.qtype if change.kind == CHANGE_NAME else 0,
                    ))
        if at != epoch:         # the lost changes may concern anything
            self.removed = self.all_removed = epoch
            memset(self.hashes, 0, sizeof(self.hashes))
            memset(self.recent, 0, RECENT_SLOTS * sizeof(Recent))
            self.used = 0
            removing += 1
        self.epoch = epoch
        self.join_stamp()
        return removing

    cdef void note(self, uint64_t epoch, uint64_t hash) noexcept nogil:
        """Add a change to the table; 0: it concerns no name."""
        cdef Recent* slot
        cdef uint64_t kept
        self.hashes[epoch % CHANGES_KEPT] = hash
        if hash == 0:
            return
        slot = self.slot_of(hash)
        if slot.hash == 0 and self.used >= RECENT_SLOTS // 2:
            # Most are too old to be asked for.
            memset(self.recent, 0, RECENT_SLOTS * sizeof(Recent))
            self.used = 0
            for kept in range(epoch - min(epoch, <uint64_t>CHANGES_KEPT) + 1, epoch):
                if self.hashes[kept % CHANGES_KEPT]:
                    self.note(kept, self.hashes[kept % CHANGES_KEPT])
            slot = self.slot_of(hash)
        if slot.hash == 0:
            self.used += 1
        slot.hash = hash
        slot.epoch = epoch

    cdef Recent* slot_of(self, uint64_t hash) noexcept nogil:
        """The slot that has this hash, or the free one where it belongs."""
        cdef uint64_t at = hash % RECENT_SLOTS
        while self.recent[at].hash != 0 and self.recent[at].hash != hash:
            at = (at + 1) % RECENT_SLOTS
        return &self.recent[at]

    cdef bint is_removed(self, uint64_t epoch, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef uint8_t labels[LABELS_MAX]
        cdef int end = key_length - KEY_TAIL
        cdef int count = 0
        cdef int at = 0
        cdef uint64_t hash = FNV_BASIS
        if self.epoch - epoch > CHANGES_KEPT or epoch < self.all_removed:
            return True
        if epoch >= self.removed:
            return False
        while at < end and count < LABELS_MAX:
            labels[count] = <uint8_t>at
            count += 1
            at += key[at] + 1
        if at != end:
            return True         # the root: not worth a special case
        while count > 0:
            count -= 1
            hash = hash_back(hash, key, at, labels[count])
            at = labels[count]
            if self.slot_of(hash_of(hash, CHANGE_UNDER, 0)).epoch > epoch:
                return True
        return (
            self.slot_of(hash_of(hash, CHANGE_NAME, 0)).epoch > epoch
            or self.slot_of(hash_of(hash, CHANGE_NAME, load16(key + end))).epoch > epoch
        )

    cdef bint is_outdated(
        self, uint64_t epoch, uint16_t group, uint64_t origin, const uint8_t* key, uint16_t key_length,
        const Decision* decided,
    ) noexcept nogil:
        cdef Decision decision
        if self.is_removed(epoch, key, key_length):
            return True
        if self.policy.is_empty:
            return group != DEFAULT_GROUP or origin != self.origins[DEFAULT_GROUP]
        if decided == NULL or decided.policy != self.policy.generation:
            decide(self.policy, key_view(key, key_length), key, key_length, &decision)
            decided = &decision
        return decided.verdict != FORWARD or decided.group != group or origin != self.origin_of(decided)

    cdef void want(self, const Change* change) except *:
        """Note what a command wants refreshed."""
        cdef bytes name = (<const char*>change.name)[:change.name_length]
        cdef uint16_t variants = change.variants if change.variants else 1
        for flags in (0, KEY_DO, KEY_CD, KEY_DO | KEY_CD):
            if variants >> <int>flags & 1:
                self.wanted.append(key_of_question(name, change.qtype, CLASS_IN, flags))

    def take_wanted(self):
        """Return, once, the keys that commands want refreshed."""
        wanted, self.wanted = self.wanted, []
        return wanted

    cdef Ticket ticket(self, const Decision* decision):
        """Return the Ticket for a question that is now sent upstream, or to a thread that reads the disk."""
        cdef Ticket ticket = Ticket.__new__(Ticket)
        ticket.epoch = self.epoch
        ticket.origin = self.origin_of(decision)
        ticket.group = decision.group
        return ticket
