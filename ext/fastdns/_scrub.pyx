"""A reply as it should have been sent: its chain in order, only with records that belong to the question.

Time grows with the number of records, whatever they are.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from fastdns._key cimport KEY_TAIL
from fastdns._rewrite cimport MESSAGE_MAX, RECORD_HEAD, Writer, begin_message, write_name, write_octets, write_record
from fastdns._wire cimport (
    CHAIN_MAX, FLAG_AD, FLAG_TC, HEADER_LENGTH, RECORDS_MAX, TYPE_CNAME, TYPE_DNAME, TYPE_OPT, TYPE_RRSIG, WIRE_OK,
    WIRE_SPOILED_REPLY, Chain, Findings, Name, Reader, Record, Targets, hash_name, is_meta, is_of_chain_authority,
    is_targeted, is_under, load16, load32, note_target, rdata_is_sound, read_record, read_reply, read_spelled_name,
    same_name, store16, store32,
)

cdef enum:
    TYPE_NSEC = 47
    TYPE_NSEC3 = 50
    DNAMES_MAX = 64         # and their signatures: a chain has one or two
    READS_MAX = 2 * RECORDS_MAX     # of records, to find those of a chain: hashes distinguish nearly all

ctypedef struct Note:       # a record of the answer section
    uint64_t owner          # hash
    uint16_t at
    int leads_on            # 1: a DNAME; 2: the signature of one; 0: neither
    bint used

# For one message at a time: the caller holds the GIL.
cdef uint8_t cleaned[MESSAGE_MAX]
cdef Note notes[RECORDS_MAX]
cdef Writer writer
cdef Chain chain
cdef Targets targets


# ---- the answer section

cdef int note_answers(Reader* r, int count, uint16_t qclass) noexcept nogil:
    """Note the records of the answer section; return how many, or -1."""
    cdef Record record
    cdef const uint8_t* at
    cdef int noted = 0
    cdef int leading = 0
    while count > 0:
        count -= 1
        at = r.at
        if read_record(r, &record) < 0:
            return -1
        if is_meta(record.rtype) or record.rclass != qclass:
            continue
        notes[noted].at = <uint16_t>(at - r.start)
        notes[noted].owner = hash_name(&record.owner)
        notes[noted].used = False
        notes[noted].leads_on = 0
        if record.rtype == TYPE_DNAME:
            notes[noted].leads_on = 1
        elif record.rtype == TYPE_RRSIG and load16(record.data) == TYPE_DNAME:
            notes[noted].leads_on = 2
        leading += notes[noted].leads_on != 0
        noted += 1
    return noted if leading <= DNAMES_MAX else -1


cdef int take(Writer* w, Reader* r, Note* note, Record* record) noexcept nogil:
    """Write a record of the answer section, and note where it leads; 0, or -1."""
    cdef Name last
    cdef int i
    note.used = True
    rdata_is_sound(r, record, &last)
    if not write_record(w, r, r.start + note.at, record):
        return -1
    note_target(&targets, record, &last)
    if record.rtype != TYPE_CNAME:
        return 0
    for i in range(chain.count):
        if same_name(&chain.names[i], &last):
            return 0
    if chain.count == CHAIN_MAX:
        return -1
    memcpy(&chain.names[chain.count], &last, sizeof(Name))
    chain.count += 1
    return 0


cdef int write_answers(Writer* w, Reader* message, int noted) noexcept nogil:
    """Write the records of the chain in its order; return how many, or -1."""
    cdef Reader r
    cdef Record record
    cdef uint64_t hash
    cdef int written = 0
    cdef int reads = 0
    cdef int turn, i, k = 0
    r = message[0]
    while k < chain.count:
        hash = hash_name(&chain.names[k])
        # First the DNAME above, from which the CNAME of the name was made (RFC 6672 section 3.1), and its signature.
        for turn in range(1, 4):
            for i in range(noted):
                if notes[i].used or (notes[i].leads_on != turn if turn < 3 else notes[i].owner != hash):
                    continue
                r.at = r.start + notes[i].at
                reads += 1
                # Many names with one hash, or many DNAMEs that are not ours, are an attack on our time.
                if reads > READS_MAX or read_record(&r, &record) < 0:
                    return -1
                if turn < 3 and not is_under(&chain.names[k], record.owner.octets, record.owner.length):
                    continue
                if turn == 3 and not same_name(&chain.names[k], &record.owner):
                    continue
                if take(w, &r, &notes[i], &record) < 0:
                    return -1
                written += 1
        k += 1
    return written


# ---- the whole

cdef int write_rest(Writer* w, Reader* r, int section, uint16_t qclass, const uint8_t** opt) noexcept nogil:
    """Write the useful records of authority or additional section; return how many. opt: the position of the first OPT.
    """
    cdef Record record
    cdef Name last
    cdef const uint8_t* at
    cdef int left = load16(r.start + 4 + 2 * section)
    cdef int written = 0
    cdef bint belongs
    while left > 0:
        left -= 1
        at = r.at
        if read_record(r, &record) < 0:
            r.at = r.end        # nothing after it can be read
            break
        if record.rtype == TYPE_OPT and section == 3 and opt[0] == NULL and record.owner.length == 1:
            opt[0] = at
        if is_meta(record.rtype) or record.rclass != qclass or not rdata_is_sound(r, &record, &last):
            continue
        if section == 2:
            belongs = is_of_chain_authority(&chain, &record)
        else:
            belongs = is_targeted(&targets, &chain, &record.owner)
        if belongs:
            if not write_record(w, r, at, &record):
                continue
            note_target(&targets, &record, &last)
            written += 1
    return written


cdef size_t scrub(const uint8_t* packet, size_t length, const uint8_t* key, uint16_t key_length, bint is_bare) noexcept:
    """Write the clean message into `cleaned` and return its length; 0: impossible."""
    cdef Reader r
    cdef Record record
    cdef Name name
    cdef const uint8_t* opt = NULL
    cdef uint16_t qclass = load16(key + key_length - KEY_TAIL + 2)
    cdef int counts[4]
    begin_message(&writer, cleaned, &r, packet, length)
    memset(counts, 0, sizeof(counts))
    memcpy(chain.names[0].octets, key, key_length - KEY_TAIL)
    chain.names[0].length = key_length - KEY_TAIL
    chain.count = 1
    targets.count = 0
    if is_bare:
        name = chain.names[0]
    elif read_spelled_name(&r, &name) < 0:
        return 0
    else:
        r.at += 4
    write_name(&writer, &name, False)
    write_octets(&writer, key + key_length - KEY_TAIL, 4)
    if not load16(packet + 2) & FLAG_TC and not is_bare:
        counts[1] = note_answers(&r, load16(packet + 6), qclass)
        if counts[1] >= 0:
            counts[1] = write_answers(&writer, &r, counts[1])
        if counts[1] < 0:
            return 0
        counts[2] = write_rest(&writer, &r, 2, qclass, &opt)
    if not load16(packet + 2) & FLAG_TC and (not is_bare or load16(packet + 6) == load16(packet + 8) == 0):
        counts[3] = write_rest(&writer, &r, 3, qclass, &opt)
    if opt != NULL:
        r.at = opt
        read_record(&r, &record)
        # Its owner is the root, however it was written.
        if writer.room - writer.at > <size_t>(1 + RECORD_HEAD + record.length):
            write_octets(&writer, b"\0", 1)
            write_octets(&writer, record.data - RECORD_HEAD, RECORD_HEAD + record.length)
            counts[3] += 1
    store16(cleaned + 4, 1)
    store16(cleaned + 6, <uint16_t>counts[1])
    store16(cleaned + 8, <uint16_t>counts[2])
    store16(cleaned + 10, <uint16_t>counts[3])
    return writer.at


cdef int read_clean_reply(
    const uint8_t** wire, size_t* length, uint16_t expected_id, const uint8_t* key, uint16_t key_length, Reply* out,
    uint16_t* ttl_at, Findings* findings,
) noexcept:
    cdef int status = read_reply(wire[0], length[0], expected_id, key, key_length, out, ttl_at, findings)
    cdef bint is_bare, opt_misplaced
    cdef size_t written
    if status != WIRE_OK or not out.must_rewrite:
        return status
    is_bare = out.is_bare
    opt_misplaced = out.opt_misplaced
    written = scrub(wire[0], length[0], key, key_length, is_bare)
    if written == 0 or read_reply(
        cleaned, written, expected_id, key, key_length, out, ttl_at, findings
    ) != WIRE_OK or out.must_rewrite:
        return WIRE_SPOILED_REPLY
    wire[0] = cleaned
    length[0] = written
    out.is_bare = is_bare
    out.opt_misplaced = opt_misplaced
    return WIRE_OK


# ---- for clients that did not set DO

cdef size_t cleaned_length


cdef bint is_of_dnssec(uint16_t rtype) noexcept nogil:
    return rtype == TYPE_RRSIG or rtype == TYPE_NSEC or rtype == TYPE_NSEC3


cdef Py_ssize_t write_without_signatures(const uint8_t* packet, size_t length, uint16_t* ttl_at) noexcept:
    cdef Reader r
    cdef Record record
    cdef Name name
    cdef const uint8_t* at
    cdef uint16_t qtype
    cdef int section, left, written
    cdef Py_ssize_t count = 0
    begin_message(&writer, cleaned, &r, packet, length)
    if read_spelled_name(&r, &name) < 0 or r.end - r.at < 4:
        return -1
    qtype = load16(r.at)
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
                return -1
            if is_of_dnssec(record.rtype) and record.rtype != qtype:     # RFC 4035 section 3.2.1
                continue
            if not write_record(&writer, &r, at, &record):
                return -1
            written += 1
        store16(cleaned + 4 + 2 * section, <uint16_t>written)
    store16(cleaned + 2, load16(cleaned + 2) & ~FLAG_AD)
    global cleaned_length
    cleaned_length = writer.at
    r.start = cleaned
    r.at = cleaned + HEADER_LENGTH + name.length + 4
    r.end = cleaned + writer.at
    while r.at < r.end and count < RECORDS_MAX:
        if read_record(&r, &record) < 0:
            return -1
        ttl_at[count] = record.ttl_at
        count += 1
    return count


# ---- a chain from two upstreams

cdef int copy_section(Writer* w, Reader* r, int count) noexcept nogil:
    """Write so many records of a message; return how many, or -1."""
    cdef Record record
    cdef const uint8_t* at
    cdef int _i
    for _i in range(count):
        at = r.at
        if read_record(r, &record) < 0 or not write_record(w, r, at, &record):
            return -1
    return count


cdef bint begin_reading(Reader* r, const uint8_t* packet, size_t length, Name* name) noexcept nogil:
    """Read a message from behind its question on."""
    r.start = packet
    r.at = packet + HEADER_LENGTH
    r.end = packet + length
    if read_spelled_name(r, name) < 0 or r.end - r.at < 4:
        return False
    r.at += 4
    return True


cdef const uint8_t* write_joined(
    const uint8_t* first, size_t first_length, const uint8_t* rest, size_t rest_length, uint32_t age,
    uint16_t* ttl_at, uint16_t* ttl_count, uint16_t* length,
) noexcept:
    cdef Reader r
    cdef Record record
    cdef Name name
    cdef int counts[4]
    cdef int section
    cdef size_t from_rest
    cdef bint is_of_rest
    cdef uint32_t ttl
    cdef uint16_t flags = load16(first + 2)
    begin_message(&writer, cleaned, &r, first, first_length)
    if not begin_reading(&r, first, first_length, &name):
        return NULL
    write_name(&writer, &name, False)
    write_octets(&writer, r.at - 4, 4)
    counts[1] = copy_section(&writer, &r, load16(first + 6))
    from_rest = writer.at
    if counts[1] < 0 or not begin_reading(&r, rest, rest_length, &name):
        return NULL
    for section in range(1, 4):
        counts[0] = copy_section(&writer, &r, load16(rest + 4 + 2 * section))
        if counts[0] < 0:
            return NULL
        counts[section] = counts[0] + (counts[1] if section == 1 else 0)
    if counts[1] + counts[2] + counts[3] > RECORDS_MAX:
        return NULL
    if not load16(rest + 2) & FLAG_AD:
        flags &= ~FLAG_AD
    store16(cleaned + 2, flags & 0xfff0 | load16(rest + 2) & 0x000f)
    store16(cleaned + 4, 1)
    for section in range(1, 4):
        store16(cleaned + 4 + 2 * section, <uint16_t>counts[section])
    if not begin_reading(&r, cleaned, writer.at, &name):
        return NULL
    ttl_count[0] = 0
    while r.at < r.end:
        is_of_rest = r.at - r.start >= <Py_ssize_t>from_rest
        if read_record(&r, &record) < 0:
            return NULL
        ttl = load32(cleaned + record.ttl_at)
        if is_of_rest:
            store32(cleaned + record.ttl_at, ttl - min(age, ttl))
        ttl_at[ttl_count[0]] = record.ttl_at
        ttl_count[0] += 1
    length[0] = <uint16_t>writer.at
    return cleaned


cdef bytes cleaned_message():
    return (<const char*>cleaned)[:cleaned_length]
