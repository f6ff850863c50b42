"""The miss: a question is sent to upstreams until one answers, or all have failed.

A reply that comes too late for its client is still cached. While no upstream of a group is alive, questions fail at
once, and a few of them try nevertheless.

Python carries streams and searches a cold disk; the question itself stays here.
"""

from fastdns._answer cimport OPTIONS_MAX, Failure, Stored, fail, is_failure_code, is_lame
from fastdns._attempts cimport NO_NETWORK, REFUSED_BY_NETWORK, SHORTAGE, UNUSABLE
from fastdns._clock cimport Instant, read_clock_ns, read_moment
from fastdns._flights cimport Attempt, Flight, Flights, Landing
from fastdns._groups cimport TRIES_MAX, TRY_MS, Group
from fastdns._hotcache cimport stored_ms_of
from fastdns._key cimport Key, key_length_of, key_view
from fastdns._own_answers cimport make_instead
from fastdns._policy cimport FORWARD, OWN, Decision, decide
from fastdns._query cimport TIER_DISK, TIER_NONE, TIER_STALE, TIER_UPSTREAM, Query
from fastdns._questions cimport WAITING_MAX, Rest
from fastdns._response cimport EDE_NO_REACHABLE_AUTHORITY
from fastdns._special_names cimport SpecialAnswer
from fastdns._counters cimport COALESCED, UPSTREAM_BAD_REPLIES
from fastdns._upstream cimport Upstream
from fastdns._waiters cimport describe
from fastdns._wheel cimport OF_QUESTION, Timer
from fastdns._wire cimport FLAG_TC

from fastdns.defects import report

cdef enum:
    SEARCHES_MAX = 1024     # that another thread looks up on disk: each costs a greenlet
    OUTAGE_SEARCHES = 512   # in an outage
    OVERDUE_A_TICK = 256    # so that hits get their turn; the rest follows with the next tick
    HOLD_STALE_SECONDS = 30     # until a failed question is tried again: RFC 8767 section 5
    RENEWALS_BELOW = 256    # questions without a waiting client are asked only while fewer are in flight
    SERVFAIL = 2
    EDE_OTHER = 0
    EDE_NETWORK_ERROR = 23


cdef bint is_lasting(int cause) noexcept nogil:
    """True if it should be remembered: it does not end as soon as this machine has what it lacks."""
    return cause != SHORTAGE and cause != NO_NETWORK


cdef int ede_of(int cause) noexcept nogil:
    if cause == UNUSABLE or cause == REFUSED_BY_NETWORK or cause == NO_NETWORK:
        return EDE_NETWORK_ERROR
    return EDE_OTHER if cause == SHORTAGE else EDE_NO_REACHABLE_AUTHORITY


cdef class Forward(Chains):
    """The questions of one process that are in flight, and what becomes of them.

    `on_cold(key)` is called for what the disk may have but cannot give without waiting: another thread must look it up
    and then call `found` or `ask`. While nothing is in flight no clock is needed: `on_busy()` is called when that
    changes, and then `tick` must be called every TICK_SECONDS until it returns False.
    """

    def __cinit__(
        self, Cache cache not None, Flights flights not None, Group group not None, on_cold, on_busy
    ):
        self.flights = flights
        self.group = group
        self.groups = []
        self.nobody = Group(group.limits)
        self.add_group(group)
        self.on_cold = on_cold
        flights.wheel.on_busy = on_busy
        flights.taker = self

    cdef bint is_outage(self, uint16_t group) noexcept nogil:
        return (<Group>self.group_at_number(group)).is_outage

    cdef bint has_no_try(self, uint16_t group, bint is_cold) noexcept nogil:
        cdef void* found = self.group_at_number(group)
        if is_cold:
            return self.searching >= OUTAGE_SEARCHES
        return (<Group>found).tries >= TRIES_MAX or (<Group>found).count == 0

    # --- taking -----------------------------------------------------------------------------------------

    cdef void take(self, const Query* query, Waiter* waiter, uint64_t now_ns, bint wants_disk) except *:
        cdef bint is_new = False
        cdef const Key* key = &query.key
        cdef Query dropped
        cdef Pending* pending = NULL
        try:
            pending = self.open(key.hash, key.octets, key.length, &query.decision, now_ns, &is_new)
        except Exception as defect:
            report(defect)
        # Without memory there is nothing better to do; and nobody's wait ends because another client asks the same for
        # ever.
        if pending == NULL or pending.of_domain.weight > WAITING_MAX // 2:
            describe(&dropped, key.hash, key.octets, key.length, &query.decision)
            self.outgoing.drop(&dropped, waiter, now_ns)
            return
        self.wait(pending, waiter)
        self.begin(pending, is_new, wants_disk, now_ns)

    cdef Pending* open(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, uint64_t now_ns,
        bint* is_new
    ) except? NULL:
        """Find the question, or begin it; NULL: no memory."""
        cdef Pending* pending = self.find(hash, key, key_length)
        if pending != NULL and not self.is_alike(pending, decision):
            pending = NULL      # its clients get what they have asked for, and later ones what holds now
        is_new[0] = pending == NULL
        if pending != NULL:
            self.tally[COALESCED] += 1      # one upstream query for all: RFC 5452 section 5 (birthday attacks)
            return pending
        self.flights.wheel.wake()
        return self.shelve(hash, key, key_length, decision, now_ns)

    cdef void begin(self, Pending* pending, bint is_new, bint wants_disk, uint64_t now_ns) except *:
        """Ask an upstream, now that a client waits. Afterwards it may be over."""
        if not is_new:
            if pending.is_late:
                self.tell_known(pending, False, now_ns)
        elif wants_disk and self.searching < SEARCHES_MAX:
            pending.is_searching = True
            self.searching += 1
            try:
                self.on_cold((<const char*>pending.key)[:pending.key_length])
            except Exception as defect:
                report(defect)
                pending.is_searching = False
                self.searching -= 1
                self.ask_upstreams(pending, now_ns)
        else:
            self.ask_upstreams(pending, now_ns)
        self.make_room()

    def renew(self, bytes key not None):
        """Ask for something without a waiting client; False: it is in flight already, or others need the capacity more.
        """
        cdef const uint8_t* octets = key
        cdef uint16_t length = key_length_of(key)
        cdef uint64_t hash = self.cache.memory.hash_of(octets, length)
        cdef uint64_t now_ns = read_clock_ns()
        cdef Pending* pending
        cdef bint is_new
        cdef Decision decision
        if self.count >= RENEWALS_BELOW or self.find(hash, octets, length) != NULL:
            return False
        decide(self.cache.changes.policy, key_view(octets, length), octets, length, &decision)
        if decision.verdict != FORWARD:
            return False
        pending = self.open(hash, octets, length, &decision, now_ns, &is_new)
        if pending == NULL:
            return False
        self.ask_upstreams(pending, now_ns)
        self.send()
        return True

    def found(self, bytes key not None):
        """Answer from memory what the disk was searched for, if it is there now."""
        cdef Pending* pending = self.find(self.cache.memory.hash_of(key, key_length_of(key)), key, key_length_of(key))
        cdef uint64_t now_ns = read_clock_ns()
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        cdef Entry* entry
        if pending == NULL:
            return
        entry = self.cache.look(pending.hash, pending.key, pending.key_length)
        if entry == NULL or entry.answer.is_failure or not self.cache.memory.is_fresh(entry, now_ms):
            return
        self.answer(
            pending, TIER_DISK, NULL, &entry.answer, <uint32_t>((now_ms - stored_ms_of(entry)) // 1000), now_ns
        )
        self.flush()
        self.close(pending, True)

    def ask(self, bytes key not None):
        """Ask upstreams for what the disk was searched for, or is searched for too long, unless that was done."""
        cdef Pending* pending = self.find(self.cache.memory.hash_of(key, key_length_of(key)), key, key_length_of(key))
        while pending != NULL and not pending.is_searching:
            pending = self.find_earlier(pending)
        if pending == NULL:
            return
        pending.is_searching = False
        self.searching -= 1
        self.ask_upstreams(pending, read_clock_ns())
        self.send()
        self.flush()

    cdef void send(self) noexcept:
        self.flights.send()
        self.flush()

    # --- asking -----------------------------------------------------------------------------------------

    cdef void ask_upstreams(self, Pending* pending, uint64_t now_ns) except *:
        """Begin to ask; afterwards the question may be over."""
        cdef Group group = self.group_of(pending.decision.group)
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        cdef Entry* entry
        cdef Failure own
        cdef Instant now
        pending.until_ms = now_ms + group.budget_ms
        pending.version = group.version
        self.flights.wheel.wake()       # before its timer is set: later no client of the clock would be started
        self.flights.wheel.set(&pending.timer, pending.until_ms)
        if pending.decision.verdict == OWN:
            read_moment(&now)
            self.begin_own(pending, &now)
            return
        if group.is_outage:
            if self.has_waiting(pending) and self.tell_known(pending, True, now_ns):
                self.close(pending, False)
                return
            if self.has_no_try(pending.decision.group, False):
                fail(
                    &own, pending.key, pending.key_length, SERVFAIL,
                    EDE_NO_REACHABLE_AUTHORITY if group.count else EDE_NETWORK_ERROR, 0,
                )
                self.answer(pending, TIER_NONE, NULL, &own.stored, 0, now_ns)
                self.flush()
                self.close(pending, False)
                return
            pending.is_trial = True
            group.tries += 1
            pending.until_ms = min(pending.until_ms, now_ms + TRY_MS)
        else:
            entry = self.cache.look(pending.hash, pending.key, pending.key_length)
            if entry != NULL and self.cache.is_stale(entry, now_ms):
                pending.stale_ms = max(
                    <int64_t>(pending.began_ns // 1000000) + self.cache.settings.stale_wait_ms, <int64_t>1
                )
                if self.cache.settings.stale_wait_ms == 0:
                    self.tell_late(pending, now_ns)
        self.next_attempt(pending, False, now_ns)

    cdef bint tell_known(self, Pending* pending, bint in_outage, uint64_t now_ns) except -1:
        """Serve the waiting clients a stale answer; False: there is none."""
        cdef Entry* entry
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        if pending.rest != NULL and self.tell_stale_chain(pending, now_ns):
            return True
        entry = self.cache.look(pending.hash, pending.key, pending.key_length)
        if entry == NULL or not self.cache.is_stale(entry, now_ms):
            # It may have been evicted; and in an outage another DO or CD is better than nothing.
            if not self.cache.recall((<const char*>pending.key)[:pending.key_length], in_outage):
                return False
            entry = self.cache.look(pending.hash, pending.key, pending.key_length)
            if entry == NULL or not self.cache.is_stale(entry, now_ms):
                return False
        self.answer(pending, TIER_STALE, NULL, &entry.answer, 0, now_ns)
        self.flush()
        return True

    cdef void tell_late(self, Pending* pending, uint64_t now_ns) except *:
        """The upstreams take too long: serve a stale answer, and continue asking."""
        pending.stale_ms = 0
        pending.is_late = True
        self.tell_known(pending, False, now_ns)

    # --- time -------------------------------------------------------------------------------------------

    def tick(self):
        """Handle some questions whose time is over; return False if nothing is in flight any more."""
        cdef uint64_t now_ns
        cdef Timer* timer
        cdef int _one
        self.read_replies()     # replies that are here already are not late
        now_ns = read_clock_ns()
        for _one in range(OVERDUE_A_TICK):
            timer = self.flights.wheel.next_due(<int64_t>(now_ns // 1000000))
            if timer == NULL:
                break
            if timer.kind != OF_QUESTION:
                self.overdue_flight(<Flight*>timer, now_ns)
                continue
            try:
                self.overdue(<Pending*>timer, now_ns)
            except Exception as defect:     # gevent would never call this timer again
                report(defect)
        self.send()
        return self.flights.wheel.count != 0

    # --- replies ----------------------------------------------------------------------------------------

    def read_replies(self):
        """Read waiting replies, a bounded number, and answer the clients. Never raises."""
        try:
            self.take_replies()
        except Exception as defect:
            report(defect)

    cdef void take_replies(self) except *:
        cdef Landing landing
        cdef Instant now
        read_moment(&now)
        self.cache.catch_up(now.boot_ms)
        self.flights.look()
        while self.flights.next_reply(&landing):
            try:
                self.land(&landing, &now)
            except Exception as defect:     # the other replies are not affected
                report(defect)
        self.send()

    def received(self, Attempt attempt not None, bytes wire not None, uint16_t query_id):
        """Read a reply from a stream; False: it does not match that query."""
        cdef Landing landing
        cdef Instant now
        if attempt.flight == NULL:
            return False
        if not self.flights.read_stream_reply(attempt.flight, wire, len(wire), query_id, &landing):
            self.tally[UPSTREAM_BAD_REPLIES] += 1
            return False
        try:
            read_moment(&now)
            self.cache.catch_up(now.boot_ms)
            self.land(&landing, &now)
        except Exception as defect:     # the reader of the stream continues
            report(defect)
        self.send()
        return True

    cdef void take_answer(self, Landing* landing, const Instant* now) noexcept:
        """Cache the answer, and send it to all that wait for it."""
        cdef Flight* flight = landing.flight
        cdef Pending* pending = <Pending*>flight.owner
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Flight* earlier = flight.next_of_owner     # the list has the last one first
        cdef uint64_t now_ns = read_clock_ns()
        cdef uint8_t options[OPTIONS_MAX]
        cdef Stored stored
        cdef Decision decision
        cdef SpecialAnswer refusal
        cdef Rest rest
        cdef bint leads_out, is_part, passes
        cdef uint32_t rtt_us
        if landing.reply.wants_dnssec and not landing.reply.has_opt and upstream.has_never_opt(now_ns):
            landing.reply.wants_dnssec = False      # no client waits for more than that
        decision = pending.decision
        self.decide_anew(&decision, flight.key, flight.key_length)
        if decision.rule:
            self.strip(landing, &decision)
        self.settle_by(landing, &decision, options, &stored)
        passes = self.cache.passes(flight.key, flight.key_length, &self.flights.findings, &decision)
        if not passes:
            make_instead(self.cache.changes.policy, &decision, flight.key, flight.key_length, &refusal)
            stored = refusal.stored
            leads_out = False
        elif landing.reply.has_data:
            leads_out = (
                decision.rule and not (pending.rest != NULL and pending.rest.is_alternative)
                and self.wants_a(flight.key, flight.key_length, &decision, &rest)
            )
        else:
            leads_out = not stored.is_failure and self.leads_out(flight, &self.flights.findings.chain, &rest)
        if not passes:
            self.cache.keep_refusal(
                flight.key, flight.key_length, &stored, flight.epoch, flight.group, flight.origin, now
            )
        elif not leads_out:
            self.cache.learn(
                flight.key, flight.key_length, &stored, flight.epoch, flight.group, flight.origin, &decision,
                &upstream.source.origin, <uint32_t>((now_ns - flight.sent_ns) // 1000), now,
            )
        self.flights.note_reply(flight, now_ns)
        upstream.errors_in_a_row = 0
        rtt_us = <uint32_t>((now_ns - flight.sent_ns) // 1000)
        is_part = leads_out or pending.rest != NULL
        if not is_part:
            self.answer(pending, TIER_UPSTREAM, &upstream.source.origin, &stored, 0, now_ns)
        self.leave(pending, flight)
        self.flights.end(flight)
        flight = earlier
        while flight != NULL:       # the one asked before has had its time
            (<Upstream>flight.upstream).note_loss()
            flight = flight.next_of_owner
        if is_part:
            self.take_part(
                pending, &stored, 0, &rest if leads_out else NULL, &upstream.source.origin, rtt_us, now
            )
            return
        self.close(pending, False)

    cdef void take_late(self, Landing* landing, const Instant* now) noexcept:
        """A reply to a probe, or too late for its question: a good one is cached where only a failure is."""
        cdef Flight* flight = landing.flight
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t now_ns = read_clock_ns()
        cdef uint8_t options[OPTIONS_MAX]
        cdef Stored stored
        cdef Decision decision
        cdef Rest rest
        cdef Entry* entry
        decision.policy = 0
        self.flights.note_reply(flight, now_ns)
        if flight.is_lingering and not flight.repeated_ns:
            upstream.note_lateness()
        if flight.keeps_late and not (
            landing.reply.flags & FLAG_TC or is_lame(&landing.reply) or is_failure_code(landing.reply.rcode)
        ) and self.cache.passes(flight.key, flight.key_length, &self.flights.findings, &decision) and (
            not self.is_conditional(flight.key, flight.key_length, &decision) if landing.reply.has_data
            else not self.leads_out(flight, &self.flights.findings.chain, &rest)
        ):
            entry = self.cache.look(
                self.cache.memory.hash_of(flight.key, flight.key_length), flight.key, flight.key_length
            )
            # A mark of an answer that must not be cached (TTL 0) is newer than this.
            if entry == NULL or (entry.answer.ttl != 0 and (
                entry.answer.is_failure or not self.cache.memory.is_fresh(entry, now.boot_ms)
            )):
                if decision.rule:
                    self.strip(landing, &decision)
                self.settle_by(landing, &decision, options, &stored)
                self.cache.learn(
                    flight.key, flight.key_length, &stored, flight.epoch, flight.group, flight.origin, &decision,
                    &upstream.source.origin, <uint32_t>((now_ns - flight.sent_ns) // 1000), now,
                )
        self.end_alone(flight)

    # --- the end ----------------------------------------------------------------------------------------

    cdef void conclude(self, Pending* pending, uint64_t now_ns) except *:
        """No upstream has answered well: serve a stale answer, else the error, which is remembered for a while."""
        cdef Failure own
        cdef bint is_known
        cdef bint knows_nothing = pending.is_trial and pending.spent == 0     # a try in an outage
        is_known = self.tell_stale_chain(pending, now_ns)
        if is_known and is_lasting(pending.failure) and not knows_nothing:
            self.cache.hold_stale((<const char*>pending.rest.key)[:pending.rest.key_length], HOLD_STALE_SECONDS)
        self.come_back(pending)
        cdef const Stored* error = pending.error
        cdef bint is_silence = error == NULL
        cdef bint lasting = not is_silence or (is_lasting(pending.failure) and not knows_nothing)
        cdef Instant now
        cdef Entry* entry
        cdef uint32_t failure_ttl = self.group_of(pending.decision.group).limits.failure_ttl
        if is_silence:
            fail(
                &own, pending.key, pending.key_length, SERVFAIL, ede_of(pending.failure),
                failure_ttl if lasting else 0,
            )
            error = &own.stored
        if is_known:
            pass
        elif self.has_waiting(pending):
            is_known = self.tell_known(pending, is_silence, now_ns)
        else:       # nor may a failure hide a good answer that only the disk has
            is_known = self.cache.recall((<const char*>pending.key)[:pending.key_length], False)
        if not is_known:
            entry = self.cache.look(pending.hash, pending.key, pending.key_length)
            if entry != NULL and not entry.answer.is_failure and self.cache.memory.is_fresh(
                entry, <int64_t>(now_ns // 1000000)
            ):
                self.answer(
                    pending, TIER_UPSTREAM, NULL, &entry.answer,
                    <uint32_t>((<int64_t>(now_ns // 1000000) - stored_ms_of(entry)) // 1000), now_ns,
                )
            else:
                read_moment(&now)
                self.cache.catch_up(now.boot_ms)
                self.keep(pending, error, NULL, 0, &now)
                self.answer(pending, TIER_NONE if is_silence else TIER_UPSTREAM, NULL, error, 0, now_ns)
            self.flush()
        elif lasting:
            self.cache.hold_stale((<const char*>pending.key)[:pending.key_length], HOLD_STALE_SECONDS)
        self.close(pending, True)

    cdef void close(self, Pending* pending, bint keeps_late) noexcept:
        """It is over; listen for a while to its queries in flight."""
        cdef Flight* flight = pending.flights
        cdef Flight* after
        if pending.is_searching:
            self.searching -= 1
        self.end_trial(pending)
        self.flights.wheel.cancel(&pending.timer)
        while flight != NULL:
            after = flight.next_of_owner
            self.detach(flight, keeps_late)
            flight = after
        self.remove(pending)

    cdef void make_room(self) except *:
        cdef Pending* pending
        while self.is_crowded():
            pending = self.who_gives_way()
            if pending == NULL:
                return
            self.give_up(pending, read_clock_ns())

    cdef void give_up(self, Pending* pending, uint64_t now_ns) except *:
        """There are too many: serve the waiting clients a stale answer, or none."""
        cdef Flight* flight = pending.flights
        cdef Flight* after
        cdef Upstream upstream
        if self.has_waiting(pending):
            self.tell_known(pending, False, now_ns)
        self.drop(pending)
        while flight != NULL:
            after = flight.next_of_owner
            upstream = <Upstream>flight.upstream
            # In a flood no question waits for its full time: dead upstreams would never be found.
            if (
                flight.is_sent and not flight.is_late and now_ns - flight.sent_ns >= upstream.patience_ns()
                and flight.sent_ns >= upstream.last_reply_ns
            ):
                upstream.note_failure(flight.sent_ns, now_ns, 0)
            self.flights.end(flight)
            flight = after
        pending.flights = NULL
        self.close(pending, False)
