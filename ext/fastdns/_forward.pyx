"""The miss: a question is sent to upstreams until one has answered, or nobody does.

The next upstream is asked at once after an error, and as well when one takes longer than it usually does; an only one
is asked again, since packets get lost (RFC 6298 tells when). What a slow or dead upstream says too late for its client
is still kept. While none of a group is alive, that is the answer, at once; a few questions try all the same.

To Python go streams, which it carries, and a cold disk, which it searches; the question stays here.
"""

from libc.errno cimport (
    EADDRNOTAVAIL, EAGAIN, EBADMSG, EHOSTUNREACH, EINVAL, EMFILE, ENETDOWN, ENETUNREACH, ENFILE, ENOBUFS, ENODEV,
    ENOMEM, ETIMEDOUT, errno,
)
from libc.stdlib cimport free

from fastdns._answer cimport (
    OPTIONS_MAX, Failure, copy_stored, fail, is_failure_code, is_lame,
)
from fastdns._answer cimport settle as settle_reply
from fastdns._clock cimport read_clock_ns, read_moment
from fastdns._flights cimport LISTEN_MS, Attempt
from fastdns._hotcache cimport stored_ms_of
from fastdns._key cimport key_length_of
from fastdns._policy cimport Decision
from fastdns._query cimport Query
from fastdns._response cimport EDE_NO_REACHABLE_AUTHORITY
from fastdns._counters cimport COALESCED, UPSTREAM_BAD_REPLIES, UPSTREAM_ERRORS
from fastdns._upstream cimport EDNS_UNKNOWN, EDNS_WORKS, FORM_OPT, FORM_PROBE, FORM_TRIAL, Form
from fastdns._waiters cimport describe
from fastdns._wheel cimport OF_QUESTION, Timer
from fastdns._wire cimport FLAG_TC, WIRE_SPOILED_REPLY

from fastdns.defects import report

cdef enum:
    SEARCHES_MAX = 1024     # that another thread reads the disk for: each costs a greenlet
    OUTAGE_TRIES = 4        # questions of a group that try in an outage, at once
    OUTAGE_SEARCHES = 512   # and that search a cold disk
    OUTAGE_WAIT_MS = 300    # that a client waits for such a try
    OVERDUE_A_TICK = 256    # so that hits get their turn; the others' time comes with the next tick
    HOLD_STALE_SECONDS = 30     # until a question that has failed is tried again: RFC 8767 section 5
    RENEWALS_BELOW = 256    # only with fewer under way something is asked that nobody waits for
    CROWDED = 2048          # questions, from which on none is sent again before it is late
    LINGERING_MAX = 256     # queries that nobody waits for any more
    PROBE_LISTEN_MS = 4000
    EXTRA_MAX = 3           # sendings beyond those that are allowed, over a line that loses packets
    SECOND_PAUSE_MIN_MS = 150
    SERVFAIL = 2
    EDE_OTHER = 0
    EDE_NETWORK_ERROR = 23


cdef Cause cause_of(int error) noexcept nogil:
    if error == EBADMSG:
        return UNUSABLE
    # EAGAIN: the kernel's queue towards the network stays full.
    if error == EAGAIN or error == EMFILE or error == ENFILE or error == ENOBUFS or error == ENOMEM:
        return SHORTAGE
    # No route, no address of ours, the interface is gone; a router's ICMP message says the same.
    if (
        error == ENETUNREACH or error == EHOSTUNREACH or error == ENETDOWN or error == EADDRNOTAVAIL
        or error == ENODEV or error == EINVAL
    ):
        return NO_NETWORK
    return NOBODY_IN_TIME if error == ETIMEDOUT else REFUSED_BY_NETWORK


cdef bint is_lasting(int cause) noexcept nogil:
    """True when it is worth being remembered: it is not over as soon as this machine has what it lacks."""
    return cause != SHORTAGE and cause != NO_NETWORK


cdef int ede_of(int cause) noexcept nogil:
    if cause == UNUSABLE or cause == REFUSED_BY_NETWORK or cause == NO_NETWORK:
        return EDE_NETWORK_ERROR
    return EDE_OTHER if cause == SHORTAGE else EDE_NO_REACHABLE_AUTHORITY


cdef class Forward(Questions):
    """The questions of one process that are under way, and their ways through the upstreams of a group.

    `on_cold(key)` is called for what the disk may have, but not without waiting for it: to have it searched by another
    thread, and then to call `found` or `ask`. With nothing under way no time has to be kept: `on_busy()` is called when
    that begins, and then `tick` is to be called every TICK_SECONDS until it returns False. What is stale is hoped to be
    renewed for `stale_wait` seconds.
    """

    def __cinit__(
        self, Cache tiers not None, Flights flights not None, Group group not None, on_cold, on_busy, *,
        double stale_wait=1.8, **_more
    ):
        self.flights = flights
        self.group = group
        self.on_cold = on_cold
        flights.wheel.on_busy = on_busy
        flights.taker = self
        self.stale_wait_ms = <int64_t>(stale_wait * 1000)

    cdef Group group_of(self, uint16_t number):
        return self.group

    cdef bint is_outage(self, uint16_t group) noexcept nogil:
        return self.group.is_outage

    cdef bint has_no_try(self, uint16_t group, bint is_cold) noexcept nogil:
        return self.searching >= OUTAGE_SEARCHES if is_cold else (
            self.group.probes >= OUTAGE_TRIES or self.group.count == 0
        )

    cdef bint holds(self, const Entry* entry, int64_t now_ms) noexcept nogil:
        return now_ms // 1000 < entry.hold_stale_s and self.group.held_from_s < entry.hold_stale_s

    # --- taking -----------------------------------------------------------------------------------------

    cdef void take(self, const Key* key, Waiter* waiter, uint64_t now_ns, bint wants_disk) except *:
        cdef bint is_new
        cdef Query query
        cdef Pending* pending = self.open(key.hash, key.octets, key.length, now_ns, &is_new)
        if pending == NULL:     # who has no memory cannot do better
            describe(&query, key.hash, key.octets, key.length)
            self.outgoing.drop(&query, waiter, now_ns)
            return
        self.wait(pending, waiter)
        self.begin(pending, is_new, wants_disk, now_ns)

    cdef Pending* open(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t now_ns, bint* is_new
    ) except? NULL:
        """Find the question, or begin it; NULL: there is no memory for it."""
        cdef Pending* pending = self.find(hash, key, key_length)
        is_new[0] = pending == NULL
        if pending != NULL:
            self.tally[COALESCED] += 1      # one upstream query for all: RFC 5452 section 5, no birthday attack
            return pending
        self.flights.wheel.wake()
        return self.shelve(hash, key, key_length, now_ns)

    cdef void begin(self, Pending* pending, bint is_new, bint wants_disk, uint64_t now_ns) except *:
        """Have somebody asked, now that somebody waits for it. Afterwards it may be over."""
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
        """Ask for what nobody waits for; return False when it is under way, or others need us more."""
        cdef const uint8_t* octets = key
        cdef uint16_t length = key_length_of(key)
        cdef uint64_t hash = self.tiers.memory.hash_of(octets, length)
        cdef uint64_t now_ns = read_clock_ns()
        cdef Pending* pending
        cdef bint is_new
        if self.count >= RENEWALS_BELOW or self.find(hash, octets, length) != NULL:
            return False
        pending = self.open(hash, octets, length, now_ns, &is_new)
        if pending == NULL:
            return False
        self.ask_upstreams(pending, now_ns)
        self.send()
        return True

    def found(self, bytes key not None):
        """Answer from memory what the disk has been searched for, if it is there now."""
        cdef Pending* pending = self.find(self.tiers.memory.hash_of(key, key_length_of(key)), key, key_length_of(key))
        cdef uint64_t now_ns = read_clock_ns()
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        cdef Entry* entry
        if pending == NULL:
            return
        entry = self.tiers.look(pending.hash, pending.key, pending.key_length)
        if entry == NULL or entry.answer.is_failure or not self.tiers.memory.is_fresh(entry, now_ms):
            return
        self.answer(pending, &entry.answer, <uint32_t>((now_ms - stored_ms_of(entry)) // 1000), 0, now_ns)
        self.flush()
        self.close(pending, True)

    def ask(self, bytes key not None):
        """Ask upstreams for what the disk has been searched for, or is for too long, unless that has been done."""
        cdef Pending* pending = self.find(self.tiers.memory.hash_of(key, key_length_of(key)), key, key_length_of(key))
        if pending == NULL or not pending.is_searching:
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
        """Begin to ask; afterwards it may be over."""
        cdef Group group = self.group_of(pending.group)
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        cdef Entry* entry
        cdef Failure own
        pending.until_ms = now_ms + group.budget_ms
        pending.version = group.version
        if group.is_outage:
            if self.has_waiting(pending) and self.tell_known(pending, True, now_ns):
                self.close(pending, False)
                return
            if self.has_no_try(pending.group, False):
                fail(
                    &own, pending.key, pending.key_length, SERVFAIL,
                    EDE_NO_REACHABLE_AUTHORITY if group.count else EDE_NETWORK_ERROR, 0,
                )
                self.answer(pending, &own.stored, 0, 0, now_ns)
                self.flush()
                self.close(pending, False)
                return
            pending.is_trial = True
            group.probes += 1
            pending.until_ms = min(pending.until_ms, now_ms + OUTAGE_WAIT_MS)
        else:
            entry = self.tiers.look(pending.hash, pending.key, pending.key_length)
            if entry != NULL and self.tiers.memory.is_stale(entry, now_ms):
                pending.stale_ms = now_ms + self.stale_wait_ms
                if self.stale_wait_ms == 0:
                    self.tell_late(pending, now_ns)
        self.next_attempt(pending, False, now_ns)

    cdef bint tell_known(self, Pending* pending, bint in_outage, uint64_t now_ns) except -1:
        """Tell who waits what was true before; return False when there is nothing."""
        cdef Entry* entry = self.tiers.look(pending.hash, pending.key, pending.key_length)
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        if entry == NULL or not self.tiers.memory.is_stale(entry, now_ms):
            # Others may have taken its room; and in an outage another DO or CD is better than nothing.
            if not self.tiers.recall((<const char*>pending.key)[:pending.key_length], in_outage):
                return False
            entry = self.tiers.look(pending.hash, pending.key, pending.key_length)
            if entry == NULL or not self.tiers.memory.is_stale(entry, now_ms):
                return False
        self.answer(pending, &entry.answer, 0, self.stale_ttl, now_ns)
        self.flush()
        return True

    cdef void tell_late(self, Pending* pending, uint64_t now_ns) except *:
        """The upstreams take too long: tell what was true, and go on asking."""
        pending.stale_ms = 0
        pending.is_late = True
        self.tell_known(pending, False, now_ns)

    cdef void next_attempt(self, Pending* pending, bint may_repeat, uint64_t now_ns) except *:
        """Ask the next upstream, or the same once more; when nobody is left, wait for those that are asked."""
        cdef Group group = self.group_of(pending.group)
        cdef Upstream upstream
        cdef Flight* flight
        cdef int position
        cdef bint may_go_on = False
        if pending.version != group.version:
            pending.version = group.version     # other upstreams: what is known of positions was about the former
            pending.position = -1
            pending.asked = pending.spent = 0
        while pending.sendings < group.attempts + pending.extra:
            position = group.first() if pending.sendings == 0 else group.after(pending.position, pending.spent)
            if position < 0:
                break
            upstream = group.member(position)
            flight = pending.flights
            while flight != NULL and flight.upstream != <void*>upstream:
                flight = flight.next_of_owner
            if flight != NULL and not may_repeat:
                may_go_on = True        # in its time
                break
            if flight != NULL and not self.send_again(flight, now_ns):
                break
            pending.position = position
            pending.sendings += 1
            if flight != NULL or self.ask_one(pending, upstream, upstream.is_stream, now_ns):
                may_go_on = not self.floods(pending)
                break
        if pending.flights == NULL:
            self.conclude(pending, now_ns)
            return
        pending.next_ms = 0
        if may_go_on:
            upstream = <Upstream>pending.flights.upstream
            pending.next_ms = <int64_t>(now_ns // 1000000) + self.pause_ms(pending, upstream)
        self.look_after(pending)

    cdef bint floods(self, const Pending* pending) noexcept nogil:
        """True when there are many questions, and a good part of them under its domain: none is sent twice then."""
        return self.count >= CROWDED and 4 * self.of_parents.weights[pending.of_parent.share] > self.count

    cdef int64_t pause_ms(self, const Pending* pending, Upstream upstream) noexcept nogil:
        """How long it is waited before it is sent once more: at first as long as an answer usually takes."""
        cdef int64_t pause = <int64_t>(upstream.patience_ns() // 1000000)
        if upstream.lossy:
            return pause << max(pending.sendings - 2, 0)
        if pending.sendings > 1:
            pause = max(pause, SECOND_PAUSE_MIN_MS) << max(2 * (pending.sendings - 2), 0)
        return min(pause, <int64_t>(upstream.timeout_ns() // 1000000))

    cdef bint send_again(self, Flight* flight, uint64_t now_ns) noexcept:
        """Send the same from the same port; a stream loses nothing, so there it is of no use."""
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Form form = upstream.form()
        if flight.attempt != NULL and upstream.edns != EDNS_UNKNOWN:
            return False
        if form == FORM_OPT and upstream.edns == EDNS_UNKNOWN:
            form = FORM_TRIAL       # when nothing came with OPT, it may be the OPT that is answered with silence
            flight.is_mixed = True
        self.flights.repeat(flight, form, now_ns)
        return True

    cdef bint ask_one(self, Pending* pending, Upstream upstream, bint by_stream, uint64_t now_ns) except -1:
        """Send it to this one; False: that could not be done."""
        cdef uint64_t bit = <uint64_t>1 << pending.position
        cdef Form form = upstream.form()
        cdef Flight* flight
        cdef bint is_again = pending.asked & bit and by_stream == upstream.is_stream
        if is_again and form == FORM_OPT and upstream.edns == EDNS_UNKNOWN:
            form = FORM_TRIAL       # nothing came with OPT: it may be the OPT that it cannot stand
        pending.asked |= bit
        flight = self.flights.start(
            upstream, pending.key, pending.key_length, form, self.group.limits.trust_ad, by_stream, now_ns
        )
        if flight == NULL:
            pending.failure = cause_of(errno)
            self.tally[UPSTREAM_ERRORS] += 1
            if pending.failure != SHORTAGE:
                upstream.note_failure(now_ns, now_ns, errno)
            return False
        self.flights.wheel.cancel(&flight.timer)
        flight.looked_after = &pending.timer
        flight.owner = <void*>pending
        flight.group = pending.group
        flight.epoch = pending.epoch
        flight.origin = pending.origin
        flight.next_of_owner = pending.flights
        pending.flights = flight
        return True

    cdef void look_after(self, Pending* pending) noexcept:
        """Set its timer to whatever comes first."""
        cdef int64_t due_ms = pending.until_ms
        cdef Flight* flight = pending.flights
        if pending.next_ms:
            due_ms = min(due_ms, pending.next_ms)
        if pending.stale_ms:
            due_ms = min(due_ms, pending.stale_ms)
        while flight != NULL:
            if flight.error:
                due_ms = min(due_ms, flight.error_ms)
            elif not flight.is_late:
                due_ms = min(
                    due_ms, <int64_t>((flight.sent_ns + (<Upstream>flight.upstream).timeout_ns()) // 1000000)
                )
            flight = flight.next_of_owner
        self.flights.wheel.set(&pending.timer, due_ms)

    # --- time -------------------------------------------------------------------------------------------

    def tick(self):
        """Take care of some whose time is over; return False when nothing is under way any more."""
        cdef uint64_t now_ns = read_clock_ns()
        cdef Timer* timer
        cdef int _one
        for _one in range(OVERDUE_A_TICK):
            timer = self.flights.wheel.next_due(<int64_t>(now_ns // 1000000))
            if timer == NULL:
                break
            if timer.kind != OF_QUESTION:
                self.overdue_flight(<Flight*>timer, now_ns)
                continue
            try:
                self.overdue(<Pending*>timer, now_ns)
            except Exception as defect:     # gevent would never again call who keeps the time
                report(defect)
        self.send()
        return self.flights.wheel.count != 0

    cdef void overdue(self, Pending* pending, uint64_t now_ns) except *:
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        cdef Flight* flight = pending.flights
        cdef Flight* after
        cdef bint has_failed = False
        cdef bint is_lossy = False
        cdef Upstream upstream
        while flight != NULL:
            after = flight.next_of_owner
            upstream = <Upstream>flight.upstream
            if flight.error and now_ms >= flight.error_ms:
                if flight.wants_trial:
                    flight.wants_trial = False
                    flight.error = 0
                    self.flights.repeat(flight, FORM_TRIAL, now_ns)
                    pending.until_ms = max(pending.until_ms, now_ms + <int64_t>(upstream.patience_ns() // 1000000))
                else:
                    self.note_error(flight, pending, now_ns)
                    self.leave(pending, flight)
                    self.flights.end(flight)
                    has_failed = True
            elif not flight.error and not flight.is_late and now_ns >= flight.sent_ns + upstream.timeout_ns():
                self.flights.note_late(flight, now_ns)
            is_lossy = is_lossy or upstream.lossy
            flight = after
        if pending.stale_ms and now_ms >= pending.stale_ms:
            self.tell_late(pending, now_ns)
        if now_ms >= pending.until_ms:
            self.conclude(pending, now_ns)
        elif has_failed:
            self.next_attempt(pending, False, now_ns)
        elif pending.next_ms and now_ms >= pending.next_ms:
            if pending.sendings >= self.group_of(pending.group).attempts + pending.extra:
                # More than that only where the line is known to lose packets.
                if not is_lossy or pending.extra >= EXTRA_MAX:
                    pending.next_ms = 0
                    self.look_after(pending)
                    return
                pending.extra += 1
            self.next_attempt(pending, True, now_ns)
        else:
            self.look_after(pending)

    cdef void overdue_flight(self, Flight* flight, uint64_t now_ns) noexcept:
        """Listen to what nobody waits for, so that a slow upstream is told from a dead one, and then no longer."""
        cdef int64_t sent_ms = <int64_t>(flight.sent_ns // 1000000)
        cdef int64_t until_ms = sent_ms + (PROBE_LISTEN_MS if flight.form == FORM_PROBE else LISTEN_MS)
        if flight.error:
            self.note_error(flight, NULL, now_ns)
        else:
            self.flights.note_late(flight, now_ns)
            if <int64_t>(now_ns // 1000000) < until_ms:
                self.flights.wheel.set(&flight.timer, until_ms)
                return
        self.end_alone(flight)

    cdef void note_error(self, Flight* flight, Pending* pending, uint64_t now_ns) noexcept:
        """What the network, or an upstream's useless reply, has put an end to."""
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Cause cause = cause_of(flight.error)
        if pending != NULL:
            pending.failure = cause
            if cause == UNUSABLE:
                self.spend(pending, flight.upstream)
        if flight.form == FORM_PROBE:
            return      # it says nothing of queries without OPT
        self.tally[UPSTREAM_ERRORS] += 1
        if cause != SHORTAGE and cause != UNUSABLE:
            upstream.note_failure(flight.sent_ns, now_ns, flight.error)

    cdef void spend(self, Pending* pending, const void* upstream) noexcept:
        """This one has answered with an error: it need not be asked again."""
        cdef Group group = self.group_of(pending.group)
        cdef int i
        if pending.version == group.version:
            for i in range(group.count):
                if group.at[i] == upstream:
                    pending.spent |= <uint64_t>1 << i

    # --- replies ----------------------------------------------------------------------------------------

    def read_replies(self):
        """Take the replies that wait, a bounded number, and answer who waits for them. Never raises."""
        try:
            self.take_replies()
        except Exception as defect:
            report(defect)

    cdef void take_replies(self) except *:
        cdef Landing landing
        cdef Instant now
        read_moment(&now)
        self.tiers.catch_up(now.boot_ms)
        self.flights.look()
        while self.flights.next_reply(&landing):
            try:
                self.land(&landing, &now)
            except Exception as defect:     # the others are none of its
                report(defect)
        self.send()

    def received(self, Attempt attempt not None, bytes wire not None, uint16_t query_id):
        """Take what has come over a stream; return False when it is no reply to that query."""
        cdef Landing landing
        cdef Instant now
        if attempt.flight == NULL:
            return False
        if not self.flights.read_stream_reply(attempt.flight, wire, len(wire), query_id, &landing):
            self.tally[UPSTREAM_BAD_REPLIES] += 1
            return False
        try:
            read_moment(&now)
            self.tiers.catch_up(now.boot_ms)
            self.land(&landing, &now)
        except Exception as defect:     # whoever reads the stream goes on
            report(defect)
        self.send()
        return True

    cdef void land(self, Landing* landing, const Instant* now) except *:
        cdef Flight* flight = landing.flight
        cdef Pending* pending = <Pending*>flight.owner
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t now_ns
        if not landing.reply.has_opt or upstream.edns != EDNS_WORKS or landing.status == WIRE_SPOILED_REPLY:
            if self.is_put_off(landing):
                return
        if pending == NULL:
            self.land_alone(landing, now)
        elif landing.reply.flags & FLAG_TC or is_lame(&landing.reply) or is_failure_code(landing.reply.rcode):
            now_ns = read_clock_ns()
            self.flights.note_reply(flight, now_ns)
            self.leave(pending, flight)
            if landing.reply.flags & FLAG_TC and flight.attempt == NULL:
                # RFC 7766: the whole answer is to be had over TCP.
                if self.ask_one(pending, upstream, True, now_ns):
                    pending.next_ms = 0
                    if self.group.has_others(<void*>upstream, pending.spent):
                        pending.next_ms = <int64_t>(now_ns // 1000000) + self.pause_ms(pending, upstream)
                    self.flights.end(flight)
                    self.look_after(pending)
                    return
            elif landing.reply.flags & FLAG_TC:
                self.tally[UPSTREAM_BAD_REPLIES] += 1
                self.tally[UPSTREAM_ERRORS] += 1
                pending.failure = UNUSABLE
            elif is_lame(&landing.reply):
                upstream.note_lame()
                pending.failure = LAME
            else:
                self.keep_error(landing, pending)
            self.spend(pending, flight.upstream)
            self.flights.end(flight)
            self.next_attempt(pending, False, now_ns)
        else:
            self.settle(landing, now)

    cdef void keep_error(self, Landing* landing, Pending* pending) noexcept:
        """Remember an error, and wait for others no longer than until they are late."""
        cdef uint8_t options[OPTIONS_MAX]
        cdef Stored stored
        cdef Flight* flight = pending.flights
        cdef int64_t late_ms = 0
        settle_reply(landing.wire, &landing.reply, self.flights.ttl_at, self.group.limits, options, &stored)
        free(pending.error)
        pending.error = copy_stored(&stored)
        while flight != NULL:
            late_ms = max(late_ms, <int64_t>((flight.sent_ns + (<Upstream>flight.upstream).timeout_ns()) // 1000000))
            flight = flight.next_of_owner
        if late_ms:
            pending.until_ms = min(pending.until_ms, late_ms)

    cdef bint is_put_off(self, Landing* landing) noexcept:
        """Return True when this is no answer and the wait goes on, for a true one or for one without OPT."""
        cdef Flight* flight = landing.flight
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Pending* pending = <Pending*>flight.owner
        cdef bint is_spoiled = landing.status == WIRE_SPOILED_REPLY
        cdef bint is_error = is_spoiled or is_failure_code(landing.reply.rcode)
        cdef uint64_t now_ns = read_clock_ns()
        cdef int64_t until_ms = <int64_t>((now_ns + upstream.patience_ns()) // 1000000)
        cdef bint is_mixed = flight.is_mixed
        flight.is_mixed = False
        if is_error:
            self.flights.note_reply(flight, now_ns)
        if is_mixed and not landing.reply.has_opt and is_error:
            pass    # that may be about the OPT; the reply to the sending without one is still to come
        elif flight.error:
            return is_spoiled
        elif upstream.look_at(flight.form, &landing.reply, is_spoiled, now_ns):
            if is_spoiled and flight.attempt == NULL:
                self.tally[UPSTREAM_BAD_REPLIES] += 1
                flight.error = EBADMSG
                flight.error_ms = until_ms
                flight.wants_trial = True
            else:
                self.flights.repeat(flight, FORM_TRIAL, now_ns)
        elif not is_spoiled:
            return False
        else:
            # Whoever has guessed port and id must not end the wait for the true reply; over a stream nobody guesses.
            self.tally[UPSTREAM_BAD_REPLIES] += 1
            flight.error = EBADMSG
            flight.error_ms = until_ms if flight.attempt == NULL else 0
        if pending == NULL:
            self.flights.wheel.set(&flight.timer, until_ms)
            return True
        pending.until_ms = max(pending.until_ms, until_ms)
        if pending.next_ms:
            pending.next_ms = max(pending.next_ms, until_ms)
        self.look_after(pending)
        return True

    cdef void settle(self, Landing* landing, const Instant* now) noexcept:
        """Keep the answer, and tell it to all who wait for it."""
        cdef Flight* flight = landing.flight
        cdef Pending* pending = <Pending*>flight.owner
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t now_ns = read_clock_ns()
        cdef uint8_t options[OPTIONS_MAX]
        cdef Stored stored
        cdef Decision decision
        cdef Failure own
        if landing.reply.wants_dnssec and not landing.reply.has_opt and upstream.has_never_opt(now_ns):
            landing.reply.wants_dnssec = False      # nobody waits for more than that
        settle_reply(landing.wire, &landing.reply, self.flights.ttl_at, self.group.limits, options, &stored)
        if not self.tiers.passes(flight.key, flight.key_length, &self.flights.findings, &decision):
            fail(&own, flight.key, flight.key_length, SERVFAIL, decision.ede, 0)
            stored = own.stored
        self.tiers.learn(
            flight.key, flight.key_length, &stored, flight.epoch, flight.group, flight.origin,
            &upstream.source.origin, <uint32_t>((now_ns - flight.sent_ns) // 1000), now,
        )
        self.flights.note_reply(flight, now_ns)
        self.leave(pending, flight)
        self.flights.end(flight)
        self.answer(pending, &stored, 0, 0, now_ns)
        flight = pending.flights
        while flight != NULL:       # whoever was asked before has had his time
            (<Upstream>flight.upstream).note_loss()
            flight = flight.next_of_owner
        self.close(pending, False)

    cdef void land_alone(self, Landing* landing, const Instant* now) noexcept:
        """A reply that comes too late for who asked, or to a probe: a good one is kept where only a failure is."""
        cdef Flight* flight = landing.flight
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t now_ns = read_clock_ns()
        cdef uint8_t options[OPTIONS_MAX]
        cdef Stored stored
        cdef Decision decision
        cdef Entry* entry
        self.flights.note_reply(flight, now_ns)
        if flight.keeps_late and not (
            landing.reply.flags & FLAG_TC or is_lame(&landing.reply) or is_failure_code(landing.reply.rcode)
        ) and self.tiers.passes(flight.key, flight.key_length, &self.flights.findings, &decision):
            entry = self.tiers.look(
                self.tiers.memory.hash_of(flight.key, flight.key_length), flight.key, flight.key_length
            )
            if entry == NULL or entry.answer.is_failure or not self.tiers.memory.is_fresh(entry, now.boot_ms):
                settle_reply(landing.wire, &landing.reply, self.flights.ttl_at, self.group.limits, options, &stored)
                self.tiers.learn(
                    flight.key, flight.key_length, &stored, flight.epoch, flight.group, flight.origin,
                    &upstream.source.origin, <uint32_t>((now_ns - flight.sent_ns) // 1000), now,
                )
        self.end_alone(flight)

    # --- the end ----------------------------------------------------------------------------------------

    cdef void conclude(self, Pending* pending, uint64_t now_ns) except *:
        """Nobody has answered well: tell what was true before, else the error, which is remembered for a while."""
        cdef Failure own
        cdef const Stored* error = pending.error
        cdef bint is_silence = error == NULL
        cdef bint lasting = not is_silence or (is_lasting(pending.failure) and not pending.is_trial)
        cdef Instant now
        cdef Entry* entry
        if is_silence:
            fail(
                &own, pending.key, pending.key_length, SERVFAIL, ede_of(pending.failure),
                self.group.limits.failure_ttl if lasting else 0,
            )
            error = &own.stored
        if not self.has_waiting(pending):   # a good answer that only the disk has is not to be hidden either
            self.tiers.recall((<const char*>pending.key)[:pending.key_length], False)
        if not self.has_waiting(pending) or not self.tell_known(pending, is_silence, now_ns):
            entry = self.tiers.look(pending.hash, pending.key, pending.key_length)
            if entry != NULL and not entry.answer.is_failure and self.tiers.memory.is_fresh(
                entry, <int64_t>(now_ns // 1000000)
            ):
                self.answer(
                    pending, &entry.answer, <uint32_t>((<int64_t>(now_ns // 1000000) - stored_ms_of(entry)) // 1000), 0,
                    now_ns,
                )
            else:
                read_moment(&now)
                self.tiers.catch_up(now.boot_ms)
                self.tiers.learn(
                    pending.key, pending.key_length, error, pending.epoch, pending.group, pending.origin, NULL, 0, &now
                )
                self.answer(pending, error, 0, 0, now_ns)
            self.flush()
        elif lasting:
            self.tiers.hold_stale((<const char*>pending.key)[:pending.key_length], HOLD_STALE_SECONDS)
        self.close(pending, True)

    cdef void close(self, Pending* pending, bint keeps_late) noexcept:
        """It is over; what is still under way for it is listened to for a while."""
        cdef Flight* flight = pending.flights
        cdef Flight* after
        cdef Group group = self.group_of(pending.group)
        if pending.is_searching:
            self.searching -= 1
        if pending.is_trial:
            group.probes -= 1
        self.flights.wheel.cancel(&pending.timer)
        while flight != NULL:
            after = flight.next_of_owner
            self.detach(flight, keeps_late)
            flight = after
        self.remove(pending)

    cdef void leave(self, Pending* pending, Flight* flight) noexcept:
        """Take a flight from those of its question."""
        cdef Flight** link = &pending.flights
        while link[0] != flight:
            link = &link[0].next_of_owner
        link[0] = flight.next_of_owner
        flight.owner = NULL
        flight.looked_after = &flight.timer

    cdef void detach(self, Flight* flight, bint keeps_late) noexcept:
        flight.owner = NULL
        flight.looked_after = &flight.timer
        if self.lingering >= LINGERING_MAX:
            self.flights.end(flight)
            return
        self.lingering += 1
        flight.is_lingering = True
        flight.keeps_late = keeps_late
        self.flights.wheel.set(
            &flight.timer,
            <int64_t>((flight.sent_ns + (<Upstream>flight.upstream).timeout_ns()) // 1000000) if not flight.is_late
            else <int64_t>(flight.sent_ns // 1000000) + LISTEN_MS,
        )

    cdef void end_alone(self, Flight* flight) noexcept:
        self.lingering -= flight.is_lingering
        self.flights.end(flight)

    cdef void make_room(self) except *:
        cdef Pending* pending
        while self.is_crowded():
            pending = self.who_gives_way()
            if pending == NULL:
                return
            self.give_up(pending, read_clock_ns())

    cdef void give_up(self, Pending* pending, uint64_t now_ns) except *:
        """There are too many: who waits is told what is stale, or nothing."""
        cdef Flight* flight = pending.flights
        cdef Flight* after
        cdef Upstream upstream
        if self.has_waiting(pending):
            self.tell_known(pending, False, now_ns)
        self.drop(pending)
        while flight != NULL:
            after = flight.next_of_owner
            upstream = <Upstream>flight.upstream
            # Under a flood nobody may be waited for to the end of his time: the dead would never be known.
            if (
                flight.is_sent and not flight.is_late and now_ns - flight.sent_ns >= upstream.patience_ns()
                and flight.sent_ns >= upstream.last_reply_ns
            ):
                upstream.note_failure(flight.sent_ns, now_ns, 0)
            self.flights.end(flight)
            flight = after
        pending.flights = NULL
        self.close(pending, False)
