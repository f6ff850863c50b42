"""An answer that ends in a name of another group of upstreams: that group is asked for the rest.

The question stays one: its clients, its place among the questions in flight and its failure are those of the name that
was asked for. What the other group answers is cached under its own name as well.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from fastdns._answer cimport Stored, copy_stored
from fastdns._attempts cimport UNUSABLE
from fastdns._clock cimport Instant, read_clock_ns
from fastdns._entry cimport AnswerSource
from fastdns._flights cimport Flight
from fastdns._groups cimport TRIES_MAX, TRY_MS, Group
from fastdns._hotcache cimport Entry, stored_ms_of
from fastdns._key cimport KEY_TAIL, key_view
from fastdns._local cimport LocalAnswer, make_local
from fastdns._policy cimport EDE_BLOCKED, FORWARD, OWN, Decision, decide
from fastdns._query cimport TIER_LOCAL, TIER_UPSTREAM
from fastdns._questions cimport Pending, Rest, end_rest
from fastdns._rules cimport AAAA_IF_NO_A, Rule, changes_hints
from fastdns._scrub cimport strip_hints, write_joined
from fastdns._special_names cimport SpecialAnswer, make_no_data
from fastdns._wire cimport (
    CLASS_IN, RECORDS_MAX, TYPE_A, TYPE_AAAA, Chain, Findings, Name, find_in_answer, has_data, load16, load32, store16,
)

from fastdns._attempts import Event

cdef enum:
    FOLLOWED_MAX = 8        # names of other groups in one chain
    FOLLOWED_MS = 4000      # for the whole chain
    REFUSAL_TTL = 60        # seconds, of what is told in place of an answer that must not be given


cdef class Chains(Attempts):
    """Questions whose answers may come from several groups."""

    cdef bint leads_out(self, const Flight* flight, const Chain* chain, Rest* out) noexcept nogil:
        """True when a chain that lacks what was asked for ends in a name of another group; out says which and whose."""
        cdef const Name* name
        cdef int last = chain.count - 1
        while last > 0 and chain.is_dname[last]:
            last -= 1
        if last < 1 or self.cache.changes.policy.is_empty:
            return False
        out.is_alternative = False
        name = &chain.names[last]
        memcpy(out.key, name.octets, name.length)
        memcpy(out.key + name.length, flight.key + flight.key_length - KEY_TAIL, KEY_TAIL)
        out.key_length = name.length + KEY_TAIL
        decide(self.cache.changes.policy, key_view(out.key, out.key_length), out.key, out.key_length, &out.decision)
        return out.decision.verdict == FORWARD and out.decision.group != flight.group

    cdef bint is_conditional(self, const uint8_t* key, uint16_t key_length, const Decision* decision) noexcept nogil:
        cdef const Rule* rule = self.cache.changes.policy.rules.find(decision.rule)
        return (
            rule != NULL and rule.aaaa == AAAA_IF_NO_A and load16(key + key_length - KEY_TAIL) == TYPE_AAAA
            and load16(key + key_length - KEY_TAIL + 2) == CLASS_IN
        )

    cdef bint wants_a(self, const Pending* pending, Rest* out) noexcept nogil:
        cdef const Decision* decision = &pending.decision if pending.rest == NULL else &pending.rest.decision
        if not self.is_conditional(pending.key, pending.key_length, decision):
            return False
        memcpy(out.key, pending.key, pending.key_length)
        store16(out.key + pending.key_length - KEY_TAIL, TYPE_A)
        out.key_length = pending.key_length
        out.is_alternative = True
        decide(self.cache.changes.policy, key_view(out.key, out.key_length), out.key, out.key_length, &out.decision)
        return out.decision.verdict == FORWARD      # else it has no IPv4 address here

    cdef void strip(self, Landing* landing, const Decision* decision) noexcept:
        cdef const Rule* rule = self.cache.changes.policy.rules.find(decision.rule)
        cdef const Flight* flight = landing.flight
        cdef const uint8_t* wire = landing.wire
        if (
            rule == NULL or not changes_hints(rule, load16(flight.key + flight.key_length - KEY_TAIL))
            or not landing.reply.answers
        ):
            return
        strip_hints(
            &wire, &landing.length, flight.key, flight.key_length, rule.aaaa == AAAA_IF_NO_A, &landing.reply,
            self.flights.ttl_at, &self.flights.findings,
        )
        landing.wire = <uint8_t*>wire

    cdef void take_part(
        self, Pending* pending, const Stored* part, uint32_t age, const Rest* rest, const AnswerSource* whence,
        uint32_t rtt_us, const Instant* now
    ) except *:
        """Join what has come, `age` seconds old, to what was there; ask for the rest, or tell it when that was all."""
        cdef uint16_t ttl_at[RECORDS_MAX]
        cdef Stored* parts = NULL
        cdef Stored* copy = copy_stored(part)       # what is joined is written where it may lie
        cdef Stored whole
        cdef SpecialAnswer own
        cdef Rest next_one
        cdef Decision decision
        cdef Findings findings
        cdef bint is_refused
        cdef int i
        if copy == NULL:
            raise MemoryError
        copy.ttl -= min(age, copy.ttl)
        if rest != NULL:        # not a denial: the records of the chain count
            copy.ttl = 0xffffffff
            for i in range(min(load16(copy.wire + 6), copy.ttl_count)):
                copy.ttl = min(copy.ttl, load32(copy.wire + copy.ttl_at[i]))
        whole = copy[0]
        if pending.rest != NULL and pending.rest.is_alternative:
            if has_data(copy.wire, copy.length, pending.rest.key, pending.rest.key_length):
                make_no_data(&own, pending.key, pending.key_length, EDE_BLOCKED, min(copy.ttl, pending.rest.parts.ttl))
                whole = own.stored
                whole.is_authoritative = False      # it is cached like the upstream's
            else:
                whole = pending.rest.parts[0]
                whole.ttl = min(copy.ttl, whole.ttl)
        elif pending.rest != NULL:
            whole.ttl_at = ttl_at
            whole.ttl = min(copy.ttl, pending.rest.parts.ttl)
            whole.wire = write_joined(
                pending.rest.parts.wire, pending.rest.parts.length, copy.wire, copy.length, age, ttl_at,
                &whole.ttl_count, &whole.length,
            )
        if whole.wire == NULL or copy.is_failure:
            pending.failure = UNUSABLE
            self.conclude(pending, read_clock_ns())
        elif rest != NULL:
            self.follow(pending, copy_stored(&whole), rest, now)
        elif (
            not pending.rest.is_alternative and has_data(whole.wire, whole.length, pending.key, pending.key_length)
            and self.wants_a(pending, &next_one)
        ):
            self.follow(pending, copy_stored(&whole), &next_one, now)
        else:
            decision = pending.rest.decision
            # Each part was found good for its own name, but they are told as records of this one.
            is_refused = (
                self.cache.changes.policy.inspects and decision.verdict == FORWARD
                and find_in_answer(whole.wire, whole.length, pending.key, pending.key_length, &findings)
                and not self.cache.passes(pending.key, pending.key_length, &findings, &decision)
            )
            if is_refused:
                make_no_data(&own, pending.key, pending.key_length, decision.ede, REFUSAL_TTL)
                whole = own.stored
            elif not self.cache.is_cached(&decision):
                whole.ttl = 0
            parts, pending.rest.parts = pending.rest.parts, NULL        # `whole` may lie there
            self.come_back(pending)
            if is_refused:
                self.cache.keep_refusal(pending.hash, pending.key, pending.key_length, &whole, &decision, now)
            else:
                self.keep(pending, &whole, whence, rtt_us, now)
            self.answer(pending, TIER_UPSTREAM, whence, &whole, 0, read_clock_ns())
            self.flush()
            self.close(pending, False)
        free(parts)
        free(copy)

    cdef void keep(
        self, Pending* pending, Stored* whole, const AnswerSource* whence, uint32_t rtt_us, const Instant* now
    ) noexcept:
        cdef Decision decision
        if pending.decision.verdict == FORWARD:
            self.cache.learn(
                pending.key, pending.key_length, whole, pending.epoch, pending.decision.group, pending.origin,
                &pending.decision, whence, rtt_us, now,
            )
            return
        whole.is_authoritative = True       # for the name that was asked for: RFC 1035 section 4.1.1
        decide(
            self.cache.changes.policy, key_view(pending.key, pending.key_length), pending.key, pending.key_length,
            &decision,
        )
        if decision.verdict == OWN and pending.epoch == self.cache.changes.epoch:
            self.cache.keep_own(pending.hash, pending.key, pending.key_length, whole, &decision, now)

    cdef void begin_own(self, Pending* pending, const Instant* now) except *:
        """Begin with the owner's CNAME record, and ask for what it leads to; afterwards it may be over."""
        cdef Rest rest
        cdef LocalAnswer* own = <LocalAnswer*>malloc(sizeof(LocalAnswer))
        if own == NULL:
            raise MemoryError
        make_local(
            self.cache.changes.policy.local, pending.key, pending.key_length, pending.decision.labels, own
        )
        memcpy(rest.key, own.target, own.target_length)
        memcpy(rest.key + own.target_length, pending.key + pending.key_length - KEY_TAIL, KEY_TAIL)
        rest.key_length = own.target_length + KEY_TAIL
        rest.is_alternative = False
        decide(
            self.cache.changes.policy, key_view(rest.key, rest.key_length), rest.key, rest.key_length, &rest.decision
        )
        try:
            if own.target_length == 0 or rest.decision.verdict != FORWARD:  # nothing more is known about it
                self.answer(pending, TIER_LOCAL, NULL, &own.stored, 0, read_clock_ns())
                self.flush()
                self.close(pending, False)
            else:
                self.follow(pending, copy_stored(&own.stored), &rest, now)
        finally:
            free(own)

    cdef void follow(self, Pending* pending, Stored* parts, const Rest* rest, const Instant* now) except *:
        """Ask the group of the name in which a chain ends; the parts are ours to keep. Afterwards it may be over."""
        cdef Flight* flight = pending.flights
        cdef Flight* after
        cdef Entry* entry
        cdef Group group
        if pending.rest == NULL:
            pending.rest = <Rest*>calloc(1, sizeof(Rest))
            if pending.rest == NULL:
                free(parts)
                raise MemoryError
            pending.rest.decision, pending.rest.origin = pending.decision, pending.origin
        free(pending.rest.parts)
        pending.rest.parts = parts
        pending.rest.count += 1
        pending.rest.is_alternative = rest.is_alternative
        pending.rest.key_length = rest.key_length
        memcpy(pending.rest.key, rest.key, rest.key_length)
        while flight != NULL:
            after = flight.next_of_owner
            self.detach(flight, False)
            flight = after
        pending.flights = NULL
        self.end_trial(pending)
        pending.decision = rest.decision
        if self.trace is not None:
            self.trace(Event(
                "compared" if rest.is_alternative else "followed", None, rest.key[:rest.key_length], False, False, 0,
                rest.decision.group, 0.0,
            ))
        pending.origin = self.cache.changes.origin_of(&pending.decision)
        if parts == NULL or pending.rest.count > FOLLOWED_MAX or self.is_asked_for(pending, rest):
            pending.failure = UNUSABLE
            self.conclude(pending, read_clock_ns())
            return
        entry = self.cache.look(
            self.cache.memory.hash_of(rest.key, rest.key_length), rest.key, rest.key_length
        )
        if entry != NULL and not entry.answer.is_failure and self.cache.memory.is_fresh(entry, now.boot_ms):
            self.take_part(
                pending, &entry.answer, <uint32_t>((now.boot_ms - stored_ms_of(entry)) // 1000), NULL, NULL, 0, now
            )
            return
        group = self.group_of(pending.decision.group)
        pending.version = group.version
        pending.position = -1
        pending.asked = pending.spent = 0
        pending.sendings = pending.extra = pending.failure = 0
        pending.until_ms = min(now.boot_ms + group.budget_ms, <int64_t>(pending.began_ns // 1000000) + FOLLOWED_MS)
        if group.is_outage:
            if group.tries >= TRIES_MAX or group.count == 0:
                self.conclude(pending, read_clock_ns())
                return
            pending.is_trial = True
            group.tries += 1
            pending.until_ms = min(pending.until_ms, now.boot_ms + TRY_MS)
        self.next_attempt(pending, False, read_clock_ns())

    cdef bint is_asked_for(self, const Pending* pending, const Rest* rest) noexcept nogil:
        """True when a chain comes back to the name that it began with."""
        return rest.key_length == pending.key_length and memcmp(rest.key, pending.key, rest.key_length) == 0

    cdef void end_trial(self, Pending* pending) noexcept:
        cdef Group group = self.group_of(pending.decision.group)
        group.tries -= pending.is_trial
        pending.is_trial = False

    cdef void come_back(self, Pending* pending) noexcept:
        """No other group is asked any more: what is told now is about the name that the clients have asked for."""
        if pending.rest == NULL:
            return
        self.end_trial(pending)
        pending.decision, pending.origin = pending.rest.decision, pending.rest.origin
        free(pending.error)     # it is about another name
        pending.error = NULL
        end_rest(pending)
