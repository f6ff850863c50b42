"""An answer as it is cached, and the rules by which an upstream's reply becomes one.

TTLs are clamped once, here; the TTL of a negative answer follows RFC 2308 section 5; of an upstream's OPT the Extended
DNS Errors (RFC 8914) are stored beside the message.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset

from fastdns._hints cimport strip_hints
from fastdns._key cimport KEY_MAX, KEY_TAIL, key_length_of
from fastdns._scrub cimport read_clean_reply
from fastdns._wire cimport (
    ADDRESSES_MAX, FLAG_AD, FLAG_QR, FLAG_TC, HEADER_LENGTH, RECORDS_MAX, WIRE_BAD_REPLY, WIRE_OK,
    WIRE_SPOILED_REPLY, Chain, Findings, Reply, find_option, load16, load32, store16, store32,
)

cdef enum:
    NOERROR = 0
    NXDOMAIN = 3
    YXDOMAIN = 6
    OPTION_EDE = 15
    SERVFAIL = 2
    EDE_CODE = 2            # octets of INFO-CODE, before the text
    OPTION_HEAD = 4
    UNSIGNED_TTL = 10       # of an answer that may lack its signatures


cdef class Limits:
    """How long answers may be cached, in seconds (docs/architecture.md, "Cache rules")."""

    def __init__(
        self, uint32_t min_ttl, uint32_t max_ttl, uint32_t negative_max_ttl, uint32_t failure_ttl, bint trust_ad
    ):
        self.min_ttl = min_ttl
        self.max_ttl = max_ttl
        self.negative_max_ttl = negative_max_ttl
        self.failure_ttl = failure_ttl
        self.trust_ad = trust_ad


cdef class Answer:
    """One answer, immutable; `ttl` is the number of seconds for which it may be cached, 0 for not at all."""

    @property
    def rcode(self):
        return self.stored.rcode

    @property
    def ttl(self):
        return self.stored.ttl

    @property
    def is_failure(self):
        return self.stored.is_failure != 0

    @property
    def truncated(self):
        """True if the upstream truncated it (TC=1): it must be asked again over TCP."""
        return (load16(self.stored.wire + 2) & FLAG_TC) != 0

    @property
    def ttl_offsets(self):
        """Return where the TTLs are in the message."""
        return memoryview(self.offsets).cast("H").tolist()

    @property
    def message(self):
        """The message without OPT, as cached."""
        return self.wire

    @property
    def edns_options(self):
        return self.options


cdef Answer make_answer(bytes wire, bytes offsets, bytes options, uint16_t rcode, uint32_t ttl, bint is_failure):
    cdef Answer answer = Answer.__new__(Answer)
    answer.wire = wire
    answer.offsets = offsets
    answer.options = options
    answer.stored.wire = <const uint8_t*>PyBytes_AS_STRING(wire)
    answer.stored.ttl_at = <const uint16_t*>PyBytes_AS_STRING(offsets)
    answer.stored.options = <const uint8_t*>PyBytes_AS_STRING(options)
    answer.stored.length = <uint16_t>len(wire)
    answer.stored.ttl_count = <uint16_t>(len(offsets) // 2)
    answer.stored.options_length = <uint16_t>len(options)
    answer.stored.rcode = rcode
    answer.stored.ttl = ttl
    answer.stored.is_failure = is_failure
    answer.stored.is_authoritative = False
    return answer


cdef uint32_t clamp_ttls(uint8_t* wire, const uint16_t* ttl_at, uint16_t count, Limits limits) noexcept nogil:
    """Clamp every TTL to [min_ttl, max_ttl]; return the smallest. A top bit means large (RFC 8767 section 4)."""
    cdef uint32_t smallest = limits.max_ttl
    cdef uint32_t ttl
    cdef int i
    for i in range(count):
        ttl = min(max(load32(wire + ttl_at[i]), limits.min_ttl), limits.max_ttl)
        store32(wire + ttl_at[i], ttl)
        smallest = min(smallest, ttl)
    return smallest


cdef uint32_t negative_ttl(uint8_t* wire, const Reply* reply, Limits limits) noexcept nogil:
    """Reduce the SOA's TTL to min(SOA TTL, SOA MINIMUM), RFC 2308 section 5, between min_ttl and negative_max_ttl."""
    cdef uint32_t ttl
    if reply.soa_ttl_at == 0:
        return 0
    # The TTL is clamped already; the MINIMUM is a TTL as well.
    ttl = min(max(min(load32(wire + reply.soa_ttl_at), reply.soa_minimum), limits.min_ttl), limits.negative_max_ttl)
    store32(wire + reply.soa_ttl_at, ttl)
    return ttl


cdef uint16_t relay_options(const uint8_t* wire, const Reply* reply, uint8_t* out) noexcept nogil:
    """Copy the first Extended DNS Error of the upstream's OPT, a complete option, without its text if that is long."""
    cdef uint16_t value_at = 0
    cdef uint16_t length
    if reply.options_at == 0:
        return 0
    length = find_option(wire + reply.options_at, reply.options_length, OPTION_EDE, &value_at)
    if length < EDE_CODE:
        return 0
    if length + OPTION_HEAD > OPTIONS_MAX:
        length = EDE_CODE
    memcpy(out, wire + reply.options_at + value_at - OPTION_HEAD, length + OPTION_HEAD)
    store16(out + 2, length)
    return length + OPTION_HEAD


cdef bint is_failure_code(uint16_t rcode) noexcept nogil:
    return rcode != NOERROR and rcode != NXDOMAIN and rcode != YXDOMAIN


cdef void settle(
    uint8_t* wire, const Reply* reply, const uint16_t* ttl_at, Limits limits, uint8_t* options, Stored* out
) noexcept nogil:
    cdef bint is_negative = reply.rcode == NXDOMAIN or not reply.has_data
    out.options = options
    out.options_length = relay_options(wire, reply, options)
    store16(wire + 6, reply.answers)
    store16(wire + 8, reply.authorities)
    store16(wire + 10, reply.additional)
    if not limits.trust_ad:
        store16(wire + 2, load16(wire + 2) & ~FLAG_AD)
    out.wire = wire
    out.length = reply.length
    out.ttl_at = ttl_at
    out.ttl_count = reply.ttl_count
    # A code above 15 only concerns us and the upstream (BADVERS, BADCOOKIE).
    out.rcode = reply.rcode if reply.rcode < 16 else SERVFAIL
    out.is_failure = is_failure_code(reply.rcode)
    out.is_authoritative = False
    out.ttl = clamp_ttls(wire, ttl_at, reply.ttl_count, limits)
    if out.is_failure:
        out.ttl = limits.failure_ttl
    elif is_negative:
        out.ttl = min(out.ttl, negative_ttl(wire, reply, limits))
    if reply.wants_dnssec and not reply.has_opt and not out.is_failure:
        # An upstream that has not seen DO sends no signatures. It may have been asked without OPT for a moment only,
        # after a lost packet or a stray error, and a validating client cannot use the answer.
        out.ttl = min(out.ttl, <uint32_t>UNSIGNED_TTL)
    if reply.flags & FLAG_TC:
        out.ttl = 0


cdef Answer copy_answer(const Stored* stored):
    cdef Answer answer = make_answer(
        (<const char*>stored.wire)[:stored.length], (<const char*>stored.ttl_at)[:2 * stored.ttl_count],
        (<const char*>stored.options)[:stored.options_length], stored.rcode, stored.ttl, stored.is_failure,
    )
    answer.stored.is_authoritative = stored.is_authoritative
    return answer


cdef class Reading:
    """A reply that was read and matched: what the caller must know before it may become an answer."""

    cdef Reply reply
    cdef uint16_t ttl_at[RECORDS_MAX]
    cdef Findings findings
    cdef int status
    cdef bytes wire         # the clean message; None: there is none
    cdef bint is_mended     # it differs from the message that was read

    @property
    def is_spoiled(self):
        """True if it is a reply to the question, but must not be used."""
        return self.status == WIRE_SPOILED_REPLY

    @property
    def is_whole(self):
        """True if nothing in the message had to be left out or corrected."""
        return self.wire is not None and not self.is_mended and not self.reply.left_out

    @property
    def has_opt(self):
        """True if the upstream has sent an OPT in the right section."""
        return self.status == WIRE_OK and self.reply.has_opt

    @property
    def is_odd(self):
        """True if it is our own query, or its OPT is in a wrong section: the upstream does not know OPT."""
        return self.status != WIRE_BAD_REPLY and (self.reply.is_echo or self.reply.opt_misplaced)

    @property
    def rcode(self):
        """The RCODE of the last reply."""
        return self.reply.rcode

    @property
    def chain(self):
        """The queried name and those to which its CNAMEs and DNAMEs lead, in wire form and lower case."""
        cdef Chain* chain = &self.findings.chain
        return [(<const char*>chain.names[i].octets)[:chain.names[i].length] for i in range(chain.count)]

    @property
    def addresses(self):
        """The addresses in the answer, 16 bytes each: ADDRESSES_MAX at most."""
        cdef int count = min(self.findings.addresses, ADDRESSES_MAX)
        return [(<const char*>self.findings.address[i])[:16] for i in range(count)]

    @property
    def has_private(self):
        """True if one of all its addresses is private or local."""
        return bool(self.findings.has_private)

    @property
    def has_bad_hints(self):
        """True if the parameters of an SVCB or HTTPS record cannot be read."""
        return bool(self.findings.has_bad_hints)

    def strip(self, bytes key not None, bint if_v4):
        """Take the IPv6 hints out of the message that was read last, all or where IPv4 hints are; False: impossible."""
        cdef const uint8_t* octets = self.wire
        cdef size_t length = len(self.wire)
        if not strip_hints(
            &octets, &length, key, <uint16_t>len(key), if_v4, &self.reply, self.ttl_at, &self.findings
        ):
            return False
        self.wire = octets[:length]
        return True

    def read(self, wire not None, int expected_id, bytes key not None):
        """Read a reply to the question of this key; return True when it may count (RFC 5452 section 9)."""
        cdef bytes message = wire if type(wire) is bytes else bytes(memoryview(wire))
        cdef const uint8_t* octets = message
        cdef const uint8_t* given = octets
        cdef size_t length = len(message)
        self.wire = None
        self.status = WIRE_BAD_REPLY
        self.is_mended = False
        if length < HEADER_LENGTH or not KEY_TAIL < len(key) <= KEY_MAX:
            return False
        self.status = read_clean_reply(
            &octets, &length, <uint16_t>expected_id, key, <uint16_t>len(key), &self.reply, self.ttl_at,
            &self.findings,
        )
        if self.status != WIRE_OK:
            return False
        self.is_mended = octets != given
        self.wire = octets[:length]
        return True

    def answer(self, Limits limits not None):
        """Return the Answer made of the message that was read last. ValueError: it was not good.

        An answer that must not be cached (truncated, TTL 0, negative without an SOA) has a ttl of 0.
        """
        cdef Stored stored
        cdef uint8_t options[OPTIONS_MAX]
        cdef Answer answer
        if self.wire is None:
            raise ValueError("no message was read")
        copy = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.wire), len(self.wire))
        settle(<uint8_t*>PyBytes_AS_STRING(copy), &self.reply, self.ttl_at, limits, options, &stored)
        answer = copy_answer(&stored)
        answer.is_lame = is_lame(&self.reply)
        return answer


cdef void fail(
    Failure* out, const uint8_t* key, uint16_t key_length, uint16_t rcode, int ede, uint32_t ttl
) noexcept nogil:
    cdef uint16_t question = key_length - KEY_TAIL + 4
    memset(out, 0, sizeof(Stored) + HEADER_LENGTH)
    store16(out.wire + 2, FLAG_QR | rcode)
    store16(out.wire + 4, 1)
    memcpy(out.wire + HEADER_LENGTH, key, question)
    store16(out.options, OPTION_EDE)
    store16(out.options + 2, EDE_CODE)
    store16(out.options + OPTION_HEAD, <uint16_t>ede)
    out.stored.wire = out.wire
    out.stored.ttl_at = <const uint16_t*>out.options    # there are none
    out.stored.options = out.options
    out.stored.length = HEADER_LENGTH + question
    out.stored.options_length = OPTION_HEAD + EDE_CODE if ede >= 0 else 0
    out.stored.rcode = rcode
    out.stored.ttl = ttl
    out.stored.is_failure = True


cdef Stored* copy_stored(const Stored* stored) noexcept nogil:
    cdef size_t offsets = 2 * <size_t>stored.ttl_count
    cdef Stored* copy = <Stored*>malloc(sizeof(Stored) + offsets + stored.length + stored.options_length)
    cdef uint8_t* at = <uint8_t*>(copy + 1)
    if copy == NULL:
        return NULL
    copy[0] = stored[0]
    memcpy(at, stored.ttl_at, offsets)
    copy.ttl_at = <const uint16_t*>at
    memcpy(at + offsets, stored.wire, stored.length)
    copy.wire = at + offsets
    memcpy(at + offsets + stored.length, stored.options, stored.options_length)
    copy.options = at + offsets + stored.length
    return copy


def failure(bytes key not None, int rcode, ede, uint32_t ttl):
    """Return an Answer without records to the question of this key.

    It has an RCODE and, unless ede is None, an Extended DNS Error (RFC 8914), and may be cached for ttl seconds.
    """
    cdef Failure made
    fail(&made, key, key_length_of(key), <uint16_t>(rcode & 15), -1 if ede is None else ede, ttl)
    return copy_answer(&made.stored)


def extended_error(int ede):
    """Return the EDNS option that carries this INFO-CODE without a text (RFC 8914 section 2)."""
    return bytes((0, OPTION_EDE, 0, 2, ede >> 8, ede & 255))


def text_answer(bytes key not None, bytes text not None):
    """Return the Answer of one TXT record (at most 255 bytes) with TTL 0: about fastdns itself, never cached."""
    cdef bytes name = key[:len(key) - KEY_TAIL]
    cdef bytes question = name + key[len(name):len(name) + 4]
    cdef bytes header = bytes((0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0))
    cdef bytes data = bytes((len(text),)) + text
    cdef bytes record = b"\xc0\x0c" + question[len(name):] + bytes(4) + len(data).to_bytes(2, "big") + data
    return make_answer(header + question + record, b"", b"", NOERROR, 0, False)
