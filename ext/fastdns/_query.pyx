"""A client's query that the cache could not answer, and the ways to answer it later."""

from fastdns._answer cimport Answer
from fastdns._clock cimport read_clock_ns
from fastdns._response cimport RESPONSE_MAX, write_answer
from fastdns._counters cimport (
    RESPONSES_FORMERR, RESPONSES_NOERROR, RESPONSES_NOTIMP, RESPONSES_NXDOMAIN, RESPONSES_OTHER, RESPONSES_REFUSED,
    RESPONSES_SERVFAIL, RESPONSES_TRUNCATED, SEND_ERRORS, observe,
)
from fastdns._udp cimport ANSWER_OCTETS, send_one
from fastdns._wire cimport FLAG_TC, load16

cdef uint8_t stream_room[RESPONSE_MAX]      # for one answer at a time


cdef void count_response(uint64_t* tally, const uint8_t* response) noexcept nogil:
    cdef uint16_t flags = load16(response + 2)
    cdef int rcode = flags & 15
    if rcode == 0:
        tally[RESPONSES_NOERROR] += 1
    elif rcode == 3:
        tally[RESPONSES_NXDOMAIN] += 1
    elif rcode == 2:
        tally[RESPONSES_SERVFAIL] += 1
    elif rcode == 1:
        tally[RESPONSES_FORMERR] += 1
    elif rcode == 4:
        tally[RESPONSES_NOTIMP] += 1
    elif rcode == 5:
        tally[RESPONSES_REFUSED] += 1
    else:
        tally[RESPONSES_OTHER] += 1
    if flags & FLAG_TC:
        tally[RESPONSES_TRUNCATED] += 1


cdef class Query:
    """A query that the cache could not answer. Subclasses have `reply(answer)`, which sends it to the client."""

    def drop(self):
        """Forget the query without a word: there are too many."""

    cdef void take(self, Counters counters, const Question* question, const uint8_t* spelling, uint64_t received_ns):
        self.counters = counters
        self.question = question[0]
        self.received_ns = received_ns
        self.spelling = spelling[:question.length]

    cdef void count_reply(self, const uint8_t* response) noexcept:
        count_response(self.counters.at, response)
        observe(self.counters.miss_latency, read_clock_ns() - self.received_ns, 1)

    @property
    def key(self):
        """The canonical key: lower-cased QNAME in wire form, QTYPE 2, QCLASS 2, flags 1, view 2 octets."""
        return self.question.key[:self.question.key_length]

    @property
    def qtype(self):
        return self.question.qtype

    @property
    def qclass(self):
        return self.question.qclass

    def render(self, Answer answer not None):
        """Return the whole response for this client, as it goes over a stream."""
        if self.counters is None:
            raise ValueError("a query that no packet made")
        cdef size_t written = write_answer(
            stream_room, self.spelling, &self.question, &answer.stored, 0, RESPONSE_MAX
        )
        self.count_reply(stream_room)
        return stream_room[:written]


cdef class UdpQuery(Query):
    """A query that came over UDP."""

    cdef void come_from(self, int fd, const Sender* sender) noexcept:
        self.fd = fd
        self.sender = sender[0]

    def reply(self, Answer answer not None):
        """Send the answer, cut to TC=1 when it is larger than the client takes; a failure to send is counted."""
        if self.counters is None:
            raise ValueError("a query that no packet made")
        cdef uint8_t room[ANSWER_OCTETS]
        cdef size_t written = write_answer(
            room, self.spelling, &self.question, &answer.stored, 0, self.question.udp_size
        )
        self.count_reply(room)
        if send_one(self.fd, room, written, &self.sender) < 0:
            self.counters.at[SEND_ERRORS] += 1
