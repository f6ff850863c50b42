"""Bounds-checked reading of DNS messages: a query's header, question and OPT; a reply whole, record by record."""

from libc.string cimport memcmp, memcpy, memset


cdef enum:
    POINTER = 0xc0          # the two upper bits of a compression pointer (RFC 1035 section 4.1.4)
    HOPS_MAX = 127          # pointers in one name: it has at most that many labels (RFC 1035 section 3.1)
    CHAIN_MAX = 24          # names on a CNAME chain; longer ones are a loop or a bad joke

ctypedef struct Reader:
    const uint8_t* start    # of the message: what compression pointers count from
    const uint8_t* at
    const uint8_t* end

ctypedef struct Name:
    uint16_t length
    uint8_t octets[NAME_MAX + 1]

ctypedef struct Record:
    Name owner
    uint16_t rtype
    uint16_t rclass
    uint16_t ttl_at
    uint16_t length         # of the RDATA
    const uint8_t* data

ctypedef struct Chain:      # the names whose records belong to the answer
    int count
    bint is_dname[CHAIN_MAX]
    Name names[CHAIN_MAX]


cdef inline bint has_octets(const Reader* r, size_t n) noexcept nogil:
    return <size_t>(r.end - r.at) >= n


cdef int read_plain_name(Reader* r, uint8_t* canonical) noexcept nogil:
    """Copy an uncompressed name in lower case; return its length, or -1. canonical has room for NAME_MAX."""
    cdef int length = 0
    cdef int label, i
    while True:
        if not has_octets(r, 1):
            return -1
        label = r.at[0]
        if label > 63 or length + label + 1 > NAME_MAX or not has_octets(r, label + 1):
            return -1
        for i in range(label + 1):
            canonical[length + i] = lower(r.at[i])
        r.at += label + 1
        length += label + 1
        if label == 0:
            return length


cdef int read_name(Reader* r, Name* out) noexcept nogil:
    """Copy a name, compressed or not, in lower case; return 0, or -1.

    Every pointer must lead to an earlier place than the one before it, and none into the header: no loop ever. Their
    number is bounded as well, since many records may each start at the top of a long ladder.
    """
    cdef const uint8_t* at = r.at
    cdef const uint8_t* lowest = r.at
    cdef const uint8_t* after = NULL
    cdef int length = 0
    cdef int hops = 0
    cdef int label, i
    while True:
        if at >= r.end:
            return -1
        label = at[0]
        if label >= POINTER:
            hops += 1
            if r.end - at < 2 or hops > HOPS_MAX:
                return -1
            if after == NULL:
                after = at + 2
            at = r.start + (load16(at) & 0x3fff)
            if at >= lowest or at - r.start < HEADER_LENGTH:
                return -1
            lowest = at
            continue
        if label > 63 or length + label + 1 > NAME_MAX or r.end - at < label + 1:
            return -1
        for i in range(label + 1):
            out.octets[length + i] = lower(at[i])
        at += label + 1
        length += label + 1
        if label == 0:
            out.length = <uint16_t>length
            r.at = at if after == NULL else after
            return 0


cdef int read_record(Reader* r, Record* out) noexcept nogil:
    """Read one resource record and step over it; return 0, or -1 when it does not lie inside the message."""
    if read_name(r, &out.owner) < 0 or not has_octets(r, 10):
        return -1
    out.rtype = load16(r.at)
    out.rclass = load16(r.at + 2)
    out.ttl_at = <uint16_t>(r.at + 4 - r.start)
    out.length = load16(r.at + 8)
    r.at += 10
    if not has_octets(r, out.length):
        return -1
    out.data = r.at
    r.at += out.length
    return 0


cdef bint options_are_whole(const uint8_t* options, uint16_t length) noexcept nogil:
    """True when the RDATA of an OPT is a run of complete options (RFC 6891 section 6.1.2)."""
    cdef int left = length
    while left > 0:
        if left < 4 or left < 4 + load16(options + 2):
            return False
        left -= 4 + load16(options + 2)
        options += 4 + load16(options + 2)
    return True


cdef uint16_t find_option(
    const uint8_t* options, uint16_t length, uint16_t code, uint16_t* value_at
) noexcept nogil:
    cdef int at = 0
    cdef int size
    while at + 4 <= length:
        size = load16(options + at + 2)
        if at + 4 + size > length:
            return 0
        if load16(options + at) == code:
            value_at[0] = <uint16_t>(at + 4)
            return <uint16_t>size
        at += 4 + size
    return 0


# ---- queries

cdef int read_query_opt(Reader* r, int count, Question* out) noexcept nogil:
    """Read the additional section of a query, of which only OPT matters here."""
    cdef Record record
    cdef int version = 0
    while count > 0:
        count -= 1
        if read_record(r, &record) < 0:
            return WIRE_FORMERR
        if record.rtype != TYPE_OPT:
            continue
        # One OPT, owned by the root: RFC 6891 section 6.1.1.
        if out.has_opt or record.owner.length != 1 or not options_are_whole(record.data, record.length):
            return WIRE_FORMERR
        out.has_opt = True
        out.udp_size = min(max(record.rclass, <uint16_t>UDP_SIZE_MIN), <uint16_t>UDP_SIZE_MAX)
        version = r.start[record.ttl_at + 1]
        out.dnssec_ok = (r.start[record.ttl_at + 2] & 0x80) != 0
    return WIRE_BADVERS if version != 0 else WIRE_OK


cdef int may_be_asked(uint16_t qtype, uint16_t qclass) noexcept nogil:
    """0, or the status for a type or class that is not a question to a resolver (RFC 6895 section 3.1)."""
    if qtype == 0 or qtype == TYPE_OPT or qtype == 128:     # NXNAME: RFC 9824 section 3.4
        return WIRE_FORMERR
    if 249 <= qtype <= 254:                                 # TKEY TSIG IXFR AXFR MAILB MAILA
        return WIRE_REFUSED
    if qclass in (0, 254, 255):                             # reserved, NONE, ANY
        return WIRE_REFUSED
    return WIRE_OK


cdef int read_query(const uint8_t* packet, size_t length, Question* out) noexcept nogil:
    cdef Reader r
    cdef int name_length, status
    cdef uint8_t* tail
    out.length = out.key_length = 0
    out.has_opt = out.dnssec_ok = False
    out.udp_size = UDP_SIZE_MIN
    if length < HEADER_LENGTH:
        return WIRE_DROP
    out.id = load16(packet)
    out.flags = load16(packet + 2)
    if out.flags & FLAG_QR:
        return WIRE_DROP
    if out.flags & FLAG_OPCODE:
        return WIRE_NOTIMP
    if load16(packet + 4) != 1 or load16(packet + 6) != 0 or load16(packet + 8) != 0:
        return WIRE_FORMERR
    r.start = packet
    r.at = packet + HEADER_LENGTH
    r.end = packet + length
    name_length = read_plain_name(&r, out.key)
    if name_length < 0 or not has_octets(&r, 4):
        return WIRE_FORMERR
    out.qtype = load16(r.at)
    out.qclass = load16(r.at + 2)
    out.length = <uint16_t>(name_length + 4)
    tail = out.key + name_length
    memcpy(tail, r.at, 4)
    r.at += 4
    status = read_query_opt(&r, load16(packet + 10), out)
    if status != WIRE_OK:
        return status
    tail[4] = (KEY_DO if out.dnssec_ok else 0) | (KEY_CD if out.flags & FLAG_CD else 0)
    tail[5] = tail[6] = 0   # view
    out.key_length = <uint16_t>(name_length + KEY_TAIL)
    return may_be_asked(out.qtype, out.qclass)


# ---- replies

cdef bint names_fill(Reader* r, int before, int names, int after) noexcept nogil:
    """True when the rest of the reader is `before` octets, that many names, and exactly `after` octets."""
    cdef Name name
    if not has_octets(r, before):
        return False
    r.at += before
    while names > 0:
        names -= 1
        if read_name(r, &name) < 0:
            return False
    return r.end - r.at == after


cdef bint name_follows(Reader* r, int before) noexcept nogil:
    """True when a name stands after `before` octets; anything may come after it."""
    cdef Name name
    if not has_octets(r, before):
        return False
    r.at += before
    return read_name(r, &name) == 0


cdef bint strings_fill(Reader* r, int at_least, int at_most) noexcept nogil:
    """True when the rest of the reader is so many character-strings (RFC 1035 section 3.3); at_most 0: any number."""
    cdef int count = 0
    while r.at < r.end:
        if not has_octets(r, 1 + r.at[0]):
            return False
        r.at += 1 + r.at[0]
        count += 1
    return count >= at_least and (at_most == 0 or count <= at_most)


cdef bint naptr_fills(Reader* r) noexcept nogil:
    """True when the rest of the reader is a NAPTR (RFC 3403 section 4.1): two numbers, three strings, a name."""
    cdef int _string
    if not has_octets(r, 4):
        return False
    r.at += 4
    for _string in range(3):
        if not has_octets(r, 1) or not has_octets(r, 1 + r.at[0]):
            return False
        r.at += 1 + r.at[0]
    return names_fill(r, 0, 1, 0)


cdef bint rdata_is_sound(const Reader* message, const Record* record) noexcept nogil:
    """True when the RDATA has the length and the names that its type demands; unknown types are opaque (RFC 3597)."""
    cdef Reader r
    cdef int rtype = record.rtype
    r.start = message.start
    r.at = record.data
    r.end = record.data + record.length
    if rtype == TYPE_A and record.rclass == CLASS_IN:
        return record.length == 4
    if rtype == TYPE_AAAA:
        return record.length == 16
    if rtype in (2, 3, 4, TYPE_CNAME, 7, 8, 9, 12, TYPE_DNAME):     # NS MD MF CNAME MB MG MR PTR DNAME
        return names_fill(&r, 0, 1, 0)
    if rtype == TYPE_SOA:
        return names_fill(&r, 0, 2, 20)
    if rtype in (15, 18, 21, 36, 107):                              # MX AFSDB RT KX LP
        return names_fill(&r, 2, 1, 0)
    if rtype in (14, 17):                                           # MINFO RP
        return names_fill(&r, 0, 2, 0)
    if rtype == 26:                                                 # PX
        return names_fill(&r, 2, 2, 0)
    if rtype == 33:                                                 # SRV
        return names_fill(&r, 6, 1, 0)
    if rtype == 35:
        return naptr_fills(&r)
    if rtype in (16, 99):                                           # TXT SPF
        return strings_fill(&r, 1, 0)
    if rtype == 13:                                                 # HINFO
        return strings_fill(&r, 2, 2)
    if rtype in (64, 65):                                           # SVCB HTTPS
        return name_follows(&r, 2)
    if rtype in (24, TYPE_RRSIG):                                   # SIG RRSIG
        return name_follows(&r, 18)
    if rtype == 47:                                                 # NSEC
        return name_follows(&r, 0)
    if rtype in (43, 59, 48, 60, 25):                               # DS CDS DNSKEY CDNSKEY KEY
        return record.length >= 4
    if rtype in (104, 106):                                         # NID L64
        return record.length == 10
    if rtype in (105, 108):                                         # L32 EUI48
        return record.length == 6
    if rtype == 109:                                                # EUI64
        return record.length == 8
    return True


cdef bint is_under(const Name* name, const uint8_t* suffix, uint16_t length) noexcept nogil:
    """True when name lies strictly below suffix. Both are canonical and whole."""
    cdef int at = 0
    while name.length - at > length:
        at += name.octets[at] + 1
    return at > 0 and name.length - at == length and memcmp(name.octets + at, suffix, length) == 0


cdef bint belongs(Chain* chain, const Record* record, const Reader* message) noexcept nogil:
    """True when an answer record's owner is the queried name or on its CNAME/DNAME chain, which a CNAME lengthens."""
    cdef int i
    cdef Reader r
    cdef const Name* owner = &record.owner
    for i in range(chain.count):
        if chain.names[i].length == owner.length and memcmp(chain.names[i].octets, owner.octets, owner.length) == 0:
            if chain.is_dname[i] and record.rtype != TYPE_DNAME and record.rtype != TYPE_RRSIG:
                continue
            if record.rtype == TYPE_CNAME and chain.count < CHAIN_MAX:
                r.start = message.start
                r.at = record.data
                r.end = record.data + record.length
                read_name(&r, &chain.names[chain.count])
                chain.is_dname[chain.count] = False
                chain.count += 1
            return True
    if record.rtype != TYPE_DNAME or chain.count == CHAIN_MAX:
        return False
    for i in range(chain.count):
        if is_under(&chain.names[i], owner.octets, owner.length):
            memcpy(&chain.names[chain.count], owner, sizeof(Name))
            chain.is_dname[chain.count] = True
            chain.count += 1
            return True
    return False


cdef int read_reply_opt(Reader* r, const Record* record, const uint8_t* at, Reply* out) noexcept nogil:
    """Take what an OPT says and cut it off when it is the last record."""
    if out.options_at or record.owner.length != 1 or not options_are_whole(record.data, record.length):
        return -1
    out.options_at = <uint16_t>(record.data - r.start)
    out.options_length = record.length
    out.rcode |= <uint16_t>(r.start[record.ttl_at] << 4)
    if r.at == r.end:
        out.length = <uint16_t>(at - r.start)
    else:
        out.must_rewrite = True
    return 0


cdef int read_section(
    Reader* r, int count, int section, const uint8_t* asked, Chain* chain, Reply* out, uint16_t* ttl_at
) noexcept nogil:
    """Read the records of one section (1 answer, 2 authority, 3 additional); return 0, or -1 for a bad one."""
    cdef Record record
    cdef const uint8_t* at
    cdef uint16_t qtype = load16(asked)
    cdef uint16_t qclass = load16(asked + 2)
    while count > 0:
        count -= 1
        at = r.at
        if read_record(r, &record) < 0:
            return -1
        if record.rtype == TYPE_OPT:
            if section != 3 or read_reply_opt(r, &record, at, out) < 0:
                return -1
            continue
        if out.ttl_count == RECORDS_MAX or not rdata_is_sound(r, &record):
            return -1
        ttl_at[out.ttl_count] = record.ttl_at
        out.ttl_count += 1
        if section == 1:
            if record.rclass != qclass or not belongs(chain, &record, r):
                out.must_rewrite = True
            elif record.rtype == qtype or qtype == TYPE_ANY:
                out.has_data = True
        elif section == 2 and record.rtype == TYPE_SOA and out.soa_ttl_at == 0:
            out.soa_ttl_at = record.ttl_at
            out.soa_minimum = load32(record.data + record.length - 4)
        elif section == 3:
            out.additional += 1
    return 0


cdef int read_reply(
    const uint8_t* packet, size_t length, uint16_t expected_id, const uint8_t* key, uint16_t key_length,
    Reply* out, uint16_t* ttl_at,
) noexcept nogil:
    cdef Reader r
    cdef Chain chain
    cdef Name* asked = &chain.names[0]
    cdef uint16_t name_length = key_length - KEY_TAIL
    cdef int section
    memset(out, 0, sizeof(Reply))
    if length < HEADER_LENGTH or length > 65535 or load16(packet) != expected_id:
        return WIRE_BAD_REPLY
    out.flags = load16(packet + 2)
    out.rcode = out.flags & FLAG_RCODE
    out.length = <uint16_t>length
    if not out.flags & FLAG_QR or out.flags & FLAG_OPCODE or load16(packet + 4) != 1:
        return WIRE_BAD_REPLY
    r.start = packet
    r.at = packet + HEADER_LENGTH
    r.end = packet + length
    # Plain, since what is kept repeats the client's own spelling over these octets.
    if read_plain_name(&r, asked.octets) != name_length or not has_octets(&r, 4):
        return WIRE_BAD_REPLY
    if memcmp(asked.octets, key, name_length) != 0 or memcmp(r.at, key + name_length, 4) != 0:
        return WIRE_BAD_REPLY
    asked.length = name_length
    chain.is_dname[0] = False
    chain.count = 1
    r.at += 4
    for section in range(1, 4):
        if read_section(
            &r, load16(packet + 4 + 2 * section), section, key + name_length, &chain, out, ttl_at
        ) < 0:
            return WIRE_BAD_REPLY
    # Octets after the last record mean that the counts lie.
    return WIRE_OK if r.at == r.end else WIRE_BAD_REPLY
