"""Who has asked a process: a table of bounded size in a file of run_dir, for `fastdns clients`.

A client can be in a few rows only, so a look-up costs the same however many there are. In a full set of rows a client
that has asked once makes room before one that has asked more: so a flood of forged addresses, which ask once each,
displaces itself.
"""

import struct
import zlib
from collections import namedtuple

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from fastdns._siphash cimport keyed_hash

from fastdns import mapped

cdef enum:
    HEAD_OCTETS = 4096
    ADDRESS_OCTETS = 16
    MAC_OCTETS = 6

if WAYS << SETS_BITS != ROWS or sizeof(SeenClient) != 64:
    raise ImportError("the sizes in _seen_clients.pxd differ")

MAGIC = b"fastdnsC"
VERSION = 1                         # another version has another layout of rows
HEAD = struct.Struct("=8sII")       # magic, version, rows
ROW = struct.Struct("=16sQ6I6sB9x")
FILE_OCTETS = HEAD_OCTETS + ROWS * sizeof(SeenClient)
ROWS_MAX = <int>ROWS

# _seen_clients.pyi says what they mean.
Seen = namedtuple("Seen", "address link mac view first_seen last_seen queries blocked limited")


def hash_of_view(str name not None):
    """Return by what a row names a view; never 0."""
    return zlib.crc32(name.encode()) or 1


cdef class SeenClients:
    """The clients that one process at a time has seen, for writing."""

    def __cinit__(self):
        self.seed = keyed_hash(<const uint8_t*>b"clients", 7)

    def __dealloc__(self):
        free(self.views)

    @staticmethod
    def create(path):
        """Return a new table in the file at path (None: without a file). OSError: there is no room for it."""
        cdef SeenClients made = SeenClients.__new__(SeenClients)
        head = HEAD.pack(MAGIC, VERSION, ROWS)
        memory = mapped.anonymous(FILE_OCTETS, head) if path is None else mapped.create(path, FILE_OCTETS, head)
        made.use(memory)
        return made

    cdef int use(self, memory) except -1:
        cdef Py_buffer view
        PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
        self.rows = <SeenClient*>(<uint8_t*>view.buf + HEAD_OCTETS)
        PyBuffer_Release(&view)
        self.memory = memory        # a mapping stays where it is
        return 0

    def use_views(self, names):
        """Set the names of the views, the first of which has the number 1."""
        cdef size_t count = len(names)
        cdef size_t i
        cdef uint32_t* views = <uint32_t*>calloc(count + 1, sizeof(uint32_t))
        if views == NULL:
            raise MemoryError
        for i in range(count):
            views[i + 1] = hash_of_view(names[i])
        free(self.views)
        self.views = views
        self.view_count = <uint32_t>count

    def without_mac(self, double since):
        """Return (address, link) of the clients without a hardware address that have asked since then.

        The time is in seconds by CLOCK_BOOTTIME, the address always of 16 octets.
        """
        cdef SeenClient* row
        cdef int i
        found = []
        for i in range(ROWS):
            row = &self.rows[i]
            if row.queries and not row.has_mac and row.last_s >= since:
                found.append(((<const char*>row.address)[:ADDRESS_OCTETS], row.link))
        return found

    def set_mac(self, bytes address not None, uint32_t link, bytes mac not None):
        """Note the hardware address of a client, if it is in the table."""
        cdef SeenClient* row
        if len(address) != ADDRESS_OCTETS or len(mac) != MAC_OCTETS:
            raise ValueError("not an address of 16 bytes, or not a hardware address of 6")
        row = self.row_of(<const uint8_t*>PyBytes_AS_STRING(address), link, False, 0)
        if row != NULL:
            memcpy(row.mac, PyBytes_AS_STRING(mac), MAC_OCTETS)
            row.has_mac = True

    def note(
        self, bytes address not None, uint32_t link=0, uint16_t view=0, *, bint is_blocked=False,
        bint is_limited=False, double now=0
    ):
        """Count a query of a client, at so many seconds by CLOCK_BOOTTIME."""
        cdef uint64_t now_ns = <uint64_t>(now * 1e9)
        if len(address) != ADDRESS_OCTETS:
            raise ValueError("not an address of 16 bytes")
        self.count(<const uint8_t*>PyBytes_AS_STRING(address), link, view, is_blocked, is_limited, now_ns)

    cdef void count(
        self, const uint8_t* address, uint32_t link, uint16_t view, bint is_blocked, bint is_limited, uint64_t now_ns
    ) noexcept nogil:
        cdef uint32_t now_s = <uint32_t>(now_ns // 1000000000)
        cdef SeenClient* row = self.row_of(address, link, True, now_s)
        row.queries += 1
        row.last_s = now_s
        row.view = self.views[view] if view != 0 and view <= self.view_count else 0
        if is_blocked:
            row.blocked += 1
        if is_limited:
            row.limited += 1

    cdef SeenClient* row_of(
        self, const uint8_t* address, uint32_t link, bint may_add, uint32_t now_s
    ) noexcept nogil:
        """The row of a client; NULL: it has none, and may not be added."""
        cdef uint64_t wanted[2]
        cdef uint64_t there[2]
        cdef SeenClient* row
        cdef SeenClient* worst = NULL
        cdef SeenClient* first
        cdef int i
        memcpy(wanted, address, ADDRESS_OCTETS)
        first = self.rows + WAYS * (mixed(wanted[0], wanted[1], self.seed) >> (64 - SETS_BITS))
        for i in range(WAYS):
            row = first + i
            memcpy(there, row.address, ADDRESS_OCTETS)
            if there[1] == wanted[1] and there[0] == wanted[0] and row.link == link and row.queries:
                return row
            if row.queries == 0:    # rows are filled in order, and never freed
                worst = row
                break
            if worst == NULL or (
                row.last_s < worst.last_s if (row.queries == 1) == (worst.queries == 1) else row.queries == 1
            ):
                worst = row
        if not may_add:
            return NULL
        memset(worst, 0, sizeof(SeenClient))
        memcpy(worst.address, wanted, ADDRESS_OCTETS)
        worst.link = link
        worst.first_s = now_s
        return worst


def read_seen(path):
    """Return the Seen rows of a file. OSError: it cannot be read; ValueError: another version wrote it.

    The process that writes may do so meanwhile: a row that is being replaced may have the figures of two clients.
    """
    with open(path, "rb") as file:
        octets = file.read(FILE_OCTETS + 1)
    if len(octets) != FILE_OCTETS or octets[:HEAD.size] != HEAD.pack(MAGIC, VERSION, ROWS):
        raise ValueError(f"{path} was written by another version of fastdns")
    return [
        Seen(address, link, mac if has_mac else None, view, first, last, queries, blocked, limited)
        for address, queries, link, view, first, last, blocked, limited, mac, has_mac
        in ROW.iter_unpack(octets[HEAD_OCTETS:])
        if queries
    ]
