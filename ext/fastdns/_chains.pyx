"""An answer that ends in a name of another group of upstreams: that group is asked for the rest.

The question stays one: its clients, its place among the questions in flight and its failure are those of the name that
was asked for. What the other group answers is cached under its own name as well.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from fastdns._answer cimport BY_ALIAS, IS_OURS, Stored, copy_stored
from fastdns._attempts cimport UNUSABLE
from fastdns._clock cimport Instant, read_clock_ns
from fastdns._entry cimport AnswerSource
from fastdns._flights cimport Flight
from fastdns._groups cimport TRIES_MAX, TRY_MS, Group
from fastdns._hints cimport strip_hints
from fastdns._hotcache cimport Entry, stored_ms_of
from fastdns._key cimport KEY_TAIL, key_view
from fastdns._local cimport LocalAnswer, LocalRecords, make_local
from fastdns._own_answers cimport OwnAnswer, make_instead, make_own, ours_bits
from fastdns._policy cimport EDE_BLOCKED, FORWARD, OWN, Decision, decide, is_refused, records_for
from fastdns._query cimport TIER_LOCAL, TIER_STALE, TIER_UPSTREAM
from fastdns._questions cimport Pending, Rest, end_rest
from fastdns._rules cimport AAAA_IF_NO_A, Rule, changes_hints
from fastdns._scrub cimport write_joined
from fastdns._special_names cimport SpecialAnswer, make_no_data
from fastdns._wire cimport (
    CLASS_IN, RECORDS_MAX, TYPE_A, TYPE_AAAA, Chain, Findings, Name, Reply, find_in_answer, has_data, load16, load32,
    store16,
)

from fastdns._attempts import Event

cdef enum:
    FOLLOWED_MAX = 8        # names of other groups in one chain
    FOLLOWED_MS = 4000      # for the whole chain


cdef class Chains(Attempts):
    """Questions whose answers may come from several groups."""

    cdef bint leads_out(self, const Flight* flight, const Chain* chain, Rest* out) noexcept nogil:
        """True when a chain that lacks what was asked for ends in a name of another group, or of the owner.

        out says which and whose.
        """
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
        return out.decision.verdict == OWN or (
            out.decision.verdict == FORWARD and out.decision.group != flight.group
        )

    cdef bint is_conditional(self, const uint8_t* key, uint16_t key_length, const Decision* decision) noexcept nogil:
        cdef const Rule* rule = self.cache.changes.policy.rules.find(decision.rule)
        return (
            rule != NULL and rule.aaaa == AAAA_IF_NO_A and load16(key + key_length - KEY_TAIL) == TYPE_AAAA
            and load16(key + key_length - KEY_TAIL + 2) == CLASS_IN
        )

    cdef void decide_anew(self, Decision* decision, const uint8_t* key, uint16_t key_length) noexcept nogil:
        if decision.policy != self.cache.changes.policy.generation:
            decide(self.cache.changes.policy, key_view(key, key_length), key, key_length, decision)

    cdef bint wants_a(
        self, const uint8_t* key, uint16_t key_length, const Decision* decision, Rest* out
    ) noexcept nogil:
        if not self.is_conditional(key, key_length, decision):
            return False
        memcpy(out.key, key, key_length)
        store16(out.key + key_length - KEY_TAIL, TYPE_A)
        out.key_length = key_length
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
        cdef Stored* copy = copy_stored(part)       # what is joined is written where it may lie
        cdef int i
        if copy == NULL:
            raise MemoryError
        copy.ttl -= min(age, copy.ttl)
        if rest != NULL:        # not a denial: the records of the chain count
            copy.ttl = 0xffffffff
            for i in range(min(load16(copy.wire + 6), copy.ttl_count)):
                copy.ttl = min(copy.ttl, load32(copy.wire + copy.ttl_at[i]))
        try:
            self.join_part(pending, copy, age, rest, whence, rtt_us, now)
        finally:
            free(copy)

    cdef void join_part(
        self, Pending* pending, const Stored* part, uint32_t age, const Rest* rest, const AnswerSource* whence,
        uint32_t rtt_us, const Instant* now
    ) except *:
        cdef uint16_t ttl_at[RECORDS_MAX]
        cdef Stored* parts
        cdef Stored whole = part[0]
        cdef SpecialAnswer own
        cdef Rest next_one
        if pending.rest != NULL and pending.rest.is_alternative and rest != NULL:
            # Another group knows whether there is an IPv4 address.
            next_one = rest[0]
            next_one.is_alternative = True
            parts, pending.rest.parts = pending.rest.parts, NULL
            parts.ttl = min(part.ttl, parts.ttl)
            self.follow(pending, parts, &next_one, now)
            return
        if pending.rest != NULL and pending.rest.is_alternative:
            if has_data(part.wire, part.length, pending.rest.key, pending.rest.key_length):
                make_no_data(&own, pending.key, pending.key_length, EDE_BLOCKED, min(part.ttl, pending.rest.parts.ttl))
                whole = own.stored
                whole.is_authoritative = False      # it is cached like the upstream's
            else:
                whole = pending.rest.parts[0]
                whole.ttl = min(part.ttl, whole.ttl)
            whole.is_authoritative |= part.is_authoritative & IS_OURS
        elif pending.rest != NULL:
            whole.ttl_at = ttl_at
            whole.ttl = min(part.ttl, pending.rest.parts.ttl)
            whole.is_authoritative |= pending.rest.parts.is_authoritative & IS_OURS
            whole.wire = write_joined(
                pending.rest.parts.wire, pending.rest.parts.length, part.wire, part.length, age, ttl_at,
                &whole.ttl_count, &whole.length,
            )
        if whole.wire == NULL or part.is_failure:
            pending.failure = UNUSABLE
            self.conclude(pending, read_clock_ns())
        elif rest != NULL:
            self.follow(pending, copy_stored(&whole), rest, now)
        else:
            self.take_whole(pending, &whole, whence, rtt_us, now)

    cdef void take_whole(
        self, Pending* pending, Stored* whole, const AnswerSource* whence, uint32_t rtt_us, const Instant* now
    ) except *:
        """Tell and cache the answer, unless its rule, or what it has, forbids that."""
        cdef Decision decision = pending.rest.decision
        cdef SpecialAnswer own
        cdef Rest next_one
        cdef Findings findings
        cdef uint16_t ttl_at[RECORDS_MAX]
        cdef Stored* parts
        cdef bint is_partly_ours = whole.is_authoritative       # a refusal, or records of the owner
        self.decide_anew(&decision, pending.key, pending.key_length)
        self.strip_whole(pending, whole, ttl_at, &decision)
        if (
            not pending.rest.is_alternative and has_data(whole.wire, whole.length, pending.key, pending.key_length)
            and self.wants_a(pending.key, pending.key_length, &decision, &next_one)
        ):
            self.follow(pending, copy_stored(whole), &next_one, now)
            return
        # Each part was found good for its own name, but they are told as records of this one.
        if (
            self.cache.changes.policy.inspects and pending.rest.decision.verdict == FORWARD
            and find_in_answer(whole.wire, whole.length, pending.key, pending.key_length, &findings)
            and not self.cache.passes(pending.key, pending.key_length, &findings, &decision)
        ):
            is_partly_ours = True
            make_instead(self.cache.changes.policy, &decision, pending.key, pending.key_length, &own)
            whole[0] = own.stored
        elif not self.cache.is_cached(&decision):
            whole.ttl = 0
        parts, pending.rest.parts = pending.rest.parts, NULL        # `whole` may lie there
        self.come_back(pending)
        if is_partly_ours and pending.decision.verdict == FORWARD:
            self.cache.keep_refusal(
                pending.key, pending.key_length, whole, pending.epoch, pending.decision.group, pending.origin, now
            )
        else:
            # RFC 1035 section 4.1.1. What it leads to may be blocked: then that is the reason.
            if pending.decision.verdict == FORWARD:
                whole.is_authoritative = 0
            elif whole.is_authoritative <= IS_OURS:
                whole.is_authoritative = ours_bits(&pending.decision)
                whole.group = pending.decision.source
            self.keep(pending, whole, whence, rtt_us, now)
        self.answer(pending, TIER_UPSTREAM, whence, whole, 0, read_clock_ns())
        self.flush()
        self.close(pending, False)
        free(parts)

    cdef void strip_whole(
        self, const Pending* pending, Stored* whole, uint16_t* ttl_at, const Decision* decision
    ) noexcept:
        """`strip` of joined parts: each came under the rule of its own name."""
        cdef const Rule* rule = self.cache.changes.policy.rules.find(decision.rule)
        cdef const uint8_t* wire = whole.wire
        cdef size_t length = whole.length
        cdef Findings findings
        cdef Reply reply
        if rule == NULL or not changes_hints(rule, load16(pending.key + pending.key_length - KEY_TAIL)):
            return
        reply.wants_dnssec = False
        findings.addresses = -1     # not counted
        if strip_hints(
            &wire, &length, pending.key, pending.key_length, rule.aaaa == AAAA_IF_NO_A, &reply, ttl_at, &findings
        ):
            whole.wire, whole.length = wire, reply.length
            whole.ttl_at, whole.ttl_count = ttl_at, reply.ttl_count

    cdef void keep(
        self, Pending* pending, const Stored* whole, const AnswerSource* whence, uint32_t rtt_us, const Instant* now
    ) noexcept:
        if pending.decision.verdict == FORWARD:
            self.cache.learn(
                pending.key, pending.key_length, whole, pending.epoch, pending.decision.group, pending.origin,
                &pending.decision, whence, rtt_us, now,
            )
        elif (
            whole.ttl != 0 and pending.epoch == self.cache.changes.epoch
            and pending.decision.policy == self.cache.changes.policy.generation     # else it may have other records
        ):
            self.cache.keep_own(pending.hash, pending.key, pending.key_length, whole, &pending.decision, now)

    cdef bint tell_stale_chain(self, Pending* pending, uint64_t now_ns) except -1:
        cdef uint16_t ttl_at[RECORDS_MAX]
        cdef Rest* rest = pending.rest
        cdef Entry* entry
        cdef Stored whole
        if (
            rest == NULL or rest.decision.verdict != OWN or rest.is_alternative or rest.parts == NULL
            or not self.has_waiting(pending)
            or not self.cache.recall((<const char*>rest.key)[:rest.key_length], True)
        ):
            return False
        entry = self.cache.look(self.cache.memory.hash_of(rest.key, rest.key_length), rest.key, rest.key_length)
        if entry == NULL:
            return False
        whole = entry.answer
        whole.ttl_at = ttl_at
        whole.wire = write_joined(
            rest.parts.wire, rest.parts.length, entry.answer.wire, entry.answer.length, 0, ttl_at, &whole.ttl_count,
            &whole.length,
        )
        if whole.wire == NULL:
            return False
        self.answer(pending, TIER_STALE, NULL, &whole, 0, now_ns)
        self.flush()
        return True

    cdef bint holds(self, const Entry* entry, uint16_t group, int64_t now_ms) noexcept nogil:
        cdef int64_t held_from_s = (<Group>self.group_at_number(group)).held_from_s
        return now_ms // 1000 < entry.hold_stale_s and held_from_s < entry.hold_stale_s

    cdef void begin_own(self, Pending* pending, const Instant* now) except *:
        """Begin with the owner's CNAME record, and ask for what it leads to; afterwards it may be over."""
        cdef Rest rest
        cdef LocalAnswer* own = <LocalAnswer*>malloc(sizeof(LocalAnswer))
        if own == NULL:
            raise MemoryError
        try:
            if self.make_part(pending.key, pending.key_length, &pending.decision, own, &rest):
                self.follow(pending, copy_stored(&own.stored), &rest, now)
            else:
                self.tell_own(pending, &own.stored, &rest, now)
        finally:
            free(own)

    cdef void tell_own(self, Pending* pending, const Stored* part, const Rest* rest, const Instant* now) except *:
        """Answer with the owner's CNAME record, and with what fastdns itself says of the name that it leads to."""
        cdef uint16_t ttl_at[RECORDS_MAX]
        cdef Stored whole = part[0]
        cdef const uint8_t* joined
        cdef OwnAnswer* behind = <OwnAnswer*>malloc(sizeof(OwnAnswer))
        if behind == NULL:
            raise MemoryError
        if rest.key_length > KEY_TAIL:
            make_own(self.cache.changes.policy, &rest.decision, rest.key, rest.key_length, behind)
            joined = write_joined(
                part.wire, part.length, behind.stored.wire, behind.stored.length, 0, ttl_at, &whole.ttl_count,
                &whole.length,
            )
            if joined != NULL:
                whole.wire, whole.ttl_at = joined, ttl_at
                whole.ttl = min(part.ttl, behind.stored.ttl)
                whole.rcode = behind.stored.rcode
                whole.options, whole.options_length = behind.stored.options, behind.stored.options_length
                if is_refused(&rest.decision):
                    whole.is_authoritative = behind.stored.is_authoritative | BY_ALIAS
                    whole.group = behind.stored.group
        self.keep(pending, &whole, NULL, 0, now)
        self.answer(pending, TIER_LOCAL, NULL, &whole, 0, read_clock_ns())
        self.flush()
        self.close(pending, False)
        free(behind)

    cdef bint make_part(
        self, const uint8_t* key, uint16_t key_length, const Decision* decision, LocalAnswer* own, Rest* rest
    ) noexcept nogil:
        make_local(
            <LocalRecords>records_for(self.cache.changes.policy, decision), key, key_length, decision.labels, own
        )
        memcpy(rest.key, own.target, own.target_length)
        memcpy(rest.key + own.target_length, key + key_length - KEY_TAIL, KEY_TAIL)
        rest.key_length = own.target_length + KEY_TAIL
        rest.is_alternative = False
        if own.target_length == 0:
            return False
        decide(
            self.cache.changes.policy, key_view(rest.key, rest.key_length), rest.key, rest.key_length, &rest.decision
        )
        return rest.decision.verdict == FORWARD or rest.decision.verdict == OWN     # of other records

    cdef void take_own(self, Pending* pending, const Instant* now) except *:
        """Join the owner's records, to which a chain of upstreams has led."""
        cdef Rest rest
        cdef bint leads_on
        cdef LocalAnswer* own = <LocalAnswer*>malloc(sizeof(LocalAnswer))
        if own == NULL:
            raise MemoryError
        try:
            leads_on = self.make_part(
                pending.rest.key, pending.rest.key_length, &pending.decision, own, &rest
            )
            self.take_part(pending, &own.stored, 0, &rest if leads_on else NULL, NULL, 0, now)
        finally:
            free(own)

    cdef void follow(self, Pending* pending, Stored* parts, const Rest* rest, const Instant* now) except *:
        """Ask the group of the name in which a chain ends; the parts are ours to keep. Afterwards it may be over."""
        cdef Flight* flight = pending.flights
        cdef Flight* after
        cdef Entry* entry
        cdef Group group
        cdef bint is_held = False
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
        if rest.decision.verdict == OWN:
            self.take_own(pending, now)
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
        if pending.rest.decision.verdict == OWN:
            if entry != NULL and self.cache.is_stale(entry, now.boot_ms):
                pending.stale_ms = max(
                    <int64_t>(pending.began_ns // 1000000) + self.cache.settings.stale_wait_ms, <int64_t>1
                )
                is_held = self.holds(entry, pending.decision.group, now.boot_ms)
            if (is_held or group.is_outage) and self.tell_stale_chain(pending, read_clock_ns()):
                self.close(pending, False)
                return
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
