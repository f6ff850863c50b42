"""An answer outside of a process: its value and its age. Nothing read here is trusted."""

import re
import socket

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.string cimport memcmp, memcpy, memset

from fastdns._answer cimport Answer, make_answer
from fastdns._clock cimport AGE_UNKNOWN, Moment, age_since, is_later
from fastdns._key cimport KEY_TAIL, key_is_sound, lower
from fastdns._siphash cimport SipKey, siphash13
from fastdns._wire cimport HEADER_LENGTH, RECORDS_MAX, load16, load32, store32

from fastdns.config.transports import TRANSPORTS, UDP, by_number


cdef enum:
    RCODE_MAX = 15          # the most that a header can state; Reading keeps no larger one
    CHECKED_FROM = 4        # after Header.checksum

cdef enum:                  # indices of FAULTS
    SOUND = 0
    FAULT_SHORT
    FAULT_VERSION
    FAULT_LENGTHS
    FAULT_CHECKSUM
    FAULT_CONTENT

FAULTS = (
    "",
    "it is shorter than its header",
    "it is of another version",
    "its lengths do not add up",
    "its checksum is wrong",
    "it describes an impossible message",
)

cdef SipKey NO_KEY                  # a checksum, not a defence
NO_KEY.k0 = NO_KEY.k1 = 0

if sizeof(Header) != HEADER_OCTETS:
    raise ImportError("Header in _entry.pxd has holes or another size than HEADER_OCTETS")


# ---- the upstream

# The zone of a link-local address is local to this machine and may have another name tomorrow.
UPSTREAM = re.compile(r"(?:([a-z][a-z0-9+.-]*)://)?(?:\[([0-9a-fA-F:.]+)(?:%[^]]*)?]|([0-9.]+)):([0-9]+)")


cdef class Source:
    """The source of an upstream's answers, as stored beside them."""

    def __init__(self, str upstream not None):
        fill_source(&self.origin, 0, upstream, 0)


cdef int fill_source(AnswerSource* out, uint64_t fingerprint, upstream, uint32_t rtt_us) except -1:
    cdef bytes address
    memset(out, 0, sizeof(AnswerSource))
    out.fingerprint = fingerprint
    out.rtt_us = rtt_us
    if upstream is None:
        return 0
    match = UPSTREAM.fullmatch(upstream)
    try:
        scheme, ipv6, ipv4, port = match.groups()
        out.transport = TRANSPORTS[scheme or UDP.scheme].number
        address = socket.inet_pton(socket.AF_INET6, ipv6) if ipv6 else socket.inet_pton(socket.AF_INET, ipv4)
        out.port = int(port)
    except (AttributeError, KeyError, OSError, OverflowError):
        raise ValueError(f"{upstream!r} is not the address of an upstream") from None
    out.family = 6 if ipv6 else 4
    memcpy(out.address, PyBytes_AS_STRING(address), len(address))
    return 0


cdef spell_upstream(const Header* header):
    """The address as `Server` writes it, or None."""
    cdef bytes address = (<const char*>header.address)[:16]
    if header.family == 4:
        host = socket.inet_ntop(socket.AF_INET, address[:4])
    elif header.family == 6:
        host = f"[{socket.inet_ntop(socket.AF_INET6, address)}]"
    else:
        return None
    transport = by_number(header.transport)
    return None if transport is None else transport.spell(f"{host}:{header.port}")


# ---- values

cdef size_t entry_octets(const Stored* answer) noexcept nogil:
    return HEADER_OCTETS + 2 * <size_t>answer.ttl_count + answer.length + answer.options_length


cdef inline uint32_t checksum_of(const uint8_t* value, size_t length) noexcept nogil:
    return <uint32_t>siphash13(&NO_KEY, value + CHECKED_FROM, length - CHECKED_FROM)


cdef void write_entry(
    uint8_t* out, const Stored* answer, const Instant* stored, const AnswerSource* origin, uint32_t hits
) noexcept nogil:
    cdef Header header
    cdef uint8_t* at = out + HEADER_OCTETS
    memset(&header, 0, HEADER_OCTETS)
    header.version = ENTRY_VERSION
    header.flags = ENTRY_NEGATIVE if is_negative(answer) else 0
    header.rcode = answer.rcode
    header.stored = stored[0]
    header.origin = origin.fingerprint
    header.ttl = answer.ttl
    header.hits = hits
    header.rtt_us = origin.rtt_us
    header.length = answer.length
    header.ttl_count = answer.ttl_count
    header.options_length = answer.options_length
    header.transport = origin.transport
    header.family = origin.family
    header.port = origin.port
    memcpy(header.address, origin.address, 16)
    memcpy(at, answer.ttl_at, 2 * <size_t>answer.ttl_count)
    at += 2 * <size_t>answer.ttl_count
    memcpy(at, answer.wire, answer.length)
    at += answer.length
    memcpy(at, answer.options, answer.options_length)
    memcpy(out, &header, HEADER_OCTETS)
    header.checksum = checksum_of(out, entry_octets(answer))
    memcpy(out, &header.checksum, CHECKED_FROM)


cdef int hits_in(const uint8_t* value, size_t length, uint32_t* out) noexcept nogil:
    cdef Header header
    if length < HEADER_OCTETS:
        return -1
    memcpy(&header, value, HEADER_OCTETS)
    out[0] = header.hits
    return 0 if header.version == ENTRY_VERSION else -1


cdef void set_hits(uint8_t* value, size_t length, uint32_t hits) noexcept nogil:
    cdef Header header
    memcpy(&header, value, HEADER_OCTETS)
    header.hits = hits
    memcpy(value, &header, HEADER_OCTETS)
    header.checksum = checksum_of(value, length)
    memcpy(value, &header.checksum, CHECKED_FROM)


cdef bint content_is_possible(const Header* header, const Stored* answer) noexcept nogil:
    """True if following the header's numbers never leaves the message or a table of RECORDS_MAX."""
    cdef const uint8_t* offsets = <const uint8_t*>answer.ttl_at
    cdef uint16_t at
    cdef int i
    if answer.length < HEADER_LENGTH or header.ttl_count > RECORDS_MAX or header.rcode > RCODE_MAX:
        return False
    for i in range(header.ttl_count):
        memcpy(&at, offsets + 2 * i, 2)
        if at < HEADER_LENGTH or at + 4 > header.length:
            return False
    return True


cdef int examine(const uint8_t* value, size_t length, Header* header, Stored* out) noexcept nogil:
    """Read a value; return SOUND or the fault."""
    if length < HEADER_OCTETS:
        return FAULT_SHORT
    memcpy(header, value, HEADER_OCTETS)
    if header.version != ENTRY_VERSION:
        return FAULT_VERSION
    out.length = header.length
    out.ttl_count = header.ttl_count
    out.options_length = header.options_length
    if length != entry_octets(out):
        return FAULT_LENGTHS
    if header.checksum != checksum_of(value, length):
        return FAULT_CHECKSUM
    out.ttl_at = <const uint16_t*>(value + HEADER_OCTETS)
    out.wire = value + HEADER_OCTETS + 2 * <size_t>header.ttl_count
    out.options = out.wire + header.length
    out.rcode = header.rcode
    out.ttl = header.ttl
    out.is_failure = False
    out.is_authoritative = False
    return SOUND if content_is_possible(header, out) else FAULT_CONTENT


cdef int read_entry(const uint8_t* value, size_t length, Header* header, Stored* out) noexcept nogil:
    return 0 if examine(value, length, header, out) == SOUND else -1


cdef bint entry_answers(const Stored* answer, const uint8_t* key, uint16_t key_length) noexcept nogil:
    cdef int name_length = key_length - KEY_TAIL
    cdef int i
    if name_length < 1 or answer.length < HEADER_LENGTH + name_length + 4 or load16(answer.wire + 4) != 1:
        return False
    for i in range(name_length):
        if lower(answer.wire[HEADER_LENGTH + i]) != key[i]:
            return False
    return memcmp(answer.wire + HEADER_LENGTH + name_length, key + name_length, 4) == 0


# ---- values, in Python

cdef class DiskEntry:
    """A value that was read and found intact; it owns its bytes."""

    cdef Header header
    cdef Stored stored      # points into value
    cdef bytes value

    @staticmethod
    def parse(value not None):
        """Return the DiskEntry of a value. ValueError: it is damaged, and how."""
        cdef DiskEntry entry = DiskEntry.__new__(DiskEntry)
        cdef int fault
        entry.value = value if type(value) is bytes else bytes(memoryview(value))
        fault = examine(entry.value, len(entry.value), &entry.header, &entry.stored)
        if fault != SOUND:
            raise ValueError(f"damaged entry: {FAULTS[fault]}")
        return entry

    @property
    def rcode(self):
        return self.header.rcode

    @property
    def ttl(self):
        return self.header.ttl

    @property
    def hits(self):
        return self.header.hits

    @property
    def origin(self):
        return self.header.origin

    @property
    def rtt_us(self):
        return self.header.rtt_us

    @property
    def size(self):
        return len(self.value)

    @property
    def negative(self):
        return (self.header.flags & ENTRY_NEGATIVE) != 0

    @property
    def stored_wall_ms(self):
        return self.header.stored.wall_ms

    @property
    def stored_boot_ms(self):
        return self.header.stored.boot_ms

    @property
    def boot(self):
        return self.header.stored.boot

    @property
    def upstream(self):
        return spell_upstream(&self.header)

    @property
    def message(self):
        return (<const char*>self.stored.wire)[:self.stored.length]

    @property
    def edns_options(self):
        return (<const char*>self.stored.options)[:self.stored.options_length]

    @property
    def ttl_offsets(self):
        return tuple(memoryview(offsets_of(self)).cast("H"))

    def age(self, Moment now not None):
        """Return the seconds since it was stored, or None if no clock can tell."""
        cdef int64_t age = age_since(&self.header.stored, &now.at)
        return None if age == AGE_UNKNOWN else age / 1000.0

    def state(self, Moment now not None, int64_t stale):
        """Return "fresh", "stale" (for `stale` seconds after its TTL, or of unknown age) or "expired"."""
        cdef int64_t age = age_since(&self.header.stored, &now.at)
        cdef int64_t ttl = self.header.ttl
        if age == AGE_UNKNOWN:
            return "stale"
        if age < ttl * 1000:
            return "fresh"
        return "stale" if age < (ttl + stale) * 1000 else "expired"

    def answers(self, bytes key not None):
        """Return True if the question in the message is that of this cache key."""
        return key_is_sound(key, len(key)) and entry_answers(&self.stored, key, <uint16_t>len(key))

    def answer(self, uint32_t age=0):
        """Return the Answer, with its TTLs reduced by so many seconds."""
        cdef bytes message = self.message
        cdef bytes offsets = offsets_of(self)
        cdef uint8_t* wire = <uint8_t*>PyBytes_AS_STRING(message)
        cdef const uint16_t* ttl_at = <const uint16_t*>PyBytes_AS_STRING(offsets)
        cdef uint32_t ttl
        cdef int i
        for i in range(self.stored.ttl_count):
            ttl = load32(wire + ttl_at[i])
            store32(wire + ttl_at[i], ttl - age if ttl > age else 0)
        ttl = self.header.ttl
        return make_answer(
            message, offsets, self.edns_options, self.header.rcode, ttl - age if ttl > age else 0, False
        )


cdef bytes offsets_of(DiskEntry entry):
    """The TTL offsets, at an address that may be read as uint16_t."""
    return PyBytes_FromStringAndSize(<const char*>entry.stored.ttl_at, 2 * entry.stored.ttl_count)


cdef int peek_header(value, Header* header) except -1:
    cdef Py_buffer view
    cdef bint is_long_enough
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    is_long_enough = view.len >= HEADER_OCTETS
    if is_long_enough:
        memcpy(header, view.buf, HEADER_OCTETS)
    PyBuffer_Release(&view)
    if not is_long_enough:
        raise ValueError(f"damaged entry: {FAULTS[FAULT_SHORT]}")
    if header.version != ENTRY_VERSION:
        raise ValueError(f"damaged entry: {FAULTS[FAULT_VERSION]}")
    return 0


def peek(value not None):
    """Return (stored_wall_ms, stored_boot_ms, boot, ttl, hits, origin) without reading the rest of the value.

    ValueError: it is too short or of another version. The checksum is not verified either.
    """
    cdef Header header
    peek_header(value, &header)
    return header.stored.wall_ms, header.stored.boot_ms, header.stored.boot, header.ttl, header.hits, header.origin


def pack(Answer answer not None, Moment stored not None, *, uint64_t origin=0, upstream=None, rtt_us=0, hits=0):
    """Return the value of an answer. ValueError: a failure, which is stored only in memory."""
    cdef AnswerSource source
    cdef bytes value
    if answer.stored.is_failure:
        raise ValueError("a failure is kept in memory only")
    fill_source(&source, origin, upstream, saturated(rtt_us))
    value = PyBytes_FromStringAndSize(NULL, entry_octets(&answer.stored))
    write_entry(<uint8_t*>PyBytes_AS_STRING(value), &answer.stored, &stored.at, &source, saturated(hits))
    return value


cdef uint32_t saturated(number) except? 0:
    return min(number, 0xffffffff)


def with_hits(bytes value not None, hits):
    """Return the value with another number of hits, 2**32-1 at most. ValueError: it is damaged, and how."""
    cdef bytes changed = PyBytes_FromStringAndSize(PyBytes_AS_STRING(value), len(value))
    DiskEntry.parse(value)
    set_hits(<uint8_t*>PyBytes_AS_STRING(changed), len(changed), saturated(hits))
    return changed


def newer(value not None, old not None):
    """Return True if `value` was stored after `old`, or if `old` cannot be read.

    The clock of the boot decides if both are of one boot, else the wall clock. If that was not set, the value of this
    boot is newer.
    """
    cdef Header ours, theirs
    peek_header(value, &ours)
    try:
        peek_header(old, &theirs)
    except ValueError:
        return True
    return is_later(&ours.stored, &theirs.stored)
