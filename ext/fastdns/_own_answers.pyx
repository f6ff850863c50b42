"""Answers that fastdns makes itself: from the owner's records, for special names, and denials."""

from libc.stdlib cimport free, malloc

from fastdns._answer cimport copy_answer
from fastdns._key cimport key_is_sound, key_view
from fastdns._local cimport find_local, make_local
from fastdns._policy cimport FORWARD, LOCAL, MINIMAL_ANY, NODATA, OWN, ZONE, decide
from fastdns._special_names cimport OWN_TTL, SPECIAL_TTL, make_minimal_any, make_negative, make_no_data, make_special


cdef int labels_of(const uint8_t* name) noexcept nogil:
    cdef int labels = 0
    while name[0] != 0:
        name += name[0] + 1
        labels += 1
    return labels


cdef void make_own(
    Policy policy, const Decision* decision, const uint8_t* key, uint16_t key_length, OwnAnswer* out
) noexcept nogil:
    cdef bint exists
    out.target_length = 0
    if decision.verdict == OWN:
        make_local(policy.local, key, key_length, decision.labels, &out.local)
        out.stored = out.local.stored
        out.target_length = out.local.target_length
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
