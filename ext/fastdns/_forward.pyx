"""The common miss: a question of UDP clients that an upstream answers in time, over UDP, with an answer to be kept.

Whatever is not that is handed over, with all that is known of it by then, to who has more patience (`on_handover`):
another upstream has to be asked, the answer came cut or is an error, nobody answers. From then on, until `release`,
who asks the same is told to go there.
"""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EBADMSG, ETIMEDOUT
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from fastdns._answer cimport OPTIONS_MAX, Stored, copy_answer, is_failure_code, is_lame
from fastdns._answer cimport settle as settle_reply
from fastdns._entry cimport read_moment
from fastdns._flights cimport LISTEN_MS, Sent, sent_of
from fastdns._hotcache cimport Entry
from fastdns._query cimport UdpQuery, count_response, read_clock_ns
from fastdns._response cimport write_answer, write_stale
from fastdns._shared cimport CACHE_STALE, COALESCED, IN_FLIGHT, SEND_ERRORS, SHED, UPSTREAM_BAD_REPLIES, observe
from fastdns._changes cimport Ticket
from fastdns._udp cimport BATCH
from fastdns._upstream cimport EDNS_UNKNOWN, EDNS_WORKS, FORM_OPT, FORM_TRIAL, Form
from fastdns._wire cimport FLAG_TC, WIRE_SPOILED_REPLY, key_length_of

from fastdns.defects import report

cdef enum:
    QUESTIONS_MAX = 4096    # in flight at once
    HELD_MAX = 1024         # that have been handed over: each costs much more
    WAITING_MAX = 8192      # clients that wait for them
    OVERDUE_A_TICK = 64     # so that hits get their turn; the others' time comes with the next tick
    TURNS = 0x3fffffff      # are counted so far
    HOLD_STALE_SECONDS = 30     # until a question that has failed is tried again: RFC 8767 section 5
    RENEWALS_BELOW = 256    # only with fewer under way something is asked that nobody waits for


IN_FLIGHT_MAX = QUESTIONS_MAX


cdef class Handover:
    """A question that needs more than one reply of one upstream, and how far it has come."""

    cdef readonly bytes key
    cdef readonly list queries      # that wait for it
    cdef readonly Upstream upstream     # that has been asked
    cdef readonly Sent sent         # how: it is still to be listened to
    cdef readonly bytes wire        # a matching reply that is not the end of it, or None
    cdef readonly int error         # errno of what became of it; 0: nothing yet; ETIMEDOUT: it is still listened to
    cdef readonly double seconds    # since it was asked
    cdef readonly int attempts      # how often
    cdef readonly Ticket ticket


cdef class Forward:
    """The questions of one process that are under way.

    `on_handover(handover)` is called for what needs more than this. With nobody in flight no time has to be kept:
    `on_busy()` is called when that begins, and then `tick` is to be called every TICK_MS until it returns False.
    What is stale is hoped to be renewed for `stale_wait` seconds.
    """

    def __cinit__(
        self, Cache tiers not None, Flights flights not None, Limits limits not None, on_handover, on_busy, *,
        double stale_wait=1.8, uint32_t stale_ttl=30,
    ):
        self.tiers = tiers
        self.flights = flights
        self.limits = limits
        self.tally = tiers.counters.at
        self.on_handover = on_handover
        flights.on_busy = on_busy
        self.stale_wait_ms = <int64_t>(stale_wait * 1000)
        self.stale_ttl = stale_ttl
        self.upstreams = []
        self.batch = Batch()
        self.fd = -1
        self.tally[IN_FLIGHT] = 0

    def __dealloc__(self):
        cdef int i
        cdef Pending* pending
        cdef Pending* after
        for i in range(SHELVES):
            pending = self.shelves[i]
            while pending != NULL:
                after = pending.next_on_shelf
                if pending.others != NULL:
                    Py_DECREF(<object>pending.others)
                free_waiters(pending.first)
                free(pending)
                pending = after

    def use(self, upstreams, *, bint in_turn, bint is_alone, int attempts=1, double budget=0.0):
        """Ask these from now on: the first, or each in turn. None stands for one that is not asked over UDP.

        When there is no other, it is asked so often and waited for so many seconds; 0: as long as its timeout says.
        """
        self.send()     # what has been taken for those of before
        self.upstreams = list(upstreams)
        self.in_turn = in_turn
        self.is_alone = is_alone
        self.attempts = attempts
        self.budget_ms = <int64_t>(budget * 1000)
        if self.upstreams:      # else the last one has died: what it has been asked may still be answered
            self.single = self.upstreams[0] if is_alone else None
        if self.is_outage and self.upstreams:   # what has failed because of it may be asked again
            self.held_from_s = <int64_t>(read_clock_ns() // 1000000000) + HOLD_STALE_SECONDS
        self.is_outage = not self.upstreams

    cdef bint holds(self, const Entry* entry, int64_t now_ms) noexcept nogil:
        return now_ms // 1000 < entry.hold_stale_s and self.held_from_s < entry.hold_stale_s

    def hold_stale(self, bytes key not None):
        """Serve this one stale for a while without asking anybody: that has just failed (RFC 8767 section 5)."""
        self.tiers.hold_stale(key, HOLD_STALE_SECONDS)

    # --- taking -----------------------------------------------------------------------------------------

    cdef bint take_udp(
        self, uint64_t hash, const Question* question, const uint8_t* spelling, int fd, const Sender* sender,
        uint64_t received_ns, bint may_start
    ) except -1:
        cdef Pending* pending = self.find(hash, question.key, question.key_length)
        cdef Waiter* waiter
        if pending == NULL:
            pending = self.start(hash, question.key, question.key_length, received_ns) if may_start else NULL
        elif pending.flight != NULL:
            self.tally[COALESCED] += 1      # one upstream query for all: RFC 5452 section 5, no birthday attack
        if pending == NULL or pending.flight == NULL:
            return False
        waiter = <Waiter*>malloc(sizeof(Waiter) + question.length)
        if waiter == NULL:
            return True     # as if it had been lost on its way: who has no memory cannot do better
        waiter.next = NULL
        waiter.received_ns = received_ns
        waiter.fd = fd
        waiter.question = question[0]
        waiter.sender = sender[0]
        memcpy(waiter + 1, spelling, question.length)
        if pending.first == NULL:
            pending.first = waiter
        else:
            pending.last.next = waiter
        pending.last = waiter
        self.waiting += 1
        self.make_room()
        return True

    cdef bint take_other(self, uint64_t hash, Query query, bint may_start) except -1:
        cdef const Question* question = &query.question
        cdef Pending* pending = self.find(hash, question.key, question.key_length)
        if pending == NULL:
            pending = self.start(hash, question.key, question.key_length, query.received_ns) if may_start else NULL
        elif pending.flight != NULL:
            self.tally[COALESCED] += 1
        if pending == NULL or pending.flight == NULL:
            return False
        if pending.others == NULL:
            others = []
            Py_INCREF(others)
            pending.others = <void*>others
        (<list>pending.others).append(query)
        self.waiting += 1
        self.make_room()
        return True

    def renew(self, bytes key not None):
        """Ask for what nobody waits for. False: that is under way, or others need us more; None: not ours to do."""
        cdef const uint8_t* octets = key
        cdef uint16_t length = key_length_of(key)
        cdef uint64_t hash = self.tiers.memory.hash_of(octets, length)
        if self.count >= RENEWALS_BELOW or self.find(hash, octets, length) != NULL:
            return False
        if self.start(hash, octets, length, read_clock_ns()) == NULL:
            return None
        self.send()
        return True

    def hold(self, bytes key not None):
        """Have `on_uncommon` take who asks for this key, until `release`."""
        cdef uint16_t length = key_length_of(key)
        cdef uint64_t hash = self.tiers.memory.hash_of(key, length)
        if self.find(hash, key, length) == NULL and self.shelve(hash, key, length, read_clock_ns()) == NULL:
            raise MemoryError

    def release(self, bytes key not None):
        """The question of this key is over."""
        cdef uint16_t length = key_length_of(key)
        cdef Pending* pending = self.find(self.tiers.memory.hash_of(key, length), key, length)
        if pending != NULL and pending.flight == NULL:
            self.remove(pending)

    cdef Upstream next_upstream(self):
        if not self.upstreams:
            return None
        if not self.in_turn:
            return self.upstreams[0]
        upstream = self.upstreams[((self.turn + 1) & TURNS) % <int>len(self.upstreams)]
        if upstream is not None:
            self.take_turn()    # else it is for who asks that one to take it
        return upstream

    cpdef int take_turn(self):
        """Return whose turn it is, counted through: who asks upstreams in turn beside us does not disturb the order."""
        self.turn = (self.turn + 1) & TURNS
        return self.turn

    cdef Pending* start(self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t now_ns) except? NULL:
        """Begin to ask; NULL: it is not ours to do, or cannot be done."""
        cdef Upstream upstream = self.next_upstream()
        cdef Pending* pending
        cdef Flight* flight
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        cdef int64_t patience_ms
        cdef int64_t wait_ms
        if upstream is None:
            return NULL
        patience_ms = <int64_t>(upstream.patience_ns() // 1000000)
        wait_ms = self.wait_ms(upstream, patience_ms, hash, key, key_length, now_ms)
        if wait_ms <= 0:
            return NULL
        flight = self.flights.start(upstream, key, key_length, upstream.form(), now_ns, min(wait_ms, patience_ms))
        if flight == NULL:
            return NULL
        pending = self.shelve(hash, key, key_length, now_ns)
        if pending == NULL:
            self.flights.end(flight)
            return NULL
        pending.flight = flight
        pending.until_ms = now_ms + wait_ms
        self.in_flight += 1
        pending.older = self.newest
        if self.newest != NULL:
            self.newest.newer = pending
        else:
            self.oldest = pending
        self.newest = pending
        flight.owner = pending
        return pending

    cdef int64_t wait_ms(
        self, Upstream upstream, int64_t patience_ms, uint64_t hash, const uint8_t* key, uint16_t key_length,
        int64_t now
    ) except? -1:
        """How long this upstream is all that is hoped for."""
        cdef int64_t wait = self.budget_ms if self.budget_ms else <int64_t>(upstream.timeout * 1000)
        cdef Entry* entry
        if not self.is_alone:
            wait = min(wait, patience_ms)
        if self.stale_wait_ms < wait:
            entry = self.tiers.look(hash, key, key_length)
            if entry != NULL and self.tiers.memory.is_stale(entry, now):
                wait = self.stale_wait_ms
        return wait

    cdef void send(self) except *:
        for upstream in self.upstreams:
            if upstream is not None:
                self.flights.send(<Upstream>upstream)

    # --- what is under way ------------------------------------------------------------------------------

    cdef Pending* find(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef Pending* pending = self.shelves[hash % SHELVES]
        while pending != NULL and (
            pending.hash != hash or pending.key_length != key_length or memcmp(pending.key, key, key_length) != 0
        ):
            pending = pending.next_on_shelf
        return pending

    cdef Pending* shelve(self, uint64_t hash, const uint8_t* key, uint16_t key_length, uint64_t now_ns) except? NULL:
        cdef Pending* pending = <Pending*>malloc(sizeof(Pending))
        if pending == NULL:
            return NULL
        memset(pending, 0, sizeof(Pending) - KEY_MAX)
        pending.hash = hash
        pending.began_ns = now_ns
        pending.epoch = self.tiers.changes.epoch
        pending.group = self.tiers.group_of(key, key_length)
        pending.origin = self.tiers.changes.origin_of(pending.group)
        pending.key_length = key_length
        memcpy(pending.key, key, key_length)
        pending.next_on_shelf = self.shelves[hash % SHELVES]
        self.shelves[hash % SHELVES] = pending
        self.count += 1
        self.tally[IN_FLIGHT] = <unsigned int>self.count
        return pending

    cdef void leave_queue(self, Pending* pending) noexcept:
        if pending.older != NULL:
            pending.older.newer = pending.newer
        elif self.oldest == pending:
            self.oldest = pending.newer
        if pending.newer != NULL:
            pending.newer.older = pending.older
        elif self.newest == pending:
            self.newest = pending.older
        pending.older = pending.newer = NULL

    cdef void remove(self, Pending* pending) except *:
        """Take it from the shelf; nobody waits for it any more."""
        cdef Pending** link = &self.shelves[pending.hash % SHELVES]
        if pending.flight != NULL:
            self.leave_queue(pending)
            self.in_flight -= 1
        while link[0] != pending:
            link = &link[0].next_on_shelf
        link[0] = pending.next_on_shelf
        if pending.others != NULL:
            Py_DECREF(<object>pending.others)
        free(pending)
        self.count -= 1
        self.tally[IN_FLIGHT] = <unsigned int>self.count

    cdef void make_room(self) except *:
        """Drop the oldest questions while there are too many: who waits is told what is stale, or nothing."""
        cdef Pending* pending
        while self.waiting > WAITING_MAX or self.in_flight > QUESTIONS_MAX:
            pending = self.oldest
            if pending == NULL:
                return
            self.give_up(pending, True, read_clock_ns())

    cdef void give_up(self, Pending* pending, bint in_vain, uint64_t now_ns) except *:
        cdef Flight* flight = pending.flight
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t sent_ns = flight.sent_ns
        # Under a flood nobody may be waited for to the end of his time: the dead would never be known.
        in_vain = in_vain and flight.is_sent and not flight.is_late and now_ns - sent_ns >= upstream.patience_ns()
        cdef Entry* entry = self.tiers.look(pending.hash, pending.key, pending.key_length)
        if entry != NULL and self.tiers.memory.is_stale(entry, <int64_t>(now_ns // 1000000)):
            self.answer(pending, &entry.answer, self.stale_ttl, now_ns)
            self.flush()
        self.flights.end(flight)
        self.drop(pending)
        self.remove(pending)
        if in_vain and sent_ns >= upstream.last_reply_ns:
            try:
                upstream.note_failure(sent_ns, now_ns)
            except Exception as defect:
                report(defect)

    cdef void drop(self, Pending* pending) except *:
        """Forget who still waits for it."""
        cdef Waiter* waiter
        while pending.first != NULL:
            waiter = pending.first
            pending.first = waiter.next
            free(waiter)
            self.waiting -= 1
            self.tally[SHED] += 1
        if pending.others != NULL:
            for query in <list>pending.others:
                self.waiting -= 1
                self.tally[SHED] += 1
                self.tell(type(query).drop, query)
            (<list>pending.others).clear()

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
        self.flush()

    cdef void land(self, Landing* landing, const Instant* now) except *:
        cdef Flight* flight = landing.flight
        cdef Pending* pending = <Pending*>flight.owner
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Sent sent = sent_of(flight)
        if not landing.reply.has_opt or upstream.edns != EDNS_WORKS or landing.status == WIRE_SPOILED_REPLY:
            if self.is_put_off(landing):
                return
        if sent is not None:
            self.flights.note_reply(flight, read_clock_ns())
            if sent.listener is not None:
                self.tell(sent.listener.received, landing.wire[:landing.length])
            elif sent.early is None:
                sent.early = landing.wire[:landing.length]
        elif landing.reply.flags & FLAG_TC or is_lame(&landing.reply) or (
            is_failure_code(landing.reply.rcode) and self.knows_better(pending, now)
        ):
            self.hand_over(pending, landing, 0, read_clock_ns())
        else:
            self.settle(landing, now)

    cdef bint is_put_off(self, Landing* landing) except -1:
        """Return True when this is no answer and the wait goes on, for a true one or for one without OPT."""
        cdef Flight* flight = landing.flight
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Pending* pending = <Pending*>flight.owner
        cdef bint is_spoiled = landing.status == WIRE_SPOILED_REPLY
        cdef uint64_t now_ns = read_clock_ns()
        cdef int64_t until_ms = <int64_t>((now_ns + upstream.patience_ns()) // 1000000)
        cdef bint is_mixed = flight.is_mixed
        flight.is_mixed = False
        if is_spoiled or is_failure_code(landing.reply.rcode):
            self.flights.note_reply(flight, now_ns)
        if is_mixed and not landing.reply.has_opt and (is_spoiled or is_failure_code(landing.reply.rcode)):
            pass    # that may be about the OPT; the reply to the sending without one is still to come
        elif flight.error:
            return is_spoiled
        elif upstream.look_at(flight.form, &landing.reply, is_spoiled, now_ns):
            if is_spoiled:
                self.tally[UPSTREAM_BAD_REPLIES] += 1
                flight.error = EBADMSG
                flight.wants_trial = True
            else:
                self.flights.repeat(flight, FORM_TRIAL, now_ns)
        elif not is_spoiled:
            return False
        else:
            # Whoever has guessed port and id must not end the wait for the true reply.
            self.tally[UPSTREAM_BAD_REPLIES] += 1
            flight.error = EBADMSG
        if flight.error == 0 and flight.listener != NULL:
            return True
        if pending != NULL:
            pending.until_ms = max(pending.until_ms, until_ms)
        self.flights.wait_until(flight, until_ms)
        return True

    cdef bint knows_better(self, const Pending* pending, const Instant* now) except -1:
        """Return True when an error is not the last word: others can be asked, or there is a stale answer."""
        cdef Entry* entry
        if not self.is_alone:
            return True
        entry = self.tiers.look(pending.hash, pending.key, pending.key_length)
        if entry == NULL:   # a good answer that only the disk has is not to be hidden either
            self.tiers.bring_in(pending.key[:pending.key_length], now)
            entry = self.tiers.look(pending.hash, pending.key, pending.key_length)
        return entry != NULL and self.tiers.memory.is_stale(entry, now.boot_ms)

    cdef void settle(self, Landing* landing, const Instant* now) except *:
        """Keep the answer, and tell it to all who wait for it."""
        cdef Flight* flight = landing.flight
        cdef Pending* pending = <Pending*>flight.owner
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t now_ns = read_clock_ns()
        cdef uint8_t options[OPTIONS_MAX]
        cdef Stored stored
        if landing.reply.wants_dnssec and not landing.reply.has_opt and upstream.has_never_opt(now_ns):
            landing.reply.wants_dnssec = False      # nobody waits for more than that
        settle_reply(landing.wire, &landing.reply, self.flights.ttl_at, self.limits, options, &stored)
        self.tiers.learn(
            pending.key, pending.key_length, &stored, pending.epoch, pending.group, pending.origin,
            &upstream.source.origin, <uint32_t>((now_ns - flight.sent_ns) // 1000), now,
        )
        self.flights.note_reply(flight, now_ns)
        self.flights.end(flight)
        self.answer(pending, &stored, 0, now_ns)
        self.remove(pending)

    cdef void answer(self, Pending* pending, const Stored* stored, uint32_t stale_ttl, uint64_t now_ns) except *:
        """Queue the answer for all who wait; with a stale_ttl it is one past its TTL."""
        cdef const uint8_t* spelling
        cdef uint8_t* room
        cdef Waiter* waiter
        cdef size_t written
        while pending.first != NULL:
            waiter = pending.first
            pending.first = waiter.next
            if self.batch.queued == BATCH or waiter.fd != self.fd:
                self.flush()
            self.fd = waiter.fd
            room = self.batch.room()
            spelling = <const uint8_t*>(waiter + 1)
            if stale_ttl:
                written = write_stale(
                    room, spelling, &waiter.question, stored, stale_ttl, waiter.question.udp_size
                )
                self.tally[CACHE_STALE] += 1
            else:
                written = write_answer(room, spelling, &waiter.question, stored, 0, waiter.question.udp_size)
            count_response(self.tally, room)
            observe(self.tiers.counters.miss_latency, now_ns - waiter.received_ns, 1)
            self.batch.queue_to(&waiter.sender, written)
            waiter.next = self.answered
            self.answered = waiter
            self.waiting -= 1
        if pending.others != NULL and len(<list>pending.others):
            if stale_ttl:
                self.tally[CACHE_STALE] += <unsigned int>len(<list>pending.others)
                copy = self.tiers.stale_answer(pending.key[:pending.key_length], stale_ttl)
            else:
                copy = copy_answer(stored)
            self.waiting -= <int>len(<list>pending.others)
            for query in <list>pending.others:
                self.tell(query.reply, copy)
            (<list>pending.others).clear()

    cdef void flush(self) except *:
        """Send the answers that are queued."""
        if self.batch.queued:
            self.tally[SEND_ERRORS] += <unsigned int>self.batch.send(self.fd)
        free_waiters(self.answered)
        self.answered = NULL

    cdef void tell(self, call, argument) except *:
        """Call into Python: a defect there must not keep the others from their answers."""
        try:
            call(argument)
        except Exception as defect:
            report(defect)

    # --- what is not the common case --------------------------------------------------------------------

    def tick(self):
        """Take care of some whose time is over; return False when nothing is in flight any more."""
        cdef uint64_t now_ns = read_clock_ns()
        cdef Flight* flight
        cdef int _one
        for _one in range(OVERDUE_A_TICK):
            flight = self.flights.next_due(<int64_t>(now_ns // 1000000))
            if flight == NULL:
                break
            try:
                self.overdue(flight, now_ns)
            except Exception as defect:     # gevent would never again call who keeps the time
                report(defect)
        return self.flights.count != 0

    cdef void overdue(self, Flight* flight, uint64_t now_ns) except *:
        cdef Pending* pending = <Pending*>flight.owner
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Sent sent = sent_of(flight)
        if flight.error == EBADMSG and flight.wants_trial:
            flight.wants_trial = False
            flight.error = 0
            self.flights.repeat(flight, FORM_TRIAL, now_ns)
            self.flights.wait_until(flight, <int64_t>((now_ns + upstream.patience_ns()) // 1000000))
            if pending != NULL:
                pending.until_ms += <int64_t>(upstream.patience_ns() // 1000000)
        elif flight.error == 0 and not flight.is_late and now_ns >= flight.sent_ns + upstream.timeout_ns():
            self.flights.wait_until(flight, <int64_t>(now_ns // 1000000))   # whatever hearers do, it is looked after
            self.flights.note_late(flight, now_ns)
            if sent is not None and sent.listener is None:
                sent.is_late = True
            elif sent is not None:
                self.tell_late(sent)
        elif sent is not None:
            self.remind(sent, flight, now_ns)
        elif flight.error:
            self.hand_over(pending, NULL, flight.error, now_ns)
        elif upstream is not self.single or <int64_t>(now_ns // 1000000) >= pending.until_ms:
            self.hand_over(pending, NULL, ETIMEDOUT if flight.is_late else 0, now_ns)
        else:
            self.ask_again(pending, now_ns)

    cdef void tell_late(self, Sent sent) except *:
        try:
            sent.listener.late()
        except Exception as defect:
            report(defect)

    cdef void remind(self, Sent sent, Flight* flight, uint64_t now_ns) except *:
        """What Python waits for ends with an error, or after all the time in which an answer is still worth keeping."""
        cdef int64_t until_ms = <int64_t>(flight.sent_ns // 1000000) + LISTEN_MS
        cdef int error = flight.error
        if not flight.is_late:
            until_ms = <int64_t>((flight.sent_ns + (<Upstream>flight.upstream).timeout_ns()) // 1000000)
        elif error == 0 and now_ns // 1000000 >= <uint64_t>until_ms:
            error = ETIMEDOUT
        if error == 0:
            self.flights.wait_until(flight, until_ms)
            return
        self.flights.end(flight)
        if sent.listener is not None:
            self.tell(sent.listener.failed, error)
        else:
            sent.error = error

    cdef void ask_again(self, Pending* pending, uint64_t now_ns) except *:
        """Send it once more when it is time for that: packets get lost. Each time it is waited longer."""
        cdef Flight* flight = pending.flight
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef uint64_t last_ns = flight.repeated_ns if flight.repeated_ns else flight.sent_ns
        cdef uint64_t pause_ns = min(upstream.patience_ns() << (2 * (flight.sendings - 1)), upstream.timeout_ns())
        cdef int64_t due_ms = pending.until_ms
        cdef Form form = upstream.form()
        if flight.sendings < self.attempts:
            if now_ns >= last_ns + pause_ns:
                if form == FORM_OPT and upstream.edns == EDNS_UNKNOWN:
                    form = FORM_TRIAL
                    flight.is_mixed = True
                self.flights.repeat(flight, form, now_ns)
                flight.sendings += 1
                last_ns = now_ns
                pause_ns = min(pause_ns << 2, upstream.timeout_ns())
            if flight.sendings < self.attempts:
                due_ms = min(due_ms, <int64_t>((last_ns + pause_ns) // 1000000))
        if not flight.is_late:
            due_ms = min(due_ms, <int64_t>((flight.sent_ns + upstream.timeout_ns()) // 1000000))
        self.flights.wait_until(flight, due_ms)

    cdef void hand_over(self, Pending* pending, Landing* landing, int error, uint64_t now_ns) except *:
        """Leave a question to Python, with its flight unless that has ended by an error."""
        cdef Flight* flight = pending.flight
        cdef Handover handover
        if self.count - self.in_flight >= HELD_MAX:
            self.give_up(pending, landing == NULL, now_ns)
            return
        if landing != NULL:
            self.flights.note_reply(flight, now_ns)     # before anybody is taken from the queue: it may raise
        handover = Handover.__new__(Handover)
        handover.key = pending.key[:pending.key_length]
        handover.queries = self.clients_of(pending)
        handover.upstream = <Upstream>flight.upstream
        handover.error = error
        handover.seconds = (now_ns - pending.began_ns) / 1e9
        handover.attempts = flight.sendings
        handover.ticket = self.tiers.ticket(pending.group)
        handover.ticket.epoch = pending.epoch
        handover.ticket.origin = pending.origin
        handover.sent = Sent()
        if landing != NULL:
            handover.wire = landing.wire[:landing.length]
            flight.error = 0    # what came before, of no use or from the network, is not the last word any more
        if error and error != ETIMEDOUT:
            self.flights.end(flight)
        else:
            flight.owner = NULL
            handover.sent.adopt(self.flights, flight)
            self.remind(handover.sent, flight, now_ns)
        self.leave_queue(pending)
        pending.flight = NULL
        self.in_flight -= 1
        self.tell(self.on_handover, handover)

    cdef list clients_of(self, Pending* pending):
        """Return who waits as Query objects; nobody waits here any more."""
        cdef list queries = []
        cdef Waiter* waiter
        cdef UdpQuery query
        while pending.first != NULL:
            waiter = pending.first
            pending.first = waiter.next
            query = UdpQuery.__new__(UdpQuery)
            query.take(self.tiers.counters, &waiter.question, <const uint8_t*>(waiter + 1), waiter.received_ns)
            query.come_from(waiter.fd, &waiter.sender)
            queries.append(query)
            free(waiter)
        if pending.others != NULL:
            queries += <list>pending.others
            (<list>pending.others).clear()
        self.waiting -= <int>len(queries)
        return queries


cdef void free_waiters(Waiter* waiter) noexcept nogil:
    cdef Waiter* after
    while waiter != NULL:
        after = waiter.next
        free(waiter)
        waiter = after
