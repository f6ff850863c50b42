"""Pages that every process of a daemon maps: its counters, in one file of run_dir with a version in its head."""

import mmap
import os
import struct

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
)
if len(COUNTERS) != COUNTER_COUNT:
    raise ImportError("COUNTERS and the enumeration in _shared.pxd differ")
cdef dict INDEX = {name: index for index, (name, _) in enumerate(COUNTERS)}

cdef enum:
    SLOT_OCTETS = 4096

MAGIC = b"fastdns\0"
VERSION = 1
HEAD = struct.Struct("=8sIIQd")     # magic, version, slots, pid of the supervisor, start (Unix seconds)


cdef class Counters:
    """The counters of one process, by name."""

    def __init__(self, pages, int slot):
        cdef unsigned char[::1] view = pages.memory
        self.pages = pages
        self.at = <uint64_t*>(&view[0] + <size_t>SLOT_OCTETS * (slot + 1))

    def add(self, str name, long amount=1):
        """Add to a counter (KeyError: there is none of that name)."""
        cdef size_t index = INDEX[name]
        self.at[index] += <uint64_t>amount

    def set(self, str name, size_t value):
        """Set a gauge."""
        cdef size_t index = INDEX[name]
        self.at[index] = value


class Pages:
    """The mapped file. The supervisor creates it anew at each start: totals count since the start of the daemon."""

    def __init__(self, memory, slots, pid, started_at):
        self.memory = memory
        self.slots = slots
        self.pid = pid
        self.started_at = started_at

    @classmethod
    def create(cls, path, slots, started_at):
        """Make the file at path with that many slots, all zero; readers of an older file keep what they have."""
        fresh = f"{path}.new"
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            # Not ftruncate: on a full tmpfs the first write through the mapping would be a SIGBUS.
            os.posix_fallocate(descriptor, 0, SLOT_OCTETS * (slots + 1))
            memory = mmap.mmap(descriptor, SLOT_OCTETS * (slots + 1))
        finally:
            os.close(descriptor)
        memory[:HEAD.size] = HEAD.pack(MAGIC, VERSION, slots, os.getpid(), started_at)
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
        """The counters of the process that owns this slot, to write to."""
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        return Counters(self, slot)

    def totals(self):
        """Every counter by its name, summed over all processes."""
        totals = [0] * COUNTER_COUNT
        for slot in range(self.slots):
            values = struct.unpack_from(f"={COUNTER_COUNT}Q", self.memory, SLOT_OCTETS * (slot + 1))
            totals = [total + value for total, value in zip(totals, values, strict=True)]
        return {name: total for (name, _), total in zip(COUNTERS, totals, strict=True)}
