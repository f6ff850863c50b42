"""Names that are answered here and never asked upstream.

| name | answer |
|---|---|
| localhost and all under it | A 127.0.0.1, AAAA ::1, no data of other types (RFC 6761 section 6.3) |
| invalid, test and all under them | no such name (RFC 6761 sections 6.2 and 6.4) |
| onion, local and all under them | no such name (RFC 7686 section 2, RFC 6762 section 22.1) |
| home.arpa | an empty zone (RFC 8375 section 4), but for its DS, which the world has |
| private and reserved reverse zones | an empty zone with SOA and NS, as RFC 6303 section 3 has it (and RFC 7793) |
| an address of 127.0.0.0/8 or ::1, reversed | PTR localhost |
| resolver.arpa and all under it | no data: no designated resolver (RFC 9462 section 4) |

Networks use some of these: the owner's records, local.domain, [[forward]] and local.ask_upstream come first.
"""

from libc.string cimport memcmp, memcpy, memset

from fastdns._answer cimport copy_answer
from fastdns._key cimport KEY_MAX, KEY_TAIL
from fastdns._wire cimport (
    CLASS_IN, FLAG_QR, HEADER_LENGTH, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_SOA, load16, store16, store32,
)

cdef enum:
    TYPE_NS = 2
    TYPE_PTR = 12
    TYPE_HINFO = 13
    OPTION_EDE = 15
    ANY_TTL = 3789          # as in the example of RFC 8482 section 4.2
    TYPE_DS = 43
    NOERROR = 0
    NXDOMAIN = 3
    POINTER = 0xc000
    LABELS_MAX = 128
    OCTETS_V4 = 4           # labels of a reversed address
    NIBBLES_V6 = 32

cdef enum Kind:
    ORDINARY
    LOCALHOST
    NO_NAME                 # nothing exists, not even the name itself
    EMPTY_ZONE              # its top exists and nothing else
    LOOPBACK                # an empty zone but for PTR records
    NO_DATA                 # every name exists, without records

cdef struct Found:
    Kind kind
    uint16_t zone_at        # the position of the zone in the name
    int below               # labels of the name below the top of the zone
    bint is_loopback        # an address that has a PTR record
    bint has_names_below    # an empty non-terminal (RFC 8020)


# --- which name it is ---------------------------------------------------------------------------------------


cdef inline bint is_label(const uint8_t* at, const char* text, uint8_t length) noexcept nogil:
    return at[0] == length and memcmp(at + 1, text, length) == 0


cdef inline int decimal(const uint8_t* at) noexcept nogil:
    """The number in a label of a reversed IPv4 address, without leading zeros; -1: it is not one."""
    cdef int value = 0
    cdef int i
    if at[0] > 3 or (at[0] > 1 and at[1] == c'0'):
        return -1
    for i in range(1, at[0] + 1):
        if not c'0' <= at[i] <= c'9':
            return -1
        value = 10 * value + at[i] - c'0'
    return value if value < 256 else -1


cdef inline int nibble(const uint8_t* at) noexcept nogil:
    if at[0] != 1:
        return -1
    if c'0' <= at[1] <= c'9':
        return at[1] - c'0'
    return at[1] - c'a' + 10 if c'a' <= at[1] <= c'f' else -1


cdef int reverse_zone_v4(const int* octets, int count) noexcept nogil:
    """The length in bytes of the zone for this address that is served here; 0: there is none."""
    cdef int first = octets[0]
    cdef int second = octets[1] if count > 1 else -1
    cdef int third = octets[2] if count > 2 else -1
    if first == 10 or first == 0 or first == 127:
        return 1
    if (
        (first == 172 and 16 <= second <= 31) or (first == 192 and second == 168)
        or (first == 169 and second == 254) or (first == 100 and 64 <= second <= 127)
    ):
        return 2
    if (
        (first == 192 and second == 0 and third == 2) or (first == 198 and second == 51 and third == 100)
        or (first == 203 and second == 0 and third == 113)
    ):
        return 3
    if count >= 4 and first == 255 and second == 255 and third == 255 and octets[3] == 255:
        return 4
    return 0


cdef int reverse_zone_v6(const int* nibbles, int count) noexcept nogil:
    cdef int i
    if count >= 2 and nibbles[0] == 0xf and nibbles[1] == 0xd:
        return 2                        # unique local, RFC 4193
    if count >= 3 and nibbles[0] == 0xf and nibbles[1] == 0xe and 8 <= nibbles[2] <= 0xb:
        return 3                        # link-local
    if (
        count >= 8 and nibbles[0] == 2 and nibbles[1] == 0 and nibbles[2] == 0 and nibbles[3] == 1
        and nibbles[4] == 0 and nibbles[5] == 0xd and nibbles[6] == 0xb and nibbles[7] == 8
    ):
        return 8                        # documentation
    if count < NIBBLES_V6 or nibbles[NIBBLES_V6 - 1] < 0 or nibbles[NIBBLES_V6 - 1] > 1:
        return 0
    for i in range(NIBBLES_V6 - 1):
        if nibbles[i] != 0:
            return 0
    return NIBBLES_V6                   # :: and ::1


cdef void find_reverse(const uint8_t* name, const uint16_t* starts, int labels, Found* out) noexcept nogil:
    """Check a name of `labels` labels below in-addr.arpa (or ip6.arpa), whose last label comes first in the address."""
    cdef int parts[NIBBLES_V6]
    cdef bint is_v4 = is_label(name + starts[labels], b"in-addr", 7)
    cdef int most = OCTETS_V4 if is_v4 else NIBBLES_V6
    cdef const uint8_t* label
    cdef int count = 0
    cdef int depth
    while count < labels and count < most:
        label = name + starts[labels - 1 - count]
        parts[count] = decimal(label) if is_v4 else nibble(label)
        if parts[count] < 0:
            break
        count += 1
    if count == 0:
        return
    depth = reverse_zone_v4(parts, count) if is_v4 else reverse_zone_v6(parts, count)
    if depth == 0:
        return
    out.kind = EMPTY_ZONE
    out.zone_at = starts[labels - depth]
    out.below = labels - depth
    if is_v4 and parts[0] == 127:
        out.kind = LOOPBACK
        out.is_loopback = labels == OCTETS_V4 and count == OCTETS_V4
        out.has_names_below = labels == count and labels < OCTETS_V4
    elif depth == NIBBLES_V6 and parts[NIBBLES_V6 - 1] == 1:
        out.kind = LOOPBACK
        out.is_loopback = labels == NIBBLES_V6


cdef void find(const uint8_t* key, uint16_t key_length, Found* out) noexcept nogil:
    cdef uint16_t starts[LABELS_MAX]
    cdef uint16_t length, at
    cdef const uint8_t* end     # the zero byte of the root
    cdef uint8_t last
    cdef int labels = 0
    out.kind = ORDINARY
    # An ordinary name costs no more than this: its last letter, or its last label, differs.
    if key_length < KEY_TAIL + 6 or key_length > KEY_MAX:
        return
    length = key_length - KEY_TAIL
    end = key + length - 1
    last = key[length - 2]
    if not (
        (last == c'a' and is_label(end - 5, b"arpa", 4))
        or (last == c'd' and length > 8 and is_label(end - 8, b"invalid", 7))
        or (last == c'n' and length > 6 and is_label(end - 6, b"onion", 5))
        or (last == c't' and (
            is_label(end - 5, b"test", 4) or length > 10 and is_label(end - 10, b"localhost", 9)
        ))
        or (last == c'l' and length > 6 and is_label(end - 6, b"local", 5))
    ) or load16(end + 3) != CLASS_IN:
        return
    at = 0
    while at < length - 1 and labels < LABELS_MAX:
        starts[labels] = at
        labels += 1
        at += key[at] + 1
    labels -= 1             # those below the last one
    if at != length - 1:
        return
    out.zone_at = starts[labels]
    out.below = labels
    out.is_loopback = False
    out.has_names_below = False
    if is_label(key + starts[labels], b"localhost", 9):
        out.kind = LOCALHOST
    elif (
        is_label(key + starts[labels], b"invalid", 7) or is_label(key + starts[labels], b"test", 4)
        or is_label(key + starts[labels], b"onion", 5) or is_label(key + starts[labels], b"local", 5)
    ):
        out.kind = NO_NAME
    elif is_label(key + starts[labels], b"arpa", 4) and labels > 0:
        labels -= 1
        if is_label(key + starts[labels], b"in-addr", 7) or is_label(key + starts[labels], b"ip6", 3):
            find_reverse(key, starts, labels, out)
        # A validating client needs the proof that nothing below is signed, which only arpa has: RFC 8375 section 4.
        elif is_label(key + starts[labels], b"home", 4) and not (labels == 0 and load16(end + 1) == TYPE_DS):
            out.kind = EMPTY_ZONE
            out.zone_at = starts[labels]
            out.below = labels
        elif is_label(key + starts[labels], b"resolver", 8):
            out.kind = NO_DATA
            out.zone_at = starts[labels]
            out.below = labels


cdef bint is_special(const uint8_t* key, uint16_t key_length) noexcept nogil:
    cdef Found found
    find(key, key_length, &found)
    return found.kind != ORDINARY


# --- the answers ----------------------------------------------------------------------------------------------


cdef void begin(SpecialAnswer* out, const uint8_t* key, uint16_t length, uint16_t rcode, uint32_t ttl) noexcept nogil:
    memset(&out.stored, 0, sizeof(Stored))
    memset(out.wire, 0, HEADER_LENGTH)
    memcpy(out.wire + HEADER_LENGTH, key, length + 4)
    out.stored.wire = out.wire
    out.stored.ttl_at = out.ttl_at
    out.stored.options = out.wire
    out.stored.length = HEADER_LENGTH + length + 4
    out.stored.rcode = rcode
    out.stored.ttl = ttl
    out.stored.is_authoritative = True
    store16(out.wire + 2, FLAG_QR | rcode)
    store16(out.wire + 4, 1)


cdef void add_record(
    SpecialAnswer* out, uint16_t owner_at, uint16_t rtype, const uint8_t* data, uint16_t data_length
) noexcept nogil:
    cdef uint8_t* at = out.wire + out.stored.length
    store16(at, POINTER | owner_at)
    store16(at + 2, rtype)
    store16(at + 4, CLASS_IN)
    store32(at + 6, out.stored.ttl)
    store16(at + 10, data_length)
    memcpy(at + 12, data, data_length)
    out.ttl_at[out.stored.ttl_count] = out.stored.length + 6
    out.stored.ttl_count += 1
    out.stored.length += 12 + data_length


cdef uint16_t write_soa(uint8_t* out, uint16_t zone_at, uint32_t ttl) noexcept nogil:
    """`@ TTL IN SOA @ nobody.invalid. 1 3600 1200 604800 TTL`: RFC 6303 section 3, or with another TTL."""
    store16(out, POINTER | zone_at)
    store16(out + 2, TYPE_SOA)
    store16(out + 4, CLASS_IN)
    store32(out + SOA_TTL_AT, ttl)
    store16(out + 10, SOA_OCTETS - 12)
    store16(out + 12, POINTER | zone_at)
    memcpy(out + 14, b"\x06nobody\x07invalid", 16)     # with the zero byte that ends both name and string
    store32(out + 30, 1)
    store32(out + 34, 3600)
    store32(out + 38, 1200)
    store32(out + 42, 604800)
    store32(out + 46, ttl)
    return SOA_OCTETS


cdef void add_soa(SpecialAnswer* out, uint16_t zone_at) noexcept nogil:
    out.ttl_at[out.stored.ttl_count] = out.stored.length + SOA_TTL_AT
    out.stored.ttl_count += 1
    out.stored.length += write_soa(out.wire + out.stored.length, zone_at, out.stored.ttl)


cdef int add_answers(SpecialAnswer* out, const Found* found, uint16_t qtype) noexcept nogil:
    """Add the records of this type that the name has; return how many."""
    cdef uint8_t data[16]
    cdef uint16_t zone_at = HEADER_LENGTH + found.zone_at
    if found.kind == LOCALHOST:
        if qtype == TYPE_A or qtype == TYPE_ANY:
            add_record(out, HEADER_LENGTH, TYPE_A, b"\x7f\x00\x00\x01", 4)
        if qtype == TYPE_AAAA or qtype == TYPE_ANY:
            memset(data, 0, 16)
            data[15] = 1
            add_record(out, HEADER_LENGTH, TYPE_AAAA, data, 16)
    if found.is_loopback and (qtype == TYPE_PTR or qtype == TYPE_ANY):
        add_record(out, HEADER_LENGTH, TYPE_PTR, b"\x09localhost", 11)
    if found.below == 0 and found.kind != NO_NAME:
        if qtype == TYPE_SOA or qtype == TYPE_ANY:
            add_soa(out, zone_at)
        if qtype == TYPE_NS or qtype == TYPE_ANY:
            store16(data, POINTER | zone_at)
            add_record(out, HEADER_LENGTH, TYPE_NS, data, 2)
    return out.stored.ttl_count


cdef bint exists(const Found* found) noexcept nogil:
    if found.kind == NO_NAME:
        return False
    return (
        found.below == 0 or found.kind == LOCALHOST or found.kind == NO_DATA
        or found.is_loopback or found.has_names_below
    )


cdef bint make_special(
    SpecialAnswer* out, const uint8_t* key, uint16_t key_length, bint has_names, uint32_t negative_ttl
) noexcept nogil:
    cdef uint16_t length = key_length - KEY_TAIL
    cdef Found found
    find(key, key_length, &found)
    if found.kind == ORDINARY:
        return False
    begin(out, key, length, NOERROR if has_names or exists(&found) else NXDOMAIN, SPECIAL_TTL)
    store16(out.wire + 6, <uint16_t>add_answers(out, &found, load16(key + length)))
    if out.stored.ttl_count == 0:
        out.stored.ttl = negative_ttl
        add_soa(out, HEADER_LENGTH + found.zone_at)
        store16(out.wire + 8, 1)
    return True


cdef uint16_t suffix_at(const uint8_t* name, int labels) noexcept nogil:
    cdef int more = -labels
    cdef uint16_t at = 0
    while name[at] != 0:
        at += name[at] + 1
        more += 1
    at = 0
    while more > 0:
        at += name[at] + 1
        more -= 1
    return at


cdef void make_negative(
    SpecialAnswer* out, const uint8_t* key, uint16_t key_length, bint exists, int zone_labels, uint32_t ttl
) noexcept nogil:
    begin(out, key, key_length - KEY_TAIL, NOERROR if exists else NXDOMAIN, ttl)
    add_soa(out, HEADER_LENGTH + suffix_at(key, zone_labels))
    store16(out.wire + 8, 1)


cdef void make_no_data(
    SpecialAnswer* out, const uint8_t* key, uint16_t key_length, int ede, uint32_t ttl
) noexcept nogil:
    begin(out, key, key_length - KEY_TAIL, NOERROR, ttl)
    add_soa(out, HEADER_LENGTH)
    store16(out.wire + 8, 1)
    if ede >= 0:
        store16(out.options, OPTION_EDE)
        store16(out.options + 2, 2)
        store16(out.options + 4, <uint16_t>ede)
        out.stored.options = out.options
        out.stored.options_length = 6


cdef void make_minimal_any(SpecialAnswer* out, const uint8_t* key, uint16_t key_length) noexcept nogil:
    begin(out, key, key_length - KEY_TAIL, NOERROR, ANY_TTL)
    add_record(out, HEADER_LENGTH, TYPE_HINFO, b"\x07RFC8482\x00", 9)
    store16(out.wire + 6, 1)


def special_answer(bytes key not None):
    """Return the answer of fastdns to the question of this key; None: it is an ordinary name."""
    cdef SpecialAnswer answer
    if not make_special(&answer, key, <uint16_t>len(key), False, SPECIAL_TTL):
        return None
    return copy_answer(&answer.stored)
