"""SVCB and HTTPS records without the IPv6 addresses in their parameters, for clients that are told no AAAA records."""

from libc.stdint cimport uint8_t, uint16_t

from fastdns._rewrite cimport (
    MESSAGE_MAX, Writer, begin_message, begin_record, end_record, write_name, write_octets, write_rdata, write_record,
)
from fastdns._wire cimport (
    FLAG_AD, HINT_V4, HINT_V6, TYPE_HTTPS, TYPE_SVCB, WIRE_OK, Findings, Name, Reader, Record, Reply, load16,
    read_record, read_reply, read_spelled_name, store16,
)

cdef enum:
    PARAMETER_HEAD = 4      # of a service parameter: key and length
    MANDATORY = 0           # the key of the list of parameters that a client must know

# For one message at a time: the caller holds the GIL.
cdef uint8_t stripped[MESSAGE_MAX]
cdef Writer writer


cdef bint next_parameter(Reader* r, uint16_t* key, uint16_t* length) noexcept nogil:
    """Read the head of a service parameter; False: there is none, or it is not complete."""
    if r.end - r.at < PARAMETER_HEAD:
        return False
    key[0] = load16(r.at)
    length[0] = load16(r.at + 2)
    if r.end - r.at - PARAMETER_HEAD < length[0]:
        return False
    r.at += PARAMETER_HEAD
    return True


cdef bint write_without_hints(Writer* w, const Reader* message, const Record* record, bint if_v4) noexcept nogil:
    """Write the RDATA of an SVCB or HTTPS record without its IPv6 hints (RFC 9460 section 7.3)."""
    cdef Reader r
    cdef Name target
    cdef uint8_t head[PARAMETER_HEAD]
    cdef const uint8_t* first
    cdef uint16_t key, length, i
    cdef bint goes = not if_v4
    r.start = message.start
    r.at = record.data + 2
    r.end = record.data + record.length
    if record.length < 2 or read_spelled_name(&r, &target) < 0:
        return False
    first = r.at
    while next_parameter(&r, &key, &length):
        goes = goes or key == HINT_V4
        r.at += length
    if r.at != r.end:
        return False
    if not goes:
        return write_rdata(w, message, record)
    # The name in full: where a pointer of the old message leads to lies elsewhere in the new one.
    if not write_octets(w, record.data, 2) or not write_name(w, &target, False):
        return False
    r.at = first
    while next_parameter(&r, &key, &length):
        if key == MANDATORY:        # of what remains: section 8
            store16(head, key)
            store16(head + 2, length)
            for i in range(0, length // 2):
                if load16(r.at + 2 * i) == HINT_V6:
                    store16(head + 2, load16(head + 2) - 2)
            if load16(head + 2):
                if not write_octets(w, head, PARAMETER_HEAD):
                    return False
                for i in range(0, length // 2):
                    if load16(r.at + 2 * i) != HINT_V6 and not write_octets(w, r.at + 2 * i, 2):
                        return False
        elif key != HINT_V6 and not write_octets(w, r.at - PARAMETER_HEAD, PARAMETER_HEAD + length):
            return False
        r.at += length
    return True


cdef bint write_service(
    Writer* w, const Reader* message, const uint8_t* at, const Record* record, bint if_v4
) noexcept nogil:
    """Write an SVCB or HTTPS record without its IPv6 hints; False: it cannot be read, and nothing was written."""
    cdef size_t began = w.at
    cdef size_t data_at = begin_record(w, message, at, record)
    return end_record(w, began, data_at, data_at and write_without_hints(w, message, record, if_v4))


cdef size_t write_stripped(const uint8_t* packet, size_t length, bint if_v4) noexcept nogil:
    """Write a message into `stripped` without IPv6 hints and return its length; 0: impossible."""
    cdef Reader r
    cdef Record record
    cdef Name name
    cdef const uint8_t* at
    cdef int section, left, written
    cdef bint is_written
    begin_message(&writer, stripped, &r, packet, length)
    if load16(packet + 4) != 1 or read_spelled_name(&r, &name) < 0 or r.end - r.at < 4:
        return 0
    write_name(&writer, &name, False)
    write_octets(&writer, r.at, 4)
    r.at += 4
    for section in range(1, 4):
        left = load16(packet + 4 + 2 * section)
        written = 0
        while left > 0:
            left -= 1
            at = r.at
            if read_record(&r, &record) < 0:
                if section == 1:
                    return 0
                r.at = r.end        # nothing after it can be read
                break
            if record.rtype == TYPE_HTTPS or record.rtype == TYPE_SVCB:
                is_written = write_service(&writer, &r, at, &record, if_v4)     # a malformed one is left out
            else:
                is_written = write_record(&writer, &r, at, &record)
            written += is_written
        store16(stripped + 4 + 2 * section, <uint16_t>written)
    return writer.at


cdef bint strip_hints(
    const uint8_t** wire, size_t* length, const uint8_t* key, uint16_t key_length, bint if_v4, Reply* out,
    uint16_t* ttl_at, Findings* findings,
) noexcept:
    cdef uint16_t message_id = load16(wire[0])
    cdef bint wants_dnssec = out.wants_dnssec
    cdef int addresses = findings.addresses
    cdef size_t written
    written = write_stripped(wire[0], length[0], if_v4)
    if written == 0 or read_reply(
        stripped, written, message_id, key, key_length, out, ttl_at, findings
    ) != WIRE_OK or out.must_rewrite:
        # As before: it is known to be good.
        read_reply(wire[0], length[0], message_id, key, key_length, out, ttl_at, findings)
        out.wants_dnssec = wants_dnssec
        return False
    out.wants_dnssec = wants_dnssec
    if findings.addresses != addresses:     # this is not what the upstream has validated
        store16(stripped + 2, load16(stripped + 2) & ~FLAG_AD)
    wire[0] = stripped
    length[0] = written
    return True
