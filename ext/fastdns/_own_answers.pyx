"""Answers that fastdns makes itself: from the owner's records, for special and for blocked names, and denials."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastdns._answer cimport BY_ALIAS, IS_OURS, REASON_SHIFT, copy_answer
from fastdns._blocking cimport BY_RULE, NO_REASON, Note
from fastdns._key cimport KEY_TAIL, key_is_sound, key_view, labels_of
from fastdns._local cimport LocalRecords, find_local, make_local
from fastdns._policy cimport (
    FORWARD, LOCAL, MINIMAL_ANY, NODATA, NULL_ADDRESS, NXDOMAIN, OWN, REFUSE, ZONE, decide, is_refused, records_for,
)
from fastdns._special_names cimport (
    OWN_TTL, SPECIAL_OPTIONS, SPECIAL_TTL, add_record, add_soa, begin, make_minimal_any, make_negative, make_no_data,
    make_special, suffix_at,
)
from fastdns._wire cimport HEADER_LENGTH, TYPE_A, TYPE_AAAA, load16, store16

cdef enum:
    OPTION_EDE = 15
    RCODE_NXDOMAIN = 3
    RCODE_REFUSED = 5


cdef void make_own(
    Policy policy, const Decision* decision, const uint8_t* key, uint16_t key_length, OwnAnswer* out
) noexcept nogil:
    cdef bint exists
    out.target_length = 0
    if decision.verdict == OWN:
        make_local(<LocalRecords>records_for(policy, decision), key, key_length, decision.labels, &out.local)
        out.stored = out.local.stored
        out.stored.is_authoritative = ours_bits(decision)
        out.target_length = out.local.target_length
        return
    if is_refused(decision):
        make_blocked(policy, decision, key, key_length, &out.special)
        out.stored = out.special.stored
        return
    exists = policy.local.count != 0 and find_local(policy.local, key).exists
    if decision.verdict == NODATA:
        make_no_data(&out.special, key, key_length, decision.ede, OWN_TTL)
    elif decision.verdict == MINIMAL_ANY:
        make_minimal_any(&out.special, key, key_length)
    elif decision.verdict == LOCAL:
        # Where the owner has names, others may come soon: of a client that has just got its lease.
        make_special(&out.special, key, key_length, exists, OWN_TTL if policy.local.count else SPECIAL_TTL)
    else:
        exists |= decision.verdict == ZONE and decision.labels == labels_of(key)
        make_negative(&out.special, key, key_length, exists, decision.labels, OWN_TTL)
    out.stored = out.special.stored


cdef uint8_t ours_bits(const Decision* decision) noexcept nogil:
    cdef int bits = IS_OURS
    if decision.reason != NO_REASON:
        bits |= decision.reason << REASON_SHIFT
        if decision.alias:
            bits |= BY_ALIAS
    return <uint8_t>bits


cdef void make_blocked(
    Policy policy, const Decision* decision, const uint8_t* key, uint16_t key_length, SpecialAnswer* out
) noexcept nogil:
    """Write the answer to a blocked name: other types than addresses have no data."""
    cdef uint8_t nowhere[16]
    cdef uint16_t qtype = load16(key + key_length - KEY_TAIL)
    cdef bint has_address = decision.verdict == NULL_ADDRESS and (qtype == TYPE_A or qtype == TYPE_AAAA)
    cdef uint16_t rcode = 0
    if decision.verdict == NXDOMAIN:
        rcode = RCODE_NXDOMAIN
    elif decision.verdict == REFUSE:
        rcode = RCODE_REFUSED
    begin(out, key, key_length - KEY_TAIL, rcode, policy.blocking.ttl)
    if has_address:
        memset(nowhere, 0, 16)
        add_record(out, HEADER_LENGTH, qtype, nowhere, 4 if qtype == TYPE_A else 16)
        store16(out.wire + 6, 1)
    elif rcode != RCODE_REFUSED:
        # The labels are those of another name if a CNAME record leads there.
        add_soa(out, HEADER_LENGTH + (0 if decision.alias or rcode == 0 else suffix_at(key, decision.labels)))
        store16(out.wire + 8, 1)
    out.stored.is_authoritative = ours_bits(decision)
    out.stored.group = decision.source
    write_reason(policy, decision, key, out)


cdef void write_reason(
    Policy policy, const Decision* decision, const uint8_t* key, SpecialAnswer* out
) noexcept nogil:
    """Write an Extended DNS Error that names the list, or the rule, in its text (RFC 8914 section 2)."""
    cdef Note note = policy.blocking.note_of(decision.reason, decision.source)
    cdef uint16_t length = 6
    if note.length:
        memcpy(out.options + length, note.octets, note.length)
        length += note.length
        if decision.alias:
            memcpy(out.options + length, b", by a CNAME record", 19)
            length += 19
        elif decision.reason == BY_RULE:
            out.options[length] = c" "
            length = spell(key + suffix_at(key, decision.labels), out.options, length + 1)
    store16(out.options, OPTION_EDE)
    store16(out.options + 2, length - 4)
    store16(out.options + 4, <uint16_t>decision.ede)
    out.stored.options = out.options
    out.stored.options_length = length


cdef uint16_t spell(const uint8_t* name, uint8_t* out, uint16_t at) noexcept nogil:
    """Write a name as text, as much as there is room for; return where it ends."""
    cdef int i
    while name[0] != 0 and at + name[0] + 1 <= SPECIAL_OPTIONS:
        for i in range(1, name[0] + 1):
            out[at] = name[i] if c" " < name[i] < 127 else c"?"
            at += 1
        name += name[0] + 1
        if name[0] != 0:
            out[at] = c"."
            at += 1
    return at


cdef void make_instead(
    Policy policy, const Decision* decision, const uint8_t* key, uint16_t key_length, SpecialAnswer* out
) noexcept nogil:
    if is_refused(decision):
        make_blocked(policy, decision, key, key_length, out)
    else:
        make_no_data(out, key, key_length, decision.ede, REFUSAL_TTL)


def own_answer(Policy policy not None, bytes key not None):
    """Return the Answer to the question of a key, and the name that its CNAME record leads to outside, or None.

    (None, None): an upstream is asked. ValueError: not a key.
    """
    cdef Decision decision
    cdef OwnAnswer* own
    if not key_is_sound(key, len(key)):
        raise ValueError("not a key")
    decide(policy, key_view(key, <uint16_t>len(key)), key, <uint16_t>len(key), &decision)
    if decision.verdict == FORWARD:
        return None, None
    own = <OwnAnswer*>malloc(sizeof(OwnAnswer))
    if own == NULL:
        raise MemoryError
    try:
        make_own(policy, &decision, key, <uint16_t>len(key), own)
        return copy_answer(&own.stored), own.local.target[:own.target_length] if own.target_length else None
    finally:
        free(own)
