"""One upstream as C sees it: its health, its abilities, and how it is asked."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from fastdns._entry cimport Source
from fastdns._ports cimport Route
from fastdns._wire cimport Reply

cdef enum Edns:             # RFC 6891: what is known about an upstream
    EDNS_UNKNOWN = 0
    EDNS_WORKS              # it has sent an OPT
    EDNS_IGNORED            # it answers well to an OPT, and sends none
    EDNS_NONE               # it answers only without

cdef enum Form:             # of a query
    FORM_OPT = 0
    FORM_PLAIN              # without OPT: its upstream is known not to support EDNS
    FORM_TRIAL              # without OPT, after one with OPT has failed
    FORM_PROBE              # with OPT, whatever is known; a failure of it tells nothing new

cdef inline bint sends_opt(Form form) noexcept nogil:
    return form == FORM_OPT or form == FORM_PROBE

cdef class Upstream:
    cdef readonly Source source
    cdef public uint64_t queries
    cdef public uint64_t failures       # without a timely reply, or refused by the network
    cdef readonly bint alive
    cdef public bint has_others         # that answer: then one that takes longer than its timeout counts as dead
    cdef Edns edns
    cdef uint64_t edns_at_ns            # when that was learned
    cdef bint recurses                  # False: it has answered with a referral or an empty answer
    cdef readonly double timeout        # seconds
    cdef readonly Route route           # to it over UDP
    cdef readonly bint is_stream        # asked over `stream` only, never over UDP
    cdef public object stream           # the transport for what UDP cannot carry; see Attempt
    cdef readonly int last_error        # errno of the last failure; 0: no timely reply
    cdef object on_turn                 # called when it dies, answers again, or shows its abilities
    cdef uint64_t last_reply_ns
    cdef uint64_t last_failure_ns
    cdef uint64_t rtt_ns                # smoothed, RFC 6298 section 2; 0: unknown
    cdef uint64_t deviation_ns
    cdef bint backs_off                 # its last answer was to a question that was sent twice
    cdef int in_a_row                   # failures
    cdef readonly int errors_in_a_row   # SERVFAIL, REFUSED and the like in a row, up to a maximum
    cdef int lossy                      # for so many more replies its line counts as losing packets
    cdef int alikes                     # trials that ended like the query with OPT before them
    cdef uint64_t last_trial_ns

    cdef uint64_t patience_ns(self) noexcept nogil
    cdef uint64_t timeout_ns(self) noexcept nogil
    cdef Form form(self) noexcept nogil             # the form in which to ask it
    cdef bint look_at(self, Form form, const Reply* reply, bint is_spoiled, uint64_t now_ns) noexcept
    # ^ learns from a reply how the upstream handles OPT; True: ask the same again without one
    cdef bint has_never_opt(self, uint64_t now_ns) noexcept nogil   # for long enough: what it sends is all it has
    cdef void note_error(self) noexcept nogil
    cdef void note_lame(self) noexcept
    cdef void note_reply(self, uint64_t sent_ns, uint64_t now_ns) noexcept
    cdef void note_loss(self) noexcept nogil        # a query, or the reply to it, was lost
    cdef void note_lateness(self) noexcept nogil
    cdef void note_failure(self, uint64_t sent_ns, uint64_t now_ns, int error) noexcept
    # private
    cdef void learn_edns(self, Edns edns) noexcept
    cdef void tell_turn(self) noexcept

cdef size_t write_query(
    uint8_t* out, uint16_t query_id, const uint8_t* key, uint16_t key_length, bint wants_ad, bint has_opt
) noexcept nogil            # octets written, at most QUERY_MAX
