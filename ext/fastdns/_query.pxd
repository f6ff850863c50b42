"""The record of a query, from packet to answer, the same for every transport, and its only exit."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._entry cimport AnswerSource
from fastdns._key cimport Key
from fastdns._counters cimport Counters
from fastdns._policy cimport Decision
from fastdns._wire cimport Asked

cdef enum Transport:
    OVER_UDP
    OVER_TCP
    OVER_TLS
    OVER_HTTPS
    TRANSPORTS

cdef enum Tier:             # the source of the answer, or what has refused the client
    TIER_NONE               # none
    TIER_ACCESS             # the access rules
    TIER_LIMIT              # its limit of answers a second
    TIER_WIRE               # the message cannot be answered
    TIER_MEMORY
    TIER_STALE              # memory, stale
    TIER_LOCAL              # fastdns itself: a name that is never asked upstream, or about fastdns
    TIER_DISK
    TIER_UPSTREAM
    TIERS

cdef enum:
    RCODES = 8              # that are counted separately: 0 to 5, any other, and no answer
    RCODE_OTHER = 6
    NO_ANSWER = 7

ctypedef struct Asker:      # the client: of a packet, or of a connection
    uint8_t address[16]     # an IPv4 address as ::ffff:192.0.2.1
    uint32_t link           # the interface of a link-local address
    uint32_t bucket         # whose limit counts
    uint16_t port
    uint16_t listener
    uint16_t view           # its number; 0: it is in none
    uint16_t identity       # what it says that it is (Access.identity_of); 0: nothing that a view has
    uint16_t keepalive      # how long its connection may be idle, in units of 100 ms; 0: it is not told
    uint8_t transport

ctypedef struct Ticket:     # of a query over a connection: where its answer goes
    uint32_t slot
    uint32_t serial         # of the connection in that slot
    int32_t exchange        # of HTTP/2: its stream

ctypedef struct Query:
    Asked asked
    Asker asker
    Key key
    Decision decision
    uint64_t received_ns
    const uint8_t* packet
    const uint8_t* spelling     # the question as the client wrote it: asked.length octets
    size_t length           # of the packet
    int status              # of reading it: WireStatus
    int result              # of the last stage
    Ticket ticket           # over a connection
    const AnswerSource* upstream  # the source of the answer, if known
    uint8_t tier
    uint8_t has_waited      # its answer was not in memory
    uint8_t blocked         # its answer is what a block list says
    uint8_t limited         # it is over the client's rate limit
    uint16_t limit          # bytes that the answer may have
    uint16_t told           # the flags of the response; 0: there is none
    uint16_t told_octets

cdef void count_blocked(Counters counters, Query* query, const Stored* told) noexcept nogil
# ^ an answer that is told and whose is_authoritative is more than IS_OURS: by what it is blocked
cdef void finish(Counters counters, const Query* query, uint64_t now_ns) noexcept nogil
# ^ the only exit of a query, with its answer or without: once for each
