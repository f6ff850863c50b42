"""Pages that every process of a daemon maps: its counters. One slot a process; only its owner writes to it."""

from libc.stdint cimport uint64_t

cdef enum:      # indices, in the order of COUNTERS
    QUERIES_UDP = 0
    QUERIES_TCP
    CACHE_HITS
    CACHE_MISSES
    CACHE_INSERTS
    CACHE_REFUSED
    CACHE_EVICTIONS
    CACHE_ENTRIES
    CACHE_BYTES
    RESPONSES_NOERROR
    RESPONSES_FORMERR
    RESPONSES_SERVFAIL
    RESPONSES_NXDOMAIN
    RESPONSES_NOTIMP
    RESPONSES_REFUSED
    RESPONSES_OTHER
    RESPONSES_TRUNCATED
    QUERIES_DROPPED
    SEND_ERRORS
    TCP_CONNECTIONS
    TCP_REJECTED
    IN_FLIGHT
    COALESCED
    SHED
    UPSTREAM_QUERIES
    UPSTREAM_QUERIES_TCP
    UPSTREAM_TIMEOUTS
    UPSTREAM_ERRORS
    UPSTREAM_BAD_REPLIES
    WORKER_RESTARTS
    COUNTER_COUNT

cdef class Counters:
    cdef uint64_t* at           # COUNTER_COUNT of them
    cdef object pages           # keeps the mapping alive
