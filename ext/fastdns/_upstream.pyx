"""One upstream as C sees it: what is asked of it, how it is, and its queries that wait to leave in one go."""

from libc.string cimport memcpy, memset

from fastdns._query cimport read_clock_ns
from fastdns._wire cimport (
    FLAG_AD, FLAG_CD, FLAG_RD, HEADER_LENGTH, KEY_CD, KEY_DO, KEY_TAIL, TYPE_OPT, UDP_SIZE_MAX, key_length_of,
    store16,
)

cdef enum:
    OPT_OCTETS = 11
    KEPT_OF_TAIL = 4        # type and class: what follows in a key is no part of the question
    DEADLY_FAILURES = 2     # in a row, with no reply between: one lost packet is no death

# Failures so near each other are one: a forged ICMP message ends all that is under way from a port.
cdef uint64_t ONE_EVENT = 10000000
cdef uint64_t GIVE_UP_AGAIN = 1000000000
cdef uint64_t PATIENCE_MIN = 150000000
cdef uint64_t PATIENCE_UNKNOWN = 300000000
cdef uint64_t PATIENCE_MAX = 500000000


cdef size_t write_query(
    uint8_t* out, uint16_t query_id, const uint8_t* key, uint16_t key_length, bint wants_ad
) noexcept nogil:
    """Write the query for a canonical key: nothing of the client but DO and CD is in it; at most QUERY_MAX octets."""
    cdef uint16_t question = key_length - KEY_TAIL + KEPT_OF_TAIL
    cdef uint8_t flags = key[key_length - KEY_TAIL + KEPT_OF_TAIL]
    cdef uint8_t* opt = out + HEADER_LENGTH + question
    memset(out, 0, HEADER_LENGTH)
    store16(out, query_id)
    # AD asks for the AD bit in return: RFC 6840 section 5.7.
    store16(out + 2, FLAG_RD | (FLAG_AD if wants_ad else 0) | (FLAG_CD if flags & KEY_CD else 0))
    out[5] = 1
    out[11] = 1
    memcpy(out + HEADER_LENGTH, key, question)
    memset(opt, 0, OPT_OCTETS)
    store16(opt + 1, TYPE_OPT)
    store16(opt + 3, UDP_SIZE_MAX)
    opt[7] = 0x80 if flags & KEY_DO else 0
    return HEADER_LENGTH + question + OPT_OCTETS


def query_message(int query_id, bytes key not None, bint wants_ad):
    """Return the query in wire form that asks an upstream for a canonical key."""
    cdef uint8_t room[QUERY_MAX]
    return room[:write_query(room, <uint16_t>query_id, key, key_length_of(key), wants_ad)]


cdef class Upstream:
    """One upstream as UDP sees it: its ports, its round trip, whether it is alive.

    `peer` is its address as a sockaddr; without one, `open_socket()` returns the descriptor of a socket that is
    connected to it from a random port; OSError when there is none to be had. `on_turn()` is called when it dies, and
    when it answers again.
    """

    def __cinit__(self, Source source not None, double timeout, open_socket, on_turn, bytes peer=b""):
        cdef int i
        if len(peer) > PEER_MAX:
            raise ValueError("not a sockaddr")
        memcpy(self.peer, <const uint8_t*>peer, len(peer))
        self.peer_length = <unsigned int>len(peer)
        self.source = source
        self.timeout = timeout
        self.open_socket = open_socket
        self.on_turn = on_turn
        self.alive = True
        self.port = -1
        for i in range(POOL):
            self.pool[i] = -1
        for i in range(BATCH):
            self.parts[i].iov_base = &self.rooms[i * QUERY_MAX]
            self.outbox[i].msg_hdr.msg_iov = &self.parts[i]
            self.outbox[i].msg_hdr.msg_iovlen = 1

    @property
    def rtt(self):
        """The smoothed round trip in seconds; None: unknown."""
        return self.rtt_ns / 1e9 if self.rtt_ns else None

    @property
    def patience(self):
        """Seconds after which another upstream is asked as well: what it takes when it is well."""
        return self.patience_ns() / 1e9

    cdef uint64_t patience_ns(self) noexcept nogil:
        if self.rtt_ns == 0:
            return PATIENCE_UNKNOWN
        return min(max(2 * self.rtt_ns + 4 * self.deviation_ns, PATIENCE_MIN), PATIENCE_MAX)

    def answered(self, double seconds):
        """It replied after so many seconds."""
        cdef uint64_t now_ns = read_clock_ns()
        self.note_reply(now_ns - <uint64_t>(seconds * 1e9), now_ns)

    def failed(self, double seconds):
        """What was sent so many seconds ago was not answered, or could not be sent."""
        cdef uint64_t now_ns = read_clock_ns()
        self.note_failure(now_ns - <uint64_t>(seconds * 1e9), now_ns)

    cdef void note_reply(self, uint64_t sent_ns, uint64_t now_ns) except *:
        # RFC 6298 section 2.
        cdef int64_t sample = <int64_t>max(now_ns - sent_ns, <uint64_t>1)
        cdef int64_t off = sample - <int64_t>self.rtt_ns
        if self.rtt_ns == 0:
            self.rtt_ns = <uint64_t>sample
            self.deviation_ns = <uint64_t>(sample // 2)
        else:
            self.deviation_ns = <uint64_t>(<int64_t>self.deviation_ns + (abs(off) - <int64_t>self.deviation_ns) // 4)
            self.rtt_ns = <uint64_t>max(<int64_t>self.rtt_ns + off // 8, <int64_t>1)
        self.in_a_row = 0
        self.last_reply_ns = now_ns
        if not self.alive:
            self.alive = True
            self.on_turn()

    cdef void note_failure(self, uint64_t sent_ns, uint64_t now_ns) except *:
        cdef bint is_another = now_ns - self.last_failure_ns >= ONE_EVENT
        self.failures += 1
        # Its way through the network may be another one by now: some ports are bound to the old one. Once a second,
        # so that a line that loses packets does not cost a new port for each.
        if now_ns - self.given_up_ns >= GIVE_UP_AGAIN:
            self.given_up_ns = now_ns
        if sent_ns < self.last_reply_ns:
            return      # it has answered others since: one name is slow, not the upstream
        self.last_failure_ns = now_ns
        if not is_another:
            return
        self.in_a_row += 1
        if self.alive and self.in_a_row >= DEADLY_FAILURES:
            self.alive = False
            self.on_turn()
