"""A slot of the pages that every process of a daemon maps; counters.py has the pages as a whole, and their readers.

A slot: words of counters, two histograms of latencies, a heartbeat, and what the process knows about the upstreams.
"""

import os
import time
from collections import namedtuple

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    uint32_t load "__atomic_load_n"(const uint32_t* at, int order) nogil
    void store "__atomic_store_n"(uint32_t* at, uint32_t value, int order) nogil
    void fence "__atomic_thread_fence"(int order) nogil
    int RELAXED "__ATOMIC_RELAXED"
    int ACQUIRE "__ATOMIC_ACQUIRE"
    int RELEASE "__ATOMIC_RELEASE"

# Name, group, meaning; in the order of the enumeration.
COUNTERS = (
    ("queries_udp_total", "asked", "queries received over UDP"),
    ("queries_tcp_total", "asked", "queries received over TCP"),
    ("cache_hits_total", "memory", "queries answered from memory"),
    ("cache_misses_total", "memory", "queries that were not in memory"),
    ("cache_inserts_total", "memory", "answers stored in memory"),
    ("cache_refused_total", "memory", "answers not kept in memory"),
    ("cache_evictions_total", "memory", "entries removed to make room"),
    ("cache_entries", "memory", "entries in memory now"),
    ("cache_bytes", "memory", "bytes of the memory cache now"),
    ("responses_noerror_total", "answered", "responses with NOERROR"),
    ("responses_formerr_total", "answered", "responses with FORMERR"),
    ("responses_servfail_total", "answered", "responses with SERVFAIL"),
    ("responses_nxdomain_total", "answered", "responses with NXDOMAIN"),
    ("responses_notimp_total", "answered", "responses with NOTIMP"),
    ("responses_refused_total", "answered", "responses with REFUSED"),
    ("responses_other_total", "answered", "responses with another RCODE"),
    ("responses_truncated_total", "answered", "truncated (TC=1): too large for UDP"),
    ("queries_dropped_total", "asked", "malformed messages, not answered"),
    ("send_errors_total", "trouble", "responses that the kernel did not send"),
    ("tcp_connections", "asked", "client connections over TCP open now"),
    ("tcp_rejected_total", "trouble", "connections closed: too many were open"),
    ("in_flight", "asked", "questions waiting for an upstream now"),
    ("coalesced_total", "asked", "queries that waited for an identical one"),
    ("shed_total", "trouble", "queries dropped because too many waited"),
    ("upstream_queries_total", "upstreams", "queries sent to upstreams"),
    ("upstream_queries_tcp_total", "upstreams", "of these, over TCP"),
    ("upstream_timeouts_total", "upstreams", "not answered in time"),
    ("upstream_errors_total", "upstreams", "network errors, or unusable replies"),
    ("upstream_bad_replies_total", "upstreams", "replies that were late, broken or forged"),
    ("worker_restarts_total", "trouble", "workers replaced after they died"),
    ("cache_stale_total", "answered", "answers served past their TTL"),
    ("disk_hits_total", "disk", "queries answered from disk"),
    ("disk_misses_total", "disk", "queries that were not on disk"),
    ("disk_cold_total", "disk", "look-ups that waited for the disk"),
    ("prefetches_total", "memory", "answers refreshed before their TTL ended"),
    ("ring_shed_total", "trouble", "answers not saved: the disk was too slow"),
    ("invalidations_total", "memory", "changes made by commands"),
    ("disk_damaged_total", "trouble", "entries on disk that could not be read"),
    ("disk_entries", "disk", "entries on disk now"),
    ("disk_bytes", "disk", "bytes used on disk now"),
    ("disk_commits_total", "disk", "commits to disk"),
    ("disk_writes_total", "disk", "entries written to disk"),
    ("disk_written_bytes_total", "disk", "bytes written to disk"),
    ("disk_errors_total", "trouble", "commits that failed"),
    ("disk_set_aside_total", "trouble", "damaged disk caches replaced"),
    ("disk_swept_total", "disk", "entries removed to make room"),
    ("warmed_total", "memory", "entries loaded from disk after a start"),
    ("keeper_restarts_total", "trouble", "keepers replaced after they died"),
    ("queries_refused_total", "asked", "queries from clients not allowed"),
    ("tcp_refused_total", "asked", "connections from clients not allowed"),
    ("disk_refused_total", "disk", "answers too large for the disk cache"),
    ("disk_spared_total", "disk", "answers not saved: nobody asked again"),
    ("rebind_blocked_total", "upstreams", "private addresses, not passed on"),
    ("bogus_answers_total", "upstreams", "replies with a bogus address, ignored"),
    ("queries_limited_total", "asked", "queries above access.rate_limit"),
    ("responses_limited_total", "answered", "of these, told to use TCP (TC=1)"),
    ("queries_over_limit_total", "asked", "above it, and answered (rate_dry_run)"),
    ("cookies_valid_total", "asked", "queries with a valid DNS cookie"),
    ("cookies_bad_total", "asked", "queries with a wrong or old DNS cookie"),
    ("blocked_lists_total", "answered", "names blocked by a list"),
    ("blocked_rules_total", "answered", "names blocked by your own rules"),
    ("blocked_patterns_total", "answered", "names blocked by a regular expression"),
    ("safe_searches_total", "answered", "names of search engines made safe"),
    ("blocked_aliases_total", "answered", "of the blocked, those by a CNAME target"),
    ("queries_tls_total", "asked", "queries received over TLS"),
    ("queries_https_total", "asked", "queries received over HTTPS"),
    ("tls_connections", "asked", "client connections over TLS open now"),
    ("https_connections", "asked", "client connections over HTTPS open now"),
    ("tls_handshakes_total", "asked", "TLS handshakes of clients"),
    ("tls_resumed_total", "asked", "of these, resumed with a ticket"),
    ("tls_failed_total", "trouble", "TLS handshakes that failed"),
    ("http_errors_total", "trouble", "HTTP requests answered with an error"),
    ("stream_limited_total", "trouble", "connections closed: beyond a limit"),
)
if len(COUNTERS) != COUNTER_COUNT:
    raise ImportError(
        f"_counters.pyx gives {len(COUNTERS)} counters a name, a group and a meaning, and _counters.pxd lists "
        f"{COUNTER_COUNT}: add what is missing, at the same place"
    )
# Those of them that are current values of a process, not totals.
GAUGES = (
    "cache_entries", "cache_bytes", "tcp_connections", "tls_connections", "https_connections", "in_flight",
)
cdef dict INDEX = {name: index for index, (name, _, _) in enumerate(COUNTERS)}

cdef enum:              # where in a slot things are, in bytes
    HITS_AT = 8 * COUNTER_MAX
    MISSES_AT = HITS_AT + 8 * LATENCY_BUCKETS
    ALIVE_AT = MISSES_AT + 8 * LATENCY_BUCKETS
    IN_DISK_AT = ALIVE_AT + 8
    PID_AT = ALIVE_AT + 16
    OVERRIDES_AT = ALIVE_AT + 24
    UPSTREAMS_AT = ALIVE_AT + 64
    SLOT_OCTETS = 8192
    UPSTREAMS_MAX = 32
    NAME_OCTETS = 64
    ALIVE = 1               # bits of a row
    NO_EDNS = 2
    LAME = 4
    LACKS_EDNS = 8
    JUST_DIED = 16
    RCODE_SHIFT = 8         # eight bits
    ERROR_SHIFT = 16        # sixteen
    TRIES = 100
    TRIES_AT_ONCE = 20
if <int>COUNTER_COUNT > <int>OUTCOMES_AT or UPSTREAMS_AT + sizeof(Table) > SLOT_OCTETS:
    raise ImportError("a slot is too small")
# For readers: bytes of a slot, and where in it are outcomes, histograms, heartbeat, where it hangs, its pid, and the
# version of its rules.
LAYOUT = (SLOT_OCTETS, 8 * OUTCOMES_AT, HITS_AT, MISSES_AT, ALIVE_AT, IN_DISK_AT, PID_AT, OVERRIDES_AT)
# How many upstreams a process shows at most, and how many bytes of a name.
UPSTREAM_TABLE = (UPSTREAMS_MAX, NAME_OCTETS)

# _counters.pyi says what they mean.
UpstreamState = namedtuple(
    "UpstreamState", "name alive rtt queries failures edns since error rcode recurses lacks_edns "
    "just_died",
    defaults=(True, 0.0, 0, 0, True, False, False),
)

# Where each bucket of latencies ends, in seconds.
LATENCY_BOUNDS = tuple(((5 + i % 4) << (LATENCY_FIRST - 2 + i // 4)) / 1e9 for i in range(LATENCY_BUCKETS))

ctypedef struct Row:
    uint64_t queries
    uint64_t failures
    uint32_t rtt_us             # 0: unknown
    uint32_t state              # bits from ALIVE on, RCODE, error
    uint64_t since_ns
    char name[NAME_OCTETS]      # UTF-8, zeros after it

ctypedef struct Table:
    uint32_t sequence           # odd while it is being written
    uint32_t count              # of the rows
    double shown_at             # time.monotonic() of the writer; 0: it is gone
    Row rows[UPSTREAMS_MAX]


cdef class Counters:
    """The slot of one process, for writing."""

    def __cinit__(self, memory, size_t octets):
        """The slot that begins after so many bytes of memory. BufferError: the memory is read-only."""
        cdef uint8_t* start
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        if octets + SLOT_OCTETS > <size_t>self.memory.len:
            raise IndexError("there is no such slot")
        start = <uint8_t*>self.memory.buf + octets
        self.at = <uint64_t*>start
        self.hit_latency = <uint64_t*>(start + HITS_AT)
        self.miss_latency = <uint64_t*>(start + MISSES_AT)
        self.alive_at = <uint64_t*>(start + ALIVE_AT)
        self.in_disk = <uint64_t*>(start + IN_DISK_AT)
        self.pid = <uint64_t*>(start + PID_AT)
        self.overrides = <uint64_t*>(start + OVERRIDES_AT)
        self.upstreams = start + UPSTREAMS_AT

    def __dealloc__(self):
        PyBuffer_Release(&self.memory)
        if self.has_hits_memory:
            PyBuffer_Release(&self.hits_memory)

    def use_list_hits(self, memory):
        """Count the answers that each list blocks in this memory, eight bytes a list; None: do not count them.

        The numbers are those of the lists in the policy in use. BufferError: the memory is read-only.
        """
        if self.has_hits_memory:
            self.list_hits, self.lists, self.has_hits_memory = NULL, 0, False
            PyBuffer_Release(&self.hits_memory)
        if memory is None:
            return
        PyObject_GetBuffer(memory, &self.hits_memory, PyBUF_WRITABLE)
        self.has_hits_memory = True
        self.list_hits = <uint64_t*>self.hits_memory.buf
        self.lists = <uint64_t>self.hits_memory.len // sizeof(uint64_t)

    def add(self, str name, int64_t amount=1):
        """Add to a counter. KeyError: there is none with that name."""
        cdef size_t index = INDEX[name]
        self.at[index] += <uint64_t>amount

    def set(self, str name, uint64_t value):
        """Set a gauge."""
        cdef size_t index = INDEX[name]
        self.at[index] = value

    def observe_hit(self, double seconds, long count=1):
        """Count so many answers from the cache that took so long."""
        observe(self.hit_latency, nanoseconds(seconds), count)

    def observe_miss(self, double seconds):
        """Count an answer that came from an upstream, and that took so long."""
        observe(self.miss_latency, nanoseconds(seconds), 1)

    def heartbeat(self, double ahead=0):
        """Write a heartbeat; to be called about once a second, by code that cannot take long.

        `ahead`: the next step may take so many seconds.
        """
        self.pid[0] = <uint64_t>os.getpid()
        self.alive_at[0] = <uint64_t>time.monotonic_ns() + nanoseconds(ahead)

    def show_overrides(self, uint64_t version):
        """Show which version of the rules made at run time this process uses; 0: there is no file with them."""
        self.overrides[0] = version

    def show_upstreams(self, states):
        """Show these upstreams, in this order; at most 32 of them, and only the beginning of a long name."""
        cdef Table* table = <Table*>self.upstreams
        cdef Table fresh
        cdef size_t length
        cdef const char* octets
        cdef Row* row
        memset(&fresh, 0, sizeof(Table))
        rows = [UpstreamState(*one) for one in states]
        for one in rows[:UPSTREAMS_MAX]:
            text = one.name.encode()[:NAME_OCTETS]
            octets = text
            length = len(text)
            row = &fresh.rows[fresh.count]
            memcpy(row.name, octets, length)
            row.state = (
                (ALIVE if one.alive else 0)
                | (0 if one.edns else NO_EDNS)
                | (0 if one.recurses else LAME)
                | (LACKS_EDNS if one.lacks_edns else 0)
                | (JUST_DIED if one.just_died else 0)
                | (one.rcode & 0xFF) << RCODE_SHIFT
                | (one.error & 0xFFFF) << ERROR_SHIFT
            )
            row.since_ns = <uint64_t>(max(one.since, 0.0) * 1e9)
            row.rtt_us = 0 if one.rtt is None else min(max(round(one.rtt * 1e6), 1), 0xFFFFFFFF)
            row.queries = one.queries
            row.failures = one.failures
            fresh.count += 1
        fresh.shown_at = time.monotonic()
        publish(table, &fresh)

    def shown_upstreams(self):
        """What was shown last, by this process or by the former owner of the slot."""
        return copied_table(<const Table*>self.upstreams)[1]

    def retire(self):
        """Keep the totals of a process that is gone, and drop its current values."""
        cdef Table* table = <Table*>self.upstreams
        cdef Table fresh
        cdef size_t i
        for name in GAUGES:
            self.set(name, 0)
        self.alive_at[0] = 0
        self.in_disk[0] = 0
        self.pid[0] = 0
        self.overrides[0] = 0
        memcpy(&fresh, table, sizeof(Table))
        fresh.count = min(fresh.count, <uint32_t>UPSTREAMS_MAX)
        for i in range(fresh.count):
            fresh.rows[i].state &= NO_EDNS
            fresh.rows[i].since_ns = 0
            fresh.rows[i].rtt_us = 0
        fresh.shown_at = 0
        publish(table, &fresh)


cdef void publish(Table* table, Table* fresh) noexcept:
    """Replace a table by another one; meanwhile it says that it is being written."""
    # A process that died while writing has left an odd number: it stays odd until this table is complete.
    fresh.sequence = table.sequence | 1
    store(&table.sequence, fresh.sequence, RELAXED)
    fence(RELEASE)
    memcpy(table, fresh, sizeof(Table))
    store(&table.sequence, fresh.sequence + 1, RELEASE)


cdef uint64_t nanoseconds(double seconds) noexcept nogil:
    if not seconds > 0:
        return 0
    return <uint64_t>(min(seconds, 3600.0) * 1e9)


cdef tuple copied_table(const Table* table):
    """When it was shown, and its rows; if the writer stopped in the middle, as they are."""
    cdef Table copy
    cdef uint32_t sequence
    cdef int _try
    cdef size_t i
    for _try in range(TRIES):
        sequence = load(&table.sequence, ACQUIRE)
        memcpy(&copy, table, sizeof(Table))
        fence(ACQUIRE)
        if sequence & 1 == 0 and load(&table.sequence, RELAXED) == sequence:
            break
        if _try >= TRIES_AT_ONCE:       # the writer has to wait for a processor, perhaps for this one
            time.sleep(0.0005)
    states = []
    for i in range(min(copy.count, <uint32_t>UPSTREAMS_MAX)):
        name = (<bytes>copy.rows[i].name[:NAME_OCTETS]).rstrip(b"\0").decode("utf-8", "ignore")
        rtt = copy.rows[i].rtt_us / 1e6 if copy.rows[i].rtt_us else None
        state = copy.rows[i].state
        states.append(UpstreamState(
            name, bool(state & ALIVE), rtt, copy.rows[i].queries, copy.rows[i].failures, not state & NO_EDNS,
            copy.rows[i].since_ns / 1e9, state >> ERROR_SHIFT & 0xFFFF, state >> RCODE_SHIFT & 0xFF,
            not state & LAME, bool(state & LACKS_EDNS), bool(state & JUST_DIED),
        ))
    return copy.shown_at, states


def read_upstreams(memory, size_t octets):
    """What the process of the slot that begins after so many bytes knows about the upstreams, and when it showed that.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(memory, &view, PyBUF_SIMPLE)
    try:
        if octets + SLOT_OCTETS > <size_t>view.len:
            raise IndexError("there is no such slot")
        return copied_table(<const Table*>(<uint8_t*>view.buf + octets + UPSTREAMS_AT))
    finally:
        PyBuffer_Release(&view)
