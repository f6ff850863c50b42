"""Pages that every process of a daemon maps, in one file of run_dir with a version in its head.

A slot a process: its counters, two histograms of latencies, and what it knows of the upstreams.
"""

import mmap
import os
import struct
import time
from collections import namedtuple

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    uint32_t load "__atomic_load_n"(const uint32_t* at, int order) nogil
    void store "__atomic_store_n"(uint32_t* at, uint32_t value, int order) nogil
    void fence "__atomic_thread_fence"(int order) nogil
    int RELAXED "__ATOMIC_RELAXED"
    int ACQUIRE "__ATOMIC_ACQUIRE"
    int RELEASE "__ATOMIC_RELEASE"

COUNTERS = (
    ("queries_udp_total", "queries received over UDP"),
    ("queries_tcp_total", "queries received over TCP"),
    ("cache_hits_total", "queries answered from memory"),
    ("cache_misses_total", "queries that memory did not hold"),
    ("cache_inserts_total", "answers taken into memory"),
    ("cache_refused_total", "answers that could not be taken in: no room, or a failure beside a good answer"),
    ("cache_evictions_total", "entries that made room for others"),
    ("cache_entries", "entries in memory now"),
    ("cache_bytes", "octets of the memory cache now, its table included"),
    ("responses_noerror_total", "responses with NOERROR"),
    ("responses_formerr_total", "responses with FORMERR"),
    ("responses_servfail_total", "responses with SERVFAIL"),
    ("responses_nxdomain_total", "responses with NXDOMAIN"),
    ("responses_notimp_total", "responses with NOTIMP"),
    ("responses_refused_total", "responses with REFUSED"),
    ("responses_other_total", "responses with another RCODE"),
    ("responses_truncated_total", "responses cut to TC=1 because they were too large for UDP"),
    ("queries_dropped_total", "messages to which nothing can be said: too short, or responses"),
    ("send_errors_total", "responses that the kernel did not take"),
    ("tcp_connections", "client connections open now"),
    ("tcp_rejected_total", "client connections closed because there were too many"),
    ("in_flight", "questions waiting for an upstream now"),
    ("coalesced_total", "queries that waited for the answer to an identical one"),
    ("shed_total", "queries dropped because too many were waiting"),
    ("upstream_queries_total", "queries sent to upstreams"),
    ("upstream_queries_tcp_total", "of these, over TCP"),
    ("upstream_timeouts_total", "upstream queries without an answer in time"),
    ("upstream_errors_total", "upstream queries that the network or the upstream refused"),
    ("upstream_bad_replies_total", "replies that did not belong to a query or could not be read"),
    ("worker_restarts_total", "workers replaced after they died"),
    ("cache_stale_total", "answers served past their TTL"),
    ("disk_hits_total", "queries answered from disk"),
    ("disk_misses_total", "queries that the disk cache did not hold"),
    ("disk_cold_total", "disk look-ups handed to a thread because the file was not in memory"),
    ("prefetches_total", "answers refreshed before their TTL ended"),
    ("ring_shed_total", "answers not handed to the disk cache because it does not keep up"),
    ("invalidations_total", "changes by commands that were applied"),
    ("disk_damaged_total", "entries on disk that could not be read"),
    ("disk_entries", "entries on disk now"),
    ("disk_bytes", "octets of live pages on disk now"),
    ("disk_commits_total", "commits to disk"),
    ("disk_writes_total", "entries written to disk"),
    ("disk_written_bytes_total", "octets written to disk"),
    ("disk_errors_total", "commits that failed"),
    ("disk_set_aside_total", "damaged disk caches put aside"),
    ("disk_swept_total", "entries that made room on disk"),
    ("warmed_total", "entries brought from disk into memory after a start"),
    ("keeper_restarts_total", "keepers replaced after they died"),
    ("queries_refused_total", "queries of clients that may not ask, refused or dropped"),
    ("tcp_refused_total", "connections of clients that may not ask"),
)
if len(COUNTERS) != COUNTER_COUNT:
    raise ImportError("COUNTERS and the enumeration in _shared.pxd differ")
# Of these, what says how things stand now in a process, and not what it has done.
GAUGES = ("cache_entries", "cache_bytes", "tcp_connections", "in_flight")
cdef dict INDEX = {name: index for index, (name, _) in enumerate(COUNTERS)}

SUPERVISOR_SLOT = 0
KEEPER_SLOT = 1
WORKER_SLOT = 2         # of the first worker; the others follow

cdef enum:              # a slot: counters, histograms of hits and misses, table of upstreams
    SLOT_OCTETS = 4096
    HITS_AT = 512
    MISSES_AT = HITS_AT + 8 * LATENCY_BUCKETS
    UPSTREAMS_AT = MISSES_AT + 8 * LATENCY_BUCKETS
    UPSTREAMS_MAX = 16
    NAME_OCTETS = 64
    ALIVE = 1               # bits of a row
    NO_EDNS = 2
    TRIES = 100
    TRIES_AT_ONCE = 20
if 8 * COUNTER_COUNT > HITS_AT or UPSTREAMS_AT + sizeof(Table) > SLOT_OCTETS:
    raise ImportError("a slot is too small")

MAGIC = b"fastdns\0"
VERSION = 2
HEAD = struct.Struct("=8sIIQd")     # magic, version, slots, pid of the supervisor, start (Unix seconds)

# rtt: seconds, None: unknown; edns: False when it is asked without
UpstreamState = namedtuple("UpstreamState", "name alive rtt queries failures edns", defaults=(True,))

# Where each bucket of latencies ends, in seconds.
LATENCY_BOUNDS = tuple(((5 + i % 4) << (LATENCY_FIRST - 2 + i // 4)) / 1e9 for i in range(LATENCY_BUCKETS))

ctypedef struct Row:
    uint64_t queries
    uint64_t failures
    uint32_t rtt_us             # 0: unknown
    uint32_t alive              # ALIVE, NO_EDNS
    char name[NAME_OCTETS]      # UTF-8, zeros after it

ctypedef struct Table:
    uint32_t sequence           # odd while it is being written
    uint32_t count              # of the rows
    double shown_at             # time.monotonic() of the writer; 0: it is gone
    Row rows[UPSTREAMS_MAX]


cdef class Counters:
    """The slot of one process, to write to."""

    def __init__(self, pages, int slot):
        cdef unsigned char[::1] view = pages.memory
        cdef uint8_t* start = &view[0] + <size_t>SLOT_OCTETS * (slot + 1)
        self.pages = pages
        self.at = <uint64_t*>start
        self.hit_latency = <uint64_t*>(start + HITS_AT)
        self.miss_latency = <uint64_t*>(start + MISSES_AT)
        self.upstreams = start + UPSTREAMS_AT

    def add(self, str name, int64_t amount=1):
        """Add to a counter (KeyError: there is none of that name)."""
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
        """Count an answer that somebody else had to be asked for, and that took so long."""
        observe(self.miss_latency, nanoseconds(seconds), 1)

    def show_upstreams(self, states):
        """Show these upstreams, in this order; at most 16 of them, and of a long name its beginning."""
        cdef Table* table = <Table*>self.upstreams
        cdef Table fresh
        cdef size_t length
        cdef const char* octets
        cdef Row* row
        memset(&fresh, 0, sizeof(Table))
        rows = [UpstreamState(*one) for one in states]
        for name, alive, rtt, queries, failures, edns in rows[:UPSTREAMS_MAX]:
            text = name.encode()[:NAME_OCTETS]
            octets = text
            length = len(text)
            row = &fresh.rows[fresh.count]
            memcpy(row.name, octets, length)
            row.alive = (ALIVE if alive else 0) | (0 if edns else NO_EDNS)
            row.rtt_us = 0 if rtt is None else min(max(round(rtt * 1e6), 1), 0xFFFFFFFF)
            row.queries = queries
            row.failures = failures
            fresh.count += 1
        fresh.shown_at = time.monotonic()
        publish(table, &fresh)

    def shown_upstreams(self):
        """What was shown last, by this process or by the one that had the slot before it."""
        return read_table(<const Table*>self.upstreams)[1]

    def retire(self):
        """Let the slot of a process that is gone say what it has done, and nothing of how things stand."""
        cdef Table* table = <Table*>self.upstreams
        cdef Table fresh
        cdef size_t i
        for name in GAUGES:
            self.set(name, 0)
        memcpy(&fresh, table, sizeof(Table))
        fresh.count = min(fresh.count, <uint32_t>UPSTREAMS_MAX)
        for i in range(fresh.count):
            fresh.rows[i].alive &= NO_EDNS
            fresh.rows[i].rtt_us = 0
        fresh.shown_at = 0
        publish(table, &fresh)


cdef void publish(Table* table, Table* fresh) noexcept:
    """Put a table in the place of another one, which says meanwhile that it is being written."""
    # Who died while writing has left an odd number: it stays one until this table is whole.
    fresh.sequence = table.sequence | 1
    store(&table.sequence, fresh.sequence, RELAXED)
    fence(RELEASE)
    memcpy(table, fresh, sizeof(Table))
    store(&table.sequence, fresh.sequence + 1, RELEASE)


cdef uint64_t nanoseconds(double seconds) noexcept nogil:
    if not seconds > 0:
        return 0
    return <uint64_t>(min(seconds, 3600.0) * 1e9)


cdef tuple read_table(const Table* table):
    """When it was shown, and its rows; those of a writer that has stopped in the middle as they are."""
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
        states.append(UpstreamState(
            name, bool(copy.rows[i].alive & ALIVE), rtt, copy.rows[i].queries, copy.rows[i].failures,
            not copy.rows[i].alive & NO_EDNS,
        ))
    return copy.shown_at, states


cdef list add_words(const unsigned char[::1] memory, Py_ssize_t at, Py_ssize_t count, Py_ssize_t slots):
    """The sums over all slots of the words that stand there in each; each word is read whole."""
    cdef const uint64_t* words
    cdef Py_ssize_t slot, i
    cdef list sums = [0] * count
    for slot in range(slots):
        words = <const uint64_t*>(&memory[0] + SLOT_OCTETS * (slot + 1) + at)
        for i in range(count):
            sums[i] += words[i]
    return sums


def quantile(buckets, double q):
    """The time, in seconds, under which the part q of what a histogram counts took; None: it counts nothing.

    The difference of two histograms says it of what happened in between.
    """
    cdef double wanted = q * sum(buckets)
    cdef double below = 0.0
    cdef double start = 0.0
    for count, end in zip(buckets, LATENCY_BOUNDS):
        if count > 0 and below + count >= wanted:
            return start + (end - start) * max(wanted - below, 0.0) / count
        below += count
        start = end
    return None


class Pages:
    """The pages of a daemon. The supervisor creates them anew at each start: totals count since the start."""

    def __init__(self, memory, slots, pid, started_at):
        self.memory = memory
        self.slots = slots
        self.pid = pid
        self.started_at = started_at

    @classmethod
    def create(cls, path, slots, started_at):
        """Make the file at path with that many slots, all zero; readers of an older file keep what they have.

        Without a path they are this process's and those of its children alone: a full disk stops nothing.
        """
        size = SLOT_OCTETS * (slots + 1)
        if path is None:
            return cls(_begin(mmap.mmap(-1, size), slots, started_at), slots, os.getpid(), started_at)
        fresh = f"{path}.new"
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            # Not ftruncate: on a full tmpfs the first write through the mapping would be a SIGBUS.
            os.posix_fallocate(descriptor, 0, size)
            memory = _begin(mmap.mmap(descriptor, size), slots, started_at)
        except OSError:
            os.unlink(fresh)
            raise
        finally:
            os.close(descriptor)
        os.rename(fresh, path)
        return cls(memory, slots, os.getpid(), started_at)

    @classmethod
    def attach(cls, path):
        """Map an existing file read-only. OSError when there is none, ValueError when it is of another version."""
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < SLOT_OCTETS:
                raise ValueError(f"{path} is not a page of fastdns counters")
            memory = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        magic, version, slots, pid, started_at = HEAD.unpack_from(memory)
        if magic != MAGIC or version != VERSION or size != SLOT_OCTETS * (slots + 1):
            raise ValueError(f"{path} was written by another version of fastdns")
        return cls(memory, slots, pid, started_at)

    def counters(self, slot):
        """The slot of the process that owns it, to write to."""
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        return Counters(self, slot)

    def totals(self):
        """Every counter by its name, summed over all processes."""
        totals = add_words(self.memory, 0, COUNTER_COUNT, self.slots)
        return {name: total for (name, _), total in zip(COUNTERS, totals, strict=True)}

    def total(self, name):
        """One counter, summed over all processes (KeyError: there is none of that name)."""
        return add_words(self.memory, 8 * <Py_ssize_t>INDEX[name], 1, self.slots)[0]

    def latency(self):
        """The histograms of hits and of misses, summed over all processes: counts, by LATENCY_BOUNDS."""
        return (
            add_words(self.memory, HITS_AT, LATENCY_BUCKETS, self.slots),
            add_words(self.memory, MISSES_AT, LATENCY_BUCKETS, self.slots),
        )

    def upstream_tables(self):
        """What each process knows of the upstreams, by slots: when it showed that, and what."""
        cdef const unsigned char[::1] view = self.memory
        cdef Py_ssize_t slot
        return [
            read_table(<const Table*>(&view[0] + SLOT_OCTETS * (slot + 1) + UPSTREAMS_AT))
            for slot in range(self.slots)
        ]

    def upstreams(self):
        """The same, put together: who answers one of the processes is alive.

        Those that only processes asked that are gone are left out, unless all are gone.
        """
        together = {}
        tables = self.upstream_tables()
        asked = {state.name for shown_at, states in tables if shown_at for state in states}
        for _, states in tables:
            for state in states:
                if asked and state.name not in asked:
                    continue
                known = together.get(state.name)
                together[state.name] = state if known is None else _merge(known, state)
        return list(together.values())


def _begin(memory, slots, started_at):
    memory[:HEAD.size] = HEAD.pack(MAGIC, VERSION, slots, os.getpid(), started_at)
    return memory


def _merge(one, other):
    """One upstream, as two processes see it; the round trip is that of whoever has asked it more."""
    busier, idler = (one, other) if one.queries >= other.queries else (other, one)
    return UpstreamState(
        one.name,
        one.alive or other.alive,
        idler.rtt if busier.rtt is None else busier.rtt,
        one.queries + other.queries,
        one.failures + other.failures,
        one.edns and other.edns,
    )
