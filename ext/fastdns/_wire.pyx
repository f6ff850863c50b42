"""Bounds-checked reading of DNS messages: a query's header, question and OPT; all records of a reply."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcmp, memcpy, memset

from fastdns._key cimport KEY_DO, KEY_TAIL, end_key, key_flags, lower


cdef enum:
    POINTER = 0xc0          # the two upper bits of a compression pointer (RFC 1035 section 4.1.4)
    HOPS_MAX = 127          # pointers in one name: it has at most that many labels (RFC 1035 section 3.1)
    ADDITIONAL_MAX = 8      # records in the additional section of a query: usual ones are OPT and TSIG
    OPT_OCTETS = 11
    OPTION_COOKIE = 10
    OPTION_KEEPALIVE = 11
    OPTION_PADDING = 12
    RCODE_NXDOMAIN = 3

cdef uint32_t NAT64_PREFIX = 0x0064ff9b


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


cdef inline int copy_name(Reader* r, Name* out, bint fold) noexcept nogil:
    """Copy a name, compressed or not, in lower case if fold says so; return 0, or -1.

    Every pointer must lead to an earlier place than the one before it, and never into the header: no loops. Their
    number is bounded as well, because many records may each start at the top of a long chain of pointers.
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
            out.octets[length + i] = lower(at[i]) if fold else at[i]
        at += label + 1
        length += label + 1
        if label == 0:
            out.length = <uint16_t>length
            r.at = at if after == NULL else after
            return 0


cdef int read_name(Reader* r, Name* out) noexcept nogil:
    return copy_name(r, out, True)


cdef int read_spelled_name(Reader* r, Name* out) noexcept nogil:
    return copy_name(r, out, False)


cdef int read_record(Reader* r, Record* out) noexcept nogil:
    """Read one resource record and step over it; return 0, or -1 if it is not completely inside the message."""
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
    """True if the RDATA of an OPT is a sequence of complete options (RFC 6891 section 6.1.2)."""
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

cdef int read_query_opt(Reader* r, int count, Asked* out) noexcept nogil:
    """Read the additional section of a query, in which only OPT matters here."""
    cdef Record record
    cdef int version = 0
    # Each owner may be a long chain of pointers: a few are enough, and many are an attack.
    if count > ADDITIONAL_MAX:
        return WIRE_FORMERR
    while count > 0:
        count -= 1
        if read_record(r, &record) < 0:
            return WIRE_FORMERR
        if record.rtype != TYPE_OPT:
            continue
        # One OPT, owned by the root: RFC 6891 section 6.1.1.
        if out.has_opt or record.owner.length != 1 or not options_are_whole(record.data, record.length):
            return WIRE_FORMERR
        take_opt(out, record.rclass, r.start[record.ttl_at + 2])
        version = r.start[record.ttl_at + 1]
        if version == 0 and not take_options(out, &record, r.start):
            return WIRE_FORMERR
    return WIRE_BADVERS if version != 0 else WIRE_OK


cdef bint take_options(Asked* out, const Record* opt, const uint8_t* start) noexcept nogil:
    """Note the options that matter here, of whole options; of several COOKIE options the first counts.

    False: the cookie has an impossible length (RFC 7873 section 5.2.2).
    """
    cdef uint16_t at = 0
    cdef uint16_t code, size
    while at < opt.length:
        code = load16(opt.data + at)
        size = load16(opt.data + at + 2)
        if code == OPTION_COOKIE:
            if out.cookie_length == 0:
                out.cookie_at = <uint16_t>(opt.data + at + 4 - start)
                out.cookie_length = <uint8_t>size if size == 8 or 16 <= size <= 40 else 0
                if out.cookie_length == 0:
                    return False
        elif code == OPTION_PADDING:
            out.has_padding = True
        elif code == OPTION_KEEPALIVE:
            # A client must not send a value (RFC 7828 section 3.2.1), but no error is defined for it: it is ignored.
            out.has_keepalive = size == 0
        at += 4 + size
    return True


cdef inline void take_opt(Asked* out, uint16_t udp_size, uint8_t flags) noexcept nogil:
    out.has_opt = True
    out.udp_size = min(max(udp_size, <uint16_t>UDP_SIZE_MIN), <uint16_t>UDP_SIZE_MAX)
    out.dnssec_ok = (flags & 0x80) != 0


cdef int may_be_asked(uint16_t qtype, uint16_t qclass) noexcept nogil:
    """0, or the status for a type or class that is not a question to a resolver (RFC 6895 section 3.1)."""
    if qtype == 0 or qtype == TYPE_OPT or qtype == 128:     # NXNAME: RFC 9824 section 3.4
        return WIRE_FORMERR
    if 249 <= qtype <= 254:                                 # TKEY TSIG IXFR AXFR MAILB MAILA
        return WIRE_REFUSED
    if qclass in (0, 254, 255):                             # reserved, NONE, ANY
        return WIRE_REFUSED
    return WIRE_OK


cdef int read_head(Reader* r, const uint8_t* packet, size_t length, Asked* out, Key* key) noexcept nogil:
    """Read header and question; return 0 or a WireStatus. The key lacks what comes after the class.

    WIRE_COOKIE_ONLY: there is no question, and whether there is a cookie was not looked at.
    """
    cdef int name_length
    out.length = key.length = 0
    out.has_opt = out.dnssec_ok = False
    out.cookie_length = out.has_cookie = out.has_padding = out.has_keepalive = 0
    out.pad_to = out.keepalive = 0
    out.udp_size = UDP_SIZE_MIN
    if length < HEADER_LENGTH:
        return WIRE_DROP
    out.id = load16(packet)
    out.flags = load16(packet + 2)
    if out.flags & FLAG_QR:
        return WIRE_DROP
    if out.flags & FLAG_OPCODE:
        return WIRE_NOTIMP
    if load16(packet + 4) > 1 or load16(packet + 6) != 0 or load16(packet + 8) != 0:
        return WIRE_FORMERR
    r.start = packet
    r.at = packet + HEADER_LENGTH
    r.end = packet + length
    if load16(packet + 4) == 0:
        return WIRE_COOKIE_ONLY
    name_length = read_plain_name(r, key.octets)
    if name_length < 0 or not has_octets(r, 4):
        return WIRE_FORMERR
    key.qtype = load16(r.at)
    key.qclass = load16(r.at + 2)
    out.length = <uint16_t>(name_length + 4)
    memcpy(key.octets + name_length, r.at, 4)
    r.at += 4
    return WIRE_OK


cdef int read_query(const uint8_t* packet, size_t length, Asked* out, Key* key) noexcept nogil:
    cdef Reader r
    cdef int status = read_head(&r, packet, length, out, key)
    if status == WIRE_COOKIE_ONLY:
        status = read_query_opt(&r, load16(packet + 10), out)
        if status == WIRE_OK:
            return WIRE_COOKIE_ONLY if out.cookie_length else WIRE_FORMERR
    elif status == WIRE_OK:
        status = read_query_opt(&r, load16(packet + 10), out)
    if status != WIRE_OK:
        return status
    key.length = end_key(key.octets, out.length, out.dnssec_ok, (out.flags & FLAG_CD) != 0, 0)
    return may_be_asked(key.qtype, key.qclass)


cdef int read_question(const uint8_t* packet, size_t length, Asked* out, Key* key) noexcept nogil:
    cdef Reader r
    cdef int status = read_head(&r, packet, length, out, key)
    if status == WIRE_OK and load16(packet + 10) == 1 and has_octets(&r, OPT_OCTETS):
        if r.at[0] == 0 and load16(r.at + 1) == TYPE_OPT:
            take_opt(out, load16(r.at + 3), r.at[7])
    return WIRE_FORMERR if status == WIRE_COOKIE_ONLY else status


# ---- replies

cdef bint strings_fill(Reader* r, int at_least, int at_most) noexcept nogil:
    """True if the rest of the reader is so many character-strings (RFC 1035 section 3.3); at_most 0: any number."""
    cdef int count = 0
    while r.at < r.end:
        if not has_octets(r, 1 + r.at[0]):
            return False
        r.at += 1 + r.at[0]
        count += 1
    return count >= at_least and (at_most == 0 or count <= at_most)


cdef inline void lay_out(Layout* out, int before, int names, int after, bint compressible) noexcept nogil:
    out.before = before
    out.strings = 0
    out.names = names
    out.after = after
    out.compressible = compressible


cdef bint layout_of(uint16_t rtype, Layout* out) noexcept nogil:
    if rtype in (TYPE_NS, 3, 4, TYPE_CNAME, 7, 8, 9, 12):           # NS MD MF CNAME MB MG MR PTR
        lay_out(out, 0, 1, 0, True)
    elif rtype == TYPE_SOA:
        lay_out(out, 0, 2, 20, True)
    elif rtype == 14:                                               # MINFO
        lay_out(out, 0, 2, 0, True)
    elif rtype == 15:                                               # MX
        lay_out(out, 2, 1, 0, True)
    elif rtype == TYPE_DNAME:
        lay_out(out, 0, 1, 0, False)
    elif rtype in (18, 21, 36, 107):                                # AFSDB RT KX LP
        lay_out(out, 2, 1, 0, False)
    elif rtype == 17:                                               # RP
        lay_out(out, 0, 2, 0, False)
    elif rtype == 26:                                               # PX
        lay_out(out, 2, 2, 0, False)
    elif rtype == 33:                                               # SRV
        lay_out(out, 6, 1, 0, False)
    elif rtype == 35:                                               # NAPTR, RFC 3403 section 4.1
        lay_out(out, 4, 1, 0, False)
        out.strings = 3
    elif rtype == TYPE_SVCB or rtype == TYPE_HTTPS:
        lay_out(out, 2, 1, -1, False)
    elif rtype == 24 or rtype == TYPE_RRSIG:                        # SIG
        lay_out(out, 18, 1, -1, False)
    elif rtype == 30 or rtype == 47:                                # NXT NSEC
        lay_out(out, 0, 1, -1, False)
    else:
        return False
    return True


cdef bint layout_fills(Reader* r, const Layout* layout, Name* last) noexcept nogil:
    """True if the rest of the reader matches the layout; last becomes the last name in it."""
    cdef int _i
    if not has_octets(r, layout.before):
        return False
    r.at += layout.before
    for _i in range(layout.strings):
        if not has_octets(r, 1) or not has_octets(r, 1 + r.at[0]):
            return False
        r.at += 1 + r.at[0]
    for _i in range(layout.names):
        if read_name(r, last) < 0:
            return False
    return layout.after < 0 or r.end - r.at == layout.after


cdef bint rdata_is_sound(const Reader* message, const Record* record, Name* last) noexcept nogil:
    """True if the RDATA has the length and the names that its type requires; unknown types are opaque (RFC 3597)."""
    cdef Reader r
    cdef Layout layout
    cdef int rtype = record.rtype
    last.length = 0
    if rtype == TYPE_A and record.rclass == CLASS_IN:
        return record.length == 4
    if rtype == TYPE_AAAA:
        return record.length == 16
    r.start = message.start
    r.at = record.data
    r.end = record.data + record.length
    if layout_of(record.rtype, &layout):
        return layout_fills(&r, &layout, last)
    if rtype in (16, 99):                                           # TXT SPF; an empty one occurs and is harmless
        return strings_fill(&r, 0, 0)
    if rtype == 13:                                                 # HINFO
        return strings_fill(&r, 2, 2)
    if rtype in (43, 59, 48, 60, 25):                               # DS CDS DNSKEY CDNSKEY KEY
        return record.length >= 4
    if rtype in (104, 106):                                         # NID L64
        return record.length == 10
    if rtype in (105, 108):                                         # L32 EUI48
        return record.length == 6
    if rtype == 109:                                                # EUI64
        return record.length == 8
    return True


cdef bint is_meta(uint16_t rtype) noexcept nogil:
    return rtype == TYPE_OPT or 249 <= rtype <= 255


cdef bint same_name(const Name* one, const Name* other) noexcept nogil:
    return one.length == other.length and memcmp(one.octets, other.octets, one.length) == 0


cdef uint64_t hash_name(const Name* name) noexcept nogil:
    """FNV-1a. Two names with one hash gain an attacker only records that it could have sent anyway."""
    cdef uint64_t hash = 0xcbf29ce484222325
    cdef int i
    for i in range(name.length):
        hash = (hash ^ name.octets[i]) * <uint64_t>0x100000001b3
    return hash


cdef bint is_under(const Name* name, const uint8_t* suffix, uint16_t length) noexcept nogil:
    """True if name is strictly below suffix. Both are canonical and complete."""
    cdef int at = 0
    while name.length - at > length:
        at += name.octets[at] + 1
    return at > 0 and name.length - at == length and memcmp(name.octets + at, suffix, length) == 0


cdef int belongs(Chain* chain, const Record* record, const Reader* message) noexcept nogil:
    """1: an answer record's owner is the queried name or on its chain, which a CNAME lengthens; 0: no; -1: too long."""
    cdef int i
    cdef Reader r
    cdef const Name* owner = &record.owner
    for i in range(chain.count):
        if same_name(&chain.names[i], owner):
            if chain.is_dname[i] and record.rtype != TYPE_DNAME and record.rtype != TYPE_RRSIG:
                continue
            if record.rtype == TYPE_CNAME:
                # A client with only the first part of a chain would take it for the whole.
                if chain.count == CHAIN_MAX:
                    return -1
                r.start = message.start
                r.at = record.data
                r.end = record.data + record.length
                read_name(&r, &chain.names[chain.count])
                chain.is_dname[chain.count] = False
                chain.count += 1
            return 1
    if record.rtype != TYPE_DNAME:
        return 0
    for i in range(chain.count):
        if is_under(&chain.names[i], owner.octets, owner.length):
            if chain.count == CHAIN_MAX:
                return -1
            memcpy(&chain.names[chain.count], owner, sizeof(Name))
            chain.is_dname[chain.count] = True
            chain.count += 1
            return 1
    return 0


cdef bint is_of_chain_authority(const Chain* chain, const Record* record) noexcept nogil:
    cdef const Name* owner = &record.owner
    cdef int i
    # Proofs concern neighbours of the name, and tell nothing to a client that does not validate.
    if record.rtype == TYPE_RRSIG or record.rtype == TYPE_NSEC or record.rtype == TYPE_NSEC3:
        return True
    for i in range(chain.count):
        if same_name(&chain.names[i], owner) or is_under(&chain.names[i], owner.octets, owner.length):
            return True
    return False


cdef bint is_targeted(const Targets* targets, const Chain* chain, const Name* owner) noexcept nogil:
    cdef uint64_t hash
    cdef int i
    for i in range(chain.count):
        if same_name(&chain.names[i], owner):
            return True
    hash = hash_name(owner)
    for i in range(targets.count):
        if targets.hashes[i] == hash:
            return True
    return False


cdef void note_target(Targets* targets, const Record* record, const Name* last) noexcept nogil:
    """Note that addresses of the name in this record belong in the additional section (RFC 1035, 2782, 9460 …)."""
    cdef uint16_t rtype = record.rtype
    if last.length == 0 or targets.count == TARGETS_MAX or rtype in (TYPE_SOA, 24, TYPE_RRSIG, 30, 47):
        return
    # "." in SVCB and HTTPS is the owner: RFC 9460 section 2.5.2.
    if last.length == 1 and (rtype == TYPE_SVCB or rtype == TYPE_HTTPS):
        targets.hashes[targets.count] = hash_name(&record.owner)
    else:
        targets.hashes[targets.count] = hash_name(last)
    targets.count += 1


cdef bint read_reply_opt(Reader* r, const Record* record, Reply* out) noexcept nogil:
    """Read the first OPT; False: something is wrong with it."""
    if out.has_opt or record.owner.length != 1:
        return False
    out.has_opt = True
    out.rcode |= <uint16_t>(r.start[record.ttl_at] << 4)
    if not options_are_whole(record.data, record.length):
        return False
    out.options_at = <uint16_t>(record.data - r.start)
    out.options_length = record.length
    return True


ctypedef struct Section:    # what the reading of one depends on
    int number              # 1 answer, 2 authority, 3 additional
    int left                # records
    bint wants_targets
    const uint8_t* asked    # QTYPE and QCLASS


cdef bint is_private_v4(const uint8_t* at) noexcept nogil:
    """True for private, loopback, link-local and shared addresses, and those of "this network" (RFC 6890)."""
    return (
        at[0] == 10 or at[0] == 127 or at[0] == 0 or (at[0] == 192 and at[1] == 168)
        or (at[0] == 172 and at[1] & 0xf0 == 16) or (at[0] == 169 and at[1] == 254)
        or (at[0] == 100 and at[1] >> 6 == 1)
    )


cdef bint is_private_v6(const uint8_t* at) noexcept nogil:
    """True for unique local, link-local and site-local addresses, :: and ::1, and private IPv4 in other forms."""
    cdef uint32_t prefix = load32(at)
    if at[0] & 0xfe == 0xfc or (at[0] == 0xfe and at[1] >= 0x80):
        return True
    if load32(at + 4) or load16(at + 8):
        return False
    if load16(at + 10) == 0xffff:
        return prefix == 0 and is_private_v4(at + 12)       # IPv4-mapped, RFC 4291 section 2.5.5.2
    # ::, ::1, the old form ::a.b.c.d; and 64:ff9b::/96, which must not stand for private ones (RFC 6052 section 3.1).
    return load16(at + 10) == 0 and (prefix == 0 or prefix == NAT64_PREFIX) and is_private_v4(at + 12)


cdef void note_address(Findings* findings, const uint8_t* octets, int length) noexcept nogil:
    """Note an address of 4 or 16 octets."""
    cdef uint8_t* room
    if is_private_v4(octets) if length == 4 else is_private_v6(octets):
        findings.has_private = True
    if findings.addresses < ADDRESSES_MAX:
        room = findings.address[findings.addresses]
        memset(room, 0, 16)
        if length == 4:
            room[10] = room[11] = 255
        memcpy(room + 16 - length, octets, length)
    findings.addresses += 1


cdef void note_hints(Findings* findings, const Reader* message, const Record* record) noexcept nogil:
    """Note the addresses in the parameters of an SVCB or HTTPS record: RFC 9460 section 7.3."""
    cdef Reader r
    cdef Name target
    cdef int key, length, size
    cdef bint has_others = findings.has_bad_hints
    findings.has_bad_hints = True       # until all of them have been read
    r.start = message.start
    r.at = record.data + 2
    r.end = record.data + record.length
    if record.length < 2 or read_name(&r, &target) < 0:
        return
    while r.at < r.end:
        if not has_octets(&r, 4):
            return
        key, length = load16(r.at), load16(r.at + 2)
        r.at += 4
        if not has_octets(&r, length):
            return
        if key == HINT_V4 or key == HINT_V6:
            size = 4 if key == HINT_V4 else 16
            if length == 0 or length % size:
                return
            while length:
                note_address(findings, r.at, size)
                r.at += size
                length -= size
        r.at += length
    findings.has_bad_hints = has_others


cdef int read_section(
    Reader* r, Section* section, Findings* findings, Targets* targets, Reply* out, uint16_t* ttl_at
) noexcept nogil:
    """0; 1: the rest of the message is unreadable and left out; -1: the answer section has a bad record."""
    cdef Chain* chain = &findings.chain
    cdef Record record
    cdef Name last
    cdef uint16_t qtype = load16(section.asked)
    cdef uint16_t qclass = load16(section.asked + 2)
    cdef int found
    while section.left > 0:
        section.left -= 1
        if read_record(r, &record) < 0 or out.ttl_count == RECORDS_MAX:
            return -1 if section.number == 1 else 1
        if is_meta(record.rtype):
            if record.rtype != TYPE_OPT or section.number != 3 or not read_reply_opt(r, &record, out):
                out.left_out = True
            if record.rtype == TYPE_OPT and section.number != 3:
                out.opt_misplaced = True
            out.has_gap = True
            continue
        if not rdata_is_sound(r, &record, &last):
            if section.number == 1:
                return -1
            out.has_gap = out.left_out = True
            continue
        if section.number == 1:
            found = belongs(chain, &record, r) if record.rclass == qclass else 0
            if found < 0:
                return -1
            if found == 0:      # its turn in the chain may still come
                out.must_rewrite = out.has_gap = out.left_out = True
                continue
            if record.rtype == qtype or qtype == TYPE_ANY:
                out.has_data = True
            if record.rtype == TYPE_A and qclass == CLASS_IN or record.rtype == TYPE_AAAA:
                note_address(findings, record.data, record.length)
            elif record.rtype == TYPE_HTTPS or record.rtype == TYPE_SVCB:
                note_hints(findings, r, &record)
            out.answers += 1
        elif record.rclass != qclass:
            out.has_gap = out.left_out = True
            continue
        elif section.number == 2:
            if not is_of_chain_authority(chain, &record):
                out.has_gap = out.left_out = True
                continue
            if record.rtype == TYPE_SOA and out.soa_ttl_at == 0:
                out.soa_ttl_at = record.ttl_at
                out.soa_minimum = load32(record.data + record.length - 4)
            out.authorities += 1
        else:
            if not is_targeted(targets, chain, &record.owner):
                out.has_gap = out.left_out = True
                continue
            out.additional += 1
        if section.wants_targets:
            note_target(targets, &record, &last)
        if out.has_gap:
            out.must_rewrite = True
        ttl_at[out.ttl_count] = record.ttl_at
        out.ttl_count += 1
        out.length = <uint16_t>(r.at - r.start)
    return 0


cdef int read_reply_question(
    Reader* r, const uint8_t* key, uint16_t key_length, Name* asked, Reply* out
) noexcept nogil:
    """Read the question of a reply, which must be that of the key; 0 or a WireStatus."""
    cdef uint16_t name_length = key_length - KEY_TAIL
    cdef uint16_t questions = load16(r.start + 4)
    r.at = r.start + HEADER_LENGTH
    asked.length = name_length
    if questions == 0:
        # Some servers report an error, or truncation, in a header alone. Address, port and id must suffice; so it may
        # end the wait, but tells nothing about the name.
        if not out.flags & FLAG_QR or not (out.flags & FLAG_TC or out.rcode not in (0, 3, 6)):
            return WIRE_BAD_REPLY
        memcpy(asked.octets, key, name_length)
        out.is_bare = out.must_rewrite = True
        return WIRE_OK
    if questions != 1:
        return WIRE_BAD_REPLY
    # In plain form, because the cached answer repeats the client's own spelling over these bytes.
    if read_plain_name(r, asked.octets) != name_length or not has_octets(r, 4):
        return WIRE_BAD_REPLY
    if memcmp(asked.octets, key, name_length) != 0 or memcmp(r.at, key + name_length, 4) != 0:
        return WIRE_BAD_REPLY
    r.at += 4
    return WIRE_OK


cdef int read_reply(
    const uint8_t* packet, size_t length, uint16_t expected_id, const uint8_t* key, uint16_t key_length,
    Reply* out, uint16_t* ttl_at, Findings* findings,
) noexcept nogil:
    cdef Reader r
    cdef Targets targets
    cdef Section section
    cdef int status, number
    memset(out, 0, sizeof(Reply))
    findings.chain.count = findings.addresses = 0
    findings.has_private = findings.has_bad_hints = False
    if length < HEADER_LENGTH or length > 65535 or load16(packet) != expected_id:
        return WIRE_BAD_REPLY
    out.flags = load16(packet + 2)
    out.rcode = out.flags & FLAG_RCODE
    out.wants_dnssec = (key_flags(key, key_length) & KEY_DO) != 0
    r.start = packet
    r.end = packet + length
    status = read_reply_question(&r, key, key_length, &findings.chain.names[0], out)
    if status != WIRE_OK:
        return status
    out.length = <uint16_t>(r.at - packet)
    if not out.flags & FLAG_QR:
        out.is_echo = True
        return WIRE_SPOILED_REPLY
    if out.flags & FLAG_OPCODE:
        return WIRE_SPOILED_REPLY
    if out.flags & FLAG_TC:
        return WIRE_OK      # wherever it was truncated: TCP gets all of it
    findings.chain.is_dname[0] = False
    findings.chain.count = 1
    targets.count = 0
    section.asked = key + key_length - KEY_TAIL
    section.wants_targets = load16(packet + 10) != 0
    for number in range(1, 4):
        section.number = number
        section.left = load16(packet + 4 + 2 * number)
        if out.is_bare and number < 3 and section.left:
            return WIRE_OK
        status = read_section(&r, &section, findings, &targets, out, ttl_at)
        if status < 0:
            return WIRE_SPOILED_REPLY
        if status > 0:
            out.left_out = True
            return WIRE_OK
    if r.at != r.end:
        out.left_out = True
    return WIRE_OK


cdef bint find_in_answer(
    const uint8_t* message, size_t length, const uint8_t* key, uint16_t key_length, Findings* findings
) noexcept nogil:
    cdef Reply reply
    cdef uint16_t ttl_at[RECORDS_MAX]
    return length >= HEADER_LENGTH and read_reply(
        message, length, load16(message), key, key_length, &reply, ttl_at, findings
    ) == WIRE_OK


cdef bint has_data(
    const uint8_t* message, size_t length, const uint8_t* key, uint16_t key_length
) noexcept nogil:
    cdef Reply reply
    cdef Findings findings
    cdef uint16_t ttl_at[RECORDS_MAX]
    return length >= HEADER_LENGTH and read_reply(
        message, length, load16(message), key, key_length, &reply, ttl_at, &findings
    ) == WIRE_OK and reply.has_data


# ---- messages of ours

cdef size_t fitting_length(const uint8_t* message, size_t length, size_t room, uint16_t* authorities) noexcept nogil:
    cdef Reader r
    cdef size_t fits = 0
    cdef int section, count, rtype
    cdef bint is_needed = True
    r.start = message
    r.at = message + HEADER_LENGTH
    r.end = message + length
    authorities[0] = 0
    if not skip_name(&r) or not has_octets(&r, 4):
        return 0
    r.at += 4
    for section in range(1, 3):
        count = load16(message + 4 + 2 * section)
        while count > 0:
            count -= 1
            if not skip_name(&r) or not has_octets(&r, 10) or not has_octets(&r, 10 + load16(r.at + 8)):
                return fits
            rtype = load16(r.at)
            # Only these say that the name or type does not exist.
            is_needed = is_needed or rtype == TYPE_SOA or rtype == TYPE_NSEC or rtype == TYPE_NSEC3
            r.at += 10 + load16(r.at + 8)
            if is_needed and <size_t>(r.at - message) > room:
                return 0
        if <size_t>(r.at - message) > room:
            return fits
        is_needed = False
        fits = <size_t>(r.at - message)
        if section == 2:
            authorities[0] = load16(message + 8)
    return fits


cdef int64_t smallest_ttl(const uint8_t* response, size_t length) noexcept nogil:
    cdef Reader r
    cdef int64_t smallest = -1
    cdef int rcode = load16(response + 2) & FLAG_RCODE if length >= HEADER_LENGTH else 0
    cdef int section, _record
    cdef uint16_t rtype, size
    if length < HEADER_LENGTH or load16(response + 2) & FLAG_TC or (rcode != 0 and rcode != RCODE_NXDOMAIN):
        return -1
    r.start = response
    r.at = response + HEADER_LENGTH
    r.end = response + length
    for _record in range(load16(response + 4)):
        if not skip_name(&r) or not has_octets(&r, 4):
            return -1
        r.at += 4
    for section in range(2):
        for _record in range(load16(response + 6 + 2 * section)):
            if not skip_name(&r) or not has_octets(&r, 10) or not has_octets(&r, 10 + load16(r.at + 8)):
                return -1
            rtype = load16(r.at)
            size = load16(r.at + 8)
            if smallest < 0 or load32(r.at + 4) < smallest:
                smallest = load32(r.at + 4)
            r.at += 10 + size
            # How long a denial may be kept: RFC 2308 section 4.
            if section == 1 and rtype == TYPE_SOA and size >= 20 and load32(r.at - 4) < smallest:
                smallest = load32(r.at - 4)
    return smallest


def smallest_ttl_of(bytes response not None):
    """Return for how many seconds a response of ours may be kept; None: not at all (see `smallest_ttl`)."""
    cdef int64_t ttl = smallest_ttl(<const uint8_t*>PyBytes_AS_STRING(response), len(response))
    return None if ttl < 0 else ttl


cdef bint skip_name(Reader* r) noexcept nogil:
    """Step over a name without following pointers."""
    while has_octets(r, 1):
        if r.at[0] >= POINTER:
            if not has_octets(r, 2):
                return False
            r.at += 2
            return True
        if r.at[0] == 0:
            r.at += 1
            return True
        if not has_octets(r, r.at[0] + 1):
            return False
        r.at += r.at[0] + 1
    return False
