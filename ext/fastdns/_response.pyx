"""Fitting an answer to one client (docs/architecture.md, "Headers")."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy, memset

from fastdns._answer cimport Answer
from fastdns._key cimport Key
from fastdns._wire cimport (
    COOKIE_OCTETS, FLAG_AA, FLAG_AD, FLAG_CD, FLAG_OPCODE, FLAG_QR, FLAG_RA, FLAG_RD, FLAG_TC, HEADER_LENGTH, TYPE_OPT,
    UDP_SIZE_MAX, WIRE_OK, fitting_length, load16, load32, read_query, store16, store32,
)

cdef enum:
    OPT_LENGTH = 11         # without options
    OPT_DO = 0x80
    OPTION_COOKIE = 10
    OPTION_EDE = 15
    OPTION_KEEPALIVE = 11
    OPTION_PADDING = 12
    OPTION_HEAD = 4         # octets
    COOKIE_OPTION = 28      # octets
    KEEPALIVE_OPTION = 6
    EDE_OCTETS = 6          # the option without a text
    RCODE_SERVFAIL = 2
    RCODE_NXDOMAIN = 3
    RCODE_REFUSED = 5


cdef inline size_t opt_length(const Asked* asked) noexcept nogil:
    """The octets that our OPT takes at least. A client that has got a cookie drops answers without one (RFC 7873
    section 5.3), so it is left out for nothing.
    """
    if not asked.has_opt:
        return 0
    return OPT_LENGTH + COOKIE_OPTION if asked.has_cookie else OPT_LENGTH


cdef size_t write_opt(
    uint8_t* message, size_t before, const Asked* asked, uint16_t rcode, const uint8_t* options,
    uint16_t options_length, size_t limit
) noexcept nogil:
    """Write our OPT after so many bytes of a message, and return the message's length.

    It says our UDP size, the upper byte of the RCODE, and DO as the client set it (RFC 3225 section 3).
    """
    cdef uint8_t* out = message + before
    cdef size_t length = OPT_LENGTH + options_length
    memset(out, 0, OPT_LENGTH)
    store16(out + 1, TYPE_OPT)
    store16(out + 3, UDP_SIZE_MAX)
    out[5] = <uint8_t>(rcode >> 4)
    out[7] = OPT_DO if asked.dnssec_ok else 0
    if options_length:
        memcpy(out + OPT_LENGTH, options, options_length)
    if asked.has_cookie:
        store16(out + length, OPTION_COOKIE)
        store16(out + length + 2, COOKIE_OCTETS)
        memcpy(out + length + 4, asked.cookie, COOKIE_OCTETS)
        length += COOKIE_OPTION
    if asked.keepalive or asked.pad_to:
        length += write_stream_options(out + length, before + length, asked, limit)
    store16(out + 9, <uint16_t>(length - OPT_LENGTH))
    return before + length


cdef size_t write_stream_options(uint8_t* out, size_t before, const Asked* asked, size_t limit) noexcept nogil:
    """Write the options that only connections get, as far as they fit; return their octets.

    Padding is the last: it makes the whole message a multiple of pad_to, or as long as it may be (RFC 8467 section
    4.1).
    """
    cdef size_t length = 0
    cdef size_t padded
    if asked.keepalive and before + KEEPALIVE_OPTION <= limit:
        store16(out, OPTION_KEEPALIVE)
        store16(out + 2, 2)
        store16(out + 4, asked.keepalive)
        length = KEEPALIVE_OPTION
    if asked.pad_to and before + length + OPTION_HEAD <= limit:
        padded = before + length + OPTION_HEAD + asked.pad_to - 1
        padded = min(padded - padded % asked.pad_to, limit) - before - length
        memset(out + length, 0, padded)
        store16(out + length, OPTION_PADDING)
        store16(out + length + 2, <uint16_t>(padded - OPTION_HEAD))
        length += padded
    return length


cdef inline void write_ede(uint8_t* out, uint16_t code) noexcept nogil:
    """Write an Extended DNS Error without a text (RFC 8914 section 2)."""
    store16(out, OPTION_EDE)
    store16(out + 2, 2)
    store16(out + 4, code)


cdef inline uint16_t response_flags(const Asked* asked, uint16_t rcode) noexcept nogil:
    return <uint16_t>(FLAG_QR | FLAG_RA | (asked.flags & (FLAG_OPCODE | FLAG_RD | FLAG_CD)) | (rcode & 15))


cdef size_t write_head(
    uint8_t* out, const uint8_t* spelling, const Asked* asked, uint16_t flags
) noexcept nogil:
    """Write a header that counts only the question, and the question."""
    memset(out, 0, HEADER_LENGTH)
    store16(out, asked.id)
    store16(out + 2, flags)
    if asked.length:
        out[5] = 1
        memcpy(out + HEADER_LENGTH, spelling, asked.length)
    return HEADER_LENGTH + asked.length


cdef size_t write_body(
    uint8_t* out, const uint8_t* spelling, const Asked* asked, const Stored* answer, size_t limit
) noexcept nogil:
    """Write the message without OPT, as much as fits beside one; return its length. Its TTLs are as cached."""
    cdef uint16_t flags = response_flags(asked, answer.rcode)
    cdef size_t reserved = opt_length(asked)
    cdef size_t length = answer.length
    cdef uint16_t authorities = 0
    if length + reserved > limit:
        # Data beside the answer is left out without TC: RFC 2181 section 9.
        length = fitting_length(answer.wire, length, limit - reserved, &authorities)
        if length == 0:
            return write_head(out, spelling, asked, flags | FLAG_TC)
    memcpy(out, answer.wire, length)
    if length < answer.length:
        store16(out + 8, authorities)
        store16(out + 10, 0)
    store16(out, asked.id)
    # AD is in the cached message only if the upstream is trusted with it; RFC 6840 section 5.7 says which clients get
    # it.
    if asked.dnssec_ok or asked.flags & FLAG_AD:
        flags |= load16(answer.wire + 2) & FLAG_AD
    if answer.is_authoritative and answer.rcode != RCODE_REFUSED:
        flags |= FLAG_AA
    store16(out + 2, flags)
    memcpy(out + HEADER_LENGTH, spelling, asked.length)
    return length


cdef size_t add_opt(
    uint8_t* out, size_t length, const Asked* asked, const Stored* answer, size_t limit
) noexcept nogil:
    """Write our OPT after a message, without its options if they do not fit; return the new length."""
    cdef uint16_t options_length = answer.options_length
    if not asked.has_opt:
        return length
    if length + opt_length(asked) + options_length > limit:
        options_length = 0
    store16(out + 10, load16(out + 10) + 1)
    return write_opt(out, length, asked, answer.rcode, answer.options, options_length, limit)


cdef size_t write_answer(
    uint8_t* out, const uint8_t* spelling, const Asked* asked, const Stored* answer, uint32_t age,
    size_t limit,
) noexcept nogil:
    cdef size_t length = write_body(out, spelling, asked, answer, limit)
    cdef uint32_t ttl
    cdef int i
    for i in range(answer.ttl_count):
        if answer.ttl_at[i] >= length:
            break
        ttl = load32(out + answer.ttl_at[i])
        store32(out + answer.ttl_at[i], ttl - age if ttl > age else 0)
    return add_opt(out, length, asked, answer, limit)


cdef size_t write_stale(
    uint8_t* out, const uint8_t* spelling, const Asked* asked, const Stored* answer, uint32_t ttl,
    size_t limit,
) noexcept nogil:
    cdef uint8_t options[EDE_OCTETS]
    cdef Stored stale = answer[0]
    cdef size_t length = write_body(out, spelling, asked, answer, limit)
    cdef int i
    for i in range(answer.ttl_count):
        if answer.ttl_at[i] >= length:
            break
        store32(out + answer.ttl_at[i], ttl)
    write_ede(options, EDE_STALE_NXDOMAIN if answer.rcode == RCODE_NXDOMAIN else EDE_STALE_ANSWER)
    stale.options = options
    stale.options_length = EDE_OCTETS
    return add_opt(out, length, asked, &stale, limit)


cdef size_t write_error(
    uint8_t* out, const uint8_t* spelling, const Asked* asked, uint16_t rcode, int ede=-1
) noexcept nogil:
    cdef uint8_t options[EDE_OCTETS]
    cdef size_t length = write_head(out, spelling, asked, response_flags(asked, rcode))
    if asked.has_opt:
        out[11] = 1
        if ede >= 0:
            write_ede(options, <uint16_t>ede)
        length = write_opt(out, length, asked, rcode, options, EDE_OCTETS if ede >= 0 else 0, ERROR_MAX)
    return length


cdef size_t write_truncated(uint8_t* out, const uint8_t* spelling, const Asked* asked) noexcept nogil:
    cdef size_t length = write_head(out, spelling, asked, response_flags(asked, 0) | FLAG_TC)
    if asked.has_opt:
        out[11] = 1
        length = write_opt(out, length, asked, 0, NULL, 0, ERROR_MAX)
    return length


def respond(
    bytes query not None, Answer answer, uint32_t age=0, *, size_t limit=RESPONSE_MAX, uint16_t pad_to=0,
    uint16_t keepalive=0
):
    """Return the response to a query over a connection, with an answer of that age; None: SERVFAIL.

    ValueError: the message is not a query that has an answer.
    """
    cdef Asked asked
    cdef Key key
    cdef const uint8_t* packet = <const uint8_t*>PyBytes_AS_STRING(query)
    cdef uint8_t* out
    cdef size_t length
    if read_query(packet, len(query), &asked, &key) != WIRE_OK:
        raise ValueError("not a query that has an answer")
    asked.pad_to = pad_to if asked.has_padding else 0
    asked.keepalive = keepalive if asked.has_keepalive else 0
    out = <uint8_t*>PyMem_Malloc(RESPONSE_MAX)
    if out == NULL:
        raise MemoryError
    if answer is None:
        length = write_error(out, packet + HEADER_LENGTH, &asked, RCODE_SERVFAIL)
    else:
        length = write_answer(
            out, packet + HEADER_LENGTH, &asked, &answer.stored, age, min(limit, <size_t>RESPONSE_MAX)
        )
    response = (<const char*>out)[:length]
    PyMem_Free(out)
    return response
