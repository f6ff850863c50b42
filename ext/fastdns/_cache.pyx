"""The cache as a whole: memory first, then disk; new answers go to both; changes by commands apply to both.

Answers reach the disk through a ring, from which the keeper reads them; until then every worker finds them there.
Changes, by commands or otherwise, are applied before anything is served (`catch_up`). No change walks through memory:
an entry with another stamp is judged when it is next asked for (`look`). Nor can an answer in flight undo a change: a
Ticket, made before an upstream or another thread is asked, says which changes were applied by then.
"""

import logging

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcpy

from fastdns._answer cimport IS_OURS, Answer, copy_answer, make_answer
from fastdns._changes cimport short_of
from fastdns._clock cimport AGE_UNKNOWN, Moment, read_moment
from fastdns._disk cimport DISK_ABSENT, DISK_DAMAGED, DISK_FOUND, DISK_SPOILED
from fastdns._entry cimport Source
from fastdns._hotcache cimport Standing, epoch_of, key_of, stored_ms_of
from fastdns._key cimport (
    KEY_CD, KEY_DO, KEY_FLAGS_AT, KEY_MAX, KEY_TAIL, key_flags, key_length_of, key_view, set_key_view,
)
from fastdns._outbox cimport Outbox
from fastdns._policy cimport DEFAULT_GROUP, FORWARD, Decision, Policy, decide, inspect, is_refused
from fastdns._response cimport EDE_STALE_ANSWER, EDE_STALE_NXDOMAIN
from fastdns._ring cimport Ring
from fastdns._rings cimport Rings
from fastdns._rules cimport Rule, changes_answers
from fastdns._counters cimport (
    CACHE_BYTES, CACHE_ENTRIES, CACHE_EVICTIONS, CACHE_INSERTS, CACHE_REFUSED, DISK_COLD, DISK_DAMAGED as TALLY_DAMAGED,
    DISK_HITS, DISK_MISSES, INVALIDATIONS, REBIND_BLOCKED, WARMED,
)
from fastdns._scrub cimport cleaned_message, write_without_signatures
from fastdns._siphash cimport keyed_hash
from fastdns._wire cimport RECORDS_MAX, Findings, find_in_answer, load16, load32, store32

from fastdns._answer import extended_error
from fastdns._key import cache_key

log = logging.getLogger("fastdns.disk")

cdef enum:
    WARM_SHARE = 4          # a quarter of memory stays free for new answers
    RCODE_NXDOMAIN = 3


cdef inline bint ends_others(const Entry* entry) noexcept nogil:
    """True for the mark of an answer that must not be cached: anything older than it is outdated."""
    return entry.answer.ttl == 0


cdef void other_key(uint8_t* out, const uint8_t* key, uint16_t key_length, int which) noexcept nogil:
    memcpy(out, key, key_length)
    out[key_length - KEY_TAIL + KEY_FLAGS_AT] ^= KEY_DO if which == 0 else KEY_CD if which == 1 else KEY_DO | KEY_CD


cdef Answer answer_of(const Entry* entry, uint32_t age, uint32_t fixed_ttl, bytes options):
    """Return an entry as an Answer that is not cached: TTLs reduced by its age, or all fixed_ttl."""
    cdef bytes wire = (<const char*>entry.answer.wire)[:entry.answer.length]
    cdef uint8_t* message = <uint8_t*>PyBytes_AS_STRING(wire)     # no other code has seen it yet
    cdef uint32_t ttl
    cdef int i
    for i in range(entry.answer.ttl_count):
        ttl = load32(message + entry.answer.ttl_at[i])
        store32(message + entry.answer.ttl_at[i], fixed_ttl if fixed_ttl else ttl - age if ttl > age else 0)
    return make_answer(
        wire, (<const char*>entry.answer.ttl_at)[:2 * entry.answer.ttl_count], options, entry.answer.rcode, 0, False
    )


cdef const uint8_t* key_on_disk(uint8_t* room, const uint8_t* key, uint16_t key_length, uint16_t group) noexcept nogil:
    """The key with the group in place of the view: an upstream's answer serves every view."""
    if group == key_view(key, key_length):
        return key
    memcpy(room, key, key_length)
    set_key_view(room, key_length, group)
    return room


cdef inline uint64_t hash_on_disk(
    uint64_t hash, const uint8_t* key, const uint8_t* disk_key, uint16_t key_length
) noexcept nogil:
    return hash if disk_key == key else keyed_hash(disk_key, key_length)


cdef class Cache:
    """Memory and disk as one cache. `origin` is the fingerprint of the default group's upstreams.

    New answers go to `ring`; `rings` are searched for those of other workers, and include ours.
    """

    def __cinit__(
        self, HotCache memory not None, Counters counters not None, Disk disk not None, Ring ring not None,
        Control control not None, uint64_t origin=0, int keeper_wakeup=-1, rings=None, CacheSettings settings=None,
    ):
        cdef Instant now
        self.settings = CacheSettings() if settings is None else settings
        self.memory = memory
        self.counters = counters
        self.tally = counters.at
        self.disk = disk
        self.outbox = Outbox(ring, control, counters, keeper_wakeup)
        self.rings = Rings((ring,) if rings is None else rings)
        self.control = control
        read_moment(&now)
        self.changes = Changes(control, origin, now.wall_ms, now.boot_ms)
        disk.origin = origin
        disk.in_disk = counters.in_disk
        memory.stamp = self.changes.stamp
        self.follow_disk()
        self.show_memory()

    # --- changes by commands, and the state of the file ------------------------------------------------

    def look_at_control(self, Moment now=None):
        """Apply the changes that commands have made; return the keys that they want refreshed."""
        if now is None:
            now = Moment.now()
        if self.changes.follow_clock(now.at.wall_ms, now.at.boot_ms):
            self.memory.stamp = self.changes.stamp
        wanted = self.take_wanted() if self.catch_up(now.at.boot_ms) else []
        self.outbox.spoiled = 0
        if not self.disk.is_open:
            self.follow_disk()      # the obstacle to opening it may be gone
        return wanted

    cdef void bring_in(self, bytes key, const Instant* now) except *:
        """Load the entry of this key into memory, from disk unless that could take long."""
        cdef const uint8_t* octets = <const uint8_t*>PyBytes_AS_STRING(key)
        cdef uint16_t length = <uint16_t>len(key)
        cdef Entry* entry = NULL
        cdef Found found
        cdef Decision decision
        decide(self.changes.policy, key_view(octets, length), octets, length, &decision)
        if decision.verdict != FORWARD:
            return      # what upstreams have said about it before is not told any more
        self.begin_disk()
        self.look_up(self.memory.hash_of(octets, length), octets, length, &decision, now, &entry, &found)
        self.end_disk()

    def take_wanted(self):
        """Return, once, the keys that commands want refreshed: in every view that has an answer."""
        cdef bytes key
        cdef const uint8_t* octets
        cdef uint16_t length
        cdef int view
        cdef Decision decision
        wanted = []
        for first in self.changes.take_wanted():
            for view in range(self.views + 1):
                key = first[:len(first) - 2] + bytes((view >> 8, view & 0xff))
                octets = <const uint8_t*>PyBytes_AS_STRING(key)
                length = <uint16_t>len(key)
                if view and self.memory.find_any(self.memory.hash_of(octets, length), octets, length) == NULL:
                    continue
                decide(self.changes.policy, view, octets, length, &decision)
                if decision.verdict == FORWARD:     # the name may be blocked in some views only
                    wanted.append(key)
        return wanted

    cdef bint catch_up(self, int64_t now_ms) except -1:
        if self.control.epoch_now() != self.changes.epoch:
            self.tally[INVALIDATIONS] += <unsigned int>self.changes.take_in()
            self.memory.stamp = self.changes.stamp
            self.follow_disk()      # the change was made in the current file: that one must be read
        if self.control.generation_now() != self.generation or (self.control.is_suspect() and self.disk.is_open):
            self.follow_disk()
        return len(self.changes.wanted) != 0

    cdef void follow_disk(self) except *:
        """Read the file that the keeper vouches for, and none while it is suspect."""
        if self.control.is_suspect():
            self.disk.suspend()
            return      # the generation stays old, so that this runs again
        self.generation = self.control.generation_now()
        try:
            self.disk.open()
        except OSError as error:
            log.debug("no disk cache to read: %s", error)

    def set_group(self, uint16_t number, uint64_t origin):
        """Set the fingerprint of a group's upstreams; 0 is the default group.

        Answers of the former upstreams are asked for again, and only usable as stale.
        """
        if number == 0:
            self.disk.origin = origin
        if self.changes.set_group(number, origin):
            self.memory.stamp = self.changes.stamp

    def use_policy(self, Policy policy not None):
        """Set the policy: cached entries are judged again when they are next asked for."""
        self.changes.use_policy(policy)
        self.disk.has_marks = policy.rules.count != 0
        self.memory.stamp = self.changes.stamp

    # --- what memory holds ------------------------------------------------------------------------------

    cdef Entry* look(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef Entry* entry = self.memory.find_any(hash, key, key_length)
        return entry if entry == NULL or entry.stamp == self.memory.stamp else self.judge(entry)

    cdef Entry* judge(self, Entry* entry) noexcept nogil:
        cdef const uint8_t* key = key_of(entry)
        cdef Decision decision
        cdef bint is_current
        if self.changes.is_removed(epoch_of(entry.stamp), key, entry.key_length):
            self.memory.remove(entry)
            self.show_memory()
            return NULL
        entry.stamp = self.changes.epoch        # not served fresh, and no change up to this one has removed it
        decide(self.changes.policy, key_view(key, entry.key_length), key, entry.key_length, &decision)
        # An answer of our own is made again: that costs no more than judging it.
        if decision.verdict != FORWARD or entry.answer.is_authoritative:
            self.memory.remove(entry)
            self.show_memory()
            return NULL
        is_current = decision.group == entry.answer.group and self.changes.is_mark_of(&decision, entry.origin)
        if (is_current or self.may_be_old(key, entry.key_length, &decision)) and self.may_be_told(
            key, entry.key_length, &entry.answer, &decision
        ):
            if is_current:
                entry.stamp = self.memory.stamp
            return entry
        self.memory.remove(entry)
        self.show_memory()
        return NULL

    cdef bint may_be_told(
        self, const uint8_t* key, uint16_t key_length, const Stored* answer, Decision* decision
    ) noexcept nogil:
        """True if policy accepts a cached answer."""
        cdef Findings findings
        if not self.changes.policy.inspects:
            return True
        return find_in_answer(answer.wire, answer.length, key, key_length, &findings) and inspect(
            self.changes.policy, key, key_length, decision, &findings
        ) and not self.changes.policy.protection.is_bogus(&findings)

    cdef bint passes(
        self, const uint8_t* key, uint16_t key_length, const Findings* findings, Decision* decision
    ) noexcept nogil:
        if decision.policy != self.changes.policy.generation:   # else it is still the one about this name
            decide(self.changes.policy, key_view(key, key_length), key, key_length, decision)
        if not self.changes.policy.inspects or inspect(
            self.changes.policy, key, key_length, decision, findings
        ):
            return True
        self.tally[REBIND_BLOCKED] += not is_refused(decision)
        return False

    cdef bint is_cached(self, const Decision* decision) noexcept nogil:
        cdef const Rule* rule = self.changes.policy.rules.find(decision.rule)
        return rule == NULL or rule.is_cached

    cdef bint may_be_old(self, const uint8_t* key, uint16_t key_length, const Decision* decision) noexcept nogil:
        """True if an answer of other upstreams, or of another rule, may be told as stale."""
        cdef const Rule* rule = self.changes.policy.rules.find(decision.rule)
        return rule == NULL or (
            rule.is_cached and not changes_answers(rule, load16(key + key_length - KEY_TAIL))
        )

    cdef int64_t stale_ms_of(self, const uint8_t* key, uint16_t key_length) noexcept nogil:
        """For how long past its TTL an answer to this question may be used."""
        cdef const Rule* rule
        if not self.changes.policy.rules.has_stale:
            return self.memory.stale_ms
        rule = self.changes.policy.rules.find(self.changes.policy.rules.rule_of(key))
        return self.memory.stale_ms if rule == NULL or rule.stale_ms < 0 else rule.stale_ms

    cdef bint is_stale(self, const Entry* entry, int64_t now_ms) noexcept nogil:
        return self.memory.is_stale(entry, now_ms, self.stale_ms_of(key_of(entry), entry.key_length))

    cdef uint16_t group_of(self, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef Decision decision
        decide(self.changes.policy, key_view(key, key_length), key, key_length, &decision)
        return decision.group

    def disk_is_damaged(self):
        """Stop reading the disk cache until the keeper has examined it."""
        self.outbox.report_damage()
        self.follow_disk()

    # --- looking up -------------------------------------------------------------------------------------

    cdef bint begin_disk(self) noexcept nogil:
        cdef int status = DISK_ABSENT if self.disk.would_wait() else self.disk.begin()
        if status == DISK_DAMAGED:
            self.outbox.report_damage()
        self.reads_disk = status == DISK_FOUND
        return self.reads_disk

    cdef void end_disk(self) noexcept nogil:
        if self.reads_disk:
            self.disk.end()
        self.reads_disk = False

    cdef int look_up(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, const Instant* now,
        Entry** entry, Found* found,
    ) noexcept nogil:
        cdef uint8_t room[KEY_MAX]
        cdef const uint8_t* disk_key = key_on_disk(room, key, key_length, decision.group)
        cdef int look_up = DISK_NOTHING
        cdef int status
        entry[0] = NULL
        if self.rings.find(hash_on_disk(hash, key, disk_key, key_length), disk_key, key_length):
            look_up = self.take_from_ring(hash, key, key_length, decision, now, entry, found)
        # If one look-up had to wait, another thread does the rest of its batch.
        if look_up == DISK_FRESH or not self.reads_disk or self.disk.would_wait():
            return look_up
        status = self.disk.find(disk_key, key_length, now, found)
        if status == DISK_FOUND:
            return min(look_up, self.take(hash, key, key_length, decision, found, now.boot_ms, entry))  # the best
        if status == DISK_SPOILED:
            self.outbox.report_spoiled(hash, disk_key, key_length)
        elif status == DISK_DAMAGED:
            self.outbox.report_damage()
        return look_up

    cdef int take_from_ring(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, const Instant* now,
        Entry** entry, Found* found,
    ) noexcept nogil:
        """Load an answer from a ring into memory, unless a command has removed it since."""
        cdef Standing standing
        cdef Entry* old
        if self.changes.is_removed(self.rings.epoch, key, key_length):
            return DISK_NOTHING
        if self.disk.read(key, key_length, self.rings.value, self.rings.length, now, found) != DISK_FOUND:
            return DISK_NOTHING
        if found.answer.ttl != 0:
            return self.take(hash, key, key_length, decision, found, now.boot_ms, entry)
        old = self.look(hash, key, key_length)
        standing.stamp = self.memory.stamp
        standing.origin = self.changes.mark_of(decision, found.origin, found.by_wall)
        standing.group = decision.group
        standing.stored_ms = now.boot_ms - (found.age_ms if found.age_ms != AGE_UNKNOWN else 0)
        if old == NULL or not ends_others(old) and stored_ms_of(old) <= standing.stored_ms:
            self.put_mark(hash, key, key_length, &found.answer, &standing, old, now.boot_ms)
        return DISK_NOTHING

    cdef int take(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, const Found* found,
        int64_t now_ms, Entry** entry,
    ) noexcept nogil:
        """Load an entry from disk into memory, with its age."""
        cdef int64_t life_ms = <int64_t>1000 * found.answer.ttl
        # If its age is unknown it has just expired: it may be served stale, no more.
        cdef int64_t age_ms = found.age_ms if found.age_ms != AGE_UNKNOWN else life_ms
        cdef size_t evictions = self.memory.evictions
        cdef Entry* old = self.look(hash, key, key_length)
        cdef bint is_of_now = found.origin == self.changes.origin_of(decision)
        cdef Standing standing
        cdef Decision inspected = decision[0]
        # Memory has it from other upstreams, or from before the clock was set.
        cdef bint is_judged_anew = old != NULL and found.by_wall and not self.changes.is_mark_of(decision, old.origin)
        standing.origin = self.changes.mark_of(decision, found.origin, found.by_wall)
        standing.group = decision.group
        standing.stored_ms = now_ms - age_ms
        standing.stamp = self.memory.stamp if is_of_now else self.changes.epoch
        if found.answer.ttl == 0 or not self.is_cached(decision):
            return DISK_NOTHING
        if not is_of_now and not self.may_be_old(key, key_length, decision):
            return DISK_NOTHING
        if not self.may_be_told(key, key_length, &found.answer, &inspected):
            return DISK_NOTHING
        if old != NULL and ends_others(old) and (found.by_wall or stored_ms_of(old) >= now_ms - age_ms):
            return DISK_NOTHING
        if age_ms >= life_ms + self.stale_ms_of(key, key_length):
            if is_judged_anew and not old.answer.is_failure:
                self.memory.remove(old)
            return DISK_NOTHING
        if (
            old != NULL and not old.answer.is_failure and not is_judged_anew and stored_ms_of(old) > now_ms - age_ms
            and self.changes.is_mark_of(decision, old.origin) and not self.memory.is_fresh(old, now_ms)
        ):
            return DISK_STALE       # the answers that it replaced must not return when its own TTL is over
        if old == NULL or old.answer.is_failure or is_judged_anew or stored_ms_of(old) < now_ms - age_ms:
            self.memory.put(hash, key, key_length, &found.answer, &standing, old, now_ms)
            self.tally[CACHE_EVICTIONS] += self.memory.evictions - evictions
            self.tally[CACHE_ENTRIES] = self.memory.count
            self.tally[CACHE_BYTES] = self.memory.octets
        if age_ms >= life_ms or not is_of_now:
            return DISK_STALE
        entry[0] = self.memory.find_any(hash, key, key_length)
        if entry[0] != NULL and (entry[0].answer.is_failure or not self.memory.is_fresh(entry[0], now_ms)):
            entry[0] = NULL
        return DISK_FRESH

    def adopt(self, bytes key not None, bytes value, Ticket ticket not None):
        """Load what another thread has read from disk into memory; return its Answer while it is fresh.

        None: there is no such answer, or not any more. The ticket was made before the thread looked.
        """
        cdef const uint8_t* octets = <const uint8_t*>PyBytes_AS_STRING(key)
        cdef uint16_t length = key_length_of(key)
        cdef Instant now
        cdef Found found
        cdef Entry* entry = NULL
        cdef int status
        cdef uint8_t room[KEY_MAX]
        cdef Decision decision
        read_moment(&now)
        self.catch_up(now.boot_ms)
        decide(self.changes.policy, key_view(octets, length), octets, length, &decision)
        if value is not None and not self.changes.is_outdated(
            ticket.epoch, ticket.group, ticket.origin, octets, length, &decision
        ):
            status = self.disk.read(octets, length, <const char*>value, len(value), &now, &found)
            if status == DISK_FOUND:
                self.take(
                    self.memory.hash_of(octets, length), octets, length, &decision, &found, now.boot_ms, &entry
                )
            elif status == DISK_SPOILED:
                self.outbox.report_spoiled(
                    self.memory.hash_of(octets, length), key_on_disk(room, octets, length, ticket.group), length
                )
        if entry == NULL:   # memory may have had no room: that is rare, and asking upstream is also correct
            self.tally[DISK_MISSES] += 1
            return None
        self.memory.count_hit(entry)
        self.tally[DISK_HITS] += 1
        return answer_of(
            entry, <uint32_t>((now.boot_ms - stored_ms_of(entry)) // 1000), 0,
            (<const char*>entry.answer.options)[:entry.answer.options_length],
        )

    def fetch(self, bytes key not None):
        """Return the value that the disk holds for a key, or None; for threads that may wait for the disk."""
        cdef uint8_t room[KEY_MAX]
        cdef uint16_t length = key_length_of(key)
        cdef Policy policy = self.changes.policy    # kept: the main thread may replace it meanwhile
        cdef Decision decision
        cdef const uint8_t* octets
        decide(policy, key_view(key, length), key, length, &decision)
        octets = key_on_disk(room, key, length, decision.group)
        self.tally[DISK_COLD] += 1
        return self.disk.fetch((<const char*>octets)[:length])

    def stale_answer(self, bytes key not None, uint32_t ttl, bint in_outage=False):
        """Return a stale answer as RFC 8767 describes it; None: there is none.

        In an outage an answer to the same question with another DO or CD is better than none.
        """
        cdef Entry* entry
        if not self.recall(key, in_outage):
            return None
        entry = self.entry_of(key)
        ede = EDE_STALE_NXDOMAIN if entry.answer.rcode == RCODE_NXDOMAIN else EDE_STALE_ANSWER
        return answer_of(entry, 0, ttl, extended_error(ede))

    cdef bint recall(self, bytes key, bint in_outage) except -1:
        """Load a stale answer into memory; return True if it may be served."""
        cdef Entry* entry = self.entry_of(key)
        cdef Instant now
        read_moment(&now)
        if entry == NULL:
            self.bring_in(key, &now)    # it may have been evicted
            entry = self.entry_of(key)
        if in_outage and (entry == NULL or entry.answer.is_failure and not ends_others(entry)):
            if self.borrow(key, &now):
                entry = self.entry_of(key)
        return entry != NULL and self.is_stale(entry, now.boot_ms)

    def hold_stale(self, bytes key not None, int64_t seconds):
        """Serve this one stale for so long without asking upstream: that has just failed (RFC 8767 section 5)."""
        cdef Entry* entry = self.entry_of(key)
        cdef Instant now
        read_moment(&now)
        if entry != NULL:
            entry.hold_stale_s = <uint32_t>(now.boot_ms // 1000 + seconds)

    cdef bint has_other(self, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef uint8_t other[KEY_MAX]
        cdef int i
        cdef Entry* entry
        for i in range(3):
            other_key(other, key, key_length, i)
            entry = self.look(self.memory.hash_of(other, key_length), other, key_length)
            if entry != NULL and not entry.answer.is_failure:
                return True
        return False

    cdef bint bring_others(
        self, const uint8_t* key, uint16_t key_length, const Decision* decision, const Instant* now
    ) noexcept nogil:
        """Between begin_disk and end_disk: has_other, also for entries on disk, which are loaded into memory."""
        cdef uint8_t other[KEY_MAX]
        cdef Entry* entry
        cdef Found found
        cdef uint64_t hash
        cdef int i
        for i in range(3):
            other_key(other, key, key_length, i)
            hash = self.memory.hash_of(other, key_length)
            if self.look(hash, other, key_length) == NULL:
                self.look_up(hash, other, key_length, decision, now, &entry, &found)
        return self.has_other(key, key_length)

    def other_keys(self, bytes key not None):
        """Return the keys of the same question with another DO or CD, the nearest first."""
        cdef uint8_t other[KEY_MAX]
        cdef uint16_t length = key_length_of(key)
        cdef list keys = []
        for i in range(3):
            other_key(other, key, length, i)
            keys.append((<const char*>other)[:length])
        return keys

    cdef bint borrow(self, bytes key, const Instant* now) except *:
        """Copy the answer to the same question with another DO or CD to this key, to be served stale."""
        cdef uint16_t ttl_at[RECORDS_MAX]
        cdef uint16_t length = key_length_of(key)
        cdef uint8_t wanted = key_flags(key, length)
        cdef Entry* entry
        cdef Answer copy
        cdef uint64_t hash
        cdef Standing standing
        cdef Py_ssize_t count
        for other in self.other_keys(key):
            entry = self.entry_of(other)
            if entry == NULL:
                self.bring_in(other, now)
                entry = self.entry_of(other)
            if entry == NULL or entry.answer.is_failure or entry.answer.is_authoritative:
                continue
            if now.boot_ms >= entry.expires_ms + self.stale_ms_of(key_of(entry), entry.key_length):
                continue
            copy = copy_answer(&entry.answer)       # the put may take its room
            standing.stored_ms = min(stored_ms_of(entry), now.boot_ms - 1000 * <int64_t>entry.answer.ttl)
            standing.stamp = entry.stamp
            standing.origin = entry.origin
            standing.group = entry.answer.group
            if not wanted & KEY_DO and key_flags(<bytes>other, length) & KEY_DO:
                count = write_without_signatures(copy.stored.wire, copy.stored.length, ttl_at)
                if count < 0:
                    continue
                copy = make_answer(
                    cleaned_message(), (<const char*>ttl_at)[:2 * count], copy.options, copy.stored.rcode,
                    copy.stored.ttl, False,
                )
            hash = self.memory.hash_of(key, length)
            return self.memory.put(
                hash, key, length, &copy.stored, &standing, self.look(hash, key, length), now.boot_ms
            )
        return False

    cdef Entry* entry_of(self, bytes key) noexcept:
        cdef const uint8_t* octets = <const uint8_t*>PyBytes_AS_STRING(key)
        return self.look(self.memory.hash_of(octets, <uint16_t>len(key)), octets, <uint16_t>len(key))

    # --- learning ---------------------------------------------------------------------------------------

    def ticket(self, bytes key=None):
        """Return the Ticket for a question that is now sent to an upstream, or to a thread that reads the disk.

        Without a key it is one of the default group.
        """
        cdef Decision decision
        if key is None:
            decision.group, decision.mark = DEFAULT_GROUP, 0
        else:
            decide(self.changes.policy, key_view(key, key_length_of(key)), key, key_length_of(key), &decision)
        return self.changes.ticket(&decision)

    def keep(self, bytes key not None, Answer answer not None, Ticket ticket not None, Source source, double seconds):
        """Store an answer in memory and send it to the disk, if it may be cached.

        It came from `source` (None: a failure of our own) after so many seconds.
        """
        cdef const uint8_t* octets = <const uint8_t*>PyBytes_AS_STRING(key)
        cdef uint16_t length = key_length_of(key)
        cdef Instant now
        if answer.stored.ttl == 0 and answer.stored.is_failure:
            return
        read_moment(&now)
        self.catch_up(now.boot_ms)
        if answer.stored.is_failure and self.entry_of(key) == NULL:
            self.bring_in(key, &now)    # nor may a failure hide a good answer that only the disk has
        self.learn(
            octets, length, &answer.stored, ticket.epoch, ticket.group, ticket.origin,
            NULL, &source.origin if source is not None else NULL, <uint32_t>(seconds * 1e6), &now,
        )

    cdef void learn(
        self, const uint8_t* key, uint16_t key_length, const Stored* answer, uint64_t epoch, uint16_t group,
        uint64_t fingerprint, const Decision* decided, const AnswerSource* whence, uint32_t rtt_us, const Instant* now,
    ) noexcept nogil:
        cdef size_t evictions = self.memory.evictions
        cdef uint64_t hash
        cdef Standing standing
        cdef AnswerSource origin
        cdef uint8_t room[KEY_MAX]
        cdef const uint8_t* disk_key
        cdef Entry* old
        if answer.ttl == 0 and answer.is_failure:
            return
        if self.changes.is_outdated(epoch, group, fingerprint, key, key_length, decided):
            return
        hash = self.memory.hash_of(key, key_length)
        standing.stamp = self.memory.stamp
        standing.stored_ms = now.boot_ms
        standing.origin = short_of(fingerprint)
        standing.group = group
        if answer.ttl == 0:
            self.end_former(hash, key, key_length, answer, &standing, fingerprint, whence, now)
            return
        old = self.look(hash, key, key_length)
        if answer.is_failure and self.changes.policy.rules.has_stale:
            old = self.without_useless(old, now.boot_ms)
            if old != NULL and self.is_stale(old, now.boot_ms):
                return
        if self.memory.put(hash, key, key_length, answer, &standing, old, now.boot_ms):
            self.tally[CACHE_INSERTS] += 1
        else:
            self.tally[CACHE_REFUSED] += 1
        self.tally[CACHE_EVICTIONS] += self.memory.evictions - evictions
        self.show_memory()
        if answer.is_failure or whence == NULL:
            return
        origin = whence[0]
        origin.fingerprint = fingerprint
        origin.rtt_us = rtt_us
        disk_key = key_on_disk(room, key, key_length, group)
        self.outbox.put_answer(
            hash_on_disk(hash, key, disk_key, key_length), disk_key, key_length, self.changes.epoch, answer, now,
            &origin,
        )

    cdef Entry* without_useless(self, Entry* entry, int64_t now_ms) noexcept nogil:
        """The entry, unless its rule is what makes it useless: that one must not keep a failure out."""
        if (
            entry == NULL or entry.answer.is_failure or self.memory.is_fresh(entry, now_ms)
            or self.is_stale(entry, now_ms)
        ):
            return entry
        self.memory.remove(entry)
        return NULL

    cdef void keep_own(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Stored* answer, const Decision* decision,
        const Instant* now,
    ) noexcept nogil:
        """Keep an answer of the policy in memory, until its stamp is old: judging costs as much as making it."""
        cdef size_t evictions = self.memory.evictions
        cdef Standing standing
        cdef Entry* old = self.look(hash, key, key_length)
        standing.stamp = self.memory.stamp
        standing.stored_ms = now.boot_ms
        standing.origin = 0
        standing.group = answer.group if answer.is_authoritative > IS_OURS else decision.group
        self.memory.put(hash, key, key_length, answer, &standing, old, now.boot_ms)
        self.tally[CACHE_INSERTS] += 1
        self.tally[CACHE_EVICTIONS] += self.memory.evictions - evictions
        self.show_memory()

    cdef void keep_refusal(
        self, const uint8_t* key, uint16_t key_length, const Stored* answer, uint64_t epoch, uint16_t group,
        uint64_t fingerprint, const Instant* now
    ) noexcept nogil:
        cdef uint64_t hash = self.memory.hash_of(key, key_length)
        cdef Standing standing
        cdef Stored refusal = answer[0]
        cdef Entry* old = self.look(hash, key, key_length)
        if answer.ttl == 0 or self.changes.is_outdated(epoch, group, fingerprint, key, key_length, NULL):
            return
        refusal.is_failure = True       # never on disk, never stale
        standing.stamp = self.memory.stamp
        standing.stored_ms = now.boot_ms
        standing.origin = 0          # of no group: after a change it is asked for again
        standing.group = answer.group if answer.is_authoritative > IS_OURS else group
        if old != NULL:
            self.memory.remove(old)
        self.memory.put(hash, key, key_length, &refusal, &standing, NULL, now.boot_ms)
        self.show_memory()

    cdef void end_former(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Stored* answer, const Standing* standing,
        uint64_t fingerprint, const AnswerSource* whence, const Instant* now,
    ) noexcept nogil:
        """An answer that must not be cached has come: the entries that it replaces never return, not even as stale.

        A mark takes its place in memory, which is neither fresh nor stale: until the keeper has removed the entry on
        disk, no older one is loaded from there. The mark also says that the keeper was told.
        """
        cdef Entry* old = self.look(hash, key, key_length)
        cdef bint concerns = old != NULL and not old.answer.is_failure
        cdef AnswerSource origin
        cdef Found found
        cdef uint8_t room[KEY_MAX]
        cdef const uint8_t* disk_key = key_on_disk(room, key, key_length, standing.group)
        if old != NULL and ends_others(old):
            return
        if not concerns and self.begin_disk():
            concerns = self.disk.find(disk_key, key_length, now, &found) == DISK_FOUND
        self.end_disk()
        self.put_mark(hash, key, key_length, answer, standing, old, now.boot_ms)
        if whence == NULL:
            return
        origin = whence[0]
        origin.fingerprint = fingerprint
        self.outbox.put_removal(
            hash_on_disk(hash, key, disk_key, key_length), disk_key, key_length, self.changes.epoch, answer, now,
            &origin, concerns,
        )

    cdef void put_mark(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Stored* answer, const Standing* standing,
        Entry* old, int64_t now_ms,
    ) noexcept nogil:
        """Replace the entry in memory by a mark."""
        cdef Stored mark = answer[0]
        mark.is_failure = True
        mark.ttl_count = mark.options_length = 0
        mark.length = 0
        if old != NULL:
            self.memory.remove(old)
        self.memory.put(hash, key, key_length, &mark, standing, NULL, now_ms)
        self.show_memory()

    def report_hits(self, int entries):
        """Send the hits of so many entries to the keeper; return True when all were sent."""
        cdef Entry* entry = self.memory.first_hit
        cdef uint8_t room[KEY_MAX]
        while entry != NULL and entries > 0:
            entries -= 1
            if entry.stamp != self.memory.stamp:
                entry = self.judge(entry)
            if entry != NULL:
                # Nothing on disk is about an answer of our own, and its group may be the number of a list.
                if not entry.answer.is_failure and not entry.answer.is_authoritative and not self.outbox.put_hits(
                    key_on_disk(room, key_of(entry), entry.key_length, entry.answer.group), entry.key_length, entry.hits
                ):
                    return True         # no room: they keep their count until the next time
                self.memory.forget_hits(entry)
            entry = self.memory.first_hit
        return entry == NULL

    def keeper_is_due(self):
        """Wake the keeper."""
        self.outbox.wake_keeper()

    def warm(self, list disk_keys not None):
        """Load these from disk into memory; return False if memory is as full as it should be for now."""
        cdef Entry* entry
        cdef Found found
        cdef Instant now
        cdef bytes key
        cdef const uint8_t* octets
        cdef uint16_t group
        cdef uint64_t hash
        cdef Decision decision
        cdef list keys = self.sound_keys(disk_keys)
        read_moment(&now)
        if not self.begin_disk():
            return False
        for key in keys:
            octets = <const uint8_t*>PyBytes_AS_STRING(key)
            group = key_view(octets, <uint16_t>len(key))
            if group != 0:
                key = key[:len(key) - 2] + bytes(2)
                octets = <const uint8_t*>PyBytes_AS_STRING(key)
            decide(self.changes.policy, 0, octets, <uint16_t>len(key), &decision)
            if decision.group != group or decision.verdict != FORWARD:
                continue    # others are asked for it now, or nobody
            hash = self.memory.hash_of(octets, <uint16_t>len(key))
            if self.look(hash, octets, <uint16_t>len(key)) == NULL:
                if self.look_up(
                    hash, octets, <uint16_t>len(key), &decision, &now, &entry, &found
                ) == DISK_FRESH:
                    self.tally[WARMED] += 1
        self.end_disk()
        return self.memory.octets < self.memory.capacity - self.memory.capacity // WARM_SHARE

    cdef list sound_keys(self, list disk_keys):
        """Return the cache keys of these; one without a key is damaged, and the keeper's sweep removes it."""
        cdef list keys = []
        for disk_key in disk_keys:
            try:
                keys.append(cache_key(disk_key))
            except ValueError:
                self.tally[TALLY_DAMAGED] += 1
        return keys

    cdef void show_memory(self) noexcept nogil:
        self.tally[CACHE_ENTRIES] = self.memory.count
        self.tally[CACHE_BYTES] = self.memory.octets
