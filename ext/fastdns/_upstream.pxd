"""One upstream as C sees it: what is asked of it, how it is, and its queries that wait to leave in one go."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from fastdns._tiers cimport Source
from fastdns._udp cimport BATCH, iovec, mmsghdr

cdef enum:
    POOL = 64               # ports of one upstream among which queries choose that get none of their own
    PEER_MAX = 28           # octets: a sockaddr_in6
    QUERY_MAX = 288         # header, question and OPT

cdef class Upstream:
    cdef readonly Source source
    cdef public uint64_t queries
    cdef public uint64_t failures       # without a reply in time, or that the network refused
    cdef readonly bint alive
    cdef readonly double timeout        # seconds
    cdef bint is_forgotten              # an inquiry that began before may still ask it
    cdef uint8_t peer[PEER_MAX]         # its sockaddr
    cdef unsigned int peer_length       # 0: open_socket is to be called
    cdef object open_socket             # returns a descriptor, or raises OSError
    cdef object on_turn                 # called when it dies, and when it answers again
    cdef uint64_t last_reply_ns
    cdef uint64_t last_failure_ns
    cdef uint64_t given_up_ns           # its ports that were opened before then send no more
    cdef uint64_t rtt_ns                # smoothed, RFC 6298 section 2; 0: unknown
    cdef uint64_t deviation_ns
    cdef int in_a_row                   # failures
    cdef int pool[POOL]                 # indices of ports, -1: none
    cdef int port                       # of the burst that is being collected; -1: to be chosen
    cdef int burst                      # queries that may leave by it
    cdef int queued
    cdef mmsghdr outbox[BATCH]
    cdef iovec parts[BATCH]
    cdef void* queue[BATCH]             # whose they are; NULL: nobody waits for it any more
    cdef uint8_t rooms[BATCH * QUERY_MAX]

    cdef uint64_t patience_ns(self) noexcept nogil
    cdef void note_reply(self, uint64_t sent_ns, uint64_t now_ns) except *
    cdef void note_failure(self, uint64_t sent_ns, uint64_t now_ns) except *

cdef size_t write_query(
    uint8_t* out, uint16_t query_id, const uint8_t* key, uint16_t key_length, bint wants_ad
) noexcept nogil            # octets written, at most QUERY_MAX
