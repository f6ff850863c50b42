"""Writes a message again: names keep their case, and one that was not compressed is not compressed."""

from libc.string cimport memcmp, memcpy, memset

from fastdns._wire cimport HEADER_LENGTH, Layout, Name, Reader, Record, layout_of, read_spelled_name, store16

cdef enum:
    LABELS_MAX = 128
    POINTED_MAX = 0x4000    # where a pointer can lead (RFC 1035 section 4.1.4)


cdef void begin_message(Writer* w, uint8_t* into, Reader* r, const uint8_t* packet, size_t length) noexcept nogil:
    r.start = packet
    r.at = packet + HEADER_LENGTH
    r.end = packet + length
    w.start = into
    w.at = HEADER_LENGTH
    w.room = MESSAGE_MAX
    memset(w.suffixes, 0, sizeof(w.suffixes))
    memcpy(into, packet, HEADER_LENGTH)


cdef bint write_octets(Writer* w, const uint8_t* octets, size_t count) noexcept nogil:
    if w.room - w.at < count:
        return False
    memcpy(w.start + w.at, octets, count)
    w.at += count
    return True


cdef bint stands_at(Writer* w, uint16_t at, const uint8_t* suffix, uint16_t length) noexcept nogil:
    """True if the name that was written there is this one, with the same case."""
    cdef Reader r
    cdef Name written
    r.start = w.start
    r.at = w.start + at
    r.end = w.start + w.at
    return read_spelled_name(&r, &written) == 0 and written.length == length and (
        memcmp(written.octets, suffix, length) == 0
    )


cdef bint write_name(Writer* w, const Name* name, bint compress) noexcept nogil:
    """Write a name, as a pointer from the part on that was written before."""
    cdef uint16_t labels[LABELS_MAX]
    cdef uint64_t hashes[LABELS_MAX]
    cdef uint8_t pointer[2]
    cdef Suffix* suffix
    cdef uint64_t hash = 0xcbf29ce484222325
    cdef size_t began = w.at
    cdef int count = 0
    cdef int known = -1     # the label from which on it was written
    cdef int at = 0
    cdef int i
    while name.octets[at]:
        labels[count] = <uint16_t>at
        count += 1
        at += name.octets[at] + 1
    # From its end, so that the hash of each suffix is computed on the way.
    i = count - 1
    while at > 0:
        at -= 1
        hash = (hash ^ name.octets[at]) * <uint64_t>0x100000001b3
        if at == labels[i]:
            hashes[i] = hash
            i -= 1
    if compress:
        for i in range(count):
            suffix = &w.suffixes[hashes[i] % SUFFIXES]
            if suffix.at and suffix.hash == hashes[i] and stands_at(
                w, suffix.at, name.octets + labels[i], name.length - labels[i]
            ):
                known = i
                break
    if known < 0:
        if not write_octets(w, name.octets, name.length):
            return False
    else:
        store16(pointer, 0xc000 | w.suffixes[hashes[known] % SUFFIXES].at)
        if not write_octets(w, name.octets, labels[known]) or not write_octets(w, pointer, 2):
            return False
    for i in range(count if known < 0 else known):
        suffix = &w.suffixes[hashes[i] % SUFFIXES]
        if suffix.at == 0 and began + labels[i] < POINTED_MAX:
            suffix.hash = hashes[i]
            suffix.at = <uint16_t>(began + labels[i])
    return True


cdef bint write_rdata(Writer* w, const Reader* message, const Record* record) noexcept nogil:
    """Write RDATA that was found valid: its names only point into the new message."""
    cdef Layout layout
    cdef Reader r
    cdef Name name
    cdef const uint8_t* at
    cdef int _i
    if not layout_of(record.rtype, &layout):
        return write_octets(w, record.data, record.length)
    r.start = message.start
    r.at = record.data + layout.before
    r.end = record.data + record.length
    for _i in range(layout.strings):
        r.at += 1 + r.at[0]
    if not write_octets(w, record.data, r.at - record.data):
        return False
    for _i in range(layout.names):
        at = r.at
        if read_spelled_name(&r, &name) < 0:
            return False
        if not write_name(w, &name, layout.compressible and r.at - at != name.length):
            return False
    return write_octets(w, r.at, r.end - r.at)


cdef bint write_record(Writer* w, const Reader* message, const uint8_t* at, const Record* record) noexcept nogil:
    """Write one record; False: there is no room, and nothing was written."""
    cdef size_t began = w.at
    cdef size_t data_at = begin_record(w, message, at, record)
    return end_record(w, began, data_at, data_at and write_rdata(w, message, record))


cdef size_t begin_record(Writer* w, const Reader* message, const uint8_t* at, const Record* record) noexcept nogil:
    """Write what is before the data of a record; return where its data begins, or 0: there is no room."""
    cdef Reader r
    cdef Name owner
    r.start = message.start
    r.at = at
    r.end = message.end
    if read_spelled_name(&r, &owner) < 0 or not write_name(w, &owner, True):
        return 0
    return w.at if write_octets(w, record.data - RECORD_HEAD, RECORD_HEAD) else 0


cdef bint end_record(Writer* w, size_t began, size_t data_at, bint is_whole) noexcept nogil:
    """Write the length of the data; if not all was written, take the record back."""
    cdef int i
    if is_whole:
        store16(w.start + data_at - 2, <uint16_t>(w.at - data_at))
        return True
    w.at = began
    for i in range(SUFFIXES):       # its names are gone, so that others cannot point to them
        if w.suffixes[i].at >= began:
            w.suffixes[i].at = 0
    return False
