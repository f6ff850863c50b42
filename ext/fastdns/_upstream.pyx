"""One upstream as C sees it: its health, its abilities, and how it is asked."""

import time

from libc.string cimport memcpy, memset

from fastdns._clock cimport read_clock_ns
from fastdns._key cimport KEY_CD, KEY_DO, KEY_FLAGS_AT, KEY_TAIL, key_flags, key_length_of
from fastdns._ports cimport QUERY_MAX
from fastdns._wire cimport FLAG_AD, FLAG_CD, FLAG_RD, FLAG_TC, HEADER_LENGTH, TYPE_OPT, UDP_SIZE_MAX, Reply, store16

from fastdns.defects import report

cdef enum:
    OPT_OCTETS = 11
    DEADLY_FAILURES = 2     # in a row, without a reply between: one lost packet does not mean death
    FREE_TRIALS = 16        # without OPT that change nothing, before they become rare
    ERRORS_COUNTED = 1000
    LOSSY_REPLIES = 256     # after a loss
    FORMERR = 1
    SERVFAIL = 2
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16

# Failures so close together are one: a forged ICMP message ends all queries in flight from a port.
cdef uint64_t ONE_EVENT = 10000000
cdef uint64_t GIVE_UP_AGAIN = 1000000000
cdef uint64_t DEVIATION_MIN = 20000000      # of the round trip, four times: RFC 6298 section 2's G, our own clock's
cdef uint64_t PATIENCE_UNKNOWN = 300000000
cdef uint64_t PATIENCE_MAX = 500000000      # if another one can be asked
cdef uint64_t PATIENCE_ALONE_MAX = 1000000000
cdef uint64_t TIMEOUT_MAX = 3500000000      # that a question may take in all
cdef uint64_t TRIAL_PAUSE = 1000000000
cdef uint64_t EDNS_CONFIRMED = 30000000000  # by then it was tried again several times


OPT, PLAIN, TRIAL, PROBE = FORM_OPT, FORM_PLAIN, FORM_TRIAL, FORM_PROBE    # forms of a query


cdef size_t write_query(
    uint8_t* out, uint16_t query_id, const uint8_t* key, uint16_t key_length, bint wants_ad, bint has_opt
) noexcept nogil:
    """Write the query for a canonical key; of the client it has only DO and CD; at most QUERY_MAX bytes."""
    cdef uint16_t question = key_length - KEY_TAIL + KEY_FLAGS_AT
    cdef uint8_t flags = key_flags(key, key_length)
    cdef uint8_t* opt = out + HEADER_LENGTH + question
    memset(out, 0, HEADER_LENGTH)
    store16(out, query_id)
    # AD asks for the AD bit in return: RFC 6840 section 5.7.
    store16(out + 2, FLAG_RD | (FLAG_AD if wants_ad else 0) | (FLAG_CD if flags & KEY_CD else 0))
    out[5] = 1
    memcpy(out + HEADER_LENGTH, key, question)
    if not has_opt:
        return HEADER_LENGTH + question
    out[11] = 1
    memset(opt, 0, OPT_OCTETS)
    store16(opt + 1, TYPE_OPT)
    store16(opt + 3, UDP_SIZE_MAX)
    opt[7] = 0x80 if flags & KEY_DO else 0
    return HEADER_LENGTH + question + OPT_OCTETS


def query_message(int query_id, bytes key not None, bint wants_ad, bint has_opt=True):
    """Return the query in wire form that asks an upstream for a canonical key."""
    cdef uint8_t room[QUERY_MAX]
    return room[:write_query(room, <uint16_t>query_id, key, key_length_of(key), wants_ad, has_opt)]


cdef class Upstream:
    """One upstream: its round trip, its abilities, whether it is alive.

    `peer` is its address as a sockaddr; for a link-local one `interface` is the name. `stream` asks it over a stream
    (see Attempt); with `is_stream` it is only asked that way. `on_turn()` is called when it dies, when it answers
    again, and when something is learned about it.
    """

    def __cinit__(
        self, Source source not None, double timeout, bytes peer not None, on_turn, *, bytes interface=b"",
        stream=None, bint is_stream=False,
    ):
        self.route = Route(peer, interface)
        self.source = source
        self.timeout = timeout
        self.stream = stream
        self.is_stream = is_stream
        self.on_turn = on_turn
        self.alive = True
        self.recurses = True

    @property
    def rtt(self):
        """The smoothed round trip in seconds; None: unknown."""
        return self.rtt_ns / 1e9 if self.rtt_ns else None

    @property
    def patience(self):
        """Seconds after which it is asked again, or another one in addition (RFC 6298 section 2)."""
        return self.patience_ns() / 1e9

    cdef uint64_t patience_ns(self) noexcept nogil:
        if self.rtt_ns == 0:
            return PATIENCE_UNKNOWN
        return min(
            (self.rtt_ns + max(4 * self.deviation_ns, DEVIATION_MIN)) << self.backs_off,
            PATIENCE_MAX if self.has_others else PATIENCE_ALONE_MAX
        )

    cdef uint64_t timeout_ns(self) noexcept nogil:
        """The time after which a query counts as unanswered: if it is the only one, a slow line is not a dead one."""
        cdef uint64_t usual = <uint64_t>(self.timeout * 1e9)
        if self.rtt_ns == 0 or self.has_others:
            return usual
        return max(usual, min(2 * self.rtt_ns + 4 * self.deviation_ns, TIMEOUT_MAX))

    @property
    def time_limit(self):
        """Seconds after which a query counts as unanswered."""
        return self.timeout_ns() / 1e9

    # --- EDNS, RFC 6891 section 7 -----------------------------------------------------------------------

    @property
    def has_edns(self):
        """False: it answers only queries without OPT."""
        return self.edns != EDNS_NONE

    @property
    def is_known(self):
        """True if it is known how it handles an OPT."""
        return self.edns != EDNS_UNKNOWN

    @property
    def does_recurse(self):
        """False: it has answered with a referral or an empty answer."""
        return self.recurses

    cdef Form form(self) noexcept nogil:
        return FORM_PLAIN if self.edns == EDNS_NONE else FORM_OPT

    cdef bint look_at(self, Form form, const Reply* reply, bint is_spoiled, uint64_t now_ns) noexcept:
        cdef uint16_t rcode = reply.rcode
        cdef bint is_odd = reply.is_echo or reply.opt_misplaced
        cdef bint refuses_opt = rcode == FORMERR or rcode == NOTIMP or rcode == BADVERS
        cdef bint is_unwilling = rcode == SERVFAIL or rcode == REFUSED
        if reply.has_opt and not is_odd and not is_spoiled and rcode != BADVERS:
            self.learn_edns(EDNS_WORKS)
            return False
        if form == FORM_PLAIN or (reply.flags & FLAG_TC and not is_odd and not refuses_opt):
            return False        # a truncated message may have had an OPT
        if form == FORM_TRIAL:
            if is_odd or is_spoiled or refuses_opt or is_unwilling:
                self.alikes += 1
            else:
                self.learn_edns(EDNS_NONE)
            return False
        if not (is_odd or refuses_opt):
            if is_unwilling:
                if self.edns == EDNS_WORKS or self.edns == EDNS_IGNORED:
                    return False
            else:
                if not is_spoiled and self.edns != EDNS_WORKS:
                    self.learn_edns(EDNS_IGNORED)
                return False
        if form == FORM_PROBE:
            return False
        if self.edns == EDNS_NONE:
            return True
        if self.alikes >= FREE_TRIALS:
            if now_ns - self.last_trial_ns < TRIAL_PAUSE:
                return False
        self.last_trial_ns = now_ns
        return True

    def look_at_message(self, int form, int rcode, *, bint has_opt):
        """Learn from a reply with this RCODE to a query of this form."""
        cdef Reply reply
        memset(&reply, 0, sizeof(Reply))
        reply.rcode = <uint16_t>rcode
        reply.has_opt = has_opt
        self.look_at(<Form>form, &reply, False, read_clock_ns())

    def forget_edns(self):
        """How it handles an OPT must be learned again: it may now be another machine, or run another program."""
        if self.edns != EDNS_NONE:
            self.learn_edns(EDNS_UNKNOWN)

    cdef bint has_never_opt(self, uint64_t now_ns) noexcept nogil:
        return (self.edns == EDNS_NONE or self.edns == EDNS_IGNORED) and now_ns - self.edns_at_ns > EDNS_CONFIRMED

    cdef void learn_edns(self, Edns edns) noexcept:
        cdef Edns before = self.edns
        self.alikes = 0
        self.edns = edns
        if before != edns:
            self.edns_at_ns = read_clock_ns()
        if (before == EDNS_NONE) != (edns == EDNS_NONE):
            self.tell_turn()

    cdef void note_error(self) noexcept nogil:
        if self.errors_in_a_row < ERRORS_COUNTED:
            self.errors_in_a_row += 1

    cdef void note_lame(self) noexcept:
        if self.recurses:
            self.recurses = False
            self.tell_turn()

    cdef void tell_turn(self) noexcept:
        try:
            self.on_turn()
        except Exception as defect:     # the reader of replies continues
            report(defect)

    # --- health -----------------------------------------------------------------------------------------

    def answered(self, double seconds):
        """It replied after so many seconds."""
        cdef uint64_t now_ns = read_clock_ns()
        self.note_reply(now_ns - <uint64_t>(seconds * 1e9), now_ns)

    def failed(self, double seconds):
        """A query that was sent so many seconds ago was not answered."""
        cdef uint64_t now_ns = read_clock_ns()
        self.note_failure(now_ns - <uint64_t>(seconds * 1e9), now_ns, 0)

    def assume_dead(self):
        """Count it as dead until it answers: another process has found that out."""
        self.in_a_row = DEADLY_FAILURES
        self.last_failure_ns = read_clock_ns()
        if self.alive:
            self.alive = False
            self.tell_turn()

    def assume_errors(self):
        """Count it as answering only errors until it answers well."""
        self.errors_in_a_row = ERRORS_COUNTED

    @property
    def since(self):
        """When it last replied or, if dead, was last asked in vain; time.monotonic(), 0: never."""
        cdef uint64_t at = self.last_reply_ns if self.alive else self.last_failure_ns
        return time.monotonic() - (read_clock_ns() - at) / 1e9 if at else 0.0

    @property
    def just_died(self):
        """True while the last failure is the one that made it count as dead."""
        return not self.alive and self.in_a_row == DEADLY_FAILURES

    cdef void note_reply(self, uint64_t sent_ns, uint64_t now_ns) noexcept:
        # RFC 6298 section 2.
        cdef int64_t sample = <int64_t>max(now_ns - sent_ns, <uint64_t>1)
        cdef int64_t off = sample - <int64_t>self.rtt_ns
        if self.rtt_ns == 0:
            self.rtt_ns = <uint64_t>sample
            self.deviation_ns = <uint64_t>(sample // 2)
        else:
            self.deviation_ns = <uint64_t>(<int64_t>self.deviation_ns + (abs(off) - <int64_t>self.deviation_ns) // 4)
            self.rtt_ns = <uint64_t>max(<int64_t>self.rtt_ns + off // 8, <int64_t>1)
        if self.lossy:
            self.lossy -= 1
        if self.has_others and now_ns - sent_ns > self.timeout_ns():
            return      # no question has to wait for one that is so slow
        self.in_a_row = 0
        self.last_reply_ns = now_ns
        if not self.alive:
            self.alive = True
            self.tell_turn()

    cdef void note_loss(self) noexcept nogil:
        self.lossy = LOSSY_REPLIES

    cdef void note_lateness(self) noexcept nogil:
        """A reply that counted as lost has come."""
        self.lossy = 0

    cdef void note_failure(self, uint64_t sent_ns, uint64_t now_ns, int error) noexcept:
        cdef bint is_another = now_ns - self.last_failure_ns >= ONE_EVENT
        self.failures += 1
        self.last_error = error
        # Its route through the network may have changed: some ports are bound to the old one. Once a second, so that a
        # line that loses packets does not cost a new port for each loss.
        if now_ns - self.route.given_up_ns >= GIVE_UP_AGAIN:
            self.route.given_up_ns = now_ns
        if sent_ns < self.last_reply_ns:
            return      # it has answered other queries since: one name is slow, not the upstream
        if not is_another:
            return      # since the first of an event: a continuous series of failures is more than one
        self.last_failure_ns = now_ns
        self.in_a_row += 1
        if self.alive and self.in_a_row >= DEADLY_FAILURES:
            self.alive = False
            self.tell_turn()
