"""Pages that every process of a daemon maps: counters, latencies, upstreams, heartbeats.

Each process has a slot, and only its owner writes to it. A new counter is a line here and one in COUNTERS of
_counters.pyx.
"""

from libc.stdint cimport uint8_t, uint64_t

from fastdns._seen_clients cimport SeenClients

cdef extern from *:
    int leading_zeros "__builtin_clzll"(unsigned long long) nogil      # not of 0

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
    CACHE_STALE
    DISK_HITS
    DISK_MISSES
    DISK_COLD
    PREFETCHES
    RING_SHED
    INVALIDATIONS
    DISK_DAMAGED
    DISK_ENTRIES
    DISK_BYTES
    DISK_COMMITS
    DISK_WRITES
    DISK_WRITTEN_BYTES
    DISK_ERRORS
    DISK_SET_ASIDE
    DISK_SWEPT
    WARMED
    KEEPER_RESTARTS
    QUERIES_REFUSED
    TCP_REFUSED
    DISK_REFUSED
    DISK_SPARED
    REBIND_BLOCKED
    BOGUS_ANSWERS
    QUERIES_LIMITED
    RESPONSES_LIMITED
    QUERIES_OVER_LIMIT
    COOKIES_VALID
    COOKIES_BAD
    BLOCKED_LISTS
    BLOCKED_RULES
    BLOCKED_PATTERNS
    SAFE_SEARCHES
    BLOCKED_ALIASES
    QUERIES_TLS
    QUERIES_HTTPS
    TLS_CONNECTIONS
    HTTPS_CONNECTIONS
    TLS_HANDSHAKES
    TLS_RESUMED
    TLS_FAILED
    HTTP_ERRORS
    STREAM_LIMITED
    COUNTER_COUNT

cdef enum:
    COUNTER_MAX = 416           # words of a slot for counters: those of one version may be more, in the same pages
    OUTCOMES_AT = 128           # of these: queries by transport, tier and RCODE (_query); those with names are before

cdef enum:
    LATENCY_BUCKETS = 96        # four an octave: a bucket is at most a quarter wider than where it begins
    LATENCY_FIRST = 10          # the first octave begins at 2**10 ns, the last one ends at 2**34 ns, 17 s

cdef inline void observe(uint64_t* histogram, uint64_t nanoseconds, uint64_t count) noexcept nogil:
    """Count so many answers that took so long; the outermost buckets include shorter and longer times."""
    cdef unsigned int octave, bucket
    if nanoseconds < (1 << LATENCY_FIRST):
        nanoseconds = 1 << LATENCY_FIRST
    octave = 63 - leading_zeros(nanoseconds)
    bucket = ((octave - LATENCY_FIRST) << 2) + <unsigned int>((nanoseconds >> (octave - 2)) & 3)
    if bucket >= LATENCY_BUCKETS:
        bucket = LATENCY_BUCKETS - 1
    histogram[bucket] += count

cdef class Counters:
    cdef uint64_t* at           # COUNTER_COUNT of COUNTER_MAX
    cdef uint64_t* hit_latency  # LATENCY_BUCKETS: from the receipt of a batch to its sending
    cdef uint64_t* miss_latency     # LATENCY_BUCKETS: from the arrival of a query to its answer
    cdef uint64_t* alive_at     # the last heartbeat, CLOCK_MONOTONIC in ns; 0: the process is gone, or has not begun
    cdef uint64_t* in_disk      # not 0: the process is in a look-up in the disk cache
    cdef uint64_t* pid          # of the process that last wrote a heartbeat
    cdef uint64_t* overrides    # the version of the rules made at run time that it uses
    cdef uint8_t* upstreams     # the table of show_upstreams
    cdef uint64_t* list_hits    # answers that each list has blocked, by its number; NULL: not counted
    cdef uint64_t lists         # how many of them
    cdef Py_buffer memory       # keeps the mapping alive
    cdef Py_buffer hits_memory
    cdef bint has_hits_memory
    cdef public SeenClients clients     # that the process has seen; None: they are not noted
