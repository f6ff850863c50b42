"""The attempts of a question: which upstream is asked next, when, and what becomes of each attempt.

The next upstream is asked at once after an error, and also when one takes longer than usual; a single one is asked
again, because packets get lost (RFC 6298 tells when). A slow upstream's late reply is still read, so that it is told
from a dead one.
"""

from collections import namedtuple

from libc.errno cimport (
    EADDRNOTAVAIL, EAGAIN, EBADMSG, EHOSTUNREACH, EINVAL, EMFILE, ENETDOWN, ENETUNREACH, ENFILE, ENOBUFS, ENODEV,
    ENOMEM, ETIMEDOUT, errno,
)
from libc.stdlib cimport calloc, free

from fastdns._answer cimport OPTIONS_MAX, Failure, Limits, copy_stored, fail, is_failure_code, is_lame, settle
from fastdns._clock cimport read_clock_ns
from fastdns._counters cimport BOGUS_ANSWERS, UPSTREAM_BAD_REPLIES, UPSTREAM_ERRORS
from fastdns._flights cimport LISTEN_MS
from fastdns._groups cimport TRIES_MAX, TRY_MS, TRY_PAUSE_MS
from fastdns._policy cimport EDE_FILTERED, GROUPS_MAX
from fastdns._rules cimport Rule
from fastdns._upstream cimport EDNS_UNKNOWN, EDNS_WORKS, FORM_OPT, FORM_PROBE, FORM_TRIAL, Form, sends_opt
from fastdns._wire cimport FLAG_TC, WIRE_OK, WIRE_SPOILED_REPLY

from fastdns.defects import report

cdef enum:
    CROWDED = 2048          # questions, from which on no domain with many of them has one sent again
    LINGERING_MAX = 256     # queries without a waiting client
    PROBE_LISTEN_MS = 4000
    EXTRA_MAX = 3           # sendings beyond the allowed ones, over a line that loses packets
    SECOND_PAUSE_MIN_MS = 150
    # Of the queries that are only late, and may be lost, a quarter is sent again, and some each second in any case.
    # More would not help: if all are late, this machine, the line or the upstream is overloaded.
    AGAIN = 4               # cost of a sending in credit; a new question adds 1
    CREDIT_MAX = 2048
    DENIED_MS = 200         # until a question asks for credit again
    RESCUE_MS = 1000        # until a question that a defect has left is looked at again
    # For a true reply after a forged one: it has a longer way.
    FORGED_WAIT_MS = 500
    NXDOMAIN = 3
    MANY = 64               # questions and clients of one share
    MS_A_CREDIT = 2         # that time brings


# What becomes of a question. `number`: an RCODE, an errno or the number of a group; `seconds`: since the first sending.
Event = namedtuple("Event", ("what", "upstream", "key", "is_stream", "has_opt", "sendings", "number", "seconds"))


cdef str what_came(const Landing* landing):
    if landing.status == WIRE_SPOILED_REPLY:
        return "useless"
    if landing.reply.flags & FLAG_TC:
        return "truncated"
    return "lame" if is_lame(&landing.reply) else "replied"


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


cdef class Attempts(Questions):
    """Questions, and their way through the upstreams of their groups. `Forward` decides what follows."""

    # How `Forward` handles the results of the attempts.

    cdef void conclude(self, Pending* pending, uint64_t now_ns) except *:
        pass

    cdef void take_answer(self, Landing* landing, const Instant* now) noexcept:
        pass

    cdef void take_late(self, Landing* landing, const Instant* now) noexcept:
        pass

    cdef void tell_late(self, Pending* pending, uint64_t now_ns) except *:
        pass

    cdef void close(self, Pending* pending, bint keeps_late) noexcept:
        pass

    cdef void tell_event(self, str what, const Flight* flight, int number) noexcept:
        try:
            self.trace(Event(
                what, <Upstream>flight.upstream, flight.key[:flight.key_length], flight.attempt != NULL,
                sends_opt(flight.form), flight.sendings, number, (read_clock_ns() - flight.sent_ns) / 1e9,
            ))
        except Exception as defect:
            report(defect)

    # --- asking -----------------------------------------------------------------------------------------

    def __dealloc__(self):
        free(self.by_number)

    def add_group(self, Group group not None):
        """Allow questions of this group, by its number."""
        if self.by_number == NULL:      # most of it is never touched, and so takes no memory
            self.by_number = <void**>calloc(GROUPS_MAX, sizeof(void*))
            if self.by_number == NULL:
                raise MemoryError
        self.groups = [one for one in self.groups if one.number != group.number] + [group]
        self.by_number[group.number] = <void*>group

    cdef void* group_at_number(self, uint16_t number) noexcept nogil:
        if self.by_number[number] != NULL:
            return self.by_number[number]
        return <void*>self.nobody

    cdef Group group_of(self, uint16_t number):
        return <Group>self.group_at_number(number)

    cdef void next_attempt(self, Pending* pending, bint may_repeat, uint64_t now_ns) except *:
        """Ask the next upstream, or the same one again; if none is left, wait for those that were asked."""
        cdef Group group = self.group_of(pending.decision.group)
        cdef Upstream upstream
        cdef Flight* flight
        cdef int position
        cdef bint may_go_on = False
        cdef bint is_last_try = False
        cdef bint is_mute = self.is_mute(pending)
        cdef int64_t pause_min = 0
        if pending.version != group.version:
            pending.version = group.version     # other upstreams: the former positions mean nothing now
            pending.position = -1
            pending.asked = pending.spent = 0
        while pending.sendings < group.attempts + pending.extra:
            position = group.first() if pending.sendings == 0 else group.after(pending.position, pending.spent)
            if (
                position < 0 and pending.flights == NULL and not pending.is_trial and group.tries < TRIES_MAX
                and <int64_t>(now_ns // 1000000) - group.tried_ms >= TRY_PAUSE_MS
            ):
                # All that are alive have answered with an error: one that counts as dead may do better now.
                position = group.dead_after(pending.position, pending.spent)
                pending.is_trial = is_last_try = position >= 0
                if is_last_try:
                    group.tries += 1
                    group.tried_ms = <int64_t>(now_ns // 1000000)
            if position < 0:
                break
            upstream = group.member(position)
            flight = pending.flights
            while flight != NULL and flight.upstream != <void*>upstream:
                flight = flight.next_of_owner
            if flight != NULL and not may_repeat:
                may_go_on = True        # in its time
                break
            # Another one is asked at any cost if the one before has answered nothing since: it has failed.
            if may_repeat and not (flight == NULL and is_mute) and (
                self.floods(pending) or not self.may_send_again(pending, now_ns)
            ):
                may_go_on = True
                pause_min = DENIED_MS
                break
            pending.position = position
            pending.sendings += 1
            if flight != NULL and not self.send_again(flight, now_ns):
                continue
            if flight != NULL or self.ask_one(pending, upstream, upstream.is_stream, now_ns):
                may_go_on = True
                break
        if pending.flights == NULL:
            self.conclude(pending, now_ns)
            return
        pending.next_ms = 0
        if is_last_try:
            pending.until_ms = min(pending.until_ms, <int64_t>(now_ns // 1000000) + TRY_MS)
        elif may_go_on:
            upstream = <Upstream>pending.flights.upstream
            pending.next_ms = <int64_t>(now_ns // 1000000) + max(self.pause_ms(pending, upstream), pause_min)
        self.look_after(pending)

    cdef bint is_mute(self, const Pending* pending) noexcept:
        """True if the upstream that was asked last has answered nothing since then."""
        cdef Flight* flight = pending.flights
        return flight != NULL and (<Upstream>flight.upstream).last_reply_ns < flight.sent_ns

    cdef bint has_many(self, const Pending* pending) noexcept nogil:
        """True if its client or its domain has a large part of all questions in flight."""
        cdef int most = self.of_parents.at[pending.of_parent.share].weight
        if pending.of_client.share >= 0:
            most = max(most, self.of_clients.at[pending.of_client.share].weight)
        return most > MANY and 8 * most > self.count

    cdef bint may_send_again(self, const Pending* pending, uint64_t now_ns) noexcept nogil:
        """Take the credit for sending a late query again, if there is enough: half of it is for shares that use little.
        """
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        self.credit = min(self.credit + (now_ms - self.credited_ms) // MS_A_CREDIT, <int64_t>CREDIT_MAX)
        self.credited_ms = now_ms - (now_ms - self.credited_ms) % MS_A_CREDIT
        if self.credit < AGAIN + (CREDIT_MAX // 2 if self.has_many(pending) else 0):
            return False
        self.credit -= AGAIN
        return True

    cdef bint floods(self, const Pending* pending) noexcept nogil:
        """True if there are many questions, and a large part of them under its domain: none is sent twice then."""
        return self.count >= CROWDED and 4 * self.of_parents.at[pending.of_parent.share].weight > self.count

    cdef int64_t pause_ms(self, const Pending* pending, Upstream upstream) noexcept nogil:
        """The wait before it is sent again: at first as long as an answer usually takes."""
        cdef int64_t pause = <int64_t>(upstream.patience_ns() // 1000000)
        if upstream.lossy:
            return pause << max(pending.sendings - 2, 0)
        if pending.sendings > 1:
            pause = max(pause, SECOND_PAUSE_MIN_MS) << max(2 * (pending.sendings - 2), 0)
        return min(pause, <int64_t>(upstream.timeout_ns() // 1000000))

    cdef bint send_again(self, Flight* flight, uint64_t now_ns) noexcept:
        """Send the same from the same port; a stream loses nothing, so this does not help there."""
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Form form = upstream.form()
        if flight.attempt != NULL and upstream.edns != EDNS_UNKNOWN:
            return False
        if form == FORM_OPT and upstream.edns == EDNS_UNKNOWN:
            form = FORM_TRIAL       # if nothing came with OPT, the upstream may be silent because of the OPT
            flight.is_mixed = True
        self.repeat(flight, form, now_ns)
        return True

    cdef void repeat(self, Flight* flight, Form form, uint64_t now_ns) noexcept:
        self.flights.repeat(flight, form, now_ns)
        if self.trace is not None:
            self.tell_event("asked", flight, 0)

    cdef bint ask_one(self, Pending* pending, Upstream upstream, bint by_stream, uint64_t now_ns) except -1:
        """Send it to this one; False: impossible."""
        cdef uint64_t bit = <uint64_t>1 << max(pending.position, 0)
        cdef Form form = upstream.form()
        cdef const uint8_t* key = pending.key
        cdef uint16_t key_length = pending.key_length
        cdef Flight* flight
        cdef int error
        cdef bint is_again = pending.asked & bit and by_stream == upstream.is_stream
        if is_again and form == FORM_OPT and upstream.edns == EDNS_UNKNOWN:
            form = FORM_TRIAL       # nothing came with OPT: the upstream may not accept it
        pending.asked |= bit
        self.credit += 1
        if pending.rest != NULL:
            key, key_length = pending.rest.key, pending.rest.key_length
        flight = self.flights.start(
            upstream, key, key_length, form, self.group_of(pending.decision.group).limits.trust_ad, by_stream, now_ns
        )
        if flight == NULL:
            error = errno
            pending.failure = cause_of(error)
            self.tally[UPSTREAM_ERRORS] += 1
            if pending.failure != SHORTAGE:
                upstream.note_failure(now_ns, now_ns, error)
            if self.trace is not None:
                self.trace(Event("unsent", upstream, key[:key_length], by_stream, sends_opt(form), 0, error, 0.0))
            return False
        self.flights.wheel.cancel(&flight.timer)
        flight.looked_after = &pending.timer
        flight.owner = <void*>pending
        flight.group = pending.decision.group
        flight.epoch = pending.epoch
        flight.origin = pending.origin
        flight.next_of_owner = pending.flights
        pending.flights = flight
        if self.trace is not None:
            self.tell_event("asked", flight, 0)
        if pending.error != NULL:       # it has its timeout as well
            pending.until_ms = max(pending.until_ms, min(
                <int64_t>(pending.began_ns // 1000000) + self.group_of(pending.decision.group).budget_ms,
                <int64_t>((now_ns + upstream.timeout_ns()) // 1000000),
            ))
        return True

    cdef void look_after(self, Pending* pending) noexcept:
        """Set its timer to the next event."""
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

    cdef void overdue(self, Pending* pending, uint64_t now_ns) except *:
        cdef int64_t now_ms = <int64_t>(now_ns // 1000000)
        cdef Flight* flight = pending.flights
        cdef Flight* after
        cdef bint has_failed = False
        cdef bint is_lossy = False
        cdef Upstream upstream
        self.flights.wheel.set(&pending.timer, now_ms + RESCUE_MS)      # in case this raises
        while flight != NULL:
            after = flight.next_of_owner
            upstream = <Upstream>flight.upstream
            if flight.error and now_ms >= flight.error_ms:
                if flight.wants_trial:
                    flight.wants_trial = False
                    flight.error = 0
                    self.repeat(flight, FORM_TRIAL, now_ns)
                    pending.until_ms = max(pending.until_ms, now_ms + <int64_t>(upstream.patience_ns() // 1000000))
                else:
                    self.note_error(flight, pending, now_ns)
                    if self.trace is not None:
                        self.tell_event("failed", flight, flight.error)
                    self.leave(pending, flight)
                    self.flights.end(flight)
                    has_failed = True
            elif not flight.error and not flight.is_late and now_ns >= flight.sent_ns + upstream.timeout_ns():
                self.flights.note_late(flight, now_ns)
                if self.trace is not None:
                    self.tell_event("late", flight, 0)
            is_lossy = is_lossy or upstream.lossy
            flight = after
        if pending.stale_ms and now_ms >= pending.stale_ms:
            self.tell_late(pending, now_ns)
        if now_ms >= pending.until_ms:
            self.conclude(pending, now_ns)
        elif has_failed:
            self.next_attempt(pending, False, now_ns)
        elif pending.next_ms and now_ms >= pending.next_ms:
            if pending.sendings >= self.group_of(pending.decision.group).attempts + pending.extra:
                # More only if the line is known to lose packets.
                if not is_lossy or pending.extra >= EXTRA_MAX:
                    pending.next_ms = 0
                    self.look_after(pending)
                    return
                pending.extra += 1
            self.next_attempt(pending, True, now_ns)
        else:
            self.look_after(pending)

    cdef void overdue_flight(self, Flight* flight, uint64_t now_ns) noexcept:
        """Read replies that no client waits for, to tell a slow upstream from a dead one, and no longer."""
        cdef int64_t sent_ms = <int64_t>(flight.sent_ns // 1000000)
        cdef int64_t until_ms = sent_ms + (PROBE_LISTEN_MS if flight.form == FORM_PROBE else LISTEN_MS)
        if flight.error:
            self.note_error(flight, NULL, now_ns)
        else:
            self.flights.note_late(flight, now_ns)
            # Half of the room is for those that are not late yet, or dead upstreams would never be found.
            if <int64_t>(now_ns // 1000000) < until_ms and not (
                flight.is_lingering and 2 * self.lingering > LINGERING_MAX
            ):
                self.flights.wheel.set(&flight.timer, until_ms)
                return
        self.end_alone(flight)

    cdef void note_error(self, Flight* flight, Pending* pending, uint64_t now_ns) noexcept:
        """End what the network, or an upstream's useless reply, has ended."""
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Cause cause = cause_of(flight.error)
        if pending != NULL:
            pending.failure = cause
            if cause == UNUSABLE:
                self.spend(pending, flight.upstream)
        if flight.form == FORM_PROBE:
            return      # it tells nothing about queries without OPT
        self.tally[UPSTREAM_ERRORS] += 1
        if cause != SHORTAGE and cause != UNUSABLE:
            upstream.note_failure(flight.sent_ns, now_ns, flight.error)

    cdef void spend(self, Pending* pending, const void* upstream) noexcept:
        """This one has answered with an error: it need not be asked again."""
        cdef Group group = self.group_of(pending.decision.group)
        cdef int i
        if pending.version == group.version:
            for i in range(group.count):
                if group.at[i] == upstream:
                    pending.spent |= <uint64_t>1 << i

    # --- replies ----------------------------------------------------------------------------------------

    cdef void land(self, Landing* landing, const Instant* now) except *:
        cdef Flight* flight = landing.flight
        cdef Pending* pending = <Pending*>flight.owner
        cdef Upstream upstream = <Upstream>flight.upstream
        cdef Group group
        cdef uint64_t now_ns
        if landing.status == WIRE_OK and self.cache.changes.policy.protection.is_bogus(&self.flights.findings):
            self.ignore_forged(landing)
            return
        if self.trace is not None and pending != NULL:
            self.tell_event(what_came(landing), flight, landing.reply.rcode)
        if not landing.reply.has_opt or upstream.edns != EDNS_WORKS or landing.status == WIRE_SPOILED_REPLY:
            if self.is_put_off(landing):
                return
        if pending == NULL:
            self.take_late(landing, now)
        elif landing.reply.flags & FLAG_TC or is_lame(&landing.reply) or is_failure_code(landing.reply.rcode):
            now_ns = read_clock_ns()
            self.flights.note_reply(flight, now_ns)
            self.leave(pending, flight)
            if landing.reply.flags & FLAG_TC and flight.attempt == NULL:
                # RFC 7766: the whole answer is available over TCP.
                if self.ask_one(pending, upstream, True, now_ns):
                    pending.next_ms = 0
                    group = self.group_of(pending.decision.group)
                    if group.has_others(<void*>upstream, pending.spent):
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
                upstream.note_error()
                self.keep_error(landing, pending)
            self.spend(pending, flight.upstream)
            self.flights.end(flight)
            self.next_attempt(pending, False, now_ns)
        else:
            self.take_answer(landing, now)

    cdef void keep_error(self, Landing* landing, Pending* pending) noexcept:
        """Remember an error, and wait for the others only until they are late."""
        cdef uint8_t options[OPTIONS_MAX]
        cdef Stored stored
        cdef Flight* flight = pending.flights
        cdef int64_t late_ms = 0
        self.settle_by(landing, &pending.decision, options, &stored)
        free(pending.error)
        pending.error = copy_stored(&stored)
        while flight != NULL:
            late_ms = max(late_ms, <int64_t>((flight.sent_ns + (<Upstream>flight.upstream).timeout_ns()) // 1000000))
            flight = flight.next_of_owner
        if late_ms:
            pending.until_ms = min(pending.until_ms, late_ms)

    cdef void settle_by(self, Landing* landing, const Decision* decision, uint8_t* options, Stored* out) noexcept:
        """Make the cached form of a reply, as the group that was asked and the rule of its name have it."""
        cdef Limits limits = self.group_of(landing.flight.group).limits
        cdef const Rule* rule = self.cache.changes.policy.rules.find(decision.rule)
        if rule != NULL and rule.limits[limits.trust_ad] != NULL:
            limits = <Limits>rule.limits[limits.trust_ad]
        settle(landing.wire, &landing.reply, self.flights.ttl_at, limits, options, out)
        if rule != NULL and not rule.is_cached and not out.is_failure:
            out.ttl = 0

    cdef void ignore_forged(self, Landing* landing) noexcept:
        """A reply has an address that only forged ones have. The true one may still come.

        It tells nothing about the upstream, which may not have sent it.
        """
        cdef Flight* flight = landing.flight
        cdef Pending* pending = <Pending*>flight.owner
        cdef int64_t now_ms = <int64_t>(read_clock_ns() // 1000000)
        cdef Failure denial
        self.tally[BOGUS_ANSWERS] += 1
        if self.trace is not None and pending != NULL:
            self.tell_event("forged", flight, 0)
        if flight.error and flight.attempt == NULL:
            return      # it is waited for already
        if pending == NULL:
            if flight.attempt != NULL:
                self.end_alone(flight)
            return
        flight.error = EBADMSG
        flight.error_ms = 0
        if flight.attempt == NULL:      # over a stream no other can answer
            flight.error_ms = now_ms + max(
                <int64_t>((<Upstream>flight.upstream).patience_ns() // 1000000), <int64_t>FORGED_WAIT_MS
            )
            pending.until_ms = max(pending.until_ms, flight.error_ms)
        if pending.error == NULL:       # unless an upstream does better
            fail(
                &denial, pending.key, pending.key_length, NXDOMAIN, EDE_FILTERED,
                self.group_of(pending.decision.group).limits.failure_ttl,
            )
            pending.error = copy_stored(&denial.stored)
        self.look_after(pending)

    cdef bint is_put_off(self, Landing* landing) noexcept:
        """Return True if this is not an answer and the wait continues, for a true one or for one without OPT."""
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
            pass    # which may be about the OPT; the reply to the query without one is still to come
        elif flight.error:
            return is_spoiled
        elif upstream.look_at(flight.form, &landing.reply, is_spoiled, now_ns):
            if is_spoiled and flight.attempt == NULL:
                self.tally[UPSTREAM_BAD_REPLIES] += 1
                flight.error = EBADMSG
                flight.error_ms = until_ms
                flight.wants_trial = True
            else:
                self.repeat(flight, FORM_TRIAL, now_ns)
        elif not is_spoiled:
            return False
        else:
            # Guessing port and id must not end the wait for the true reply; over a stream they cannot be guessed.
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

    # --- the end of a flight ----------------------------------------------------------------------------

    cdef void leave(self, Pending* pending, Flight* flight) noexcept:
        """Remove a flight from those of its question."""
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
